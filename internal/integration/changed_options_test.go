// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// changedOption is one option that differs between a run that crashes and the run that resumes it.
type changedOption struct {
	name          string
	common        []fixture.Change // of both runs
	first, second []fixture.Change
}

func changes(c ...fixture.Change) []fixture.Change { return c }

var (
	onlyProd   = fixture.WithTargets([]string{fixture.Prod}, fixture.Home)
	bothRegion = fixture.WithTargets([]string{fixture.Prod}, twoRegions...)
	bothTarget = fixture.WithTargets(twoTargets, fixture.Home)
	byImage    = fixture.WithMethod("image")
)

var changedOptions = []changedOption{
	{name: "target key", second: changes(fixture.WithTargetKey(fixture.SecondTargetKey))},
	{
		name:   "target key, method image",
		common: changes(byImage),
		second: changes(fixture.WithTargetKey(fixture.SecondTargetKey)),
	},
	{name: "source key", second: changes(fixture.WithSourceKey(fixture.SecondSourceKey))},
	{
		name:   "source key, method image",
		common: changes(byImage),
		second: changes(fixture.WithSourceKey(fixture.SecondSourceKey)),
	},
	{name: "snapshot to image", first: changes(fixture.WithMethod("snapshot")), second: changes(byImage)},
	{name: "image to snapshot", first: changes(byImage), second: changes(fixture.WithMethod("snapshot"))},
	{name: "key policy to grant", second: changes(fixture.WithGrants())},
	{name: "grant to key policy", first: changes(fixture.WithGrants())},
	{name: "grant to key policy, method image", common: changes(byImage), first: changes(fixture.WithGrants())},
	{name: "launch check added", second: changes(fixture.WithLaunchCheck())},
	{name: "launch check removed", first: changes(fixture.WithLaunchCheck())},
	{name: "test copy added", first: changes(fixture.WithTestCopy(false)), second: changes(fixture.WithTestCopy(true))},
	{name: "test copy removed", first: changes(fixture.WithTestCopy(true)), second: changes(fixture.WithTestCopy(false))},
	{name: "target added", second: changes(bothTarget)},
	{name: "target removed", first: changes(bothTarget)},
	{name: "target replaced", second: changes(fixture.WithTargets([]string{fixture.Stage}, fixture.Home))},
	{name: "target removed, method image", first: changes(bothTarget, byImage), second: changes(byImage)},
	{name: "Region added", second: changes(bothRegion)},
	{name: "Region removed", first: changes(bothRegion)},
	{name: "name", second: changes(fixture.WithImageName("another"))},
	{name: "name, method image", common: changes(byImage), second: changes(fixture.WithImageName("another"))},
	{name: "tags", second: changes(fixture.WithTags(map[string]any{"team": "web"}))},
	{name: "parameter added", second: changes(fixture.WithParameter("/golden"))},
	{name: "parameter removed", first: changes(fixture.WithParameter("/golden"))},
	{name: "launch template removed", first: changes(fixture.WithLaunchTemplate("web"))},
	{name: "publish", common: changes(fixture.WithParameter("/golden")), second: changes(fixture.WithPublishAll())},
	{name: "share added", second: changes(fixture.WithShare(fixture.Friend))},
	{name: "share removed", first: changes(fixture.WithShare(fixture.Friend))},
	{name: "launch permission removed", first: changes(fixture.WithLaunchPermission(fixture.Friend))},
	{name: "retention added", common: changes(fixture.WithFamily("web")), second: changes(fixture.WithRetention(1))},
	{name: "retention removed", common: changes(fixture.WithFamily("web")), first: changes(fixture.WithRetention(1))},
	{name: "image family", first: changes(fixture.WithFamily("web")), second: changes(fixture.WithFamily("db"))},
}

// A run crashes at any call and is resumed with one option changed. The resumed run deletes or lists what the first one
// left, although the new template no longer describes it.
func TestResume_changedOptions(t *testing.T) {
	var points, leftovers atomic.Int64
	t.Cleanup(func() { // after the parallel subtests
		fmt.Printf("changed options: %d points, unlisted leftovers: %d\n", points.Load(), leftovers.Load())
	})
	for i, c := range changedOptions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found := c.tryAll(t, i%2 == 1, &points)
			var failures []string
			for _, left := range found {
				leftovers.Add(int64(left.count))
				failures = append(failures, left.String())
			}
			verdict(t, failures)
		})
	}
}

// leftover is a kind of item that stays after runs that were killed.
type leftover struct {
	what   string
	count  int      // of items
	deaths []string // that lead to it
}

func (l leftover) String() string {
	return fmt.Sprintf("%d times unlisted: %s, killed %s", l.count, l.what, strings.Join(l.deaths, "; "))
}

