// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// everything returns a testWorld and a request with all options. The source is a Windows image under aws/ebs. The
// target has the previous release, a foreign image with the requested name, and a launch template.
func everything(t *testing.T, method distribution.Method) *testWorld {
	h := build(t, mixed[:1], []string{target}, []string{home})
	h.with = func(req *distribution.Request) { req.ImageFamily = "web" }
	h.released(1, nil)
	h.older = []string{h.images[0].ImageID}
	h.bought("bp-0002") // fast launch is for Windows
	h.older = append(h.older, h.images[0].ImageID)
	h.images[0].ImageID = h.copied(h.images[0].ImageID, "golden 2", "alias/aws/ebs")
	h.role(t.Context(), iam.NewFromConfig(h.Config(friend, home)))
	h.autoScaling(friend)
	h.template(target, home, "web")
	h.occupy(target, home, "web")
	license := h.licensed(target, home)
	h.addShareBlock(func(req *distribution.Request) {
		everyWish(req, method)
		req.Targets[0].Licenses = []distribution.Text{distribution.Text(license)}
	})
	h.putSourceKeyPolicies()
	h.audit = func() (int, int) { return h.made(friend) }
	return h
}

// sharedParameter is the parameter of the source account that names the shared image.
const sharedParameter = "/golden/shared"

// everyWish sets all options of a request.
func everyWish(req *distribution.Request, method distribution.Method) {
	req.TestCopy, req.SourceKeyAccess, req.PublishAll, req.ImageFamily = aws.Bool(true), distribution.ByGrant, true, "web"
	req.Shares = []distribution.Share{
		{
			Name:       "friends",
			AccountIDs: []string{friend},
			Grants:     []distribution.Grant{{}},
			Roles:      []distribution.Role{{RoleName: roleName, ExternalID: "golden"}},
			PublishTargets: distribution.PublishTargets{
				Parameters: []distribution.Parameter{{Name: sharedParameter, Type: "String", DataType: "aws:ec2:image"}},
			},
		},
	}
	req.Watermarks = []string{"golden"}
	wanted := &req.Targets[0]
	wanted.Method, wanted.AMIName, wanted.CopyMinutes = method, "web", 30
	wanted.Watermarks = []string{"approved"}
	if method == distribution.BySnapshot {
		wanted.VolumeRate = 200
	}
	wanted.Tags, wanted.SnapshotTags = map[string]distribution.Text{
		"Team": "web",
	}, map[string]distribution.Text{
		"Team": "web",
	}
	wanted.Grants = []distribution.Grant{{Grantee: "arn:aws:iam::{{ .AccountId }}:role/" + roleName}}
	wanted.LaunchCheck = &distribution.LaunchCheck{InstanceType: "t2.micro"} // the image has no ENA support
	wanted.Lifecycle = distribution.Lifecycle{
		DeprecateAt:         time.Now().Add(24 * time.Hour),
		Protection:          &distribution.Protection{},
		FastLaunch:          &distribution.FastLaunch{TargetResourceCount: 10},
		Users:               distribution.LaunchPermissions{Accounts: []string{friend}},
		ForceDeregister:     true,
		ForceDeleteSnapshot: true,
	}
	wanted.Retention = distribution.Retention{Releases: 1}
	wanted.Parameters, wanted.Templates = []distribution.Parameter{
		named,
		hidden,
	}, []distribution.LaunchTemplate{
		webDefault,
	}
}

// made counts what is missing and what exists twice among template versions, parameter versions, grants and lifecycle
// options.
func (h *testWorld) made(launchers string) (missing, twice int) {
	h.t.Helper()
	exactly := func(n int) {
		missing, twice = missing+max(1-n, 0), twice+max(n-1, 0)
	}
	is := func(so bool) {
		if !so {
			missing++
		}
	}
	parameter, versions := h.publishedVersions(target)
	exactly(int(versions))
	// if AWS did not show the parameter yet, the run wrote it twice: the same value and one more version
	is(parameter >= 1 && parameter <= 2)
	shared, err := ssm.NewFromConfig(h.Config(source, home)).
		GetParameter(context.Background(), &ssm.GetParameterInput{Name: aws.String(sharedParameter)})
	is(err == nil && shared.Parameter.Version <= 2)
	for _, image := range h.ownImages(source, home) {
		isSource := slices.Contains(h.older, aws.ToString(image.ImageId)) // not watermarked
		is(isSource || slices.Contains(step.WatermarkKeys(image), step.WatermarkKey(source, "golden")))
	}
	granted := func(account, key, name string) int {
		return len(slices.DeleteFunc(
			h.grants(account, home, key),
			func(g kmstypes.GrantListEntry) bool { return aws.ToString(g.Name) != name },
		))
	}
	exactly(granted(target, targetAlias, "encrypted-ami:"+roleName))
	exactly(granted(source, sourceAlias, "encrypted-ami:AWSServiceRoleForAutoScaling"))
	for _, image := range h.ownImages(target, home) {
		exactly(len(h.licensesOf(target, home, aws.ToString(image.ImageId))))
		is(
			aws.ToString(image.Name) == "web" && image.DeprecationTime != nil &&
				strings.HasPrefix(aws.ToString(image.DeregistrationProtection), "enabled"),
		)
		is(slices.Contains(step.WatermarkKeys(image), step.WatermarkKey(target, "approved")))
		is(slices.Contains(h.launchable(target, home, aws.ToString(image.ImageId)).Accounts, launchers))
		fast, err := h.ec2(target, home).DescribeFastLaunchImages(context.Background(), &ec2.DescribeFastLaunchImagesInput{
			ImageIds: []string{aws.ToString(image.ImageId)},
		})
		h.must(err)
		is(len(fast.FastLaunchImages) == 1)
	}
	return missing, twice
}
