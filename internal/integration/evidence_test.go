// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// A principal with permission to tag in a target account can read every tag of a run in CloudTrail, and copy it. None
// of these tags may make a run delete, adopt or publish a resource that it did not create.

// copiedTags returns the sets of tags of resources whose IDs begin with a prefix: those of the creating call, and those
// with tags that were added later. action is the creating call.
func copiedTags(run *fixture.Run, action, prefix string) (sets []map[string]string) {
	var created, added []map[string]string
	for _, call := range run.Calls() {
		ids := call.List("ResourceId")
		tags := fixture.OurTags(call.Tags())
		switch {
		case call.Source || call.DryRun() || !call.Succeeded() || len(tags) == 0:
		case call.Action == action:
			created = append(created, tags)
		case call.Action == "ec2:CreateTags" && len(ids) > 0 && strings.HasPrefix(ids[0], prefix):
			added = append(added, tags)
		}
	}
	for _, first := range created {
		sets = append(sets, first)
		for _, second := range added {
			both := maps.Clone(first)
			maps.Copy(both, second)
			sets = append(sets, both)
		}
	}
	return sets
}

// expectUnchanged reports snapshots that are gone, and those that the run does not list.
func expectUnchanged(w *fixture.World, run *fixture.Run, ids []string) {
	w.Helper()
	for _, id := range ids {
		if !w.HasSnapshot(fixture.Prod, fixture.Home, id) {
			w.Errorf("the run deleted %s, which is not its own", id)
		} else if !run.Manifest().Lists(fixture.Item{Kind: fixture.Snapshot, ID: id}) {
			w.Errorf("the run does not list %s, which has its tags and is not its own", id)
		}
	}
}

// eachSet runs a test in a new World for each set of tags of one run. check returns their number.
func eachSet(t *testing.T, setup fixture.Setup, check func(w *fixture.World, nth int) (sets int)) {
	t.Helper()
	setup.PostProcessor = newPostProcessor
	var failures []string
	for nth, sets := 0, 1; nth < sets; nth++ {
		failures = append(failures, fixture.Failures(t, setup, func(w *fixture.World) { sets = check(w, nth) })...)
	}
	verdict(t, failures)
}

// An instance with the tags of an earlier launch check's instance is not terminated.
func TestForgedTags_onInstance(t *testing.T) {
	eachSet(t, fixture.Setup{Volumes: ownKey}, func(w *fixture.World, nth int) int {
		tagger := w.Tagger(fixture.Prod)
		template := w.Template(fixture.WithLaunchCheck())
		first := w.Run(template)
		w.RequireSuccess(first)
		sets := copiedTags(first, "ec2:RunInstances", "i-")
		if len(sets) == 0 {
			w.Fatal("the launch check gave no tags")
		}
		launched, err := w.EC2(fixture.Prod, fixture.Home).RunInstances(w.Context(), &ec2.RunInstancesInput{
			ImageId:      w.RequireImage(fixture.Prod, fixture.Home).ImageId,
			InstanceType: ec2types.InstanceTypeT4gMicro,
			MinCount:     aws.Int32(1),
			MaxCount:     aws.Int32(1),
		})
		if err != nil {
			w.Fatal(err)
		}
		id := *launched.Instances[0].InstanceId
		time.Sleep(24 * time.Hour)
		w.Tag(tagger, id, sets[nth])

		second := w.Resume(template)
		w.RequireSuccess(second)
		running := slices.ContainsFunc(w.Instances(fixture.Prod, fixture.Home), func(i ec2types.Instance) bool {
			return *i.InstanceId == id
		})
		if !running {
			w.Errorf("the run terminated %s, which is not its own", id)
		} else if !second.Manifest().Lists(fixture.Item{Kind: fixture.Instance, ID: id}) {
			w.Errorf("the run does not list %s, which has its tags and is not its own", id)
		}
		return len(sets)
	})
}

