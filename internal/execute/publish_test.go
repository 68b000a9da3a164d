// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// fleet returns a world with two required accounts and an optional one. Each has a parameter and a launch template to
// publish to.
func fleet(t *testing.T) (*testWorld, distribution.Request) {
	h := build(t, mixed[1:2], []string{"222222222222", "333333333333", "444444444444"}, []string{home})
	req := h.request()
	req.Targets[0].Parameters, req.Targets[0].Templates = []distribution.Parameter{
		named,
	}, []distribution.LaunchTemplate{
		webDefault,
	}
	optional := req.Targets[0]
	optional.Name, optional.Optional, optional.AccountIDs = "optional", true, h.targets[2:]
	req.Targets[0].AccountIDs = h.targets[:2]
	req.Targets, req.PublishAll = append(req.Targets, optional), true
	for _, account := range h.targets {
		_, err := h.ec2(account, home).CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("web"),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0123456789abcdef0")},
		})
		h.must(err)
	}
	return h, req
}

// publishedVersions returns how often an account's image was published: the versions of its parameter, and the versions
// of its launch template after the first.
func (h *testWorld) publishedVersions(account string) (parameter, versions int64) {
	h.t.Helper()
	out, err := ssm.NewFromConfig(h.Config(account, home)).
		GetParameter(context.Background(), &ssm.GetParameterInput{Name: aws.String("/golden/" + home)})
	if err == nil {
		parameter = out.Parameter.Version
	}
	templates, err := h.ec2(account, home).
		DescribeLaunchTemplates(context.Background(), &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{"web"}})
	h.must(err)
	return parameter, aws.ToInt64(templates.LaunchTemplates[0].LatestVersionNumber) - 1
}

// With publish = "all", no parameter or launch template names an image while a required one is missing. The resumed run
// publishes all. Without it, each image is published once it is verified.
func TestPublish_all(t *testing.T) {
	for _, all := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h, req := fleet(t)
			req.PublishAll = all
			h.forbid("333333333333", "ec2:RegisterImage")
			_, result := h.run(t.Context(), req)
			want := int64(1)
			if all {
				want = 0
			}
			for _, account := range []string{"222222222222", "444444444444"} {
				if parameter, versions := h.publishedVersions(account); parameter != want || versions != want ||
					len(h.ownImages(account, home)) != 1 {
					t.Errorf("all %v: %s has a parameter of %d versions and %d versions of the launch "+
						"template", all, account, parameter, versions)
				}
			}
			if len(result.Images) != 2 || result.Images[0].Published() == all {
				t.Errorf("all %v: %+v", all, result.Images)
			}
			h.forgive("333333333333")
			_, result = h.run(t.Context(), req)
			h.complete(result)
			for _, account := range h.targets {
				if parameter, versions := h.publishedVersions(account); parameter != 1 || versions != 1 {
					t.Errorf("all %v: in the end %s has a parameter of %d versions and %d versions of the launch "+
						"template", all, account, parameter, versions)
				}
			}
		})
	}
}

// Publishing waits for the last required image, but not for an optional one.
func TestPublish_optionalTargetFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := fleet(t)
		h.forbid("444444444444", "ec2:RegisterImage")
		_, result := h.run(t.Context(), req)
		if len(result.Images) != 2 || !result.Images[0].Published() || !result.Images[1].Published() {
			t.Errorf("%+v", result.Images)
		}
		last := time.Time{}
		for _, r := range h.Records().Calls("ec2:RegisterImage") {
			if r.Account != "444444444444" && r.At.After(last) {
				last = r.At
			}
		}
		published := h.Records().Calls("ssm:PutParameter")
		published = append(published, h.Records().Calls("ec2:CreateLaunchTemplateVersion")...)
		for _, r := range published {
			if r.At.Before(last) {
				t.Errorf("%s in %s at %s, before the last image was registered", r.Action, r.Account, r.At)
			}
		}
	})
}

// A run crashes at any call while it publishes. The next run sets every reference, none twice, and none while an image
// is missing.
func TestPublish_resumedAfterCrashAtAnyCall(t *testing.T) {
	t.Parallel()
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		h, req := fleet(t)
		line := h.NewCrashingClient(0, false, nil)
		if _, err := h.attemptOf(t.Context(), line, req); err != nil {
			t.Fatal(err)
		}
		calls = line.Calls()
	})
	for call := 1; call <= calls; call++ {
		for _, lost := range []bool{false, true} {
			// TestResume_afterCrashAtAnyCall covers the calls before publishing
			if !*whole && (call < calls*2/3 || lost == (call%2 == 0)) {
				continue
			}
			synctest.Test(t, func(t *testing.T) { publishAfterCrash(t, call, calls, lost) })
		}
	}
	t.Logf("%d calls", calls)
}

// publishAfterCrash lets a run crash at a call, with or without its response, and resumes it.
func publishAfterCrash(t *testing.T, call, calls int, lost bool) {
	t.Helper()
	h, req := fleet(t)
	ctx, die := context.WithCancelCause(t.Context())
	_, _ = h.attemptOf(ctx, h.NewCrashingClient(call, lost, die), req)
	images := 0
	for _, account := range h.targets[:2] {
		images += len(h.ownImages(account, home))
	}
	for _, account := range h.targets {
		if parameter, versions := h.publishedVersions(account); parameter+versions > 0 && images < 2 {
			t.Errorf("dies at call %d of %d, its answer lost %v: %s is published while there are %d "+
				"images", call, calls, lost, account, images)
		}
	}
	req.RunID = "run-2"
	result, err := h.attemptOf(t.Context(), h.NewCrashingClient(0, false, nil), req)
	missing, twice, left := h.census()
	if err != nil || missing+twice+left+len(result.Left)+len(result.Findings) > 0 {
		t.Errorf("dies at call %d of %d, its answer lost %v: %v, %d missing, %d too many, %d orphans, "+
			"%+v", call, calls, lost, err, missing, twice, left, result.Findings)
	}
	for _, account := range h.targets {
		// If AWS did not show the parameter yet, the run wrote it twice: the same value and one more version.
		if parameter, versions := h.publishedVersions(account); parameter < 1 || parameter > 2 || versions != 1 {
			t.Errorf("dies at call %d of %d, its answer lost %v: %s has a parameter of %d versions and %d versions of the "+
				"launch template", call, calls, lost, account, parameter, versions)
		}
	}
	time.Sleep(10 * time.Minute) // what the dead run had in progress ends
}
