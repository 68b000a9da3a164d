// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// What AWS does and does not promise: runs must not depend on it.

// The volume ID of a copied snapshot is arbitrary. Copies are still found, verified and removed.
func TestCopies_arbitraryVolumeIDs(t *testing.T) {
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			setup := fixture.Setup{
				Volumes:   mixedKeys,
				Simulator: []awssim.Option{awssim.WithAlternatives(awssim.ArbitraryVolumeIDs)},
			}
			test(t, setup, func(w *fixture.World) {
				before := w.Inventory()
				killed := w.Start(fixture.Attempt{Template: w.Template(fixture.WithMethod(method))})
				if !killed.WaitFor("ec2:Copy*") {
					w.Fatal(killed.Outcome())
				}
				time.Sleep(time.Minute)
				killed.Kill()
				time.Sleep(2 * time.Hour)
				w.RequireSuccess(w.Resume(w.Template(fixture.WithMethod(method), fixture.WithCleanUp())))
				w.ExpectNoLeftovers(before)

				w.RequireSuccess(w.Run(w.Template(fixture.WithMethod(method))))
				w.RequireSuccess(w.Resume(w.Template(fixture.WithMethod(method), fixture.WithVerify())))
				again := w.Resume(w.Template(fixture.WithMethod(method)))
				w.RequireSuccess(again)
				for _, call := range again.Calls() {
					if call.Mutating() {
						w.Errorf("the run after a finished one calls %s", call.Action)
					}
				}
				w.ExpectNoLeftovers(before)
			})
		})
	}
}

// editedResponse changes the responses to an action of target accounts.
type editedResponse struct {
	next     aws.HTTPClient
	action   string
	status   int // replaces the call by a response with this status; 0 does not
	from, to string
}

func (e editedResponse) Do(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		all, _ := io.ReadAll(r.Body)
		body = string(all)
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	isTarget := r.Header.Get("X-Amz-Security-Token") != ""
	isEdited := isTarget && strings.Contains(body, "Action="+e.action+"&")
	if isEdited && e.status != 0 {
		return &http.Response{
			Request:    r,
			StatusCode: e.status,
			Header:     http.Header{},
			Body:       io.NopCloser(strings.NewReader(e.to)),
		}, nil
	}

	response, err := e.next.Do(r)
	if err != nil || !isEdited {
		return response, err
	}
	content, _ := io.ReadAll(response.Body)
	text := strings.ReplaceAll(string(content), e.from, e.to)
	response.Body, response.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return response, nil
}

// A lasting server error is reported with its call, its code and its deadline. It fails the destination, not the run.
func TestServerError_namesCallAndCode(t *testing.T) {
	const notImplemented = `<Response><Errors><Error><Code>InternalFailure</Code><Message>not implemented</Message>` +
		`</Error></Errors></Response>`
	for name, c := range map[string]struct {
		rule   awssim.FaultRule
		status int
		code   string
		limit  time.Duration
	}{
		"500": {
			rule:  outage{awssim.ServerError, "ec2:CopySnapshot"}.rule(fixture.Stage),
			code:  "InternalError",
			limit: awsclient.AnswerTimeout + outageMargin,
		},
		"503": {
			rule:  outage{awssim.Unavailable, "ec2:CopySnapshot"}.rule(fixture.Stage),
			code:  "ServiceUnavailable",
			limit: awsclient.AnswerTimeout + outageMargin,
		},
		"501": {status: http.StatusNotImplemented, code: "InternalFailure", limit: awsclient.AnswerTimeout + outageMargin},
	} {
		t.Run(name, func(t *testing.T) {
			setup := fixture.Setup{Targets: twoTargets}
			if c.status != 0 {
				setup.Targets = []string{fixture.Stage}
			}
			test(t, setup, func(w *fixture.World) {
				attempt := fixture.Attempt{Template: w.Template(fixture.WithTestCopy(false))}
				if c.status == 0 {
					w.Inject(c.rule)
				} else {
					attempt.Through = func(next aws.HTTPClient) aws.HTTPClient {
						return editedResponse{next: next, action: "CopySnapshot", status: c.status, to: notImplemented}
					}
				}
				run := w.Start(attempt)
				if !run.EndsWithin(c.limit) {
					w.Errorf("the run has not ended after %s", c.limit)
					run.Wait()
				}
				w.RequireFailure(run)
				for _, want := range []string{"ec2:CopySnapshot", c.code} {
					if !strings.Contains(run.Text(), want) {
						w.Errorf("the run does not name %s: %s", want, run.Outcome())
					}
				}
				if silence := run.LongestSilence(); silence > maxSilence {
					w.Errorf("no line for %s, want one every minute", silence)
				}
			})
		})
	}
}

