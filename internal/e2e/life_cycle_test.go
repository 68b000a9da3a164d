// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// markedReleases is a template that attaches watermarks, shares the AMI under a parameter of the source account, and
// disables the release before.
const markedReleases = `
variable "image" { type = string }
` + underNull + `
    kms_key_id    = "alias/golden-source"
    existing_amis = { "ap-northeast-1" = var.image }
    image_family  = "web"
    watermarks    = ["golden"]
    poll_interval = "1s"

    share {
      account_ids = ["999999999999"]
      ssm_parameter {
        name = "/golden/shared"
      }
    }

    target {
` + prod + `
      watermarks = ["approved"]
      retention {
        keep_releases    = 1
        disable_releases = 1
      }
    }
  }
}
`

// TestLifecycle_secondRelease distributes two releases. After each run it reads the watermarks, the parameter in the
// source account, and the state of each release in the target account.
func TestLifecycle_secondRelease(t *testing.T) {
	h := newHost(t, markedReleases)
	w := h.World
	addBuilderPolicy(t, w, `{"Version":"2012-10-17","Statement":[{
		"Effect":"Allow",
		"Action":["ec2:*","ssm:*","imagebuilder:*"],
		"Resource":"*"
	}]}`)
	setTargetPolicy(t, w, `{"Version":"2012-10-17","Statement":[{
		"Effect":"Allow",
		"Action":["ec2:*","kms:*","ssm:*","imagebuilder:*"],
		"Resource":"*"
	}]}`)

	base := *image(t, w, source, "base-1").ImageId
	want := map[string]types.ImageState{}
	for _, name := range []string{"web-1", "web-2"} {
		id := copied(t, w, &ec2.CopyImageInput{Name: &name, SourceImageId: &base})
		h.packer(t, 0, "build", "-color=false", "-var=image="+id, ".")

		expectWatermarks(t, image(t, w, source, name), source+":golden")
		expectWatermarks(t, image(t, w, target, name), source+":golden", target+":approved")
		expectShared(t, w, "/golden/shared", id)
		for older := range want {
			want[older] = types.ImageStateDisabled
		}
		want[name] = types.ImageStateAvailable
		if got := imageStates(t, w, target); !maps.Equal(got, want) {
			t.Errorf("after %s the target has %v, want %v", name, got, want)
		}
	}
}

// expectWatermarks compares the keys of an image's watermarks.
func expectWatermarks(t *testing.T, image types.Image, want ...string) {
	t.Helper()
	var got []string
	for _, watermark := range image.ImageWatermarks {
		got = append(got, aws.ToString(watermark.WatermarkKey))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s has the watermarks %v, want %v", *image.ImageId, got, want)
	}
}

// expectShared requires that a parameter of the source account names a copy of an image, which the target account sees
// with the watermark of the image.
func expectShared(t *testing.T, w *World, parameter, id string) {
	t.Helper()
	named := must(ssm.NewFromConfig(w.Config(source, region)).GetParameter(
		t.Context(), &ssm.GetParameterInput{Name: &parameter},
	))(t).Parameter
	seen := must(w.ec2(target).DescribeImages(
		t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*named.Value}},
	))(t).Images[0]
	if *seen.OwnerId != source || aws.ToString(seen.SourceImageId) != id {
		t.Errorf("%s names an image of account %s and of %s, want %s and %s",
			parameter, *seen.OwnerId, aws.ToString(seen.SourceImageId), source, id)
	}
	expectWatermarks(t, seen, source+":golden")
}

// imageStates returns the states of an account's images by name, with the disabled ones.
func imageStates(t *testing.T, w *World, account string) map[string]types.ImageState {
	t.Helper()
	states := map[string]types.ImageState{}
	for _, image := range must(w.ec2(account).DescribeImages(t.Context(), &ec2.DescribeImagesInput{
		Owners: []string{"self"}, IncludeDisabled: aws.Bool(true),
	}))(t).Images {
		states[*image.Name] = image.State
	}
	return states
}
