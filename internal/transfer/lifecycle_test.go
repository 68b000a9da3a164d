// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// settled asks for everything that a target may want of its image.
func settled(req *plan.Request) {
	req.Targets[0].CopyMinutes = 30
	req.Targets[0].Tags = map[string]plan.Text{"ec2:SharedTag/Release": "1"}
	req.Targets[0].Lifecycle = plan.Lifecycle{
		DeprecateAfter: 90 * 24 * time.Hour, Protection: &plan.Protection{Cooldown: true},
		Users: plan.Audience{Accounts: []string{friend}, Organizations: []string{"arn:aws:organizations::111111111111:organization/o-1234567890"},
			Units: []string{"arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"}},
	}
}

// What a target wants of its image is so, whichever way it got it, and stays so in the next run.
func TestATargetsImageIsDeprecatedProtectedAndShared(t *testing.T) {
	for _, method := range []plan.Method{plan.BySnapshot, plan.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed, []string{"222222222222"}, []string{home})
				h.with = func(req *plan.Request) {
					settled(req)
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
						t.Errorf("%s was to be copied within %d minutes", aws.ToString(s.SnapshotId), aws.ToInt32(s.CompletionDurationMinutes))
					}
				}
				seen, err := h.ec2(friend, home).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ExecutableUsers: []string{"self"}})
				h.must(err)
				if len(seen.Images) != 1 || len(seen.Images[0].Tags) != 1 {
					t.Errorf("account %s sees %+v, want the image with its tag that is made to be shared (9.13)", friend, seen.Images)
				}
			})
		})
	}
}

// An image that is not what its target wants serves nobody yet, and the next run goes on with it.
func TestAnImageThatCannotBeDeprecatedIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		h.with = settled
		h.forbid("222222222222", "ec2:EnableImageDeprecation")
		if _, result := h.run(t.Context(), h.request()); len(result.Images) != 0 || len(result.Findings) != 1 {
			t.Errorf("served %+v with %+v", result.Images, result.Findings)
		}
		h.forgive("222222222222")
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
	})
}
