// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// mixed are three volumes: one under aws/ebs, one under the configured key, one unencrypted.
var mixed = []volume{{8, "alias/aws/ebs"}, {20, sourceAlias}, {5, ""}}

// complete checks that every destination owns one image whose snapshots are complete and under its key, and that no
// temporary resource is left.
func (h *testWorld) complete(result distribution.Result) {
	h.t.Helper()
	for _, f := range result.Findings {
		h.t.Errorf("finding: %+v", f)
	}
	if len(result.Left) > 0 {
		h.t.Errorf("left behind: %+v", result.Left)
	}
	if want := len(h.targets) * len(h.regions); len(result.Images) != want {
		h.t.Errorf("%d images were made, want %d", len(result.Images), want)
	}
	for _, account := range h.targets {
		for _, region := range h.regions {
			h.completeAt(account, region)
		}
	}
}

func (h *testWorld) completeAt(account, region string) {
	h.t.Helper()
	images, snapshots := h.ownImages(account, region), h.ownSnapshots(account, region)
	if account == source && region == h.home { // without the image of the build
		images = slices.DeleteFunc(
			images,
			func(i ec2types.Image) bool { return aws.ToString(i.ImageId) == h.images[0].ImageID },
		)
		snapshots = slices.DeleteFunc(
			snapshots,
			func(s ec2types.Snapshot) bool { return aws.ToString(s.VolumeId) != "vol-ffffffff" },
		)
	}
	if len(images) != 1 {
		h.t.Errorf("%s %s has %d images, want 1", account, region, len(images))
		return
	}
	origin := h.ownImages(source, h.home)
	origin = slices.DeleteFunc(
		origin,
		func(i ec2types.Image) bool { return aws.ToString(i.ImageId) != h.images[0].ImageID },
	)
	for _, difference := range (step.ImageSpec{
		Source: &origin[0],
		Method: distribution.BySnapshot,
	}).Differences(images[0]) {
		h.t.Errorf("%s %s: %s", account, region, difference)
	}
	used := map[string]bool{} // several devices may have one snapshot
	for _, m := range images[0].BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		used[*m.Ebs.SnapshotId] = true
		i := slices.IndexFunc(
			snapshots,
			func(s ec2types.Snapshot) bool { return aws.ToString(s.SnapshotId) == aws.ToString(m.Ebs.SnapshotId) },
		)
		if i < 0 {
			h.t.Errorf("%s %s: %s does not start from a snapshot of its own", account, region, aws.ToString(m.DeviceName))
			continue
		}
		if s := snapshots[i]; s.State != ec2types.SnapshotStateCompleted || !aws.ToBool(s.Encrypted) {
			h.t.Errorf(
				"%s %s: %s is %s, encrypted %v",
				account,
				region,
				aws.ToString(s.SnapshotId),
				s.State,
				aws.ToBool(s.Encrypted),
			)
		}
	}
	if len(snapshots) != len(used) {
		h.t.Errorf("%s %s has %d snapshots, of which its image uses %d", account, region, len(snapshots), len(used))
	}
}

// unshared checks that no other account has a permission on the source's snapshots.
func (h *testWorld) unshared() {
	h.t.Helper()
	for _, region := range append([]string{h.home}, h.regions...) {
		for _, s := range h.ownSnapshots(source, region) {
			out, err := h.ec2(source, region).DescribeSnapshotAttribute(h.t.Context(), &ec2.DescribeSnapshotAttributeInput{
				SnapshotId: s.SnapshotId, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
			})
			h.must(err)
			if len(out.CreateVolumePermissions) > 0 {
				h.t.Errorf("%s is still shared", aws.ToString(s.SnapshotId))
			}
		}
	}
}

// A run with three volumes, three accounts and two Regions takes the steps of the golden file. Each image equals its
// source, and no temporary resource is left.
func TestRun_threeAccountsTwoRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{"222222222222", "333333333333", "444444444444"}, []string{home, away})
		p, result := h.run(t.Context(), h.request())
		h.complete(result)
		h.unshared()
		if n := h.calls("ec2:CopySnapshot"); n != 2+3+3*2*(3+1) {
			t.Errorf("%d copies, want 2 staged in the image's own Region, 3 in the other, and 3 and a test copy for each of 6 "+
				"destinations", n)
		}
		var steps strings.Builder
		for _, s := range p.Steps {
			fmt.Fprintln(&steps, s.Meta().ID)
		}
		golden.Equal(t, "testdata/steps.golden", steps.String())
	})
}

