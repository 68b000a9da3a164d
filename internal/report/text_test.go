// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/golden"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

var (
	home   = plan.Place{Account: "111111111111", Region: "ap-northeast-1"}
	prod   = plan.Place{Account: "999999999999", Region: "ap-northeast-1"}
	yonder = plan.Place{Account: "111111111111", Region: "us-west-2"}
	afar   = plan.Place{Account: "999999999999", Region: "us-west-2"}
	keyOf  = func(at plan.Place) string {
		return "arn:aws:kms:" + at.Region + ":" + at.Account + ":key/0a1b2c3d-0000-4000-8000-0123456789ab"
	}
)

func everybody() plan.Audience {
	return plan.Audience{Accounts: []string{"777777777777"}, Organizations: []string{"arn:aws:organizations::111111111111:organization/o-1234567890"}}
}

func planned() plan.Plan {
	staged := &plan.CopySnapshot{Head: plan.Head{Step: "stage/ap-northeast-1/xvda", At: home}, Source: plan.Ref{Known: "snap-0a"},
		FromRegion: home.Region, Device: "/dev/xvda", KeyARN: keyOf(home), GiB: 8}
	shared := &plan.ShareSnapshot{Head: plan.Head{Step: "share/ap-northeast-1/xvda", At: home}, Snapshot: plan.Ref{From: staged.Step}, Accounts: []string{prod.Account}}
	copied := &plan.CopySnapshot{Head: plan.Head{Step: "copy/999999999999/ap-northeast-1/xvda", At: prod, For: prod}, Source: plan.Ref{From: staged.Step},
		FromRegion: home.Region, Device: "/dev/xvda", KeyARN: keyOf(prod), GiB: 8}
	lost := []plan.Carried{{Attribute: "Architecture", How: plan.Kept}, {Attribute: "DeprecationTime", How: plan.Lost, Why: "the date after which the image is deprecated"}}
	return plan.Plan{
		Images: []plan.ImagePlan{{
			Region: home.Region, ImageID: "ami-0aaaaaaaaaaaaaaaa",
			Devices: []plan.DevicePlan{
				{Device: "/dev/xvda", SnapshotID: "snap-0a", GiB: 8, Encrypted: true, KeyARN: "arn:aws:kms:ap-northeast-1:111111111111:key/aws-ebs", Staged: true, StageKeyARN: "arn:aws:kms:ap-northeast-1:111111111111:key/golden", Why: "the key of aws/ebs is no other account's to use"},
				{Device: "/dev/xvdb", SnapshotID: "snap-0b", GiB: 100, Why: "it is not encrypted"},
			},
			Causes: []string{"EBS encryption-by-default is on in ap-northeast-1, with this default key", "the base image ami-0b\x1b[2J is encrypted"},
		}},
		Destinations: []plan.DestinationPlan{
			{At: prod, Target: "prod", FromRegion: home.Region, Method: plan.ByImage, MethodWhy: "RegisterImage takes no watermarks", Name: "golden 1", KeyARN: keyOf(prod), Carried: lost},
			{At: afar, Target: "prod", Optional: true, FromRegion: home.Region, Name: "golden 1", KeyARN: keyOf(afar), Carried: lost},
		},
		Ways: []plan.Way{
			{Region: afar.Region, Accounts: 1, Route: plan.Route{From: home.Region, GiBTransferred: 8, GiBCopied: 8}, Otherwise: &plan.Route{From: afar.Region, GiBTransferred: 8, GiBCopied: 16}},
			{Region: "eu-west-1", Accounts: 3, Route: plan.Route{From: "eu-west-1", GiBTransferred: 8, GiBCopied: 32}, Otherwise: &plan.Route{From: home.Region, GiBTransferred: 24, GiBCopied: 24}},
			{Region: "eu-west-2", Accounts: 2, Route: plan.Route{From: home.Region, GiBTransferred: 16, GiBCopied: 16}},
		},
		Shares:   []plan.SharePlan{{At: home, Names: []string{"ours", "share[1]"}, ImageID: "ami-0aaaaaaaaaaaaaaaa", Staged: true, With: everybody(), Grants: []plan.Granted{{At: prod, KeyARN: keyOf(home), Name: "asg", Grantee: "arn:aws:iam::222222222222:role/asg", Operations: []string{"Decrypt", "DescribeKey"}}}}, {At: yonder, Names: []string{"ours", "share[1]"}, ImageID: "ami-0eeeeeeeeeeeeeeee", With: everybody()}},
		Steps:    []plan.Step{staged, shared, copied},
		Estimate: plan.Estimate{Copies: 2, GiBStored: 16, Takes: 3*time.Minute + 20*time.Second},
		Findings: []plan.Finding{{Level: plan.Note, Summary: "a note"}, {Level: plan.Warning, Field: `target "prod": kms_key_id`, At: prod,
			Summary: "the key could not be looked at", Because: "kms:DescribeKey: AccessDeniedException: no", Next: "allow kms:DescribeKey"}},
	}
}

