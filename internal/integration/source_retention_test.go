// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// fiveReleases builds and distributes five releases, which a third account may launch. It returns their source images,
// oldest first.
func fiveReleases(w *fixture.World, last ...fixture.Change) (releases, []string) {
	w.Helper()
	r := releases{World: w, changes: changes(
		fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithShare(fixture.Friend),
	)}
	images := []string{w.ImageID}
	w.RequireSuccess(w.Run(r.template()))
	for len(images) < 5 {
		images = append(images, r.build())
		if len(images) == 5 {
			r.changes = append(r.changes, last...)
		}
		w.RequireSuccess(w.Run(r.template()))
	}
	return r, images
}

// expectSources fails the test unless the source account has these images and no snapshots of others.
func (r releases) expectSources(when string, want ...string) {
	r.Helper()
	var got, snapshots []string
	for _, image := range r.Images(fixture.Source, fixture.Home) {
		got = append(got, *image.ImageId)
		for _, device := range image.BlockDeviceMappings {
			snapshots = append(snapshots, aws.ToString(device.Ebs.SnapshotId))
		}
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		r.Errorf("%s: the source account has the images %v, want %v", when, got, want)
	}
	for _, snapshot := range r.Snapshots(fixture.Source, fixture.Home) {
		if !slices.Contains(snapshots, *snapshot.SnapshotId) {
			r.Errorf("%s: snapshot %s belongs to no image", when, *snapshot.SnapshotId)
		}
	}
}

// Only source images that nothing uses are deregistered. The copies of a deregistered source image can still be proved,
// so usage reports them and retention removes them.
func TestSourceRetention_oneInUse(t *testing.T) {
	ownKey := []fixture.Volume{{GiB: 8, Key: fixture.SourceKey}}
	test(t, fixture.Setup{Targets: twoTargets, Volumes: ownKey}, func(w *fixture.World) {
		r, images := fiveReleases(w, fixture.WithSourceRetention(1))
		r.expectSources("the usage is not reported yet", images...)
		_, err := w.EC2(fixture.Friend, fixture.Home).CreateLaunchTemplate(w.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("theirs"),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String(images[1])},
		})
		if err != nil {
			w.Fatal(err)
		}

		time.Sleep(8 * 24 * time.Hour) // the first reports are too old
		w.RequireSuccess(r.runMode("distribute", images[4]))
		r.expectSources("new reports are requested", images...)
		time.Sleep(24 * time.Hour)
		run := r.runMode("distribute", images[4])
		w.RequireSuccess(run)
		r.expectSources("one release is in use", images[1], images[4])
		said := run.Text()
		for _, f := range run.Manifest().Findings {
			said += f.Text
		}
		if want := "used in " + fixture.Friend; !strings.Contains(said, want) {
			w.Errorf("the report lacks %q: %s", want, said)
		}

		usage := r.runMode("usage", images[4])
		w.RequireSuccess(usage)
		for _, image := range images {
			if !strings.Contains(usage.Text(), "Release "+image) {
				w.Errorf("the usage lacks %s, whose copies are ours: %s", image, usage.Text())
			}
		}

		r.changes = append(r.changes, fixture.WithRetention(2))
		sixth := r.build()
		w.RequireSuccess(w.Run(r.template()))
		for _, account := range twoTargets {
			var left []string
			for _, image := range w.Images(account, fixture.Home) {
				left = append(left, r.sourceOf(account, *image.ImageId))
			}
			slices.Sort(left)
			want := []string{images[4], sixth}
			slices.Sort(want)
			if !slices.Equal(left, want) {
				w.Errorf("%s has the copies of %v, want %v", account, left, want)
			}
		}
	})
}

// A snapshot that AWS did not delete with its source image is reported as left behind.
func TestSourceRetention_snapshotStays(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		template := w.Template(
			fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithSourceRetention(1),
		)
		w.RequireSuccess(w.Run(template))
		snapshot := fixture.SnapshotsOf(w.SourceImage())[0]
		time.Sleep(24 * time.Hour)
		w.Build()
		w.DenySource("ec2:DeleteSnapshot")
		run := w.Run(template)
		w.RequireSuccess(run)
		said := run.Text()
		if !strings.Contains(said, snapshot+" ") || !strings.Contains(said, "missing-permissions") {
			w.Errorf("the run does not report %s as left behind: %s", snapshot, said)
		}
	})
}
