// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// singleFaults are faults that may affect any single call without failing a run. A copy that ends in error is not one
// of them: it fails its destination.
var singleFaults = []awssim.Fault{
	awssim.Throttled, awssim.ServerError, awssim.Unavailable, awssim.ConnectionReset, awssim.LostResponse,
	awssim.LateError, awssim.TruncatedResponse, awssim.StaleRead, awssim.ExpiredSession, awssim.LimitReached,
	awssim.EmptyResponse, awssim.ProxyResponse, awssim.MissingID,
}

// singleFault is one fault that affects the nth call of an action.
type singleFault struct {
	action string
	source bool // the source account calls it
	fault  awssim.Fault
	nth    int
}

func (f singleFault) String() string {
	caller := "a target"
	if f.source {
		caller = "the source account"
	}
	return fmt.Sprintf("%s at call %d of %s by %s", f.fault, f.nth, f.action, caller)
}

// A run completes and leaves no temporary resource, whichever single call meets a fault.
func TestSingleFault_atEveryAction(t *testing.T) {
	t.Parallel()
	tried, failed := 0, 0
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			var failures []string
			for _, fault := range singleFaultsOf(t, method) {
				tried++
				found := fixture.Failures(t, responseSetup(), func(w *fixture.World) { runWithFault(w, method, fault) })
				if len(found) > 0 {
					failed++
					failures = append(failures, fmt.Sprintf("%s: %s", fault, strings.Join(found, "\n")))
				}
			}
			verdict(t, failures)
		})
	}
	fmt.Printf("single faults: %d, failed: %d\n", tried, failed)
}

func runWithFault(w *fixture.World, method string, fault singleFault) {
	w.Helper()
	createLaunchTemplate(w, fixture.Prod)
	before := w.Inventory()
	account := fixture.Prod
	if fault.source {
		account = fixture.Source
	}
	w.Inject(awssim.FaultRule{
		Fault: fault.fault, Account: account, Action: fault.action, Nth: fault.nth, Times: 1,
	})
	run := w.Start(fixture.Attempt{Template: richTemplate(w, method)})
	if !endsInTime(run) {
		w.Fatal(hung)
	}
	w.RequireSuccess(run)
	w.RequireImage(fixture.Prod, fixture.Home)
	time.Sleep(time.Hour)
	w.ExpectNoLeftovers(before)
}

// singleFaultsOf returns all faults of a run, or a sample of them.
func singleFaultsOf(t *testing.T, method string) (all []singleFault) {
	t.Helper()
	var calls []fixture.Call
	for _, failure := range fixture.Failures(t, responseSetup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		run := w.Run(richTemplate(w, method))
		w.RequireSuccess(run)
		calls = run.Calls()
	}) {
		t.Fatal(failure)
	}

	for _, call := range calls {
		for _, fault := range singleFaults {
			for _, nth := range []int{1, 2, 4} {
				one := singleFault{call.Action, call.Source, fault, nth}
				if !slices.Contains(all, one) {
					all = append(all, one)
				}
			}
		}
	}
	if *whole {
		return all
	}
	var sample []singleFault
	for i := 0; i < len(all); i += 23 {
		sample = append(sample, all[i])
	}
	return sample
}