// death says when a run crashes.
type death struct {
	at   int // number of the call. Zero if nth and call select it
	nth  int
	call fixture.Call
	lost bool // the run crashes before the response arrives
}

func (d death) String() string {
	when := fmt.Sprintf("at call %d", d.at)
	if d.at == 0 {
		when = fmt.Sprintf("at %s %d", d.call.Action, d.nth)
	}
	if d.lost {
		when += " without response"
	}
	return when
}

// attempt returns the attempt of a run that crashes at this point.
func (d death) attempt(template fixture.Template) fixture.Attempt {
	attempt := fixture.Attempt{Template: template, KillAt: d.at, LoseResponse: d.lost}
	if d.at == 0 {
		seen := 0
		attempt.KillWhen = func(call fixture.Call) bool {
			if !sameKind(call, d.call) {
				return false
			}
			seen++
			return seen == d.nth
		}
	}
	return attempt
}

// sameKind reports whether two calls make the same kind of change, both or neither with the source credentials.
func sameKind(a, b fixture.Call) bool {
	return a.Action == b.Action && a.Source == b.Source && a.Mutating() && b.Mutating()
}

// everyCall makes every call of a run one of the deaths. It takes an hour.
var everyCall = flag.Bool("every-call", false, "changed options: crash at every call, not only at the first and the "+
	"last of each kind of change")

// deaths returns the points at which runs crash. For each kind of change these are the first call, before its response,
// and the last call, after its response. A sample has the first call of one kind and the last of the next. If odd is
// true, it begins with a last call.
func deaths(calls []fixture.Call, odd bool) (all []death) {
	if *everyCall {
		for i := range calls {
			all = append(all, death{at: i + 1}, death{at: i + 1, lost: true})
		}
		return all
	}
	isFirst := !odd
	for i, call := range calls {
		same := func(other fixture.Call) bool { return sameKind(call, other) }
		if !call.Mutating() || slices.ContainsFunc(calls[:i], same) {
			continue
		}
		count := 0
		for _, other := range calls {
			if same(other) {
				count++
			}
		}
		if *whole || isFirst {
			all = append(all, death{nth: 1, call: call, lost: true})
		}
		if *whole || !isFirst {
			all = append(all, death{nth: count, call: call})
		}
		isFirst = !isFirst
	}
	return all
}

// tryAll lets a run crash at each of its deaths, and returns what is left after the run that resumes it.
func (c changedOption) tryAll(t *testing.T, odd bool, points *atomic.Int64) (all []leftover) {
	t.Helper()
	var before []fixture.Item
	var calls []fixture.Call
	for _, failure := range fixture.Failures(t, c.setup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		before = w.Inventory() // the same in every World of this Setup
		run := w.Run(c.template(w, c.first))
		w.RequireSuccess(run)
		calls = run.Calls()
	}) {
		t.Fatal(failure)
	}

	for _, death := range deaths(calls, odd) {
		points.Add(1)
		for _, what := range c.try(t, death, before) {
			at := slices.IndexFunc(all, func(l leftover) bool { return l.what == what })
			if at < 0 {
				at = len(all)
				all = append(all, leftover{what: what})
			}
			all[at].count++
			if !slices.Contains(all[at].deaths, death.String()) {
				all[at].deaths = append(all[at].deaths, death.String())
			}
		}
	}
	return all
}

// try lets a run crash and resumes it. It returns the kinds of what is left and what the manifest does not list.
func (c changedOption) try(t *testing.T, death death, before []fixture.Item) (kinds []string) {
	t.Helper()
	for _, failure := range fixture.Failures(t, c.setup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		w.Start(death.attempt(c.template(w, c.first))).Wait()
		time.Sleep(2 * time.Hour) // until what it began in AWS has ended

		second := w.Resume(c.template(w, c.second))
		time.Sleep(time.Hour) // until instances that it terminated are gone
		for _, item := range unlisted(w, second, before) {
			if item.Kind != fixture.Protection || second.Succeeded() { // a failed run keeps the image protected
				kinds = append(kinds, fmt.Sprintf("%s in %s", item.Kind, item.Account))
			}
		}
	}) {
		t.Errorf("killed %s: %s", death, failure)
	}
	return kinds
}

func (c changedOption) setup() fixture.Setup {
	return fixture.Setup{
		PostProcessor: newPostProcessor,
		Volumes:       mixedKeys,
		Targets:       twoTargets,
		Regions:       twoRegions,
	}
}

// template returns the template of one of the runs. Changes of targets come first, because they undo others.
func (c changedOption) template(w *fixture.World, own []fixture.Change) fixture.Template {
	return w.Template(slices.Concat(changes(onlyProd), own, c.common)...)
}
