// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

const externalID = "-var=external_id=golden-images-4711"

// prepareWeb creates the launch template that the target publishes in.
func prepareWeb(t *testing.T, w *World) {
	t.Helper()
	setTargetPolicy(t, w, `{"Version":"2012-10-17","Statement":[{
		"Effect":"Allow",
		"Action":["ec2:*","kms:*","ssm:*","imagebuilder:*"],
		"Resource":"*"
	}]}`)
	must(w.ec2(target).CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("web"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{InstanceType: types.InstanceTypeT3Micro},
	}))(t)
}

// TestPromote_afterBuild builds and publishes a release. It builds the next one with publish = "hold", promotes it and
// rolls it back. After each run it reads the parameter and the launch template in the target account.
func TestPromote_afterBuild(t *testing.T) {
	h := newHost(t, string(must(os.ReadFile("../../example/promote/template.pkr.hcl"))(t)))
	prepareWeb(t, h.World)

	// builds returns the AMI of a build in the source account, and its copy in the target account.
	builds := func(arguments ...string) (built, owned string) {
		h.packer(t, 0, append([]string{
			"build", "-color=false", "-only=amazon-ebs.golden", "-var=poll_interval=1s", externalID,
		}, append(arguments, ".")...)...)
		return h.newestManifest(t)
	}
	move := func(mode, source string) string {
		existing := string(must(json.Marshal(map[string]string{region: source}))(t))
		return h.packer(t, 0, "build", "-color=false", "-only=null.release", "-var=poll_interval=1s", externalID,
			"-var=mode="+mode, "-var=existing_amis="+existing, ".")
	}

	_, first := builds("-var=publish=each")
	expectPublished(t, h.World, "the first build", first)
	second, copied := builds()
	expectPublished(t, h.World, "the held build", first)
	if first == copied {
		t.Fatalf("both builds have the copy %s", first)
	}

	move("promote", second)
	expectPublished(t, h.World, "the promotion", copied)
	move("rollback", second)
	expectPublished(t, h.World, "the rollback", first)
	move("promote", second)
	expectPublished(t, h.World, "the second promotion", copied)

	says(t, move("usage", second), "Release "+second, copied+": 1 launch template, 1 SSM parameter",
		first+": 1 launch template")
}

// newestManifest returns the source AMI and the AMI of the target in the manifest of the last build.
func (h Host) newestManifest(t *testing.T) (built, owned string) {
	t.Helper()
	folders := must(filepath.Glob(filepath.Join(h.Folder, "encrypted-ami", "*")))(t)
	var newest os.FileInfo
	for _, folder := range folders {
		path := filepath.Join(folder, "manifest.json")
		info := must(os.Stat(path))(t)
		if newest != nil && info.ModTime().Before(newest.ModTime()) {
			continue
		}
		newest = info

		var manifest struct {
			Images []struct {
				ID string `json:"ami_id"`
			} `json:"source_amis"`
			Destinations []struct {
				ID string `json:"ami_id"`
			} `json:"destinations"`
		}
		if err := json.Unmarshal(must(os.ReadFile(path))(t), &manifest); err != nil {
			t.Fatal(err)
		}
		built, owned = manifest.Images[0].ID, manifest.Destinations[0].ID
	}
	return built, owned
}

// expectPublished asks the target account for the value of its parameter and for the default version of its launch
// template.
func expectPublished(t *testing.T, w *World, after, want string) {
	t.Helper()
	parameter := must(ssm.NewFromConfig(w.Config(target, region)).GetParameter(
		t.Context(), &ssm.GetParameterInput{Name: aws.String("/golden/ami")},
	))(t).Parameter
	versions := must(w.ec2(target).DescribeLaunchTemplateVersions(
		t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
			LaunchTemplateName: aws.String("web"), Versions: []string{"$Default"},
		},
	))(t).LaunchTemplateVersions
	got := [2]string{*parameter.Value, aws.ToString(versions[0].LaunchTemplateData.ImageId)}
	if got != [2]string{want, want} {
		t.Errorf("after %s the parameter and the launch template name %v, want %s", after, got, want)
	}
}

