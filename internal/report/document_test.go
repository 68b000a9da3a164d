// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

func page(t *testing.T, d report.Document) string {
	t.Helper()
	text, err := d.HTML()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAReportInEveryMedium(t *testing.T) {
	d := reporttest.Document(3)
	text, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/report.json.golden", string(text))
	golden.Equal(t, "testdata/report.html.golden", page(t, d))
	golden.Equal(t, "testdata/report.md.golden", string(d.Markdown()))
}

func TestAReportSaysWhatCameOfShareBlocks(t *testing.T) {
	p, r := reporttest.Run(1)
	p.Destinations, r.Destinations, r.Images, r.Failure, r.Findings = nil, nil, nil, "", nil
	with := distribution.LaunchPermissions{Accounts: []string{reporttest.Target.Account}}
	p.Shares = []plan.SharePlan{{At: reporttest.Source, Names: []string{"ours", "theirs"}, ImageID: "ami-0a", Staged: true, With: with}}
	d := report.Of(p, r, r.Ended, false)
	if d.Shares[0].Done || d.Shares[0].ImageID != "" {
		t.Errorf("planned: %+v", d.Shares)
	}
	r.Shares = []distribution.Shared{{At: reporttest.Source, ImageID: "ami-0b", With: with}}
	d = report.Of(p, r, r.Ended, false)
	if s := d.Shares[0]; !s.Done || s.ImageID != "ami-0b" || d.Headline != "Shared in 1 Region" {
		t.Errorf("%q, %+v", d.Headline, s)
	}
	for _, text := range []string{page(t, d), string(d.Markdown())} {
		if !strings.Contains(text, "ami-0b") || !strings.Contains(text, "ours, theirs") || !strings.Contains(text, reporttest.Target.Account) {
			t.Error(text)
		}
	}
}

func TestAReportSaysWhoMayUseWhichKeyForWhatFromThenOn(t *testing.T) {
	p, r := reporttest.Run(1)
	grant := &step.CreateGrant{Base: step.Base{ID: "grant/1", Location: reporttest.Target}, KeyARN: reporttest.KeyARN(reporttest.Target), Name: "fleet", Grantee: "arn:aws:iam::222222222222:role/fleet", Operations: []string{"Decrypt", "DescribeKey"}, Lasting: true}
	p.Steps = append(p.Steps, grant, &step.CreateGrant{Base: step.Base{ID: "grant/2", Location: reporttest.Source}, KeyARN: reporttest.KeyARN(reporttest.Source), Name: "for a copy"})
	for _, state := range []string{"missing", "stands"} {
		d := report.Of(p, r, r.Ended, true)
		if len(d.Grants) != 1 {
			t.Fatalf("%+v", d.Grants)
		}
		for _, text := range []string{page(t, d), string(d.Markdown())} {
			for _, want := range []string{"fleet", reporttest.KeyARN(reporttest.Target), grant.Grantee, "Decrypt, DescribeKey", state} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in %s", want, text)
				}
			}
		}
		r.Grants = []distribution.KeyGrantResult{{At: reporttest.Target, KeyARN: reporttest.KeyARN(reporttest.Target), Name: "fleet"}}
	}
	if d := report.Of(p, r, r.Ended, false); d.Grants[0].Grantee != "arn:aws:iam::222222222222:role/…" {
		t.Errorf("without details: %+v", d.Grants)
	}
}

func TestAReportSaysWhatNamesAnImageAndWhyItIsCopiedWhole(t *testing.T) {
	p, r := reporttest.Run(1)
	p.Destinations[0].Method, p.Destinations[0].MethodWhy = distribution.ByImage, "it has watermarks"
	r.Images[0].Pointers = []distribution.Pointer{{Kind: "SSM parameter", Name: "/golden/ami", Set: true}}
	html := page(t, report.Of(p, r, r.Ended, false))
	for _, want := range []string{"it has watermarks", "SSM parameter /golden/ami"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestAReportOfAThousandTargetsIsReadable(t *testing.T) {
	d := reporttest.Document(500) // in two Regions
	began := time.Now()
	html, markdown := page(t, d), d.Markdown()
	t.Logf("HTML %d KiB, Markdown %d KiB, both written in %s", len(html)>>10, len(markdown)>>10, time.Since(began))
	if len(d.Destinations) != 1000 || len(html) > 2<<20 {
		t.Errorf("%d destinations take %d bytes of HTML", len(d.Destinations), len(html))
	}
	if len(markdown) > 1<<20 { // what GitHub takes as the summary of a job
		t.Errorf("%d bytes of Markdown", len(markdown))
	}
	if boxes := strings.Count(html, `class="node `); boxes > 30 {
		t.Errorf("the drawing has %d boxes", boxes)
	}
}
