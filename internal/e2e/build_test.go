// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// head of the templates: the plugins, and an image built from "base-1"; options are more lines of the source block.
func head(options string) string {
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
  region        = "` + region + `"
  instance_type = "t3.micro"
  ami_name      = "golden"
  communicator  = "none"
  source_ami_filter {
    owners      = ["self"]
    most_recent = true
    filters     = { name = "base-*" }
  }
  ` + options + `
}
`
}

func TestTheRealBuilderRunsToTheEndInTheSimulatedAWS(t *testing.T) {
	h := newHost(t, head("")+`build { sources = ["source.amazon-ebs.golden"] }`)
	baseImage(t, h.World, source, "")
	output := h.packer(t, 0, "build", ".")
	golden := named(t, images(t, h.World, source), "golden")
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

// named finds an image by its name.
func named(t *testing.T, images []types.Image, name string) types.Image {
	t.Helper()
	for _, image := range images {
		if aws.ToString(image.Name) == name {
			return image
		}
	}
	t.Fatalf("no image is named %q among %d", name, len(images))
	return types.Image{}
}
