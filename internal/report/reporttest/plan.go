// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package reporttest has plans and results for the tests of reports.
package reporttest

import (
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// The accounts and Regions of Plan.
var (
	Source     = distribution.Location{Account: "111111111111", Region: "ap-northeast-1"}
	SourceWest = distribution.Location{Account: "111111111111", Region: "us-west-2"}
	Target     = distribution.Location{Account: "999999999999", Region: "ap-northeast-1"}
	TargetWest = distribution.Location{Account: "999999999999", Region: "us-west-2"}
)

// KeyARN returns the ARN of the key of an account and Region.
func KeyARN(at distribution.Location) string {
	return "arn:aws:kms:" + at.Region + ":" + at.Account + ":key/0a1b2c3d-0000-4000-8000-0123456789ab"
}

// Audience returns the launch permissions of the share blocks of Plan.
func Audience() distribution.LaunchPermissions {
	return distribution.LaunchPermissions{
		Accounts:      []string{"777777777777"},
		Organizations: []string{"arn:aws:organizations::111111111111:organization/o-1234567890"},
	}
}

// Plan returns a plan with one step of each phase up to the copies, a share block, and findings.
func Plan() plan.Plan {
	staged := &step.CopySnapshot{
		Base:       step.Base{ID: "stage/ap-northeast-1/xvda", Location: Source},
		Source:     step.Ref{Known: "snap-0a"},
		FromRegion: Source.Region,
		Device:     "/dev/xvda",
		KeyARN:     KeyARN(Source),
		GiB:        8,
	}
	shared := &step.ShareSnapshot{
		Base:     step.Base{ID: "share/ap-northeast-1/xvda", Location: Source},
		Snapshot: step.Ref{From: staged.ID},
		Accounts: []string{Target.Account},
	}
	copied := &step.CopySnapshot{
		Base:       step.Base{ID: "copy/999999999999/ap-northeast-1/xvda", Location: Target, Destination: Target},
		Source:     step.Ref{From: staged.ID},
		FromRegion: Source.Region,
		Device:     "/dev/xvda",
		KeyARN:     KeyARN(Target),
		GiB:        8,
	}
	return plan.Plan{
		Images:       []plan.ImagePlan{imagePlan()},
		Destinations: destinationPlans(),
		Routes:       routes(),
		Shares:       sharePlans(),
		Steps:        []step.Step{staged, shared, copied},
		Estimate:     plan.Estimate{Copies: 2, GiBStored: 16, Takes: 3*time.Minute + 20*time.Second},
		Findings: []distribution.Finding{
			{Level: distribution.Note, Summary: "a note"},
			{
				Level:       distribution.Warning,
				Field:       `target "prod": kms_key_id`,
				Location:    Target,
				Summary:     "the key could not be looked at",
				Detail:      "kms:DescribeKey: AccessDeniedException: no",
				Remediation: "allow kms:DescribeKey",
			},
		},
	}
}

func imagePlan() plan.ImagePlan {
	return plan.ImagePlan{
		Region:  Source.Region,
		ImageID: "ami-0aaaaaaaaaaaaaaaa",
		Devices: []plan.DevicePlan{
			{
				Device:      "/dev/xvda",
				SnapshotID:  "snap-0a",
				GiB:         8,
				Encrypted:   true,
				KeyARN:      "arn:aws:kms:ap-northeast-1:111111111111:key/aws-ebs",
				Staged:      true,
				StageKeyARN: "arn:aws:kms:ap-northeast-1:111111111111:key/golden",
				Why:         plan.AWSManagedKey,
			},
			{Device: "/dev/xvdb", SnapshotID: "snap-0b", GiB: 100, Why: plan.UnencryptedAllowed},
		},
		Causes: []string{
			"EBS encryption by default is on in ap-northeast-1",
			"the base image ami-0b\x1b[2J is encrypted",
		},
	}
}

func destinationPlans() []plan.DestinationPlan {
	attributes := []distribution.AttributeOutcome{
		{Attribute: "Architecture", How: distribution.Kept},
		{Attribute: "DeprecationTime", How: distribution.Lost, Why: "the date after which the image is deprecated"},
	}
	return []plan.DestinationPlan{
		{
			At:         Target,
			Target:     "prod",
			FromRegion: Source.Region,
			Method:     distribution.ByImage,
			MethodWhy:  "RegisterImage takes no watermarks",
			Name:       "golden 1",
			KeyARN:     KeyARN(Target),
			Carried:    attributes,
		},
		{
			At:         TargetWest,
			Target:     "prod",
			Optional:   true,
			FromRegion: Source.Region,
			Name:       "golden 1",
			KeyARN:     KeyARN(TargetWest),
			Carried:    attributes,
		},
	}
}

func routes() []plan.RegionRoute {
	return []plan.RegionRoute{
		{
			Region:         TargetWest.Region,
			Accounts:       1,
			From:           Source.Region,
			GiBTransferred: 8,
		},
		{
			Region:         "eu-west-1",
			Accounts:       3,
			From:           "eu-west-1",
			GiBTransferred: 8,
		},
		{
			Region:         "eu-west-2",
			Accounts:       2,
			From:           Source.Region,
			GiBTransferred: 16,
		},
	}
}

func sharePlans() []plan.SharePlan {
	names := []string{"ours", "share[1]"}
	return []plan.SharePlan{
		{
			At:      Source,
			Names:   names,
			ImageID: "ami-0aaaaaaaaaaaaaaaa",
			Staged:  true,
			With:    Audience(),
			Grants: []distribution.KeyGrantResult{{
				At:         Target,
				KeyARN:     KeyARN(Source),
				Name:       "asg",
				Grantee:    "arn:aws:iam::222222222222:role/asg",
				Operations: []string{"Decrypt", "DescribeKey"},
			}},
		},
		{
			At:       SourceWest,
			Names:    names,
			ImageID:  "ami-0eeeeeeeeeeeeeeee",
			With:     Audience(),
			Pointers: []distribution.Pointer{{Kind: step.ParameterPointer, Name: "/golden/shared"}},
		},
	}
}