func TestRun_deterministic(t *testing.T) {
	text := func(r awssim.Record) string {
		return fmt.Sprint(r.At, r.ID, r.Principal, r.Region, r.Action, r.RequestDigest, r.Changed, r.Fault, r.Error)
	}
	var first []awssim.Record
	for range 2 {
		cryptotest.SetGlobalRandom(t, 1) // for the signing key
		synctest.Test(t, func(t *testing.T) {
			h := build(
				t,
				[]volume{{8, "alias/aws/ebs"}},
				[]string{"222222222222", "333333333333"},
				[]string{home, away},
				awssim.WithSeed(7),
			)
			awssim.WithChaos(0.2)(h.World)
			h.run(t.Context(), h.request())
			records := h.Records()
			if first == nil {
				first = records
				return
			}
			for i, r := range records {
				if i >= len(first) || text(r) != text(first[i]) {
					t.Fatalf("call %d is another:\n%s\n%s", i, text(r), text(first[min(i, len(first)-1)]))
				}
			}
			if len(first) != len(records) {
				t.Errorf("%d calls, then %d", len(first), len(records))
			}
		})
	}
}

// After a lost response, the run looks for the resource in the account and Region. It does not repeat the call.
func TestRun_lostResponse(t *testing.T) {
	for _, action := range []string{"ec2:CopySnapshot", "ec2:RegisterImage"} {
		for _, fault := range []awssim.Fault{awssim.LostResponse, awssim.LateError, awssim.TruncatedResponse} {
			t.Run(action+" "+string(fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed, []string{"222222222222"}, []string{home})
					h.Inject(awssim.FaultRule{Fault: fault, Action: action, Account: "222222222222", Times: 1})
					p, result := h.run(t.Context(), h.request())
					h.complete(result)
					want := 0
					for _, newStep := range p.Steps {
						_, copies := newStep.(*step.CopySnapshot)
						_, registers := newStep.(*step.RegisterImage)
						if newStep.Meta().Location.Account == "222222222222" &&
							(copies && action == "ec2:CopySnapshot" || registers && action == "ec2:RegisterImage") {
							want++
						}
					}
					if n := len(h.Records().Calls(action).ByAccount("222222222222")); n != want {
						t.Errorf("%d calls of %s reached AWS for %d steps", n, action, want)
					}
				})
			})
		}
	}
}

// A request that never reached AWS is sent again, but only after the run has looked for the resource for five minutes.
func TestRun_lostRequest(t *testing.T) {
	for _, action := range []string{"ec2:CopySnapshot", "ec2:RegisterImage"} {
		t.Run(action, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[:1], []string{"222222222222"}, []string{home})
				h.Inject(awssim.FaultRule{Fault: awssim.ConnectionReset, Action: action, Account: "222222222222", Times: 1})
				_, result := h.run(t.Context(), h.request())
				h.complete(result)
				calls := h.Records().Calls(action).ByAccount("222222222222")
				if len(calls) != 2 || calls[1].At.Sub(calls[0].At) < 5*time.Minute {
					t.Errorf("calls of %s: %v", action, calls)
				}
			})
		})
	}
}

// If too many copies are in progress, the run waits. It does not fail (rule 4.1.5).
func TestRun_copyQuotaExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(
			t,
			[]volume{{8, sourceAlias}, {9, sourceAlias}, {7, sourceAlias}},
			[]string{"222222222222"},
			[]string{home},
		)
		h.Inject(awssim.FaultRule{Fault: awssim.LimitReached, Action: "ec2:CopySnapshot", Times: 7})
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
		if n := h.calls("ec2:CopySnapshot"); n != 3+7 {
			t.Errorf("%d calls, want 3 copies and the 7 that were refused", n)
		}
	})
}

