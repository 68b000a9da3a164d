// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"slices"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// Three runs for one destination, the first two started at nearly the same time, all succeed and leave no temporary
// resource.
func TestConcurrentRuns_sameDestination(t *testing.T) {
	t.Parallel()
	type pauses struct{ second, third time.Duration } // before these runs begin
	var cases []pauses
	for _, second := range []time.Duration{0, 100 * time.Millisecond} {
		for third := time.Minute; third <= 10*time.Minute; third += time.Minute {
			cases = append(cases, pauses{second, third})
		}
	}
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			setup := fixture.Setup{
				Volumes: []fixture.Volume{{GiB: 30, Key: fixture.AWSManaged}},
				Simulator: []awssim.Option{
					awssim.WithSnapshotDuration(func(awssim.SnapshotJob) time.Duration { return 5 * time.Minute }),
				},
			}
			testEach(t, setup, cases, func(w *fixture.World, c pauses) {
				before := w.Inventory()
				attempt := fixture.Attempt{Template: w.Template(fixture.WithMethod(method))}
				runs := []*fixture.Run{w.Start(attempt)}
				for _, pause := range []time.Duration{c.second, c.third} {
					time.Sleep(pause)
					runs = append(runs, w.Start(attempt))
				}
				for _, run := range runs {
					w.ExpectSuccess(run.Wait())
				}
				w.RequireImage(fixture.Prod, fixture.Home)
				w.ExpectNoLeftovers(before)
			})
		})
	}
}

// Two runs for one destination have more snapshots than AWS copies at once. Both succeed, whichever status and message
// AWS returns for an exceeded quota.
func TestConcurrentRuns_moreCopiesThanQuota(t *testing.T) {
	lags := []time.Duration{0, 30 * time.Second, 3 * time.Minute}
	for name, options := range map[string][]awssim.Option{
		"inferred refusal": nil, "other refusal": {awssim.WithAlternatives(awssim.OtherRefusals)},
	} {
		t.Run(name, func(t *testing.T) {
			setup := fixture.Setup{Volumes: slices.Repeat(ownKey, 8), Simulator: options}
			testEach(t, setup, lags, func(w *fixture.World, lag time.Duration) {
				before := w.Inventory()
				w.SetSnapshotCopyQuota(fixture.Prod, 3)
				first := w.Start(fixture.Attempt{Template: w.Template()})
				time.Sleep(lag)
				second := w.Start(fixture.Attempt{Template: w.Template()})
				w.RequireSuccess(first.Wait())
				w.RequireSuccess(second.Wait())
				w.RequireImage(fixture.Prod, fixture.Home)
				w.ExpectNoLeftovers(before)
			})
		})
	}
}

// A run for another Region neither revokes the grant nor removes the permission that an active run needs.
func TestConcurrentRuns_otherRegion(t *testing.T) {
	for name, c := range map[string]struct {
		setup   fixture.Setup
		changes []fixture.Change
		quota   int  // of copies at once
		done    bool // the other Region already has its image
	}{
		"grant": {
			setup:   fixture.Setup{Volumes: []fixture.Volume{{GiB: 200, Key: fixture.AWSManaged}}, OwnKeyOnly: true},
			changes: []fixture.Change{fixture.WithGrants()},
		},
		"grant, other Region served": {
			setup:   fixture.Setup{Volumes: []fixture.Volume{{GiB: 200, Key: fixture.AWSManaged}}, OwnKeyOnly: true},
			changes: []fixture.Change{fixture.WithGrants()},
			done:    true,
		},
		"share, other Region served": {
			setup: fixture.Setup{Volumes: slices.Repeat(ownKey, 24)},
			quota: 2,
			done:  true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.setup.Regions = twoRegions
			test(t, c.setup, func(w *fixture.World) {
				before := w.Inventory()
				in := func(region string) fixture.Template {
					return w.Template(append([]fixture.Change{fixture.WithTargets(w.Targets, region)}, c.changes...)...)
				}
				if c.done {
					w.RequireSuccess(w.Run(in(fixture.Away)))
				}
				if c.quota > 0 {
					w.SetSnapshotCopyQuota(fixture.Prod, c.quota)
				}

				first := w.Start(fixture.Attempt{Template: in(fixture.Home)})
				if !first.WaitFor("ec2:CopySnapshot") {
					w.Fatal(first.Err)
				}
				time.Sleep(time.Minute)
				w.RequireSuccess(w.Resume(in(fixture.Away)))
				w.RequireSuccess(first.Wait())
				w.RequireImage(fixture.Prod, fixture.Home)
				w.ExpectNoLeftovers(before)
			})
		})
	}
}

// A run that takes longer than a day keeps its staged copies, whatever other runs do in the meantime.
func TestConcurrentRuns_longerThanADay(t *testing.T) {
	slow := awssim.WithSnapshotDuration(func(job awssim.SnapshotJob) time.Duration {
		if job.Account == fixture.Prod {
			return 30 * time.Hour
		}
		return time.Hour
	})
	setup := fixture.Setup{
		Volumes:   slices.Repeat([]fixture.Volume{{GiB: 8, Key: fixture.AWSManaged}}, 2),
		Targets:   twoTargets,
		Simulator: []awssim.Option{slow},
	}
	test(t, setup, func(w *fixture.World) {
		w.SetSnapshotCopyQuota(fixture.Prod, 1) // the second copy waits
		first := w.Start(fixture.Attempt{Template: w.Template(
			fixture.WithTargets([]string{fixture.Prod}, fixture.Home), fixture.WithTimeout(96*time.Hour))})
		time.Sleep(26 * time.Hour)
		w.RequireSuccess(w.Resume(w.Template(fixture.WithTargets([]string{fixture.Stage}, fixture.Home))))
		w.RequireSuccess(first.Wait())
		w.RequireImage(fixture.Prod, fixture.Home)
	})
}

// A run that fails for one target and cleans up does not delete what a run for its other target still copies.
func TestConcurrentRuns_failedRunCleansUp(t *testing.T) {
	lags := []time.Duration{0, 30 * time.Second, 2 * time.Minute, 3 * time.Minute}
	setup := fixture.Setup{Volumes: []fixture.Volume{{GiB: 60, Key: fixture.SourceKey}}, Targets: twoTargets}
	testEach(t, setup, lags, func(w *fixture.World, lag time.Duration) {
		w.Allow(fixture.Stage, "ec2:*", "kms:DescribeKey")
		first := w.Start(fixture.Attempt{Template: w.Template(fixture.WithCleanUpOnFailure())})
		time.Sleep(lag)
		second := w.Resume(w.Template(fixture.WithTargets([]string{fixture.Prod}, fixture.Home)))
		w.RequireSuccess(second)
		w.RequireFailure(first.Wait())
		w.RequireImage(fixture.Prod, fixture.Home)
	})
}
