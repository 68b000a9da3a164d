// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// outageFaults are the faults that a call can meet in an outage.
var outageFaults = []awssim.Fault{
	awssim.ConnectionReset, awssim.ServerError, awssim.Unavailable, awssim.Throttled, awssim.Silent,
}

// outageScope is what an outage affects.
type outageScope string

const (
	optionalTarget outageScope = "optional target"
	requiredTarget outageScope = "required target"
	oneRegion      outageScope = "one Region"
)

// outageCase is an outage of one action in a target account or a Region, during the whole run.
type outageCase struct {
	method string
	scope  outageScope
	action string
	fault  awssim.Fault
}

func (c outageCase) String() string {
	return fmt.Sprintf("%s: %s of %s for %s", c.method, c.fault, c.action, c.scope)
}

func (c outageCase) setup() fixture.Setup {
	setup := fixture.Setup{
		PostProcessor: newPostProcessor,
		Volumes:       mixedKeys,
		Targets:       twoTargets,
		Regions:       []string{fixture.Home},
	}
	if c.scope == oneRegion {
		setup.Regions = twoRegions
	}
	return setup
}

// template returns a template that needs as many actions as possible.
func (c outageCase) template(w *fixture.World) fixture.Template {
	w.Helper()
	for _, account := range w.Targets {
		for _, region := range w.Regions {
			createLaunchTemplateIn(w, account, region)
		}
	}
	changes := []fixture.Change{
		fixture.WithMethod(c.method),
		fixture.WithGrants(),
		fixture.WithLaunchCheck(),
		fixture.WithParameter("/golden"),
		fixture.WithLaunchTemplate("web"),
		fixture.WithLaunchPermission(fixture.Friend),
	}
	if c.scope == optionalTarget {
		changes = append(changes, fixture.WithOptional(fixture.Stage))
	}
	return w.Template(changes...)
}

func createLaunchTemplateIn(w *fixture.World, account, region string) {
	w.Helper()
	_, err := w.EC2(account, region).CreateLaunchTemplate(w.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("web"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT4gMicro},
	})
	if err != nil {
		w.Fatal(err)
	}
}

// rule returns the fault that the calls of the target account or in the Region get.
func (c outageCase) rule() awssim.FaultRule {
	if c.scope == oneRegion {
		return awssim.FaultRule{Fault: c.fault, Action: c.action, Region: fixture.Away}
	}
	return outage{c.fault, c.action}.rule(fixture.Stage)
}

// isAffected reports whether the outage may affect a destination.
func (c outageCase) isAffected(account, region string) bool {
	if c.scope == oneRegion {
		return region == fixture.Away
	}
	return account == fixture.Stage
}

// eachDestination calls f for each destination.
func eachDestination(w *fixture.World, f func(account, region string)) {
	for _, account := range w.Targets {
		for _, region := range w.Regions {
			f(account, region)
		}
	}
}

// outageBase is a run without an outage.
type outageBase struct {
	took    time.Duration
	actions []string // that a target account calls, or that are called in the other Region; sorted
}

func runWithoutOutage(t *testing.T, c outageCase) (base outageBase) {
	t.Helper()
	failures := fixture.Failures(t, c.setup(), func(w *fixture.World) {
		run := w.Run(c.template(w))
		w.RequireSuccess(run)
		base.took = run.Ended.Sub(run.Began)
		actions := map[string]bool{}
		for _, call := range run.Calls() {
			isAffected := !call.Source || call.Action == "sts:AssumeRole"
			if c.scope == oneRegion {
				isAffected = call.Region == fixture.Away
			}
			if isAffected {
				actions[call.Action] = true
			}
		}
		base.actions = slices.Sorted(maps.Keys(actions))
	})
	for _, failure := range failures {
		t.Fatalf("%s without an outage: %s", c, failure)
	}
	return base
}

// If one target account or one Region does not answer an action, the other destinations lose only the time until the
// run gives up the call. The sample has every 13th combination of an action and a fault. It begins at a different one
// for each method and scope.
func TestOutage_othersServed(t *testing.T) {
	t.Parallel()
	combinations, served, offset := 0, 0, 0
	for _, method := range []string{"snapshot", "image"} {
		for _, scope := range []outageScope{optionalTarget, requiredTarget, oneRegion} {
			t.Run(method+"/"+string(scope), func(t *testing.T) {
				base := runWithoutOutage(t, outageCase{method: method, scope: scope})
				offset += 2
				for i, action := range base.actions {
					for j, fault := range outageFaults {
						if !*whole && (i+j+offset)%13 != 0 {
							continue
						}
						combinations++
						c := outageCase{method, scope, action, fault}
						if failures := fixture.Failures(t, c.setup(), func(w *fixture.World) {
							expectOthersServed(w, c, base.took)
						}); len(failures) > 0 {
							t.Errorf("%s:\n%s", c, strings.Join(failures, "\n"))
							continue
						}
						served++
					}
				}
			})
		}
	}
	fmt.Printf("combinations: %d, healthy destinations served: %d\n", combinations, served)
}

// expectOthersServed runs a template in an outage. It reports a destination that is not affected and has no image, a
// run that takes longer than the copies and one deadline, and an outcome that the destinations do not justify.
func expectOthersServed(w *fixture.World, c outageCase, took time.Duration) {
	w.Helper()
	template := c.template(w)
	w.Inject(c.rule())
	run := w.Start(fixture.Attempt{Template: template})
	limit := took + awsclient.AnswerTimeout + outageMargin
	if !run.EndsWithin(limit) {
		w.Errorf("the run has not ended after %s", limit)
		run.EndsWithin(24 * time.Hour)
	}

	areAllServed := true
	eachDestination(w, func(account, region string) {
		served := isServed(run, account, region)
		areAllServed = areAllServed && served
		switch {
		case c.isAffected(account, region):
		case !served:
			w.Errorf("%s in %s is not served: %s", account, region, run.Outcome())
		default:
			w.RequireImage(account, region)
		}
	})

	wantsSuccess := areAllServed || c.scope == optionalTarget
	if !run.Killed() && run.Succeeded() != wantsSuccess {
		w.Errorf("got %s, want success: %t", run.Outcome(), wantsSuccess)
	}
	if !areAllServed && !strings.Contains(run.Text(), c.action) {
		w.Errorf("nothing names %s: %s", c.action, run.Outcome())
	}
	if silence := run.LongestSilence(); silence > maxSilence {
		w.Errorf("no line for %s, want one every minute", silence)
	}
	expectProtected(w, run)
}

// outageMargin is the time for what follows the deadline: an attempt in progress, and the other calls of the location.
const outageMargin = 10 * time.Minute

// isServed reports whether the manifest of a run says that a destination has its image.
func isServed(run *fixture.Run, account, region string) bool {
	return slices.ContainsFunc(run.Manifest().Destinations, func(d fixture.Destination) bool {
		return d.Account == account && d.Region == region && d.Succeeded
	})
}
