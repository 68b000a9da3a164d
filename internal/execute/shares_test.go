// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// serving is a run's request for one account in one Region.
func (h *house) serving(account, region, run string) distribution.Request {
	req := h.request()
	req.Targets[0].AccountIDs, req.Targets[0].Regions, req.Build.RunID = []string{account}, []string{region}, run
	return req
}

// meanwhile is a whole run that does something else once its first copy is under way.
func (h *house) meanwhile(req distribution.Request, other func()) {
	h.t.Helper()
	pool := h.pool(h.t.Context(), h.World)
	p := h.decide(h.t.Context(), pool, req)
	done := false
	result := execute.Run(h.t.Context(), pool, p, options(req), func(e distribution.Event) {
		if e.Kind == distribution.Progressed && !done {
			done = true
			other()
		}
	})
	if len(result.Images) != 1 || !done {
		h.t.Fatalf("%+v", result)
	}
}

// mortal is who runs until it is killed.
type mortal struct {
	ctx  context.Context
	pool *awsclient.Pool
	kill func()
}

func (h *house) mortal() mortal {
	ctx, die := context.WithCancelCause(h.t.Context())
	line := &cord{World: h.World}
	return mortal{ctx, h.pool(ctx, line), func() { line.cut.Store(true); die(awssim.ErrCrashed) }}
}

// run runs a plan until it is killed, a while after its first copy to a destination begins.
func (m mortal) run(h *house, p plan.Plan, after time.Duration) {
	h.diesAt(m.ctx, func() {
		execute.Run(m.ctx, m.pool, p, options(h.request()), func(e distribution.Event) {
			if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "copy/") {
				time.AfterFunc(after, m.kill)
			}
		})
	})
}

// killed is a run that is killed a while after its first copy to a destination begins.
func (h *house) killed(req distribution.Request, after time.Duration) {
	h.t.Helper()
	m := h.mortal()
	m.run(h, h.decide(m.ctx, m.pool, req), after)
}

// given checks who may use the snapshot of the image, and, after a run by image, launch it.
func (h *house) given(accounts []string) {
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

// What another run gave for a while is gone when that run ends.
func TestARunCountsOnNoShareOfAnothers(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[1:2], []string{target}, []string{home, away})
				h.with = func(req *distribution.Request) { req.Targets[0].Method = method }
				second := h.pool(t.Context(), h.World)
				var p plan.Plan
				h.meanwhile(h.serving(target, home, "run-1"), func() { p = h.decide(t.Context(), second, h.serving(target, away, "run-2")) })
				if result := execute.Run(t.Context(), second, p, options(h.request()), func(distribution.Event) {}); len(result.Images) != 1 {
					t.Errorf("%+v", result.Findings)
				}
				h.given(nil)
			})
		})
	}
}

// A run that looked while another remembered who might use a snapshot, and was killed after that one had forgotten it, leaves what it gave to be taken back.
func TestWhatAKilledRunSharedIsTakenBackThoughAnotherForgot(t *testing.T) {
	const first, second = "222222222222", "333333333333"
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[1:2], []string{first, second}, []string{home})
				h.with = func(req *distribution.Request) { req.Targets[0].Method = method }
				mortal := h.mortal()
				var p plan.Plan
				h.meanwhile(h.serving(first, home, "run-1"), func() { p = h.decide(mortal.ctx, mortal.pool, h.serving(second, home, "run-2")) })
				mortal.run(h, p, time.Second)
				time.Sleep(time.Hour)
				if _, result := h.run(t.Context(), h.serving(second, home, "run-3")); len(result.Images) != 1 {
					t.Errorf("%+v", result.Findings)
				}
				h.given(nil)
			})
		})
	}
}

// What a share block gives an account for good is not taken back by a run that lets the account copy for a while, whichever began first: one that goes on,
// or one that was killed and is taken up.
func TestWhatAShareBlockGivesIsNotTakenBackByARunOfItsAccount(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed: %v", method, killed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[1:2], []string{target}, []string{home})
					h.with = func(req *distribution.Request) { req.Targets[0].Method = method }
					share := func() {
						req := h.request()
						req.Build.RunID, req.Targets, req.Shares = "run-share", nil, []distribution.Share{{Name: "ours", AccountIDs: []string{target}}}
						if _, result := h.run(t.Context(), req); len(result.Shares) != 1 || len(result.Findings) > 0 {
							t.Fatalf("%+v", result)
						}
					}
					if !killed {
						h.meanwhile(h.serving(target, home, "run-1"), share)
					} else {
						h.killed(h.serving(target, home, "run-1"), time.Second)
						time.Sleep(time.Hour)
						share()
						_, result := h.run(t.Context(), h.serving(target, home, "run-2"))
						h.complete(result)
					}
					h.given([]string{target})
					tags := append(h.ownSnapshots(source, home)[0].Tags, h.ownImages(source, home)[0].Tags...)
					if slices.ContainsFunc(tags, func(tag ec2types.Tag) bool { return *tag.Key == origin.Before }) {
						t.Errorf("a memory stays: %v", tags)
					}
				})
			})
		}
	}
}