// A lookup that a run does not need must not delay the run until its timeout.
func TestServerError_optionalLookups(t *testing.T) {
	lookups := []string{
		"kms:GetKeyPolicy", "ec2:GetEbsEncryptionByDefault", "ec2:GetEbsDefaultKmsKeyId", "ec2:DescribeRegions",
	}
	testEach(t, fixture.Setup{}, lookups, func(w *fixture.World, action string) {
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: action})
		run := w.Start(fixture.Attempt{Template: w.Template()})
		if limit := time.Hour; !run.EndsWithin(limit) {
			w.Errorf("the run has not ended after %s", limit)
			run.Wait()
		}
		if run.Err != nil && !strings.Contains(run.Text(), action) {
			w.Errorf("the run does not name %s: %s", action, run.Outcome())
		}
		if silence := run.LongestSilence(); silence > maxSilence {
			w.Errorf("no line for %s, want one every minute", silence)
		}
	})
}

// After a failed verification the image is removed. Exactly the resources that the run lists as left behind still
// exist.
func TestVerification_failed(t *testing.T) {
	for name, changes := range map[string][]fixture.Change{
		"snapshot":          {fixture.WithMethod("snapshot")},
		"image":             {fixture.WithMethod("image")},
		"snapshot, cleanup": {fixture.WithMethod("snapshot"), fixture.WithCleanUpOnFailure()},
		"image, cleanup":    {fixture.WithMethod("image"), fixture.WithCleanUpOnFailure()},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Volumes: mixedKeys}, func(w *fixture.World) {
				before := w.Inventory()
				run := w.Start(fixture.Attempt{
					Template: w.Template(append(changes, fixture.WithTestCopy(false))...),
					Through: func(next aws.HTTPClient) aws.HTTPClient {
						return editedResponse{
							next:   next,
							action: "DescribeImages",
							from:   "<enaSupport>true</enaSupport>",
							to:     "<enaSupport>false</enaSupport>",
						}
					},
				}).Wait()
				w.RequireFailure(run)
				time.Sleep(time.Hour)

				left := slices.DeleteFunc(w.Leftovers(before), func(item fixture.Item) bool {
					return item.Kind == fixture.Protection // the failed run keeps it
				})
				manifest := run.Manifest()
				for _, item := range left {
					if !manifest.Lists(item) {
						w.Errorf("%s is left behind and not listed", item)
					}
				}
				for _, listed := range manifest.Left {
					exists := slices.ContainsFunc(left, func(item fixture.Item) bool { return item.ID == listed.Resource })
					if !exists {
						w.Errorf("%s is listed as left behind (%s), and does not exist", listed.Resource, listed.Why)
					}
				}
				if images := w.Images(fixture.Prod, fixture.Home); len(images) > 0 {
					w.Errorf("%d images stay that were not verified", len(images))
				}
			})
		})
	}
}

// A share and a grant take effect late. A copy that is refused until then is retried with back-off.
func TestCopy_shareTakesEffectLate(t *testing.T) {
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			setup := fixture.Setup{
				Volumes:    mixedKeys,
				Targets:    twoTargets,
				OwnKeyOnly: true,
				Simulator:  []awssim.Option{awssim.WithPropagation(3 * time.Minute)},
			}
			test(t, setup, func(w *fixture.World) {
				run := w.Run(w.Template(fixture.WithMethod(method), fixture.WithGrants()))
				w.RequireSuccess(run)
				w.RequireImage(fixture.Prod, fixture.Home)
				w.RequireImage(fixture.Stage, fixture.Home)
				calls := run.CallsOf("ec2:Copy*")
				if refused := slices.DeleteFunc(calls, fixture.Call.Succeeded); len(refused) > 60 {
					w.Errorf("%d copies were refused, want back-off", len(refused))
				}
			})
		})
	}
}

// If AWS performs a dry run, it creates a resource. The run stops and names that resource.
func TestDryRun_performed(t *testing.T) {
	for name, change := range map[string]fixture.Change{
		"plan": fixture.WithPlan(), "distribute": fixture.WithTestCopy(false),
	} {
		t.Run(name, func(t *testing.T) {
			setup := fixture.Setup{
				Volumes:   ownKey,
				Simulator: []awssim.Option{awssim.WithAlternatives(awssim.ActingDryRuns)},
			}
			test(t, setup, func(w *fixture.World) {
				before := w.Inventory()
				run := w.Run(w.Template(change))
				if name == "distribute" { // a plan only reports errors, so that the build succeeds
					w.RequireFailure(run)
				}
				if !strings.Contains(run.Text(), "AWS performed the dry run") {
					w.Errorf("the run does not say that a dry run was performed: %s", run.Outcome())
				}
				if performed := countPerformed(run); performed != 1 {
					w.Errorf("%d dry runs were performed, want one", performed)
				}
				for _, call := range run.Calls() {
					if call.Creates() {
						w.Errorf("the run calls %s after a dry run was performed", call.Action)
					}
				}
				for _, item := range w.Inventory() {
					isNew := item.Kind != fixture.Protection && !slices.Contains(before, item)
					if isNew && !strings.Contains(run.Text(), item.ID) {
						w.Errorf("the run does not name %s, which a dry run created", item)
					}
				}
			})
		})
	}
}

// countPerformed returns how many dry runs AWS performed.
func countPerformed(run *fixture.Run) (count int) {
	for _, call := range run.Calls() {
		if call.DryRun() && call.Succeeded() {
			count++
		}
	}
	return count
}