// A change of a key policy may take minutes to be visible everywhere, so a failed copy is repeated (rule 4.4.4).
func TestRun_copyFailsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		h.forbid("222222222222", "kms:CreateGrant")
		time.AfterFunc(45*time.Second, func() { h.forgive("222222222222") })
		h.complete(runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {}))
		if n := h.calls("ec2:CopySnapshot"); n < 2 || n > 3 {
			t.Errorf("%d copies, want one that fails and one or two more", n)
		}
	})
}

// The event that says why a copy is repeated has the time of the last attempt. A user who corrects a policy before that
// time need not resume the run.
func TestRun_copyKeepsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		h.forbid("222222222222", "kms:CreateGrant")
		var until time.Time
		result := runPlan(t.Context(), pool, p, options(h.request()), func(e distribution.Event) {
			if e.Kind == distribution.Retrying {
				until = e.ETA
			}
		})
		last := h.Records().Calls("ec2:CopySnapshot").ByAccount("222222222222")
		if at := last[len(last)-1].At; at.Sub(until).Abs() > 5*time.Second {
			t.Errorf("the last attempt was at %s, and the event said %s", at, until)
		}
		if len(result.Findings) != 1 || result.Findings[0].Reference != "1.8.4" ||
			result.Findings[0].PolicyStatements == nil {
			t.Errorf("findings %+v", result.Findings)
		}
		if n := h.calls("ec2:CopySnapshot"); n != 3 {
			t.Errorf("%d copies, want 3", n)
		}
		if left := h.ownSnapshots("222222222222", home); len(left) != 0 || len(result.Left) != 0 {
			t.Errorf("failed copies stay: %v, listed as %+v", left, result.Left)
		}
	})
}

// The failure of one destination does not stop the others.
func TestRun_destinationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{"222222222222", "333333333333"}, []string{home})
		h.forbid("222222222222", "ec2:RegisterImage")
		_, result := h.run(t.Context(), h.request())
		h.completeAt("333333333333", home)
		h.unshared()
		if len(result.Images) != 1 || len(result.Findings) != 1 || result.Findings[0].Location.Account != "222222222222" ||
			result.Findings[0].Operation != "ec2:RegisterImage" {
			t.Errorf("images %+v, findings %+v", result.Images, result.Findings)
		}
		if n := len(h.ownSnapshots("222222222222", home)); n != len(mixed) || len(result.Left) != n {
			t.Errorf("%d completed copies stay and are listed as %+v", n, result.Left)
		}
	})
}

func TestRun_canceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped by hand")
		time.AfterFunc(100*time.Second, func() { cancel(stopped) })
		begun := time.Now()
		result := runPlan(ctx, pool, p, options(h.request()), func(distribution.Event) {})
		if took := time.Since(begun) - 100*time.Second; took > 10*time.Second {
			t.Errorf("took %v to stop", took)
		}
		h.unshared()
		made := len(h.ownSnapshots("222222222222", home)) + len(h.ownSnapshots(source, home)) - len(mixed)
		if len(result.Images) != 0 || made == 0 || len(result.Left) != made {
			t.Errorf("%d snapshots were made, and are listed as %+v", made, result.Left)
		}
	})
}

// An image that differs from the request is deregistered. Its snapshots stay for the next run.
func TestRun_verificationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), without{h.World, "&EnaSupport=true"})
		p := h.decide(t.Context(), pool, h.request())
		result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
		if len(result.Images) != 0 || len(result.Findings) != 1 ||
			!strings.Contains(result.Findings[0].Detail, "EnaSupport") {
			t.Errorf("images %+v, findings %+v", result.Images, result.Findings)
		}
		images, snapshots := h.ownImages(
			"222222222222",
			home,
		), h.ownSnapshots(
			"222222222222",
			home,
		)
		if len(images) != 0 || len(snapshots) != 1 {
			t.Errorf("%d images and %d snapshots stay, want none and the copy", len(images), len(snapshots))
		}
	})
}

// without removes a parameter from requests.
type without struct {
	*awssim.World
	parameter string
}

