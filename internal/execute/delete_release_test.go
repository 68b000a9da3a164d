// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// newRetentionWorld returns a testWorld that keeps two releases.
func newRetentionWorld(t *testing.T) *testWorld {
	h := build(t, mixed[1:2], []string{target}, []string{home})
	h.with = func(req *distribution.Request) {
		req.ImageFamily = "web"
		req.Targets[0].Retention.Releases = 2
	}
	return h
}

// released distributes the nth release, which was built a day after the previous one. The first exists already.
func (h *testWorld) released(n int, with func(*distribution.Request)) distribution.Result {
	h.t.Helper()
	if n > 1 {
		time.Sleep(24 * time.Hour)
		made, err := h.ec2(source, home).RegisterImage(h.t.Context(), &ec2.RegisterImageInput{
			Name:               aws.String(fmt.Sprintf("golden %d", n)),
			Architecture:       ec2types.ArchitectureValuesArm64,
			VirtualizationType: aws.String("hvm"),
			RootDeviceName:     aws.String("/dev/xvda"),
			EnaSupport:         aws.Bool(true),
			BlockDeviceMappings: []ec2types.BlockDeviceMapping{
				{
					DeviceName: aws.String("/dev/xvda"),
					Ebs:        &ec2types.EbsBlockDevice{SnapshotId: h.ownSnapshots(source, home)[0].SnapshotId},
				},
			},
		})
		h.must(err)
		h.images = []distribution.SourceImage{{Region: home, ImageID: aws.ToString(made.ImageId)}}
		time.Sleep(5 * time.Minute)
	}
	req := h.request()
	req.RunID = fmt.Sprintf("run-%d", n)
	if with != nil {
		with(&req)
	}
	_, result := h.run(h.t.Context(), req)
	if len(result.Images) != 1 {
		h.t.Fatalf("release %d is not distributed: %+v", n, result.Findings)
	}
	return result
}

// kept returns the sorted names of the target's images. It checks that there are as many snapshots as images.
func (h *testWorld) kept() string {
	h.t.Helper()
	var names []string
	images := h.ownImages(target, home)
	for _, i := range images {
		names = append(names, aws.ToString(i.Name))
	}
	if n := len(h.ownSnapshots(target, home)); n != len(images) {
		h.t.Errorf("%d snapshots of %d images", n, len(images))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (h *testWorld) named(name string) ec2types.Image {
	h.t.Helper()
	images := h.ownImages(target, home)
	i := slices.IndexFunc(images, func(i ec2types.Image) bool { return aws.ToString(i.Name) == name })
	if i < 0 {
		h.t.Fatalf("no image %q", name)
	}
	return images[i]
}

func TestDeleteRelease_withSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRetentionWorld(t)
		for n, want := range []string{"golden 1", "golden 1, golden 2", "golden 2, golden 3", "golden 3, golden 4"} {
			if result := h.released(n+1, nil); len(result.Findings)+len(result.Left) > 0 {
				t.Errorf("release %d: %+v %+v", n+1, result.Findings, result.Left)
			}
			if got := h.kept(); got != want {
				t.Errorf("after release %d there are %s, want %s", n+1, got, want)
			}
		}
		if line, of := h.named("golden 4").Tags, len(h.Records().Calls("ec2:DeregisterImage")); of != 2 ||
			slices.ContainsFunc(line, func(tag ec2types.Tag) bool { return *tag.Key == provenance.TagImageFamily }) {
			t.Errorf("%d images were deregistered; the target's has the tags %+v", of, line)
		}
	})
}

func TestDeleteRelease_tooYoung(t *testing.T) {
	for keep, want := range map[distribution.Retention]string{
		{For: 36 * time.Hour}:              "golden 2, golden 3",
		{For: 60 * time.Hour}:              "golden 1, golden 2, golden 3",
		{Releases: 1, For: 36 * time.Hour}: "golden 2, golden 3",
		{Releases: 3, For: time.Hour}:      "golden 1, golden 2, golden 3",
		{Releases: 1}:                      "golden 3",
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newRetentionWorld(t)
			never := func(req *distribution.Request) { req.Targets[0].Retention = distribution.Retention{} }
			h.released(1, never)
			h.released(2, never)
			h.released(3, func(req *distribution.Request) { req.Targets[0].Retention = keep })
			if got := h.kept(); got != want {
				t.Errorf("%+v keeps %s, want %s", keep, got, want)
			}
		})
	}
}