// A backup with the tags of an earlier copy or test copy is not deleted.
func TestForgedTags_onSnapshot(t *testing.T) {
	for name, clean := range map[string]bool{"next run": false, "clean up": true} {
		t.Run(name, func(t *testing.T) {
			setup := fixture.Setup{Volumes: []fixture.Volume{{GiB: 100, Key: fixture.AWSManaged}}}
			eachSet(t, setup, func(w *fixture.World, nth int) int {
				tagger := w.Tagger(fixture.Prod)
				template := w.Template(fixture.WithTestCopy(true))
				first := w.Run(template)
				w.RequireSuccess(first)
				sets := copiedTags(first, "ec2:CopySnapshot", "snap-")
				backup := w.Backups(fixture.Prod, 1)
				w.Tag(tagger, backup[0], sets[nth])

				if clean {
					fixture.WithCleanUp()(template)
				}
				second := w.Resume(template)
				w.RequireSuccess(second)
				expectUnchanged(w, second, backup)
				return len(sets)
			})
		})
	}
}

// Another team copies a snapshot with the key, description and tags of a run's deleted copy. No run registers it. A run
// may delete it if its description has the copied call token, which no older resource can have.
func TestForgedSnapshot_insteadOfGenuine(t *testing.T) {
	eachSet(t, fixture.Setup{Volumes: ownKey}, func(w *fixture.World, nth int) int {
		template := w.Template(fixture.WithParameter("/golden"))
		first := w.Run(template)
		w.RequireSuccess(first)
		client := w.EC2(fixture.Prod, fixture.Home)
		_, err := client.DeregisterImage(w.Context(), &ec2.DeregisterImageInput{
			ImageId:                   w.RequireImage(fixture.Prod, fixture.Home).ImageId,
			DeleteAssociatedSnapshots: aws.Bool(true),
		})
		if err != nil {
			w.Fatal(err)
		}

		sets := copiedTags(first, "ec2:CopySnapshot", "snap-")
		var tags []ec2types.Tag
		for key, value := range sets[nth] {
			tags = append(tags, ec2types.Tag{Key: aws.String(key), Value: aws.String(value)})
		}
		forged, err := client.CopySnapshot(w.Context(), &ec2.CopySnapshotInput{
			SourceRegion:      aws.String(fixture.Home),
			SourceSnapshotId:  aws.String(w.Backups(fixture.Prod, 1)[0]),
			Encrypted:         aws.Bool(true),
			KmsKeyId:          aws.String(fixture.TargetKey),
			Description:       aws.String(first.CallsOf("ec2:CopySnapshot")[0].Params.Get("Description")),
			TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeSnapshot, Tags: tags}},
		})
		if err != nil {
			w.Fatal(err)
		}
		time.Sleep(24 * time.Hour)

		second := w.Resume(template)
		w.RequireSuccess(second)
		if slices.Contains(fixture.SnapshotsOf(w.RequireImage(fixture.Prod, fixture.Home)), *forged.SnapshotId) {
			w.Errorf("the image of the run uses %s, which is not its own", *forged.SnapshotId)
		}
		return len(sets)
	})
}

// A foreign copy with the tags of a run's copy is not deleted, even if the tags of the run's copy are overwritten.
func TestForgedTags_genuineOverwritten(t *testing.T) {
	eachSet(t, fixture.Setup{Volumes: ownKey}, func(w *fixture.World, nth int) int {
		tagger := w.Tagger(fixture.Prod)
		first := w.Run(w.Template())
		w.RequireSuccess(first)
		sets := copiedTags(first, "ec2:CopySnapshot", "snap-")
		copied, err := w.EC2(fixture.Prod, fixture.Home).CopySnapshot(w.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(fixture.Home),
			SourceSnapshotId: aws.String(w.Backups(fixture.Prod, 1)[0]),
			Encrypted:        aws.Bool(true),
			KmsKeyId:         aws.String(fixture.TargetKey),
		})
		if err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Hour)
		w.Tag(tagger, *copied.SnapshotId, sets[nth])
		for _, genuine := range fixture.SnapshotsOf(w.RequireImage(fixture.Prod, fixture.Home)) {
			w.Tag(tagger, genuine, map[string]string{fixture.TagPrefix + "source": "x"})
		}

		second := w.Resume(w.Template(fixture.WithCleanUp()))
		w.RequireSuccess(second)
		expectUnchanged(w, second, []string{*copied.SnapshotId})
		return len(sets)
	})
}
