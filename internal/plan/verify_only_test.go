// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// Each difference from the plan has a finding of its own. What matches the plan has none.
func TestVerify_everyDifference(t *testing.T) {
	own := "alias/golden-" + tokyo
	var out strings.Builder
	for _, c := range []struct {
		name   string
		refuse bool
		change func(*distribution.Request, *distribution.Facts)
	}{
		{"unchanged", false, func(*distribution.Request, *distribution.Facts) {}},
		{"the image is gone", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Earlier[there] = distribution.ExistingResources{}
			f.Sites[there] = distribution.DestinationFacts{
				Identity:         f.Sites[there].Identity,
				PublicationFacts: distribution.PublicationFacts{Parameters: f.Sites[there].Parameters},
			}
		}},
		{
			"an attribute was changed",
			true,
			func(_ *distribution.Request, f *distribution.Facts) { f.Earlier[there].Images[0].EnaSupport = nil },
		},
		{"signed for another image", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Earlier[there].Images[0].Tags = delivered("ami-0other", keyARN(there.Account, tokyo, "own"), signed)
		}},
		{"never signed", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Earlier[there].Images[0].Tags = delivered("ami-0ccccccccccccccc1", keyARN(there.Account, tokyo, "own"), unsigned)
		}},
		{"it was disabled", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Earlier[there].Images[0].State = ec2types.ImageStateDisabled
		}},
		{"without deregistration protection", true, func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].Lifecycle.Protection = new(distribution.Protection)
		}},
		{"with deregistration protection", false, func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Lifecycle.Protection = new(distribution.Protection)
			f.Earlier[there].Images[0].DeregistrationProtection = aws.String("enabled-without-cooldown")
		}},
		{"without a watermark", true, func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Watermarks = []string{"approved", "golden"}
			f.Earlier[there].Images[0].ImageWatermarks = []ec2types.ImageWatermark{
				{WatermarkKey: aws.String(step.WatermarkKey(there.Account, "golden"))},
			}
		}},
		{"without a launch permission", true, func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Lifecycle.Users.Accounts = []string{"444444444444", "555555555555"}
			existing := f.Earlier[there]
			existing.LaunchPermissions = map[string]distribution.LaunchPermissions{
				"ami-0ccccccccccccccc1": {Accounts: []string{"444444444444"}},
			}
			f.Earlier[there] = existing
		}},
		{"the key was disabled", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[there][own].Metadata.KeyState = kmstypes.KeyStateDisabled
		}},
		{"the key expires in a week", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[there][own].Metadata.ValidTo = aws.Time(f.At.Add(7 * 24 * time.Hour))
		}},
		{"the key expires in a year", false, func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[there][own].Metadata.ValidTo = aws.Time(f.At.Add(365 * 24 * time.Hour))
		}},
		{"the parameter names another image", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Sites[there].Parameters["golden"] = distribution.ParameterFacts{
				Type:     "String",
				DataType: "text",
				ImageID:  "ami-0ddddddddddddddd1",
			}
		}},
		{"the role is gone", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Sites[there] = distribution.DestinationFacts{
				Err: &distribution.APIError{Operation: "sts:AssumeRole", Status: 403, Code: "AccessDenied", Message: "no"},
			}
		}},
		{
			"the source image is gone",
			true,
			func(_ *distribution.Request, f *distribution.Facts) { f.Images[tokyo] = distribution.Image{} },
		},
		{"a look at the source image is refused", false, func(_ *distribution.Request, f *distribution.Facts) {
			f.Unseen = blinded(home, "ec2:DescribeImageAttribute")
		}},
		{"a look at what was made is refused", true, func(_ *distribution.Request, f *distribution.Facts) {
			f.Earlier[there], f.Unseen = distribution.ExistingResources{}, blinded(there, "ec2:DescribeImages")
		}},
		{
			"a look at what was made in the source account is refused",
			true,
			func(r *distribution.Request, f *distribution.Facts) {
				r.Targets[0].AccountIDs, r.Targets[0].Roles = []string{source}, nil
				f.Sites[home] = distribution.DestinationFacts{Identity: f.Source}
				f.Keys[home][own] = key(source, tokyo, "own")
				f.Unseen = blinded(home, "ec2:DescribeImages")
			},
		},
		{"of an optional target", false, func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Optional = true
			f.Earlier[there].Images[0].EnaSupport = nil
		}},
	} {
		req, facts := finished()
		req.Targets[0].Parameters = []distribution.Parameter{
			{Name: "golden", Type: "String", DataType: "text", Overwrite: true},
		}
		site := facts.Sites[there]
		site.Parameters = map[string]distribution.ParameterFacts{
			"golden": {Type: "String", DataType: "text", ImageID: "ami-0ccccccccccccccc1"},
		}
		facts.Sites[there] = site
		c.change(&req, &facts)
		p := plan.Assess(req, facts).Verify()
		if p.Refused() != c.refuse || len(p.Steps) > 0 {
			t.Errorf("%s: refused %v, %d steps", c.name, p.Refused(), len(p.Steps))
		}
		for _, d := range p.Destinations { // differences at an optional target are found too, but are no errors
			if d.Passed == (c.refuse || d.Optional) || d.Passed && d.ExistingImageID == "" {
				t.Errorf("%s: existing image %q, passed %v", c.name, d.ExistingImageID, d.Passed)
			}
		}
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, f := range p.Findings {
			fmt.Fprint(&out, written(f))
		}
	}
	golden.Equal(t, "testdata/check.golden", out.String())
}

// blinded returns a required lookup that AWS refused.
func blinded(at distribution.Location, operation string) []distribution.FailedLookup {
	return []distribution.FailedLookup{
		{
			At:    at,
			Vital: true,
			Refusal: distribution.APIError{
				Operation: operation,
				Status:    403,
				Code:      "UnauthorizedOperation",
				Message:   "with an explicit deny in a service control policy",
			},
		},
	}
}
