// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	lmtypes "github.com/aws/aws-sdk-go-v2/service/licensemanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

const (
	vendor = "801119661308" // whose images are billed as Windows
	friend = "777777777777" // who may launch the target's image
)

// after is a template that distributes an image with all lifecycle options.
const after = `
variable "image" { type = string }
variable "license" { type = string }
variable "only_verify" {
  type    = bool
  default = false
}
` + underNull + `
    kms_key_id        = "alias/golden-source"
    existing_amis     = { "ap-northeast-1" = var.image }
    poll_interval     = "1s"
    mode              = var.only_verify ? "verify" : "distribute"
    source_key_access = var.only_verify ? "key_policy" : "grant"
    publish           = var.only_verify ? "each" : "all"
    on_attribute_loss = var.only_verify ? "warn" : "fail"
    output_directory  = var.only_verify ? "" : "dist"

    target {
` + prod + `
      copy_method                    = "image"
      ami_name                       = "windows"
      force_deregister               = true
      force_delete_snapshot          = true
      snapshot_copy_duration_minutes = 30
      deprecate_at                   = timeadd(timestamp(), "2160h")
      ami_users                      = ["777777777777"]
      tags                           = { "ec2:SharedTag/team" = "web" }
      license_configuration_arns     = [var.license]
      deregistration_protection {
        with_cooldown = true
      }
      fast_launch {
        target_resource_count = 10
      }
      launch_check {
        instance_type = "t2.micro"
      }
      ssm_parameter {
        name      = "/golden/windows"
        type      = "SecureString"
        data_type = "text"
        key_id    = "alias/golden-target"
      }
      launch_template {
        name        = "web"
        set_default_version = true
      }
    }
  }
}
`

// The source key policy permits no target, and the target has an image with the name. The copy of the Windows image
// gets every lifecycle option, no temporary resource is left, and mode = "verify" reports later differences.
func TestLifecycle_windowsImage(t *testing.T) {
	h := newHost(t, after)
	w, ctx := h.World, t.Context()
	setTargetPolicy(
		t,
		w,
		`{"Version":"2012-10-17","Statement":[{
			"Effect":"Allow",
			"Action":["ec2:*","kms:*","ssm:*","license-manager:*","imagebuilder:*"],
			"Resource":"*"
		}]}`,
	)
	licenses := licensemanager.NewFromConfig(w.Config(target, region))
	license := *must(licenses.CreateLicenseConfiguration(ctx, &licensemanager.CreateLicenseConfigurationInput{
		Name:                aws.String("per instance"),
		LicenseCountingType: lmtypes.LicenseCountingTypeInstance,
	}))(t).LicenseConfigurationArn
	key := keyARN(t, w, source, "golden-source")
	must(w.kms(source).PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(
		`{"Version":"2012-10-17","Statement":[{
			"Effect":"Allow",
			"Principal":{"AWS":"arn:aws:iam::111111111111:root"},
			"Action":"kms:*",
			"Resource":"*"
		}]}`,
	)}))(t)
	must(w.ec2(target).CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("web"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{InstanceType: types.InstanceTypeT2Micro},
	}))(t)
	taken := registered(t, w, target, &ec2.RegisterImageInput{Name: aws.String("windows")})
	sold := registered(
		t,
		w,
		vendor,
		&ec2.RegisterImageInput{Name: aws.String("sold"), BillingProducts: []string{"bp-0002"}},
		source,
	)
	own := copied(t, w, &ec2.CopyImageInput{Name: aws.String("golden-windows"), SourceImageId: &sold})

	h.packer(t, 0, "build", "-color=false", "-var=image="+own, "-var=license="+license, ".")
	golden := image(t, w, target, "windows")
	if *golden.ImageId == taken {
		t.Errorf("the target still has %s", taken)
	}
	requireWindowsImage(t, w, golden)
	requirePublished(t, w, golden, license)
	launched := must(w.ec2(target).DescribeInstances(ctx, &ec2.DescribeInstancesInput{}))(t).Reservations
	if len(launched) != 1 || launched[0].Instances[0].State.Name != types.InstanceStateNameTerminated {
		t.Errorf("launched to check: %+v", launched)
	}
	if grants := must(w.kms(source).ListGrants(ctx, &kms.ListGrantsInput{KeyId: &key}))(t).Grants; len(grants) != 0 {
		t.Errorf("grants are left on the source's key: %+v", grants)
	}
	var manifest struct {
		LeftBehind []any `json:"left_behind"`
	}
	text := must(os.ReadFile(filepath.Join(h.Folder, "dist", "manifest.json")))(t)
	if err := json.Unmarshal(text, &manifest); err != nil || manifest.LeftBehind == nil || len(manifest.LeftBehind) != 0 {
		t.Errorf("got %+v left behind and %v, want an empty list", manifest.LeftBehind, err)
	}

	verify := []string{
		"build",
		"-color=false",
		"-var=image=" + own,
		"-var=license=" + license,
		"-var=only_verify=true",
		".",
	}
	h.packer(t, 0, verify...)
	must(w.ec2(target).ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{
		LaunchTemplateName: aws.String("web"),
		DefaultVersion:     aws.String("1"),
	}))(t)
	says(t, h.packer(t, 1, verify...), "launch template web", *golden.ImageId)
}

