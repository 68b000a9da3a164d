// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// serving returns the request of a run for one account in one Region.
func (h *testWorld) serving(account, region, run string) distribution.Request {
	req := h.request()
	req.Targets[0].AccountIDs, req.Targets[0].Regions, req.RunID = []string{account}, []string{region}, run
	return req
}

// killableRun is a run that can be killed: its calls end, and no later call reaches AWS.
type killableRun struct {
	ctx  context.Context
	pool *awsclient.Pool
	kill func()
}

func (h *testWorld) newKillableRun() killableRun {
	ctx, die := context.WithCancelCause(h.t.Context())
	line := &cord{World: h.World}
	return killableRun{ctx, h.pool(ctx, line), func() { line.cut.Store(true); die(awssim.ErrCrashed) }}
}

// run executes a plan, and kills it some time after its first copy to a destination starts.
func (m killableRun) run(h *testWorld, p plan.Plan, after time.Duration) {
	h.diesAt(m.ctx, func() {
		runPlan(m.ctx, m.pool, p, options(h.request()), func(e distribution.Event) {
			if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "copy/") {
				time.AfterFunc(after, m.kill)
			}
		})
	})
}

// killed runs a request, and kills the run some time after its first copy to a destination starts.
func (h *testWorld) killed(req distribution.Request, after time.Duration) {
	h.t.Helper()
	m := h.newKillableRun()
	m.run(h, h.decide(m.ctx, m.pool, req), after)
}

// checkPermitted checks which accounts can use the snapshot of the image and, after a run that copies whole images,
// launch the image.
func (h *testWorld) checkPermitted(accounts []string) {
	h.t.Helper()
	image := h.ownImages(source, home)[0]
	var permitted []string
	for _, p := range h.permissions(source, home, *image.BlockDeviceMappings[0].Ebs.SnapshotId) {
		permitted = append(permitted, *p.UserId)
	}
	if !slices.Equal(permitted, accounts) {
		h.t.Errorf("the snapshot is shared with %v, want %v", permitted, accounts)
	}
	if launch := h.launchable(source, home, *image.ImageId).Accounts; !slices.Equal(launch, accounts) {
		h.t.Errorf("%v may launch the image, want %v", launch, accounts)
	}
}

// A run withdraws its temporary permissions after the copies, but not the permission that a share block gives the same
// account.
func TestWithdrawShares_permanent(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[1:2], []string{target}, []string{home})
				h.with = func(req *distribution.Request) { req.Targets[0].Method = method }
				h.killed(h.serving(target, home, "run-1"), time.Second)
				time.Sleep(time.Hour)
				req := h.request()
				req.RunID, req.Targets, req.Shares = "run-share", nil, []distribution.Share{
					{Name: "ours", AccountIDs: []string{target}},
				}
				if _, result := h.run(t.Context(), req); len(result.Shares) != 1 || len(result.Findings) > 0 {
					t.Fatalf("%+v", result)
				}
				_, result := h.run(t.Context(), h.serving(target, home, "run-2"))
				h.complete(result)
				h.checkPermitted([]string{target})
			})
		})
	}
}

// requireStagedReported requires that every staged copy is among the resources left behind, and that no account may
// launch a staged image.
func (h *testWorld) requireStagedReported(method distribution.Method, left []distribution.RetainedResource) {
	h.t.Helper()
	var reported []string
	for _, l := range left {
		reported = append(reported, l.Resource)
	}

	for _, s := range h.ownSnapshots(source, home) {
		isCopy := *s.VolumeId == "vol-ffffffff"
		if isCopy && method == distribution.BySnapshot && !slices.Contains(reported, *s.SnapshotId) {
			h.t.Errorf("%s is not among %+v", *s.SnapshotId, left)
		}
	}

	for _, image := range h.ownImages(source, home) {
		if *image.ImageId != h.images[0].ImageID && !slices.Contains(reported, *image.ImageId) {
			h.t.Errorf("%s is not among %+v", *image.ImageId, left)
		}
		if with := h.launchable(source, home, *image.ImageId); !with.IsEmpty() {
			h.t.Errorf("%s may launch %s", with, *image.ImageId)
		}
	}
}

// A staged copy of an earlier run that no account may copy any longer stays, and is reported. No account gets a
// permission for it.
func TestShares_earlierStagedCopyReported(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		for _, pending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its copy pending: %v", method, pending), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[:1], []string{target}, []string{home})
					h.with = func(req *distribution.Request) { req.Targets[0].Method = method }
					h.Inject(awssim.FaultRule{
						Fault:   awssim.LateCopyFailure,
						Account: target,
						Nth:     1,
						Action: map[distribution.Method]string{
							distribution.BySnapshot: "ec2:CopySnapshot",
							distribution.ByImage:    "ec2:CopyImage",
						}[method],
					})
					after := 500 * time.Millisecond
					if pending {
						after = time.Second
					}
					h.killed(h.request(), after)
					if !pending {
						h.forbid(target, "ec2:Copy*")
						time.Sleep(time.Hour)
					} // otherwise its copy fails while the next run waits for it
					_, result := h.run(t.Context(), h.serving(target, home, "run-2"))
					if len(result.Images) > 0 {
						t.Fatalf("%+v", result.Images)
					}
					h.requireStagedReported(method, result.Left)
					h.unshared()
					want := 2
					if pending { // its copy cannot be repeated, so after the failure nothing needs the staged copy
						want = 1
					}
					if n := len(h.ownSnapshots(source, home)); n != want {
						t.Errorf("%d snapshots, want %d", n, want)
					}
					time.Sleep(10 * time.Minute) // what the dead run had in progress ends
				})
			})
		}
	}
}