func TestAPlanNamesVolumesDestinationsStepsAndWhatIsLost(t *testing.T) {
	golden.Equal(t, "testdata/plan.golden", report.Plan(planned())+"\n")
}

func TestAForecastTellsAttributesCallsCostAndOtherChoices(t *testing.T) {
	p := planned()
	p.Estimate.GiBStaged, p.Estimate.GiBTransferred, p.Estimate.USDTimed, p.Estimate.Calls = 8, 8, 0.144, map[string]int{"ec2:RegisterImage": 1, "ec2:CopySnapshot": 2}
	golden.Equal(t, "testdata/forecast.golden", report.Forecast(p, []plan.Choice{{What: "the builder puts the volumes under the key", How: plan.LaunchMapping("/dev/xvda", "alias/golden"),
		Estimate: plan.Estimate{Copies: 1, GiBStored: 8, Takes: 2 * time.Minute}}})+"\n")
}

func TestARefusedPlanShowsWhyInPlaceOfSteps(t *testing.T) {
	p := planned()
	p.Steps, p.Estimate = nil, plan.Estimate{}
	p.Findings = append(p.Findings, plan.Finding{Level: plan.Refused, Rule: "2.1.1", Field: "kms_key_id", At: home,
		Summary: "the snapshot of /dev/xvda cannot be shared", Because: "it is encrypted with aws/ebs, whose key no other account can use", Next: "set kms_key_id"})
	golden.Equal(t, "testdata/refused.golden", report.Plan(p)+"\n")
}

func TestAResultNamesWhatIsThereWhatFailedAndWhatWasLeft(t *testing.T) {
	r := plan.Result{
		Images: []plan.Made{{At: prod, Target: "prod", ImageID: "ami-0bbbbbbbbbbbbbbbb", Name: "golden 1",
			Snapshots: []plan.MadeSnapshot{{Device: "/dev/xvda", SnapshotID: "snap-0c", KeyARN: keyOf(prod), GiB: 8}}}},
		Shares: []plan.Shared{{At: home, ImageID: "ami-0ffffffffffffffff", With: everybody()}},
		Findings: []plan.Finding{{Level: plan.Refused, At: afar, Operation: "ec2:CopySnapshot",
			Summary: "could not copy snap-0a", Because: "Given key ID is not accessible", Next: "let the role use the key"}},
		Left: []plan.Leftover{
			{At: home, Kind: "share", Resource: "snap-0a", Why: "refused"},
			{At: home, Kind: "snapshot", Resource: "snap-0d", GiB: 8, Why: "for the next run"},
		},
	}
	golden.Equal(t, "testdata/result.golden", report.Result(planned(), r)+"\n")
	r.Left = nil
	if text := report.Result(planned(), r); !strings.HasSuffix(text, "left behind: 0 shares, 0 grants, 0 staged GiB") {
		t.Error(text)
	}
}

func TestStatementsStandUnderThePolicyThatTheyBelongIn(t *testing.T) {
	golden.Equal(t, "testdata/statements.golden", report.Findings([]plan.Finding{{Level: plan.Refused, At: prod, Operation: "ec2:CopySnapshot", Summary: "could not copy snap-0a", Next: "add the statements",
		Additions: []plan.Addition{
			{Policy: "policy of key alias/golden", Statement: plan.Statement{Sid: "UseKey", Effect: "Allow", Principal: plan.Principals{"arn:aws:iam::999999999999:root"}, Action: []string{"kms:Decrypt"}, Resource: []string{"*"}}},
			{Policy: "policy of key alias/golden", Statement: plan.Statement{Sid: "LetAWSUseKey", Effect: "Allow", Principal: plan.Principals{"*"}, Action: []string{"kms:CreateGrant"}, Resource: []string{"*"}, Condition: plan.Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}}}},
			{Policy: "identity policy of role target", Statement: plan.Statement{Effect: "Allow", Action: []string{"kms:\x1bDecrypt"}, Resource: []string{"a<b&c"}}},
		}}})+"\n")
}

func TestAPlanForManyAccountsCountsItsSteps(t *testing.T) {
	p := planned()
	for range 98 {
		p.Steps = append(p.Steps, p.Steps[2])
	}
	if text := report.Plan(p); !strings.Contains(text, "Steps: 1 stage, 1 share, 99 copy\n") {
		t.Error(text)
	}
}

func TestTimesForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0s", 59 * time.Second: "59s", 80 * time.Second: "1m", 14*time.Minute + 40*time.Second: "15m", 2*time.Hour + time.Second: "2h0m",
	} {
		if got := report.Duration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
