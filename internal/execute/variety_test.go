// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// remade replaces the source image by one with the same snapshots and other attributes.
func (h *testWorld) remade(change func(*ec2.RegisterImageInput)) {
	h.t.Helper()
	owner := h.ec2(source, h.home)
	first := h.ownImages(source, h.home)[0]
	in := &ec2.RegisterImageInput{
		Name:                aws.String("golden otherwise"),
		Architecture:        first.Architecture,
		VirtualizationType:  aws.String(string(first.VirtualizationType)),
		RootDeviceName:      first.RootDeviceName,
		BlockDeviceMappings: slices.Clone(first.BlockDeviceMappings),
	}
	for i, device := range in.BlockDeviceMappings {
		if device.Ebs != nil { // 1.5.1, 1.5.2
			in.BlockDeviceMappings[i].Ebs = &ec2types.EbsBlockDevice{
				SnapshotId:          device.Ebs.SnapshotId,
				VolumeType:          device.Ebs.VolumeType,
				DeleteOnTermination: device.Ebs.DeleteOnTermination,
			}
		}
	}
	change(in)
	made, err := owner.RegisterImage(h.t.Context(), in)
	h.must(err)
	h.images[0].ImageID = aws.ToString(made.ImageId)
}

// uefiData returns the UEFI variable store of an image, as its owner reads it.
func (h *testWorld) uefiData(account, region, image string) string {
	h.t.Helper()
	out, err := h.ec2(account, region).DescribeImageAttribute(h.t.Context(), &ec2.DescribeImageAttributeInput{
		ImageId:   &image,
		Attribute: ec2types.ImageAttributeNameUefiData,
	})
	h.must(err)
	if out.UefiData == nil {
		return ""
	}
	return aws.ToString(out.UefiData.Value)
}

func paravirtual(in *ec2.RegisterImageInput) {
	in.Architecture, in.VirtualizationType, in.KernelId = ec2types.ArchitectureValuesX8664, aws.String(
		"paravirtual",
	), aws.String("aki-176bf516")
}

func measured(in *ec2.RegisterImageInput) {
	in.Architecture, in.EnaSupport, in.BootMode, in.TpmSupport = ec2types.ArchitectureValuesX8664, aws.Bool(
		true,
	), ec2types.BootModeValuesUefi, ec2types.TpmSupportValuesV20
	in.UefiData = aws.String("QU1aTlVFRkkgc2VjdXJlIGJvb3Qga2V5cw==")
}

// Every kind of image is copied with all its attributes, by a method that supports it (rule 2.4).
func TestVariety_everyKind(t *testing.T) {
	many := make([]volume, 26)
	for i := range many {
		many[i] = volume{int32(i + 1), sourceAlias}
	}
	for _, row := range []struct {
		name    string
		home    string
		volumes []volume
		change  func(*ec2.RegisterImageInput) // changes the image. Nil for the image of build
		region  string
		method  distribution.Method
		by      distribution.Method
	}{
		{
			"paravirtual with a kernel, same Region",
			home,
			mixed[:1],
			paravirtual,
			home,
			distribution.Auto,
			distribution.BySnapshot,
		},
		{
			"paravirtual with a kernel, other Region",
			home,
			mixed[:1],
			paravirtual,
			away,
			distribution.Auto,
			distribution.ByImage,
		},
		{
			"NitroTPM and UEFI data, by snapshot",
			home,
			mixed[:1],
			measured,
			away,
			distribution.BySnapshot,
			distribution.BySnapshot,
		},
		{"NitroTPM and UEFI data, by image", home, mixed[:1], measured, away, distribution.ByImage, distribution.ByImage},
		{"UEFI data without NitroTPM, uefi-preferred", home, mixed[:1], func(in *ec2.RegisterImageInput) {
			measured(in)
			in.BootMode, in.TpmSupport = ec2types.BootModeValuesUefiPreferred, ""
		}, home, distribution.Auto, distribution.BySnapshot},
		{"ephemeral disks and a device suppressed", home, mixed[:1], func(in *ec2.RegisterImageInput) {
			for i, disk := range []string{"ephemeral1", "ephemeral2", "ephemeral3"} {
				in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{
					DeviceName:  aws.String("/dev/sd" + string(rune('b'+i))),
					VirtualName: aws.String(disk),
				})
			}
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdf"),
				NoDevice:   aws.String(""),
			})
		}, away, distribution.Auto, distribution.BySnapshot},
		{"an empty volume beside", home, mixed[:1], func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdg"),
				Ebs: &ec2types.EbsBlockDevice{
					VolumeSize: aws.Int32(5),
					VolumeType: ec2types.VolumeTypeGp3,
					Encrypted:  aws.Bool(true),
				},
			})
		}, home, distribution.ByImage, distribution.ByImage},
		{"26 volumes, by snapshot", home, many, nil, away, distribution.BySnapshot, distribution.BySnapshot},
		{"26 volumes, by image", home, many, nil, away, distribution.ByImage, distribution.ByImage},
		{"aws-us-gov", "us-gov-west-1", mixed, nil, "us-gov-east-1", distribution.Auto, distribution.BySnapshot},
		{"aws-us-gov, by image", "us-gov-west-1", mixed, nil, "us-gov-west-1", distribution.ByImage, distribution.ByImage},
		{"aws-cn", "cn-north-1", mixed, nil, "cn-northwest-1", distribution.Auto, distribution.BySnapshot},
		{"aws-cn, by image", "cn-north-1", mixed, nil, "cn-northwest-1", distribution.ByImage, distribution.ByImage},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := buildIn(t, row.home, row.volumes, []string{"222222222222"}, []string{row.region})
				time.Sleep(4 * time.Hour) // the snapshots of 26 volumes need longer than the time that building a world takes
				if row.change != nil {
					h.remade(row.change)
				}
				h.with = func(r *distribution.Request) { r.Targets[0].Method = row.method }
				p, result := h.run(t.Context(), h.request())
				if p.Destinations[0].Method != row.by {
					t.Errorf("by %s, want %s", p.Destinations[0].Method, row.by)
				}
				h.complete(result)
				if t.Failed() {
					return
				}
				got, want := h.uefiData(
					"222222222222",
					row.region,
					result.Images[0].ImageID,
				), h.uefiData(
					source,
					row.home,
					h.images[0].ImageID,
				)
				if got != want {
					t.Errorf("UEFI data %q, want %q", got, want)
				}
				for _, snapshot := range result.Images[0].Snapshots {
					if want := "arn:" + partition(row.home) + ":kms:" + row.region + ":222222222222:key/"; !strings.HasPrefix(
						snapshot.KeyARN,
						want,
					) {
						t.Errorf("%s is under %s, want a key %s...", snapshot.Device, snapshot.KeyARN, want)
					}
				}
			})
		})
	}
}