// An older release stays if it is protected, in use, named or shared, or if no signature proves that it belongs to the
// image family. The run reports each, except releases of other image families.
func TestDeleteRelease_needed(t *testing.T) {
	for _, c := range []struct {
		why      string
		do       func(h *testWorld, old ec2types.Image)
		reported string
	}{
		{"protected", func(h *testWorld, old ec2types.Image) {
			_, err := h.ec2(target, home).EnableImageDeregistrationProtection(
				h.t.Context(),
				&ec2.EnableImageDeregistrationProtectionInput{ImageId: old.ImageId},
			)
			h.must(err)
		}, "protected against"},
		{"shared", func(h *testWorld, old ec2types.Image) {
			_, err := h.ec2(target, home).ModifyImageAttribute(h.t.Context(), &ec2.ModifyImageAttributeInput{
				ImageId: old.ImageId,
				LaunchPermission: &ec2types.LaunchPermissionModifications{
					Add: []ec2types.LaunchPermission{{UserId: aws.String("333333333333")}},
				},
			})
			h.must(err)
		}, "others may launch it"},
		{"launched", func(h *testWorld, old ec2types.Image) {
			_, err := h.ec2(target, home).RunInstances(h.t.Context(), &ec2.RunInstancesInput{
				ImageId:      old.ImageId,
				InstanceType: "t4g.micro",
				MinCount:     aws.Int32(1),
				MaxCount:     aws.Int32(1),
			})
			h.must(err)
		}, "was launched from it"},
		{"in a launch template's older version", func(h *testWorld, old ec2types.Image) {
			_, err := h.ec2(target, home).CreateLaunchTemplate(h.t.Context(), &ec2.CreateLaunchTemplateInput{
				LaunchTemplateName: aws.String("web"),
				LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: old.ImageId},
			})
			h.must(err)
			for range 11 {
				_, err := h.ec2(target, home).CreateLaunchTemplateVersion(h.t.Context(), &ec2.CreateLaunchTemplateVersionInput{
					LaunchTemplateName: aws.String("web"),
					LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0123456789abcdef0")},
				})
				h.must(err)
			}
		}, "launch-template/"},
		{
			"no permission to look",
			func(h *testWorld, _ ec2types.Image) { h.forbid(target, "ec2:DescribeImageReferences") },
			"could not be looked at",
		},
		{
			"no permission to remove",
			func(h *testWorld, _ ec2types.Image) { h.forbid(target, "ec2:DeregisterImage") },
			"UnauthorizedOperation",
		},
		{
			"its source image is gone",
			func(h *testWorld, _ ec2types.Image) { h.deregisterSourceImage() },
			"no valid signature proves",
		},
		{
			"its image family is unknown",
			func(h *testWorld, _ ec2types.Image) { h.setImageFamily("") },
			"no valid signature proves",
		},
		{"of another image family", func(h *testWorld, _ ec2types.Image) { h.setImageFamily("db") }, ""},
		{"an invalid signature", func(h *testWorld, old ec2types.Image) {
			_, err := h.ec2(target, home).CreateTags(h.t.Context(), &ec2.CreateTagsInput{
				Resources: []string{*old.ImageId},
				Tags:      []ec2types.Tag{{Key: aws.String(provenance.TagSignature), Value: aws.String("00")}},
			})
			h.must(err)
		}, "no valid signature proves"},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newRetentionWorld(t)
				h.released(1, nil)
				c.do(h, h.named("golden 1"))
				h.released(2, nil)
				result := h.released(3, nil)
				if got := h.kept(); got != "golden 1, golden 2, golden 3" {
					t.Errorf("there are %s", got)
				}
				p, _ := h.run(t.Context(), h.request())
				said := fmt.Sprint(result.Findings, p.Findings)
				if !strings.Contains(said, c.reported) || c.reported == "" && len(result.Findings)+len(p.Findings) > 0 {
					t.Errorf("reported: %s", said)
				}
			})
		})
	}
}

// deregisterSourceImage deregisters the source image of the first release.
func (h *testWorld) deregisterSourceImage() {
	h.t.Helper()
	_, err := h.ec2(source, home).
		DeregisterImage(h.t.Context(), &ec2.DeregisterImageInput{ImageId: aws.String(h.oldest())})
	h.must(err)
}

