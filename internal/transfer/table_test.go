// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// acts are the calls of a run that make or change something, counted by account, Region and action.
func acts(records awssim.Records) string {
	counts := map[string]int{}
	for _, r := range records {
		_, name, _ := strings.Cut(r.Action, ":")
		if looks := strings.HasPrefix(name, "Describe") || strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List"); !looks && strings.HasPrefix(r.Action, "ec2:") {
			counts[fmt.Sprintf("%s %s %s", r.Account, r.Region, r.Action)]++
		}
	}
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&text, "  %2d %s\n", counts[what], what)
	}
	return text.String()
}

// becoming asks, with a method, for a launch check and all that a target may want of its image.
func becoming(method plan.Method) func(*plan.Request) {
	return func(req *plan.Request) {
		settled(req)
		req.Targets[0].Method, req.Targets[0].LaunchCheck = method, &plan.LaunchCheck{InstanceType: "t4g.micro"}
	}
}

// What each method and feature takes of calls, for one account and for many, in the image's own Region and in another.
func TestTheCallsOfEveryMethod(t *testing.T) {
	var text strings.Builder
	many := []string{"222222222222", "333333333333", "444444444444"}
	for _, source := range []struct {
		name    string
		volumes []volume
	}{{"under the key", []volume{{8, sourceAlias}, {20, sourceAlias}}}, {"under aws/ebs", []volume{{8, "alias/aws/ebs"}, {20, "alias/aws/ebs"}}}} {
		for _, feature := range []struct {
			name string
			with func(*plan.Request)
		}{
			{"method snapshot", func(r *plan.Request) { r.Targets[0].Method = plan.BySnapshot }},
			{"method image", func(r *plan.Request) { r.Targets[0].Method = plan.ByImage }},
			{"method image and a share", imagesAndShares},
			{"method snapshot and what becomes of the image", becoming(plan.BySnapshot)},
			{"method image and what becomes of the image", becoming(plan.ByImage)},
		} {
			for _, accounts := range [][]string{many[:1], many} {
				for _, region := range []string{home, away} {
					fmt.Fprintf(&text, "%s, %s, %d accounts, %s\n", source.name, feature.name, len(accounts), region)
					synctest.Test(t, func(t *testing.T) {
						h := build(t, source.volumes, accounts, []string{region})
						h.befriend(feature.with)
						begun := len(h.Records())
						_, result := h.run(t.Context(), h.request())
						h.complete(result)
						text.WriteString(acts(h.Records()[begun:]))
					})
				}
			}
		}
	}
	file := "testdata/calls.golden"
	if *update {
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(want) != text.String() {
		t.Errorf("the calls are\n%s\nand not those of %s: %v", &text, file, err)
	}
}

// goods are an image and its snapshot that a vendor lets the source account use.
type goods struct{ image, snapshot string }

// vendors makes an image of data that is billed as a product. Only a vendor can name products (2.3.3).
func (h *house) vendors(name, product string) goods {
	h.t.Helper()
	maker := h.ec2(vendor, home)
	volume, err := maker.CreateVolume(h.t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8)})
	h.must(err)
	wait(h)
	snapshot, err := maker.CreateSnapshot(h.t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	h.must(err)
	wait(h)
	_, err = maker.ModifySnapshotAttribute(h.t.Context(), &ec2.ModifySnapshotAttributeInput{SnapshotId: snapshot.SnapshotId, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{{UserId: aws.String(source)}}}})
	h.must(err)
	return goods{h.billed(name, product, aws.ToString(snapshot.SnapshotId)), aws.ToString(snapshot.SnapshotId)}
}

const vendor = "801119661308"

// billed registers a vendor's snapshot as a product, for the source account; the snapshot says from now on that it is that.
func (h *house) billed(name, product, snapshot string) string {
	h.t.Helper()
	maker := h.ec2(vendor, home)
	made, err := maker.RegisterImage(h.t.Context(), &ec2.RegisterImageInput{Name: aws.String(name), RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"), BillingProducts: []string{product},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}}}})
	h.must(err)
	_, err = maker.ModifyImageAttribute(h.t.Context(), &ec2.ModifyImageAttributeInput{ImageId: made.ImageId, LaunchPermission: &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{{UserId: aws.String(source)}}}})
	h.must(err)
	return aws.ToString(made.ImageId)
}

// bought makes the image that is handed on one that is billed as a product: registered by its vendor, copied by the source account. The
// vendor may have registered its snapshot as other products afterwards.
func (h *house) bought(product string, afterwards ...string) {
	h.t.Helper()
	of := h.vendors("vendor "+product, product)
	for _, other := range afterwards {
		h.billed("vendor "+other, other, of.snapshot)
	}
	h.images[0].ImageID = h.copied(of.image, "golden "+product, sourceAlias)
}

// copied is the source account's own copy of an image, under a key.
func (h *house) copied(image, name, key string) string {
	h.t.Helper()
	own, err := h.ec2(source, home).CopyImage(h.t.Context(), &ec2.CopyImageInput{Name: &name, SourceImageId: &image, SourceRegion: aws.String(home), Encrypted: aws.Bool(true), KmsKeyId: &key})
	h.must(err)
	wait(h)
	return aws.ToString(own.ImageId)
}

// wait lets what was begun end.
func wait(h *house) { h.t.Helper(); time.Sleep(time.Hour) }

// Windows, RHEL and SUSE reach other accounts as what they are billed as: by a copy of the image where nothing else is said, and by snapshots as well.
func TestBilledPlatformsAreBroughtOver(t *testing.T) {
	for _, product := range []string{"bp-0002", "bp-0010", "bp-000g"} {
		for _, method := range []plan.Method{plan.Auto, plan.BySnapshot} {
			t.Run(product+" "+string(method), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[:1], []string{"222222222222"}, []string{away})
					h.bought(product)
					h.with = func(r *plan.Request) { r.Targets[0].Method = method }
					p, result := h.run(t.Context(), h.request())
					if want := map[plan.Method]plan.Method{plan.Auto: plan.ByImage, plan.BySnapshot: plan.BySnapshot}[method]; p.Destinations[0].Method != want {
						t.Errorf("by %s, want %s", p.Destinations[0].Method, want)
					}
					h.complete(result)
				})
			})
		}
	}
}