func (w without) Do(r *http.Request) (*http.Response, error) {
	if body, err := io.ReadAll(r.Body); err == nil {
		text := strings.Replace(string(body), w.parameter, "", 1)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
	return w.World.Do(r)
}

// Throttling, server errors, resets, lost and truncated responses, and stale reads fail no run. A run lists snapshots
// that it created twice, because an unsigned snapshot has no proof of its creator.
func TestRun_transientErrors(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed, []string{"222222222222", "333333333333"}, []string{home, away}, awssim.WithSeed(seed))
			awssim.WithChaos(
				0.3,
				awssim.Throttled,
				awssim.ServerError,
				awssim.Unavailable,
				awssim.ConnectionReset,
				awssim.LostResponse,
				awssim.LateError,
				awssim.TruncatedResponse,
				awssim.StaleRead,
				awssim.ExpiredSession,
				awssim.LimitReached,
			)(h.World)
			_, result := h.run(t.Context(), h.request())
			awssim.WithChaos(0)(h.World)
			h.complete(result)
			h.unshared()
			if t.Failed() {
				t.Errorf("seed %d", seed)
			}
		})
	}
}

// Each poll calls DescribeSnapshots once for each account and Region, whatever the number of copies (rule 4.2.2).
func TestRun_pollsIndependentOfCopies(t *testing.T) {
	looks := func(volumes int) (n int) {
		synctest.Test(t, func(t *testing.T) {
			list := slices.Repeat([]volume{{8, sourceAlias}}, volumes)
			h := build(
				t,
				list,
				[]string{"222222222222"},
				[]string{home},
				awssim.WithSnapshotDuration(func(awssim.SnapshotJob) time.Duration { return 30 * time.Minute }),
			)
			_, result := h.run(t.Context(), h.request())
			h.complete(result)
			n = h.calls("ec2:DescribeSnapshots")
		})
		return n
	}
	if one, many := looks(1), looks(15); many > 2*one { // copies stand still at different times
		t.Errorf("%d looks for one volume, %d for fifteen", one, many)
	}
}

func TestProtection_enabledAndDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[:1], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		state := func() string {
			for _, i := range h.ownImages(source, home) {
				return aws.ToString(i.DeregistrationProtection)
			}
			return ""
		}
		say := func(distribution.Event) {}
		ends, findings := execute.EnableProtection(t.Context(), pool, source, h.images, say)
		if len(findings) != 0 || !ends[0].Protected || state() != "enabled-without-cooldown" {
			t.Fatalf("ends %+v, findings %+v, state %q", ends, findings, state())
		}
		record := []ec2types.Tag{
			{
				Key:   aws.String("encrypted-ami:run:dead"),
				Value: aws.String("ended began=2026-11-30T10:00:00Z until=2026-11-30T10:45:00Z protection=held regions="),
			},
		}
		_, err := h.ec2(source, home).
			CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{h.images[0].ImageID}, Tags: record})
		h.must(err)
		time.Sleep(time.Minute)
		if again, _ := execute.EnableProtection(t.Context(), pool, source, h.images, say); !again[0].Protected {
			t.Error("the protection that a record holds is not taken for ours")
		}
		_, err = h.ec2(source, home).
			DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{h.images[0].ImageID}, Tags: record})
		h.must(err)
		time.Sleep(time.Minute)
		ends, findings = execute.DisableProtection(t.Context(), pool, source, ends, say)
		if len(findings) != 0 || ends[0].Protected || state() != "disabled" {
			t.Errorf("ends %+v, findings %+v, state %q", ends, findings, state())
		}
		_, err = h.ec2(source, home).
			EnableImageDeregistrationProtection(t.Context(), &ec2.EnableImageDeregistrationProtectionInput{
				ImageId: aws.String(h.images[0].ImageID),
			})
		h.must(err)
		ends, _ = execute.EnableProtection(t.Context(), pool, source, h.images, say)
		execute.DisableProtection(t.Context(), pool, source, ends, say)
		if ends[0].Protected || state() != "enabled-without-cooldown" {
			t.Errorf("somebody else's protection was taken for ours: %+v, state %q", ends, state())
		}
	})
}

