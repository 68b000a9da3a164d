// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

func TestText_wholePlan(t *testing.T) {
	golden.Equal(t, "testdata/plan.golden", report.Plan(reporttest.Plan())+"\n")
}

func TestForecast_attributesCallsAndCost(t *testing.T) {
	p := reporttest.Plan()
	p.Estimate.GiBStaged, p.Estimate.GiBTransferred, p.Estimate.USDTimed, p.Estimate.Calls = 8, 8, 0.144, map[string]int{
		"ec2:RegisterImage": 1,
		"ec2:CopySnapshot":  2,
	}
	golden.Equal(t, "testdata/forecast.golden", report.Forecast(p, []plan.Alternative{{
		What: "the builder puts the volumes under the key", How: plan.LaunchMapping("/dev/xvda", "alias/golden"),
		Estimate: plan.Estimate{Copies: 1, GiBStored: 8, Takes: 2 * time.Minute},
	}})+"\n")
}

func TestLeft_resourcesAndNothing(t *testing.T) {
	labels := report.NewLabels(reporttest.Plan())
	left := []distribution.RetainedResource{
		{At: reporttest.Source, Kind: "share", Resource: "snap-0a", Why: "AccessDenied"},
		{At: reporttest.Target, Kind: "snapshot", Resource: "snap-0d", GiB: 8, Why: "registered, but not verified"},
	}
	text := strings.Join(slices.Concat(labels.Left(left, 3, 0), labels.Left(nil, 3, 0), labels.Left(nil, 3, 1)), "\n")
	golden.Equal(t, "testdata/left.golden", text+"\n")
}

func TestText_statementsByPolicy(t *testing.T) {
	golden.Equal(t, "testdata/statements.golden", report.Findings([]distribution.Finding{
		{
			Level:       distribution.Refused,
			Location:    reporttest.Target,
			Operation:   "ec2:CopySnapshot",
			Summary:     "could not copy snap-0a",
			Remediation: "add the statements",
			PolicyStatements: []distribution.Addition{
				{
					Policy: "policy of key alias/golden",
					Statement: distribution.Statement{
						Sid:       "UseKey",
						Effect:    "Allow",
						Principal: distribution.Principals{"arn:aws:iam::999999999999:root"},
						Action:    []string{"kms:Decrypt"},
						Resource:  []string{"*"},
					},
				},
				{
					Policy: "policy of key alias/golden",
					Statement: distribution.Statement{
						Sid:       "LetAWSUseKey",
						Effect:    "Allow",
						Principal: distribution.Principals{"*"},
						Action:    []string{"kms:CreateGrant"},
						Resource:  []string{"*"},
						Condition: distribution.Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}},
					},
				},
				{
					Policy: "identity policy of role target",
					Statement: distribution.Statement{
						Effect:   "Allow",
						Action:   []string{"kms:\x1bDecrypt"},
						Resource: []string{"a<b&c"},
					},
				},
			},
		},
	})+"\n")
}

func TestText_manyAccounts(t *testing.T) {
	p := reporttest.Plan()
	for range 98 {
		p.Steps = append(p.Steps, p.Steps[2])
	}
	const want = "    Copy 99 snapshots to 999999999999 (prod) in ap-northeast-1\n"
	if text := report.Forecast(p, nil); !strings.Contains(text, want) {
		t.Errorf("got %s, want %q in it", text, want)
	}
}

func TestDuration_rounding(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond:          "0s",
		59 * time.Second:                "59s",
		80 * time.Second:                "1m",
		14*time.Minute + 40*time.Second: "15m",
		2*time.Hour + time.Second:       "2h0m",
	} {
		if got := report.Duration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