// requireWindowsImage requires that an image has the key, the copy time and the lifecycle options of its target.
func requireWindowsImage(t *testing.T, w *World, golden types.Image) {
	t.Helper()
	if golden.Platform != types.PlatformValuesWindows ||
		aws.ToString(golden.DeregistrationProtection) != "enabled-with-cooldown" || golden.DeprecationTime == nil {
		t.Errorf("the target has %+v", golden)
	}
	for device, s := range snapshots(t, w, target, golden) {
		if *s.KmsKeyId != keyARN(t, w, target, "golden-target") || aws.ToInt32(s.CompletionDurationMinutes) != 30 {
			t.Errorf("%s: %+v", device, s)
		}
	}
	if n := len(ownSnapshots(t, w, target, region)); n != 1 {
		t.Errorf("the target has %d snapshots, want that of its image alone", n)
	}
}

// requirePublished requires that an image is shared, associated with its license configuration, and named by the
// parameter and the launch template.
func requirePublished(t *testing.T, w *World, golden types.Image, license string) {
	t.Helper()
	ctx := t.Context()
	licenses := licensemanager.NewFromConfig(w.Config(target, region))
	seen := must(w.ec2(friend).DescribeImages(ctx, &ec2.DescribeImagesInput{ExecutableUsers: []string{"self"}}))(t).Images
	if len(seen) != 1 || len(seen[0].Tags) != 1 {
		t.Errorf("account %s sees %+v, want the image and the tag that is shared with it", friend, seen)
	}
	fast := must(w.ec2(target).DescribeFastLaunchImages(ctx, &ec2.DescribeFastLaunchImagesInput{}))(t).FastLaunchImages
	if len(fast) != 1 || *fast[0].ImageId != *golden.ImageId {
		t.Errorf("fast launch of %+v", fast)
	}
	counted := must(licenses.ListLicenseSpecificationsForResource(
		ctx,
		&licensemanager.ListLicenseSpecificationsForResourceInput{
			ResourceArn: aws.String("arn:aws:ec2:" + region + "::image/" + *golden.ImageId),
		},
	))(t)
	if by := counted.LicenseSpecifications; len(by) != 1 || *by[0].LicenseConfigurationArn != license {
		t.Errorf("launches are counted by %+v, want %s", by, license)
	}
	parameter := must(
		ssm.NewFromConfig(w.Config(target, region)).
			GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/golden/windows"), WithDecryption: aws.Bool(true)}),
	)(t).Parameter
	if *parameter.Value != *golden.ImageId || parameter.Type != "SecureString" {
		t.Errorf("the parameter is %s, a %s", *parameter.Value, parameter.Type)
	}
	template := must(w.ec2(target).DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateName: aws.String("web"),
		Versions:           []string{"$Default"},
	}))(t).LaunchTemplateVersions[0]
	if aws.ToString(template.LaunchTemplateData.ImageId) != *golden.ImageId {
		t.Errorf("the launch template names %s", aws.ToString(template.LaunchTemplateData.ImageId))
	}
}