// Two concurrent runs for one image create one image from one set of copies.
func TestRun_concurrent(t *testing.T) {
	for _, lag := range []time.Duration{
		0,
		time.Second,
		20 * time.Second,
		40 * time.Second,
		time.Minute,
		90 * time.Second,
		2 * time.Minute,
		3 * time.Minute,
	} {
		t.Run(lag.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed, []string{"222222222222"}, []string{home})
				results := make(chan distribution.Result)
				for i := range 2 {
					req := h.request()
					req.RunID = fmt.Sprint("run-", i)
					time.AfterFunc(time.Duration(i)*lag, func() {
						result, _ := h.attemptOf(t.Context(), h.World, req)
						results <- result
					})
				}
				for _, result := range []distribution.Result{<-results, <-results} {
					h.complete(result)
				}
				h.unshared()
			})
		})
	}
}

// Of two concurrent runs that copy the image as a whole, one copies and the other waits. If the copy fails because AWS
// does not see a new share or grant yet, one of them repeats it. The image has both signatures.
func TestRun_concurrentImageCopies(t *testing.T) {
	for n := range 20 {
		late, lag := time.Duration(n/4)*25*time.Second, time.Duration(1+n%4*15)*time.Second
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
			var runs []func()
			results := make(chan distribution.Result, 2)
			for i := range 2 {
				req := h.request()
				req.RunID, req.Targets[0].Method = fmt.Sprint("run-", i), distribution.ByImage
				runs = append(runs, func() {
					result, err := h.attemptOf(t.Context(), h.World, req)
					if err != nil {
						t.Error(err)
					}
					results <- result
				})
			}
			if late > 0 {
				h.forbid("222222222222", "kms:CreateGrant")
				time.AfterFunc(late, func() { h.forgive("222222222222") })
			}
			for i, run := range runs {
				time.AfterFunc(time.Duration(i)*lag, run)
			}
			for range runs {
				if result := <-results; len(result.Images) != 1 || len(result.Findings)+len(result.Left) > 0 {
					t.Errorf("late by %v, apart by %v: %+v, left %+v", late, lag, result.Findings, result.Left)
				}
			}
			images := h.ownImages("222222222222", home)
			if len(images) != 1 ||
				!slices.ContainsFunc(images[0].Tags, func(tag ec2types.Tag) bool { return *tag.Key == provenance.TagSignature }) {
				t.Errorf("late by %v, apart by %v: %+v", late, lag, images)
			}
		})
	}
}

// tagCopier copies a snapshot with the target's own permissions. The copy has the tags and the description of the run's
// copy whose response was lost.
type tagCopier struct {
	*testWorld
	stolen *string
}

func (c tagCopier) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.World.Do(r)
	if calls := c.Records().Calls("ec2:CopySnapshot").ByAccount("222222222222"); err != nil && *c.stolen == "" &&
		len(calls) == 1 {
		genuine := c.ownSnapshots("222222222222", home)[0]
		made, copyErr := c.ec2("222222222222", home).CopySnapshot(context.Background(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: genuine.SnapshotId, Description: genuine.Description,
			TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeSnapshot, Tags: genuine.Tags}},
		})
		c.must(copyErr)
		*c.stolen = aws.ToString(made.SnapshotId)
	}
	return answer, err
}

// Tags and the token in a description can be copied to another snapshot. If two snapshots have them, the run uses
// neither and deletes both.
func TestRun_copiedTagsAndToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		h.Inject(awssim.FaultRule{Fault: awssim.LostResponse, Action: "ec2:CopySnapshot", Account: "222222222222", Nth: 1})
		stolen := ""
		pool := h.pool(t.Context(), tagCopier{h, &stolen})
		p := h.decide(t.Context(), pool, h.request())
		result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
		if stolen == "" || len(result.Images) != 1 || len(result.Findings) != 0 {
			t.Fatalf("stolen %q, images %+v, findings %+v", stolen, result.Images, result.Findings)
		}
		var listed []string
		for _, left := range result.Left {
			listed = append(listed, left.Resource)
		}
		there := h.ownSnapshots("222222222222", home)
		if len(there) != 1 || len(listed) != 0 || result.Images[0].Snapshots[0].SnapshotID == stolen {
			t.Errorf("%d snapshots, listed %v, stolen %s, used %+v", len(there), listed, stolen, result.Images[0].Snapshots)
		}
	})
}