// The plan refuses an image that cannot be copied, and names an alternative.
func TestVariety_unsupported(t *testing.T) {
	for _, row := range []struct {
		name   string
		make   func(*testWorld)
		method distribution.Method
		rule   string
		next   string
	}{
		{
			"a kernel that means nothing in the other Region",
			func(h *testWorld) { h.remade(paravirtual) },
			distribution.BySnapshot,
			"2.4",
			`copy_method = "image"`,
		},
		{
			"an AWS Marketplace product code",
			func(h *testWorld) { h.sold("prod-47") },
			distribution.Auto,
			"2.3.1",
			"subscribe in account 222222222222",
		},
		{
			"an AWS Marketplace product code, by snapshots",
			func(h *testWorld) { h.sold("prod-47") },
			distribution.BySnapshot,
			"2.3.1",
			"subscribe in account 222222222222",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[:1], []string{"222222222222"}, []string{away})
				row.make(h)
				h.with = func(r *distribution.Request) { r.Targets[0].Method = row.method }
				p := h.decided(t.Context(), h.pool(t.Context(), h.World), h.request())
				if !p.Refused() || !slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
					return f.Level == distribution.Refused && f.Reference == row.rule && strings.Contains(f.Remediation, row.next)
				}) {
					t.Errorf("findings %+v", p.Findings)
				}
			})
		})
	}
}

// sold replaces the source image by one with Marketplace data. The product code is on the snapshot, and copies keep it
// (rule 2.3.5).
func (h *testWorld) sold(product string) {
	h.t.Helper()
	bought := h.vendors("sold", product)
	copied, err := h.ec2(source, home).CopySnapshot(h.t.Context(), &ec2.CopySnapshotInput{
		SourceSnapshotId: aws.String(bought.snapshot),
		SourceRegion:     aws.String(home),
		Encrypted:        aws.Bool(true),
		KmsKeyId:         aws.String(sourceAlias),
	})
	h.must(err)
	wait(h)
	h.remade(func(in *ec2.RegisterImageInput) {
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{
			{DeviceName: in.RootDeviceName, Ebs: &ec2types.EbsBlockDevice{SnapshotId: copied.SnapshotId}},
		}
	})
}

// Billing information of a registered image comes from its snapshots (rule 2.3.3). If they differ from the image, a
// copy by snapshots is deleted, with the reason. A copy of the whole image is kept.
func TestVariety_billingLost(t *testing.T) {
	const account = "222222222222"
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[:1], []string{account}, []string{away})
		h.bought("bp-0002", "bp-0800")
		h.with = func(r *distribution.Request) { r.Targets[0].Method = distribution.BySnapshot }
		p, result := h.run(t.Context(), h.request())
		if !slices.ContainsFunc(
			p.Findings,
			func(f distribution.Finding) bool { return f.Level == distribution.Warning && f.Reference == "2.3.3" },
		) {
			t.Errorf("the plan warns of %+v", p.Findings)
		}
		if len(result.Images) != 0 || len(result.Findings) != 1 || result.Findings[0].Reference != "2.3.3" ||
			!strings.Contains(
				result.Findings[0].Detail,
				`UsageOperation: "RunInstances:0002" in the source, "RunInstances:0800" in the target`,
			) {
			t.Errorf("images %+v, findings %+v", result.Images, result.Findings)
		}
		if images := h.ownImages(account, away); len(images) != 0 {
			t.Errorf("%d images of another billing are left", len(images))
		}
		h.with = func(r *distribution.Request) { r.RunID = "run-2" }
		_, result = h.run(t.Context(), h.request())
		h.complete(result)
	})
}