// setImageFamily sets the image family of the source image of the first release. Empty removes it.
func (h *testWorld) setImageFamily(to string) {
	h.t.Helper()
	tag := ec2types.Tag{Key: aws.String(provenance.TagImageFamily), Value: aws.String(to)}
	client := h.ec2(source, home)
	if to == "" {
		_, err := client.DeleteTags(
			h.t.Context(),
			&ec2.DeleteTagsInput{Resources: []string{h.oldest()}, Tags: []ec2types.Tag{{Key: tag.Key}}},
		)
		h.must(err)
		return
	}
	_, err := client.CreateTags(
		h.t.Context(),
		&ec2.CreateTagsInput{Resources: []string{h.oldest()}, Tags: []ec2types.Tag{tag}},
	)
	h.must(err)
}

func (h *testWorld) oldest() string { return h.images[0].ImageID }

func TestDeleteRelease_dryRunRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRetentionWorld(t)
		h.released(1, nil)
		old := aws.ToString(h.named("golden 1").ImageId)
		h.released(2, nil)
		result := h.released(3, func(req *distribution.Request) { req.Targets[0].Retention.DryRun = true })
		if len(result.Findings) != 1 || result.Findings[0].Resource != old ||
			!strings.Contains(result.Findings[0].Summary, "would be removed") {
			t.Errorf("reported: %+v", result.Findings)
		}
		if got := h.kept(); got != "golden 1, golden 2, golden 3" {
			t.Errorf("there are %s", got)
		}
	})
}

// An older release is distributed again. The run deletes no newer release for it, and keeps the older one.
func TestDeleteRelease_olderReleaseAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRetentionWorld(t)
		first := h.images
		h.released(1, nil)
		h.released(2, nil)
		h.images = first
		h.released(1, func(req *distribution.Request) { req.Targets[0].Retention.Releases = 1 })
		if got := h.kept(); got != "golden 1, golden 2" {
			t.Errorf("there are %s", got)
		}
	})
}

// A run may be canceled before or after a deletion, or lose the response to it. The next run completes the deletion.
func TestDeleteRelease_resumedAfterCutOff(t *testing.T) {
	for _, fault := range []awssim.Fault{awssim.LostResponse, awssim.LateError, awssim.ServerError} {
		synctest.Test(t, func(t *testing.T) {
			h := newRetentionWorld(t)
			h.released(1, nil)
			h.released(2, nil)
			h.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:DeregisterImage", Times: 1})
			h.released(3, nil)
			if got := h.kept(); got != "golden 2, golden 3" {
				t.Errorf("%s: there are %s", fault, got)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		h := newRetentionWorld(t)
		h.released(1, nil)
		h.released(2, nil)
		h.forbid(target, "ec2:DeregisterImage")
		h.released(3, nil)
		h.forgive(target)
		_, result := h.run(t.Context(), h.request())
		if len(result.Findings)+len(result.Left) > 0 {
			t.Errorf("%+v %+v", result.Findings, result.Left)
		}
		if got := h.kept(); got != "golden 2, golden 3" {
			t.Errorf("there are %s", got)
		}
	})
}

// A run may crash after it has begun the first of two deletions. The next run completes both.
func TestDeleteRelease_resumedAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRetentionWorld(t)
		never := func(req *distribution.Request) { req.Targets[0].Retention = distribution.Retention{} }
		for n := range 3 {
			h.released(n+1, never)
		}
		ctx, die := context.WithCancelCause(t.Context())
		connection := &cord{World: h.World}
		pool, req := h.pool(ctx, connection), h.request()
		req.Targets[0].Retention.Releases = 1
		runPlan(ctx, pool, h.decide(ctx, pool, req), options(req), func(e distribution.Event) {
			if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "retire/") {
				connection.cut.Store(true)
				die(awssim.ErrCrashed)
			}
		})
		if got := h.kept(); got != "golden 1, golden 2, golden 3" {
			t.Errorf("after the run that died there are %s", got)
		}
		_, result := h.run(t.Context(), req)
		h.complete(result)
		if got := h.kept(); got != "golden 3" {
			t.Errorf("there are %s", got)
		}
	})
}