// TestSourceRetention_afterBuild builds two releases. The source AMI of the first one is deregistered. Its copy can
// still be proved, so mode = "usage" finds it.
func TestSourceRetention_afterBuild(t *testing.T) {
	text := string(must(os.ReadFile("../../example/promote/template.pkr.hcl"))(t))
	h := newHost(t, strings.Replace(text, `"golden"
    kms_key_id`, `"golden"
    source_retention {
      keep_releases = 1
    }
    kms_key_id`, 1))
	prepareWeb(t, h.World)
	addBuilderPolicy(t, h.World, `{"Version":"2012-10-17","Statement":[{
		"Effect":"Allow",
		"Action":["ec2:*","ssm:*","imagebuilder:*"],
		"Resource":"*"
	}]}`)

	build := func() (built, owned string) {
		h.packer(t, 0, "build", "-color=false", "-only=amazon-ebs.golden", "-var=poll_interval=1s",
			"-var=publish=each", externalID, ".")
		return h.newestManifest(t)
	}
	first, copied := build()
	second, _ := build()
	images := must(h.World.ec2(source).DescribeImages(t.Context(), &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("image-id"), Values: []string{first, second}}},
	}))(t).Images
	if len(images) != 1 || *images[0].ImageId != second {
		t.Errorf("the source account has %d of both source AMIs", len(images))
	}

	says(t, h.packer(t, 0, "build", "-color=false", "-only=null.release", "-var=poll_interval=1s", externalID,
		"-var=mode=usage", "-var=existing_amis="+string(must(json.Marshal(map[string]string{region: second}))(t)), "."),
		"Release "+first, copied+": 1 launch template")
}

// TestRelease_watermarksShareAndDisabled distributes two releases with watermarks, a shared AMI that a parameter names,
// and a retention that disables the release before. AWS then has all of that.
func TestRelease_watermarksShareAndDisabled(t *testing.T) {
	const friend = "555555555555"
	text := string(must(os.ReadFile("../../example/promote/template.pkr.hcl"))(t))
	for old, replacement := range map[string]string{
		"keep_releases = 3": "keep_releases = 1\n disable_releases = 1",
		// A version of a launch template would still name the release before, so that it stays.
		`      launch_template {
        name                = "web"
        set_default_version = true
      }
`: "",
		"    target {\n": `
    watermarks = ["golden"]
    share {
      account_ids = ["` + friend + `"]
      ssm_parameter {
        name = "/golden/shared"
      }
    }
    target {
      watermarks = ["approved"]
`,
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("the template has %q %d times", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	h := newHost(t, text)
	prepareWeb(t, h.World)
	addBuilderPolicy(t, h.World, `{"Version":"2012-10-17","Statement":[{
		"Effect":"Allow",
		"Action":["ec2:*","ssm:*"],
		"Resource":"*"
	}]}`)
	base := *image(t, h.World, source, "base-1").ImageId
	distribute := func(name string) (sourceID, owned string) {
		id := copied(t, h.World, &ec2.CopyImageInput{Name: &name, SourceImageId: &base})
		h.packer(t, 0, "build", "-color=false", "-only=null.release", "-var=poll_interval=1s", "-var=publish=each",
			externalID, "-var=existing_amis="+string(must(json.Marshal(map[string]string{region: id}))(t)), ".")
		return h.newestManifest(t)
	}
	_, first := distribute("golden-1")
	newest, second := distribute("golden-2")

	for _, c := range []struct {
		account, id string
		state       types.ImageState
		watermarks  []string
	}{
		{source, newest, types.ImageStateAvailable, []string{source + ":golden"}},
		{target, second, types.ImageStateAvailable, []string{source + ":golden", target + ":approved"}},
		{target, first, types.ImageStateDisabled, []string{source + ":golden", target + ":approved"}},
	} {
		image := must(h.World.ec2(c.account).DescribeImages(t.Context(), &ec2.DescribeImagesInput{
			ImageIds: []string{c.id}, IncludeDisabled: aws.Bool(true),
		}))(t).Images[0]
		var watermarks []string
		for _, watermark := range image.ImageWatermarks {
			watermarks = append(watermarks, *watermark.WatermarkKey)
		}
		slices.Sort(watermarks)
		if image.State != c.state || !slices.Equal(watermarks, c.watermarks) {
			t.Errorf("%s of account %s is %s and has the watermarks %v, want %s and %v",
				c.id, c.account, image.State, watermarks, c.state, c.watermarks)
		}
	}

	shared := must(ssm.NewFromConfig(h.World.Config(source, region)).GetParameter(
		t.Context(), &ssm.GetParameterInput{Name: aws.String("/golden/shared")},
	))(t).Parameter
	visible := must(h.World.ec2(friend).DescribeImages(t.Context(), &ec2.DescribeImagesInput{
		ImageIds: []string{*shared.Value},
	}))(t).Images
	if len(visible) != 1 {
		t.Errorf("account %s cannot see %s, which the parameter names", friend, *shared.Value)
	}
}