// releases is a template that distributes a release of an image family and keeps no older one.
const releases = `
variable "image" { type = string }
` + underNull + `
    kms_key_id    = "alias/golden-source"
    existing_amis = { "ap-northeast-1" = var.image }
    image_family  = "web"
    poll_interval = "1s"

    target {
` + prod + `
      retention {
        keep_releases = 1
      }
      ssm_parameter {
        name      = "/golden/web"
        overwrite = true
      }
    }
  }
}
`

// The parameter names the new release before the run deletes the old one with its snapshots. A release that an instance
// was launched from stays.
func TestRetention_olderRelease(t *testing.T) {
	h := newHost(t, releases)
	w := h.World
	setTargetPolicy(
		t,
		w,
		`{"Version":"2012-10-17","Statement":[{
			"Effect":"Allow",
			"Action":["ec2:*","kms:*","ssm:*","imagebuilder:*"],
			"Resource":"*"
		}]}`,
	)
	base := *image(t, w, source, "base-1").ImageId
	for i, name := range []string{"web-1", "web-2", "web-3"} {
		id := copied(t, w, &ec2.CopyImageInput{Name: &name, SourceImageId: &base})
		h.packer(t, 0, "build", "-color=false", "-var=image="+id, ".")
		newest := image(t, w, target, name)
		got := must(ssm.NewFromConfig(w.Config(target, region)).
			GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/golden/web")}))(t).Parameter
		if *got.Value != *newest.ImageId {
			t.Errorf("%s is distributed, and the parameter names %s", name, *got.Value)
		}
		want := []string{"web-1", "web-2", "web-2, web-3"}[i]
		var names []string
		for _, there := range owned(t, w, target, region) {
			names = append(names, *there.Name)
		}
		if len(names) != strings.Count(want, ",")+1 || len(ownSnapshots(t, w, target, region)) != 2*len(names) {
			t.Errorf("after %s there are %v with %d snapshots, want "+
				"%s", name, names, len(ownSnapshots(t, w, target, region)), want)
		}
		switch name {
		case "web-2": // an instance uses it from now on
			must(w.ec2(target).RunInstances(t.Context(), &ec2.RunInstancesInput{
				ImageId:      newest.ImageId,
				InstanceType: types.InstanceTypeT3Micro,
				MinCount:     aws.Int32(1),
				MaxCount:     aws.Int32(1),
			}))(t)
		case "web-3":
			says(t, read(t, filepath.Join(h.Folder, "encrypted-ami", id, "manifest.json")), "stays", "was launched from it")
		}
	}
}

// registered returns an image that an account owns, with one volume. Other accounts may copy it.
func registered(t *testing.T, w *World, account string, in *ec2.RegisterImageInput, users ...string) string {
	t.Helper()
	cloud := w.ec2(account)
	volume := must(cloud.CreateVolume(
		t.Context(),
		&ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(8)},
	))(t)
	if err := ec2.NewVolumeAvailableWaiter(cloud, func(o *ec2.VolumeAvailableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 50*time.Millisecond
	}).Wait(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}}, patience); err != nil {
		t.Fatal(err)
	}
	snapshot := must(cloud.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(t)
	if err := ec2.NewSnapshotCompletedWaiter(cloud, func(o *ec2.SnapshotCompletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 50*time.Millisecond
	}).Wait(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*snapshot.SnapshotId}}, patience); err != nil {
		t.Fatal(err)
	}
	in.RootDeviceName, in.VirtualizationType = aws.String("/dev/xvda"), aws.String("hvm")
	in.BlockDeviceMappings = []types.BlockDeviceMapping{
		{DeviceName: in.RootDeviceName, Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
	}
	made := must(cloud.RegisterImage(t.Context(), in))(t)
	lend(t, cloud, made.ImageId, []string{*snapshot.SnapshotId}, users)
	return *made.ImageId
}
