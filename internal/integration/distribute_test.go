// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

var (
	twoTargets = []string{fixture.Prod, fixture.Stage}
	twoRegions = []string{fixture.Home, fixture.Away}
	ownKey     = []fixture.Volume{{GiB: 8, Key: fixture.SourceKey}}
	mixedKeys  = []fixture.Volume{{GiB: 8, Key: fixture.AWSManaged}, {GiB: 20, Key: fixture.SourceKey}}
)

// everyOption sets all options of a run except launch checks and permissions for other accounts.
var everyOption = []fixture.Change{
	fixture.WithGrants(), fixture.WithTestCopy(true), fixture.WithImageName("golden"),
	fixture.WithTags(map[string]any{"team": "web"}), fixture.WithParameter("/golden"), fixture.WithPublishAll(),
	fixture.WithFamily("web"), fixture.WithRetention(2),
}

// A run creates the image of every destination, leaves no temporary resource, and disables the protection of the source
// image.
func TestRun_servesAllDestinations(t *testing.T) {
	for name, changes := range map[string][]fixture.Change{
		"snapshot": {fixture.WithMethod("snapshot")},
		"image":    {fixture.WithMethod("image")},
		"everything": append(everyOption, fixture.WithLaunchCheck(), fixture.WithShare(fixture.Friend),
			fixture.WithLaunchPermission(fixture.Friend)),
	} {
		t.Run(name, func(t *testing.T) {
			setup := fixture.Setup{Volumes: mixedKeys, Targets: twoTargets, Regions: twoRegions}
			test(t, setup, func(w *fixture.World) {
				before := w.Inventory()
				w.RequireSuccess(w.Run(w.Template(changes...)))
				for _, account := range twoTargets {
					for _, region := range twoRegions {
						w.RequireImage(account, region)
					}
				}
				w.ExpectNoLeftovers(before)
			})
		})
	}
}

// A finished run that is run again with the same options makes no mutating call.
func TestRun_repeatsWithoutChanges(t *testing.T) {
	for name, changes := range map[string][]fixture.Change{
		"snapshot":          {fixture.WithMethod("snapshot")},
		"image":             {fixture.WithMethod("image")},
		"everything":        everyOption,
		"launch check":      {fixture.WithLaunchCheck()},
		"launch permission": {fixture.WithLaunchPermission(fixture.Friend)},
		"share":             {fixture.WithShare(fixture.Friend)},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Volumes: mixedKeys, Targets: twoTargets}, func(w *fixture.World) {
				w.RequireSuccess(w.Run(w.Template(changes...)))
				second := w.Resume(w.Template(changes...))
				w.RequireSuccess(second)
				for _, call := range second.Calls() {
					if call.Mutating() {
						w.Errorf("the second run called %s", call.Action)
					}
				}
			})
		})
	}
}

// A run that is killed at any of some calls is completed by the next one.
func TestResume_afterKill(t *testing.T) {
	for _, at := range []int{10, 40, 60} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			test(t, fixture.Setup{Volumes: mixedKeys}, func(w *fixture.World) {
				before := w.Inventory()
				killed := w.Start(fixture.Attempt{Template: w.Template(), KillAt: at, LoseResponse: at%20 == 0}).Wait()
				if !killed.Killed() || len(killed.Calls()) != at {
					w.Fatalf("got %d calls, killed %v; want to be killed at call %d", len(killed.Calls()), killed.Killed(), at)
				}
				w.RequireSuccess(w.Resume(w.Template()))
				w.RequireImage(fixture.Prod, fixture.Home)
				w.ExpectNoLeftovers(before)
				if w.IsProtected() {
					w.Error("the source image is still protected")
				}
			})
		})
	}
}
