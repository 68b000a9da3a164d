// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
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
)

// withLifecycle sets all lifecycle options of a target.
func withLifecycle(req *distribution.Request) {
	req.Targets[0].CopyMinutes = 30
	req.Targets[0].Tags = map[string]distribution.Text{"ec2:SharedTag/Release": "1"}
	req.Targets[0].Lifecycle = distribution.Lifecycle{
		DeprecateAt: time.Now().Add(90 * 24 * time.Hour), Protection: &distribution.Protection{Cooldown: true},
		Users: distribution.LaunchPermissions{
			Accounts: []string{friend}, Organizations: []string{"arn:aws:organizations::111111111111:organization/o-1234567890"},
			Units: []string{"arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"},
		},
	}
}

// The image has the lifecycle options of its target, by either copy method. The next run changes nothing.
func TestLifecycle_everyOption(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed, []string{"222222222222"}, []string{home})
				h.with = func(req *distribution.Request) {
					withLifecycle(req)
					req.Targets[0].Method = method
				}
				begun := time.Now()
				for range 2 {
					_, result := h.run(t.Context(), h.request())
					h.complete(result)
					image := h.ownImages("222222222222", home)[0]
					at, err := time.Parse(time.RFC3339, aws.ToString(image.DeprecationTime))
					if days := at.Sub(begun).Hours() / 24; err != nil || days < 89.9 || days > 90.1 {
						t.Errorf("deprecated %v days after the run began: %v", days, err)
					}
					if p := aws.ToString(image.DeregistrationProtection); p != "enabled-with-cooldown" {
						t.Errorf("protection is %q", p)
					}
					users := h.launchable("222222222222", home, aws.ToString(image.ImageId))
					if !slices.Equal(users.Accounts, []string{friend}) || len(users.Organizations) != 1 || len(users.Units) != 1 {
						t.Errorf("may be launched by %v", users)
					}
				}
				for _, s := range h.ownSnapshots("222222222222", home) {
					if aws.ToInt32(s.CompletionDurationMinutes) != 30 {
						t.Errorf(
							"%s was to be copied within %d minutes",
							aws.ToString(s.SnapshotId),
							aws.ToInt32(s.CompletionDurationMinutes),
						)
					}
				}
				seen, err := h.ec2(friend, home).
					DescribeImages(t.Context(), &ec2.DescribeImagesInput{ExecutableUsers: []string{"self"}})
				h.must(err)
				if len(seen.Images) != 1 || len(seen.Images[0].Tags) != 1 {
					t.Errorf("account %s sees %+v, want the image with its tag that is made to be shared (9.13)", friend, seen.Images)
				}
			})
		})
	}
}

// Another user may revoke a launch permission at once. The run reports that the account cannot launch the image (rule
// 4.4.2).
func TestLifecycle_permissionRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		req := h.request()
		req.Targets[0].Lifecycle.Users.Accounts = []string{friend}
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, req)
		result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "users/") {
				time.AfterFunc(10*time.Millisecond, func() { h.drift("222222222222") })
			}
		})
		if len(result.Images) > 0 || len(result.Findings) != 1 || !strings.Contains(result.Findings[0].Detail, friend) {
			t.Errorf("images %+v, findings %+v", result.Images, result.Findings)
		}
	})
}

// drift removes every launch permission of an account's images, repeatedly for a minute.
func (h *testWorld) drift(account string) {
	for range 60 {
		for _, image := range h.ownImages(account, home) {
			_, err := h.ec2(account, home).ResetImageAttribute(context.Background(), &ec2.ResetImageAttributeInput{
				ImageId:   image.ImageId,
				Attribute: ec2types.ResetImageAttributeNameLaunchPermission,
			})
			h.must(err)
		}
		time.Sleep(time.Second)
	}
}

// A destination succeeds even if a leftover of an earlier run cannot be deleted. The run reports the leftover.
func TestLeftover_failedRemovalFailsNoTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{target}, []string{home})
		h.Inject(awssim.FaultRule{Fault: awssim.LateCopyFailure, Account: target, Action: "ec2:CopySnapshot", Nth: 1})
		h.forbid(target, "ec2:DeleteSnapshot")
		if _, result := h.run(t.Context(), h.request()); len(result.Images) > 0 {
			t.Fatalf("%+v", result.Images)
		}
		_, result := h.run(t.Context(), h.request())
		if len(result.Images) != 1 || len(result.Left) != 1 {
			t.Errorf("%d images, left %+v", len(result.Images), result.Left)
		}
	})
}

// An image without all options of its target is unfinished, and the next run continues with it.
func TestDeprecateImage_resumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		h.with = withLifecycle
		h.forbid("222222222222", "ec2:EnableImageDeprecation")
		if _, result := h.run(t.Context(), h.request()); len(result.Images) != 0 || len(result.Findings) != 1 {
			t.Errorf("served %+v with %+v", result.Images, result.Findings)
		}
		h.forgive("222222222222")
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
	})
}

// A Windows image gets the target's fast launch settings, whether it had none or others. A second run makes no call.
func TestLifecycle_fastLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[:1], []string{"222222222222"}, []string{home})
		h.bought("bp-0002")
		client := h.ec2("222222222222", home)
		_, err := client.CreateLaunchTemplate(
			t.Context(),
			&ec2.CreateLaunchTemplateInput{
				LaunchTemplateName: aws.String("windows"),
				LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT3Nano},
			},
		)
		h.must(err)
		for i, want := range []distribution.FastLaunch{
			{},
			{},
			{TargetResourceCount: 10, MaxParallelLaunches: 8},
			{TargetResourceCount: 10, MaxParallelLaunches: 8, TemplateName: "windows", TemplateVersion: 1},
			{TargetResourceCount: 10, MaxParallelLaunches: 8, TemplateName: "windows", TemplateVersion: 1},
		} {
			h.with = func(req *distribution.Request) {
				req.Targets[0].Method, req.Targets[0].Lifecycle.FastLaunch = distribution.ByImage, &want
			}
			_, result := h.run(t.Context(), h.request())
			h.complete(result)
			out, err := client.DescribeFastLaunchImages(t.Context(), &ec2.DescribeFastLaunchImagesInput{})
			h.must(err)
			if len(out.FastLaunchImages) != 1 || aws.ToString(out.FastLaunchImages[0].ImageId) != result.Images[0].ImageID {
				t.Fatalf("run %d: fast launch of %+v, want it of %s", i, out.FastLaunchImages, result.Images[0].ImageID)
			}
			seen := distribution.FastLaunch{}
			if s := out.FastLaunchImages[0].SnapshotConfiguration; s != nil {
				seen.TargetResourceCount, seen.MaxParallelLaunches = int(aws.ToInt32(s.TargetResourceCount)), int(
					aws.ToInt32(out.FastLaunchImages[0].MaxParallelLaunches),
				)
			}
			if named := out.FastLaunchImages[0].LaunchTemplate; named != nil {
				seen.TemplateName, seen.TemplateVersion = aws.ToString(named.LaunchTemplateName), 1
			}
			if calls := []int{1, 1, 2, 3, 3}[i]; seen != want || h.calls("ec2:EnableFastLaunch") != calls {
				t.Errorf("run %d: fast launch is %+v after %d calls, want %+v after "+
					"%d", i, seen, h.calls("ec2:EnableFastLaunch"), want, calls)
			}
		}
	})
}