func TestRun_copyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(
			t,
			mixed[1:2],
			[]string{"222222222222"},
			[]string{home},
			awssim.WithSnapshotDuration(func(j awssim.SnapshotJob) time.Duration {
				if j.Account == source {
					return time.Minute
				}
				return 5 * time.Hour
			}),
		)
		req := h.request()
		req.CopyTimeout = time.Hour
		begun := time.Now()
		_, result := h.run(t.Context(), req)
		if took := time.Since(begun); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("took %v, want the hour", took)
		}
		if len(result.Findings) != 1 || !strings.Contains(result.Findings[0].Detail, "not complete after 1h") ||
			len(result.Left) != 1 {
			t.Errorf("findings %+v, left %+v", result.Findings, result.Left)
		}
		h.unshared()
		_, result = h.run(t.Context(), h.request())
		h.complete(result)
		if n := len(h.Records().Calls("ec2:CopySnapshot").ByAccount("222222222222")); n != 1 {
			t.Errorf("%d copies, want the first run's", n)
		}
	})
}

func TestRun_pollDenied(t *testing.T) { // 4.4.4
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		h.forbid("222222222222", "ec2:DescribeSnapshots")
		begun := time.Now()
		result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
		if took := time.Since(begun); took < 5*time.Minute || took > 12*time.Minute {
			t.Errorf("took %v", took)
		}
		if len(result.Findings) != 1 || result.Findings[0].Operation != "ec2:DescribeSnapshots" || len(result.Left) != 1 {
			t.Errorf("findings %+v, left %+v", result.Findings, result.Left)
		}
	})
}

// Every step is reported when it starts and when it ends. Copies report their progress.
func TestEvents_everyStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, []volume{{100, sourceAlias}}, []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		seen := map[distribution.StepID][]distribution.EventKind{}
		percent := 0
		runPlan(t.Context(), pool, p, options(h.request()), func(e distribution.Event) {
			seen[e.Step] = append(seen[e.Step], e.Kind)
			if e.Kind == distribution.Progressed {
				if e.Percent <= percent || e.GiB != 100 || e.Resource == "" || e.ETA.Before(e.Time) {
					t.Errorf("after %d%%: %+v", percent, e)
				}
				percent = e.Percent
			}
		})
		for _, s := range p.Steps {
			kinds := seen[s.Meta().ID]
			if len(kinds) < 2 || kinds[0] != distribution.Begun || kinds[len(kinds)-1] != distribution.Finished {
				t.Errorf("%s: %v", s.Meta().ID, kinds)
			}
		}
		if percent == 0 {
			t.Error("no progress of the copy was reported")
		}
	})
}

// permissionRestorer adds a permission again as soon as a run has removed it.
type permissionRestorer struct{ *testWorld }

func (c permissionRestorer) Do(r *http.Request) (*http.Response, error) {
	before := len(c.Records().Calls("ec2:ModifySnapshotAttribute"))
	answer, err := c.World.Do(r)
	calls := c.Records().Calls("ec2:ModifySnapshotAttribute")
	if len(calls) == before+1 && before > 0 { // the first call shares
		_, shareErr := c.ec2(source, home).ModifySnapshotAttribute(context.Background(), &ec2.ModifySnapshotAttributeInput{
			SnapshotId: aws.String(calls[before].Changed[0]),
			CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
				Add: []ec2types.CreateVolumePermission{{UserId: aws.String("222222222222")}},
			},
		})
		c.must(shareErr)
	}
	return answer, err
}

func TestRun_permissionStillVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), permissionRestorer{h})
		p := h.decide(t.Context(), pool, h.request())
		result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
		if len(result.Left) != 1 || result.Left[0].Kind != "share" || !strings.Contains(result.Left[0].Why, "222222222222") {
			t.Errorf("left: %+v", result.Left)
		}
	})
}
