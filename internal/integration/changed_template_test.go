// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// unlisted returns the temporary resources that still exist and that the run does not list.
func unlisted(w *fixture.World, run *fixture.Run, before []fixture.Item) []fixture.Item {
	w.Helper()
	manifest := run.Manifest()
	return slices.DeleteFunc(w.Leftovers(before), func(item fixture.Item) bool {
		return manifest.Lists(item) || isElsewhere(manifest, item)
	})
}

// isElsewhere reports whether a run could not search the account of an item. The run did not use that account, and its
// manifest has a note that an earlier run used other accounts in the Region of the item.
func isElsewhere(manifest fixture.Manifest, item fixture.Item) bool {
	for _, d := range manifest.Destinations {
		if d.Account == item.Account {
			return false
		}
	}
	return item.Account != fixture.Source && slices.ContainsFunc(manifest.Findings, func(f fixture.Finding) bool {
		return strings.Contains(f.Text, "used other accounts or keys") && strings.Contains(f.Text, item.Region)
	})
}

// A failed run staged a copy for a target that is then removed from the template. The next run deletes the copy,
// because the failed run has ended.
func TestResume_targetRemoved(t *testing.T) {
	setup := fixture.Setup{Volumes: []fixture.Volume{{GiB: 100, Key: fixture.AWSManaged}}, Targets: twoTargets}
	test(t, setup, func(w *fixture.World) {
		before := w.Inventory()
		w.Allow(fixture.Stage, "ec2:*", "kms:DescribeKey")
		w.RequireFailure(w.Run(w.Template(fixture.WithTestCopy(false))))

		second := w.Resume(w.Template(fixture.WithTestCopy(false), fixture.WithTargets([]string{fixture.Prod}, fixture.Home)))
		w.RequireSuccess(second)
		w.ExpectNoLeftovers(before)
	})
}

// Staged copies do not depend on the list of targets. After a change of the list, the run stages nothing again.
func TestResume_stagesOnceForAnyTargets(t *testing.T) {
	for name, accounts := range map[string][2][]string{
		"target added":   {{fixture.Prod}, twoTargets},
		"target removed": {twoTargets, {fixture.Prod}},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
				killed := w.Start(fixture.Attempt{Template: w.Template(
					fixture.WithTestCopy(false), fixture.WithTargets(accounts[0], fixture.Home))})
				if !killed.WaitFor("ec2:ModifySnapshotAttribute") { // the staged copy is complete
					w.Fatal(killed.Err)
				}
				killed.Kill()
				time.Sleep(time.Hour)

				second := w.Resume(w.Template(fixture.WithTestCopy(false), fixture.WithTargets(accounts[1], fixture.Home)))
				w.RequireSuccess(second)
				for _, call := range second.CallsOf("ec2:CopySnapshot") {
					if call.Source && !call.DryRun() {
						w.Errorf("%s was staged again", call.Params.Get("SourceSnapshotId"))
					}
				}
			})
		})
	}
}

// A killed run leaves a share. The next run or a clean-up withdraws it, even if the template names another key by then.
func TestResume_sourceKeyChanged(t *testing.T) {
	for name, clean := range map[string]bool{"next run": false, "clean up": true} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Volumes: ownKey}, func(w *fixture.World) {
				before := w.Inventory()
				killed := w.Start(fixture.Attempt{Template: w.Template()})
				if !killed.WaitFor("ec2:CopySnapshot") {
					w.Fatal(killed.Err)
				}
				killed.Kill()
				time.Sleep(48 * time.Hour)

				template := w.Template(fixture.WithSourceKey(fixture.SecondSourceKey))
				if clean {
					fixture.WithCleanUp()(template)
				}
				second := w.Resume(template)
				w.RequireSuccess(second)
				for _, item := range w.Leftovers(before) {
					if item.Kind == fixture.SnapshotPermission {
						w.Errorf("left behind: %s", item)
					}
				}
			})
		})
	}
}

// The first run gave an account a temporary permission. The account lost its own permission before the second run,
// which must withdraw the one that it gives.
func TestShare_baselineShrinks(t *testing.T) {
	test(t, fixture.Setup{Volumes: ownKey, Targets: twoTargets}, func(w *fixture.World) {
		snapshot := fixture.SnapshotsOf(w.SourceImage())[0]
		var permissions []ec2types.CreateVolumePermission
		for i := range 24 {
			account := fmt.Sprintf("3000000000%02d", i)
			permissions = append(permissions, ec2types.CreateVolumePermission{UserId: &account})
		}
		permissions = append(permissions, ec2types.CreateVolumePermission{UserId: aws.String(fixture.Stage)})
		modify := func(change *ec2types.CreateVolumePermissionModifications) {
			_, err := w.EC2(fixture.Source, fixture.Home).ModifySnapshotAttribute(w.Context(), &ec2.ModifySnapshotAttributeInput{
				SnapshotId: &snapshot, CreateVolumePermission: change,
			})
			if err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Hour)
		}

		modify(&ec2types.CreateVolumePermissionModifications{Add: permissions})
		killed := w.Start(fixture.Attempt{
			Template: w.Template(fixture.WithTargets([]string{fixture.Prod}, fixture.Home)),
		})
		if !killed.WaitFor("ec2:CopySnapshot") {
			w.Fatal(killed.Err)
		}
		killed.Kill()
		modify(&ec2types.CreateVolumePermissionModifications{Remove: permissions})

		w.RequireSuccess(w.Resume(w.Template(fixture.WithTargets([]string{fixture.Stage}, fixture.Home))))
		if with := w.SnapshotPermissions(fixture.Source, fixture.Home, snapshot); len(with) > 0 {
			w.Errorf("%s is shared with %v, want no account", snapshot, with)
		}
	})
}
