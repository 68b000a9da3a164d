// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// retentionRun is a run that removes older releases. It crashes and is resumed.
type retentionRun struct {
	name     string
	setup    fixture.Setup
	common   []fixture.Change // of all runs
	last     []fixture.Change // of the run that crashes
	isShared bool             // usage reports of the source images were requested a day before

	source, target []ec2types.ImageState // wanted states by release, oldest first. Empty if the image is deregistered
}

const (
	available = ec2types.ImageStateAvailable
	disabled  = ec2types.ImageStateDisabled
)

var retentionRuns = []retentionRun{
	{
		name:   "disable_releases",
		setup:  fixture.Setup{Targets: twoTargets},
		last:   changes(fixture.WithDisabledReleases(1, 1), fixture.WithDisabledSources(1, 1)),
		source: []ec2types.ImageState{"", disabled, available},
		target: []ec2types.ImageState{"", disabled, available},
	},
	{
		name:     "source_retention of a shared image",
		setup:    fixture.Setup{Targets: twoTargets, Volumes: []fixture.Volume{{GiB: 8, Key: fixture.SourceKey}}},
		common:   changes(fixture.WithShare(fixture.Friend)),
		last:     changes(fixture.WithSourceRetention(1)),
		isShared: true,
		source:   []ec2types.ImageState{"", "", available},
		target:   []ec2types.ImageState{available, available, available},
	},
}

// A run that removes older releases crashes at any call. The resumed run disables and deregisters the same images as
// an undisturbed one. What it does not delete, it lists.
func TestRetention_afterCrashAtAnyCall(t *testing.T) {
	var points, leftovers atomic.Int64
	t.Cleanup(func() { // after the parallel subtests
		fmt.Printf("source retention: %d points, unlisted leftovers: %d\n", points.Load(), leftovers.Load())
	})
	for _, c := range retentionRuns {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.tryAll(t, &points, &leftovers)
		})
	}
}

// tryAll lets the run crash at each of its calls, before or after the response, each time in a new world. A sample has
// the calls that change or delete images of older releases.
func (c retentionRun) tryAll(t *testing.T, points, leftovers *atomic.Int64) {
	var calls []fixture.Call
	test(t, c.setup, func(w *fixture.World) {
		r, images := c.prepare(w)
		run := c.start(r, death{})
		w.RequireSuccess(run)
		calls = run.Calls()
		c.expectStates(w, "undisturbed", images)
	})

	sampled := []string{"ec2:DisableImage", "ec2:DeregisterImage", "ssm:PutParameter"}
	for i, call := range calls {
		isSampled := call.Mutating() && slices.Contains(sampled, call.Action)
		for _, lost := range []bool{false, true} {
			// a read has no effect that depends on whether its response arrives
			if !*whole && (!isSampled || lost != (i%2 == 0)) || lost && !call.Mutating() {
				continue
			}
			points.Add(1)
			test(t, c.setup, func(w *fixture.World) {
				d := death{at: i + 1, lost: lost}
				leftovers.Add(int64(c.try(w, d, fmt.Sprintf("dies %s (%s) of %d calls", d, call.Action, len(calls)))))
			})
		}
	}
}

// try lets the run crash and resumes it. It returns the number of unlisted leftovers.
func (c retentionRun) try(w *fixture.World, d death, when string) int {
	r, images := c.prepare(w)
	before := w.Inventory()
	c.start(r, d)
	time.Sleep(2 * time.Hour) // until what it began in AWS has ended

	run := r.Resume(r.template(c.last...))
	if !run.Succeeded() {
		w.Errorf("%s: the resumed run fails: %s", when, run.Outcome())
	}
	time.Sleep(time.Hour)
	c.expectStates(w, when, images)
	left := append(unlisted(w, run, before), unusedSnapshots(w, run)...)
	for _, item := range left {
		w.Errorf("%s: unlisted: %s", when, item)
	}
	return len(left)
}

// prepare distributes two releases and builds the third. It returns the source images, oldest first.
func (c retentionRun) prepare(w *fixture.World) (releases, []string) {
	r := releases{World: w, changes: append(changes(
		fixture.WithFamily("web"), fixture.WithParameter("/golden"),
	), c.common...)}
	images := []string{w.ImageID}
	w.RequireSuccess(w.Run(r.template()))
	images = append(images, r.build())
	w.RequireSuccess(w.Run(r.template()))
	images = append(images, r.build())
	if c.isShared {
		w.RequireSuccess(w.Run(r.template(c.last...)))
		time.Sleep(24 * time.Hour)
	}
	return r, images
}

// start starts the run that crashes, and waits for its end.
func (c retentionRun) start(r releases, d death) *fixture.Run {
	attempt := d.attempt(r.template(c.last...))
	attempt.Existing = c.isShared // the release is distributed already
	return r.Start(attempt).Wait()
}

// expectStates compares the images of all releases, and the stored signing keys of deregistered source images.
func (c retentionRun) expectStates(w *fixture.World, when string, images []string) {
	w.Helper()
	for _, account := range append([]string{fixture.Source}, twoTargets...) {
		wanted := c.target
		if account == fixture.Source {
			wanted = c.source
		}
		want := map[string]ec2types.ImageState{}
		for i, state := range wanted {
			if state != "" {
				want[images[i]] = state
			}
		}
		if got := imageStates(w, account); !maps.Equal(got, want) {
			w.Errorf("%s: %s has %v, want %v", when, account, got, want)
		}
	}
	for i, state := range c.source {
		name := "/encrypted-ami/sources/" + images[i]
		if isStored := w.Parameter(fixture.Source, fixture.Home, name) != ""; isStored != (state == "") {
			w.Errorf("%s: parameter %s exists: got %v, want %v", when, name, isStored, state == "")
		}
	}
}

// unusedSnapshots returns the snapshots that belong to no image, not even to a disabled one, and that the run does not
// list.
func unusedSnapshots(w *fixture.World, run *fixture.Run) (left []fixture.Item) {
	manifest := run.Manifest()
	for _, account := range append([]string{fixture.Source}, twoTargets...) {
		out, err := w.EC2(account, fixture.Home).DescribeImages(w.Context(), &ec2.DescribeImagesInput{
			Owners:          []string{"self"},
			IncludeDisabled: aws.Bool(true),
		})
		if err != nil {
			w.Fatal(err)
		}
		var used []string
		for _, image := range out.Images {
			used = append(used, fixture.SnapshotsOf(image)...)
		}
		for _, snapshot := range w.Snapshots(account, fixture.Home) {
			item := fixture.Item{Kind: fixture.Snapshot, Account: account, Region: fixture.Home, ID: *snapshot.SnapshotId}
			if !slices.Contains(used, item.ID) && !manifest.Lists(item) {
				left = append(left, item)
			}
		}
	}
	return left
}
