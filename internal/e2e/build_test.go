// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// template returns a template that builds "golden" from the newest image "base-*" of the world "demo". builder has more
// lines for the source block, processor for the build block.
func template(builder, processor string) string {
	return `
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.0"
    }
    encrypted-ami = {
      source  = "github.com/encrypted-ami/encrypted-ami"
      version = ">= 0.1.0"
    }
  }
}

source "amazon-ebs" "golden" {
  region        = "ap-northeast-1"
  instance_type = "t3.micro"
  ami_name      = "golden"
  communicator  = "none"
  source_ami_filter {
    owners      = ["self"]
    most_recent = true
    filters     = { name = "base-*" }
  }
` + builder + `
}

build {
  sources = ["source.amazon-ebs.golden"]
` + processor + `
}
`
}

// sharing returns the post-processor block for a target with the given lines.
func sharing(target string) string {
	return `
  post-processor "encrypted-ami" {
    kms_key_id    = "alias/golden-source"
    poll_interval = "1s"
    target {
` + target + `
    }
  }
`
}

// preflight returns a data source block for the build of template. builder has more options of amazon_ebs.
func preflight(builder, target string) string {
	return `
data "encrypted-ami-preflight" "golden" {
  kms_key_id = "alias/golden-source"
  amazon_ebs {
    region = "ap-northeast-1"
    source_ami_filter {
      owners      = ["self"]
      most_recent = true
      filters     = { name = "base-*" }
    }
` + builder + `
  }
  target {
` + target + `
  }
}
`
}

// prod is the target of the world "demo".
const prod = `
      name        = "prod"
      account_ids = ["999999999999"]
      kms_key_id  = "alias/golden-target"
` + prodRole

const prodRole = `
      assume_role {
        role_arn    = "arn:aws:iam::999999999999:role/golden-image-target"
        external_id = "golden-images-4711"
      }
`

func TestBuild_amazonBuilder(t *testing.T) {
	h := newHost(t, template("", ""))
	output := h.packer(t, 0, "build", "-color=false", ".")
	golden := image(t, h.World, source, "golden")
	if !strings.Contains(output, *golden.ImageId) {
		t.Errorf("packer does not name %s:\n%s", *golden.ImageId, output)
	}
	if golden.State != types.ImageStateAvailable || len(golden.BlockDeviceMappings) != 2 {
		t.Errorf("the image is %s and has %d volumes", golden.State, len(golden.BlockDeviceMappings))
	}
	answer := must(h.World.ec2(source).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}))(t)
	for _, reservation := range answer.Reservations {
		for _, instance := range reservation.Instances {
			if instance.State.Name != types.InstanceStateNameTerminated {
				t.Errorf("%s is left behind, %s", *instance.InstanceId, instance.State.Name)
			}
		}
	}
}

// A builder can encrypt an image by three methods. The target gets the image by each of them.
func TestBuild_everyEncryption(t *testing.T) {
	t.Parallel()
	for _, experiment := range []struct {
		name    string
		prepare func(*testing.T, *World)
		builder string
		built   string // alias of the key of the builder's image
	}{
		{
			name:    "encryption by default overrides encrypt_boot = false",
			prepare: func(*testing.T, *World) {},
			builder: `encrypt_boot = false`,
			built:   "aws/ebs",
		},
		{
			name:    "an encrypted source image makes an encrypted image",
			prepare: encryptedBase,
			built:   "aws/ebs",
		},
		{
			name:    "kms_key_id makes an image under that key",
			prepare: func(*testing.T, *World) {},
			builder: "encrypt_boot = true\n  kms_key_id = \"alias/golden-source\"",
			built:   "golden-source",
		},
	} {
		t.Run(experiment.name, func(t *testing.T) {
			h := newHost(t, preflight(experiment.builder, prod)+template(experiment.builder, sharing(prod+`
      tags = { predicted = data.encrypted-ami-preflight.golden.kms_key_arn }
`)))
			experiment.prepare(t, h.World)
			h.packer(t, 0, "build", "-color=false", ".")
			available(t, h.World, source, "golden", experiment.built)
			key := keyARN(
				t,
				h.World,
				source,
				experiment.built,
			)
			if !slices.ContainsFunc(
				image(t, h.World, target, "golden").Tags,
				func(tag types.Tag) bool { return *tag.Key == "predicted" && *tag.Value == key },
			) {
				t.Errorf("predicted was another key than %s", key)
			}
			available(t, h.World, target, "golden", "golden-target")
		})
	}
}

// underNull is the beginning of a template for existing images. The lines of the post-processor block and two closing
// braces must follow.
const underNull = `
source "null" "golden" {
  communicator = "none"
}

build {
  sources = ["source.null.golden"]

  post-processor "encrypted-ami" {`

// encryptedBase turns off encryption by default, and encrypts the newest base image with aws/ebs.
func encryptedBase(t *testing.T, w *World) {
	cloud := w.ec2(source)
	must(cloud.DisableEbsEncryptionByDefault(t.Context(), &ec2.DisableEbsEncryptionByDefaultInput{}))(t)
	base := image(t, w, source, "base-1")
	copied(t, w, &ec2.CopyImageInput{Name: aws.String("base-2"), SourceImageId: base.ImageId, Encrypted: aws.Bool(true)})
}

// available checks that an account's image is available, and that the account owns all its snapshots under the key of
// an alias.
func available(t *testing.T, w *World, account, name, alias string) {
	t.Helper()
	golden := image(t, w, account, name)
	if golden.State != types.ImageStateAvailable || len(golden.BlockDeviceMappings) != 2 {
		t.Errorf("%s of %s is %s and has %d volumes", *golden.ImageId, account, golden.State, len(golden.BlockDeviceMappings))
	}
	key := keyARN(t, w, account, alias)
	for device, snapshot := range snapshots(t, w, account, golden) {
		if *snapshot.OwnerId != account || aws.ToString(snapshot.KmsKeyId) != key {
			t.Errorf("%s: %s of %s is under %s, want %s "+
				"(%s)", device, *snapshot.SnapshotId, *snapshot.OwnerId, aws.ToString(snapshot.KmsKeyId), key, alias)
		}
	}
}

func TestBuild_olderPluginInstalled(t *testing.T) { // packer then uses the encoding gob with all plugins
	h := newHost(t, template("", sharing(prod)))
	h.Env = []string{"PACKER_FORCE_GOB=1"}
	h.packer(t, 0, "build", "-color=false", ".")
	available(t, h.World, target, "golden", "golden-target")
}

func TestBuild_sourceAccountAsTarget(t *testing.T) {
	h := newHost(t, template("", sharing(`
      account_ids = ["111111111111"]
      kms_key_id  = "alias/golden-source"
`)))
	h.packer(t, 0, "build", "-color=false", ".")
	available(t, h.World, source, "golden", "aws/ebs")
	available(t, h.World, source, "golden (encrypted)", "golden-source")
}

// The volumes of the copy have the initialization rate of the target, and those of the built AMI have none.
func TestBuild_volumeInitializationRate(t *testing.T) {
	h := newHost(t, template("", sharing(prod+"volume_initialization_rate = 200\n")))
	h.packer(t, 0, "build", "-color=false", ".")
	for account, want := range map[string]int32{source: 0, target: 200} {
		for _, device := range image(t, h.World, account, "golden").BlockDeviceMappings {
			if got := aws.ToInt32(device.Ebs.VolumeInitializationRate); got != want {
				t.Errorf("%s of account %s has the rate %d, want %d", *device.DeviceName, account, got, want)
			}
		}
	}
}
