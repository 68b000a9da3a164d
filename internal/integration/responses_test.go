// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// A response with status 200 may lack its body, or any part of it. A run takes no such response for a result.

// richTemplate uses as many operations as one run can.
func richTemplate(w *fixture.World, method string) fixture.Template {
	w.Helper()
	return w.Template(
		fixture.WithMethod(method), fixture.WithTestCopy(true), fixture.WithGrants(), fixture.WithLaunchCheck(),
		fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"), fixture.WithFamily("web"),
		fixture.WithRetention(1), fixture.WithLaunchPermission(fixture.Friend), fixture.WithTimeout(2*time.Hour))
}

// endsInTime reports whether the run ends by its timeout, and an hour for what follows.
func endsInTime(run *fixture.Run) bool { return run.EndsWithin(3 * time.Hour) }

// The outcome of a call whose response is empty is unknown: the run searches the account before it calls again.
func TestEmptyResponse_runCompletes(t *testing.T) {
	actions := map[string][]string{
		"snapshot": {
			"ec2:CopySnapshot", "ec2:RegisterImage", "ec2:DescribeSnapshots", "ec2:DescribeImages", "ec2:CreateVolume",
			"ec2:CreateSnapshot", "ec2:ModifySnapshotAttribute", "ec2:RunInstances", "kms:CreateGrant", "ec2:CreateTags",
			"ec2:DeleteSnapshot",
		},
		"image": {"ec2:CopyImage", "ec2:ModifyImageAttribute", "ec2:DeregisterImage"},
	}
	for method, actions := range actions {
		for _, action := range actions {
			t.Run(action, func(t *testing.T) {
				setup := fixture.Setup{Volumes: slices.Repeat([]fixture.Volume{{GiB: 8, Key: fixture.AWSManaged}}, 2)}
				testEach(t, setup, emptyResponses, func(w *fixture.World, empty emptyResponse) {
					createLaunchTemplate(w, fixture.Prod)
					before := w.Inventory()
					run := w.Start(fixture.Attempt{
						Template: richTemplate(w, method),
						Through:  w.EmptyResponses(action, empty.times, empty.forwards),
					})
					if !endsInTime(run) {
						w.Fatal("the run has not ended an hour after its timeout")
					}
					w.RequireSuccess(run)
					w.RequireImage(fixture.Prod, fixture.Home)
					time.Sleep(time.Hour)
					w.ExpectNoLeftovers(before)
				})
			})
		}
	}
}

// emptyResponse is how often a proxy returns no body, and whether it forwards these requests.
type emptyResponse struct {
	times    int
	forwards bool
}

var emptyResponses = []emptyResponse{{1, true}, {2, true}, {1, false}, {2, false}}

// Device names that differ by /dev/ alone are two devices.
func TestDeviceNames_withAndWithoutPrefix(t *testing.T) {
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			setup := fixture.Setup{Volumes: []fixture.Volume{
				{GiB: 8, Key: fixture.SourceKey},
				{GiB: 8, Key: fixture.SourceKey, Device: "/dev/xvdb"},
				{GiB: 9, Key: fixture.SourceKey, Device: "xvdb"},
			}}
			test(t, setup, func(w *fixture.World) {
				w.RequireSuccess(w.Run(w.Template(fixture.WithMethod(method))))
				if ids := fixture.SnapshotsOf(w.RequireImage(fixture.Prod, fixture.Home)); len(ids) != 3 {
					w.Errorf("the copy has %d snapshots, want 3", len(ids))
				}
			})
		})
	}
}

// panics are what errors of Go's runtime look like on the screen.
var panics = []string{"panic", "nil pointer", "runtime error", "index out of range"}

// A run that misses one element of all responses to an action fails or succeeds, but it neither panics nor waits
// forever, nor does it leave the image without protection, nor claim an image that is not there.
func TestResponses_missingElement(t *testing.T) {
	responses, counts := 0, map[string]int{}
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			var failures []string
			for _, missing := range responseElements(t, method) {
				responses++
				if what := tryWithout(t, method, missing); what != "" {
					counts[what]++
					failures = append(failures, fmt.Sprintf("%s: %s", missing, what))
				}
			}
			verdict(t, failures)
		})
	}
	fmt.Printf("answers: %d, panics: %d, hangs: %d, unprotected: %d, images missing: %d\n",
		responses, counts[panicked], counts[hung], counts[unprotected], counts[noImage])
}

const (
	panicked    = "panic"
	hung        = "the run has not ended an hour after its timeout"
	unprotected = "failed, and the source image is not protected"
	noImage     = "succeeded without an image"
)

// element is an element of the responses to an action.
type element struct{ action, name string }

func (e element) String() string { return e.action + " without " + e.name }

// responseElements returns all elements that a run receives, or a sample of them.
func responseElements(t *testing.T, method string) (all []element) {
	t.Helper()
	for _, failure := range fixture.Failures(t, responseSetup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		through, collected := w.Elements()
		w.RequireSuccess(w.Start(fixture.Attempt{Template: richTemplate(w, method), Through: through}).Wait())
		for action, names := range collected() {
			for _, name := range names {
				all = append(all, element{action, name})
			}
		}
	}) {
		t.Fatal(failure)
	}
	slices.SortFunc(all, func(a, b element) int { return strings.Compare(a.String(), b.String()) })
	if *whole {
		return all
	}
	var sample []element
	for i := 0; i < len(all); i += 8 {
		sample = append(sample, all[i])
	}
	return sample
}

func responseSetup() fixture.Setup {
	return fixture.Setup{PostProcessor: newPostProcessor, Volumes: mixedKeys}
}

// tryWithout runs without an element, and returns what is wrong with the run; empty for nothing.
func tryWithout(t *testing.T, method string, missing element) (what string) {
	t.Helper()
	failures := fixture.Failures(t, responseSetup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		run := w.Start(fixture.Attempt{
			Template: richTemplate(w, method), Through: w.WithoutElement(missing.action, missing.name),
		})
		if !endsInTime(run) {
			what = hung
			return
		}
		text := run.Text()
		switch images := w.Images(fixture.Prod, fixture.Home); {
		case slices.ContainsFunc(panics, func(sign string) bool { return strings.Contains(text, sign) }):
			what = panicked
		case run.Err != nil && !w.IsProtected():
			what = unprotected
		case run.Err == nil && len(images) != 1:
			what = noImage
		}
	})
	if what == "" && len(failures) > 0 {
		t.Errorf("%s: %s", missing, strings.Join(failures, "\n"))
	}
	return what
}
