// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// outage is a fault in all calls of an action for a destination, from the beginning of a run.
type outage struct {
	fault  awssim.Fault
	action string
}

// rule returns the rule for the role of a target account.
func (o outage) rule(account string) awssim.FaultRule {
	if o.action == "sts:AssumeRole" { // the source account calls it
		return awssim.FaultRule{Fault: o.fault, Action: o.action, Resource: fixture.TargetRole(account)}
	}
	return awssim.FaultRule{Fault: o.fault, Action: o.action, Principal: fixture.TargetSession(account)}
}

// A destination that does not answer does not delay the others.
func TestUnreachableTarget_othersServed(t *testing.T) {
	for _, action := range []string{"ec2:DescribeImages", "ec2:*", "kms:*", "sts:AssumeRole", "ec2:CopySnapshot"} {
		t.Run(action, func(t *testing.T) {
			faults := []awssim.Fault{awssim.ConnectionReset, awssim.Unavailable, awssim.ServerError, awssim.Throttled}
			testEach(t, fixture.Setup{Targets: twoTargets}, faults, func(w *fixture.World, fault awssim.Fault) {
				w.Inject(outage{fault, action}.rule(fixture.Stage))
				run := w.Start(fixture.Attempt{Template: w.Template(
					fixture.WithTestCopy(false), fixture.WithOptional(fixture.Stage))})
				run.EndsWithin(2 * time.Hour)
				w.RequireImage(fixture.Prod, fixture.Home)
				w.ExpectSuccess(run.Wait())
			})
		})
	}
}

// A Region that does not answer does not delay the other Region.
func TestUnreachableRegion_othersServed(t *testing.T) {
	faults := []awssim.Fault{awssim.ConnectionReset, awssim.Unavailable}
	setup := fixture.Setup{Targets: twoTargets, Regions: twoRegions}
	testEach(t, setup, faults, func(w *fixture.World, fault awssim.Fault) {
		w.Inject(awssim.FaultRule{Fault: fault, Region: fixture.Away})
		run := w.Start(fixture.Attempt{Template: w.Template(fixture.WithTestCopy(false), fixture.WithMaxFailures(2))})
		run.EndsWithin(2 * time.Hour)
		w.RequireImage(fixture.Prod, fixture.Home)
		w.RequireImage(fixture.Stage, fixture.Home)
	})
}

// A target that still copies at the timeout fails, and the other results stay. The template allows its failure.
func TestTimeout_optionalTarget(t *testing.T) {
	for name, change := range map[string]fixture.Change{
		"required = false": fixture.WithOptional(fixture.Stage),
		"may fail":         fixture.WithMaxFailures(1),
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
				w.Inject(outage{awssim.LimitReached, "ec2:CopySnapshot"}.rule(fixture.Stage))
				run := w.Run(w.Template(fixture.WithTestCopy(false), fixture.WithTimeout(time.Hour), change))
				w.ExpectSuccess(run)
				w.RequireImage(fixture.Prod, fixture.Home)
			})
		})
	}
}

// Unlike a timeout, a cancel fails the run although only an optional target is not finished.
func TestCancel_optionalTarget(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		w.Inject(outage{awssim.LimitReached, "ec2:CopySnapshot"}.rule(fixture.Stage))
		run := w.Start(fixture.Attempt{
			Template: w.Template(fixture.WithTestCopy(false), fixture.WithOptional(fixture.Stage)),
		})
		time.Sleep(time.Hour)
		w.RequireImage(fixture.Prod, fixture.Home)
		run.Cancel()
		if !run.EndsWithin(time.Minute) {
			w.Error("the run has not ended a minute after it was canceled")
			run.Wait()
		}
		w.RequireFailure(run)
		if !strings.Contains(run.Err.Error(), "canceled") {
			w.Errorf("got %s, want a run that was canceled", run.Outcome())
		}
		expectProtected(w, run)
	})
}

// maxSilence is the longest time without a line on the screen, with some seconds for what delays a line.
const maxSilence = time.Minute + 10*time.Second

// The progress output names the reason of every wait.
func TestProgress_neverSilent(t *testing.T) {
	for name, c := range map[string]struct {
		setup   fixture.Setup
		prepare func(w *fixture.World)
		fails   bool
	}{
		"long copies": {setup: fixture.Setup{Volumes: []fixture.Volume{{GiB: 500, Key: fixture.AWSManaged}}}},
		"permission denied": {
			setup:   fixture.Setup{Volumes: ownKey},
			prepare: func(w *fixture.World) { w.Deny(fixture.Prod, "kms:CreateGrant") },
			fails:   true,
		},
		"throttled": {
			prepare: func(w *fixture.World) {
				w.Inject(awssim.FaultRule{Fault: awssim.Throttled, Action: "ec2:CopySnapshot", Nth: 1, Times: 20})
			},
		},
		"quota": {
			prepare: func(w *fixture.World) {
				w.Inject(awssim.FaultRule{Fault: awssim.LimitReached, Action: "ec2:CopySnapshot", Nth: 1, Times: 20})
			},
		},
		"server error": {
			prepare: func(w *fixture.World) {
				w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots", Nth: 3, Times: 20})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, c.setup, func(w *fixture.World) {
				if c.prepare != nil {
					c.prepare(w)
				}
				run := w.Run(w.Template())
				if run.Succeeded() == c.fails {
					w.Errorf("got %s", run.Outcome())
				}
				if silence := run.LongestSilence(); silence > maxSilence {
					w.Errorf("got no line for %s, want one every minute", silence)
				}
			})
		})
	}
}