// What an earlier run staged stays where nobody could copy it, and is told; nobody may use it meanwhile.
func TestWhatEarlierRunsStagedIsToldWhereItStays(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		for _, pending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its copy pending: %v", method, pending), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[:1], []string{target}, []string{home})
					h.with = func(req *distribution.Request) { req.Targets[0].Method = method }
					h.Inject(awssim.FaultRule{Fault: awssim.LateCopyFailure, Account: target, Nth: 1, Action: map[distribution.Method]string{distribution.BySnapshot: "ec2:CopySnapshot", distribution.ByImage: "ec2:CopyImage"}[method]})
					after := 500 * time.Millisecond
					if pending {
						after = time.Second
					}
					h.killed(h.request(), after)
					if !pending {
						h.forbid(target, "ec2:Copy*")
						time.Sleep(time.Hour)
					} // else its copy fails when the next run waits for it
					_, result := h.run(t.Context(), h.serving(target, home, "run-2"))
					if len(result.Images) > 0 {
						t.Fatalf("%+v", result.Images)
					}
					for _, s := range h.ownSnapshots(source, home) {
						told := slices.ContainsFunc(result.Left, func(l distribution.RetainedResource) bool { return l.Resource == *s.SnapshotId })
						if ours := *s.VolumeId == "vol-ffffffff"; ours && method == distribution.BySnapshot && !told {
							t.Errorf("%s is not among %+v", *s.SnapshotId, result.Left)
						}
					}
					for _, image := range h.ownImages(source, home) {
						told := slices.ContainsFunc(result.Left, func(l distribution.RetainedResource) bool { return l.Resource == *image.ImageId })
						if ours := *image.ImageId != h.images[0].ImageID; ours && !told {
							t.Errorf("%s is not among %+v", *image.ImageId, result.Left)
						}
						if with := h.launchable(source, home, *image.ImageId); !with.IsEmpty() {
							t.Errorf("%s may launch %s", with, *image.ImageId)
						}
					}
					h.unshared()
					if n := len(h.ownSnapshots(source, home)); n != 2 {
						t.Errorf("%d snapshots, want the image's and the staged one", n)
					}
					time.Sleep(10 * time.Minute) // what the dead run had under way ends
				})
			})
		}
	}
}

// between does something when a run makes a call.
type between struct {
	*awssim.World
	call string
	once sync.Once
	does func()
}

func (b *between) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(body), b.call) {
			b.once.Do(b.does)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return b.World.Do(r)
}

// A run that begins to share while another looks who may use a thing has it remembered by then.
func TestWhatIsGivenForAWhileIsNeverSeenWithoutTheMemory(t *testing.T) {
	for _, call := range []string{"Attribute=launchPermission", "Action=DescribeSnapshotAttribute"} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{target}, []string{home})
			h.decide(t.Context(), h.pool(t.Context(), h.World), byImage(h.request())) // seals the image
			look := &between{World: h.World, call: call, does: func() { h.killed(byImage(h.request()), 0) }}
			facts, err := discover.Look(t.Context(), h.pool(t.Context(), look), h.request())
			h.must(err)
			image := facts.Images[home]
			things := map[string][]ec2types.Tag{"the image": image.Image.Tags}
			for id, s := range image.Snapshots {
				things[id] = s.Tags
			}
			for thing, tags := range things {
				if thing == "the image" && len(image.SharedWith.Accounts) == 0 { // it was looked at before
					continue
				}
				if !slices.ContainsFunc(tags, func(tag ec2types.Tag) bool { return *tag.Key == origin.Before }) {
					t.Errorf("%s: %s: %v", call, thing, tags)
				}
			}
			time.Sleep(10 * time.Minute) // what the dead run had under way ends
		})
	}
}
