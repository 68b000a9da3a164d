// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/golden"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

var morning = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// handedOn is a run that hands an image of two volumes to so many accounts in two Regions each, as far as it has come: of the last account
// the copy of one volume has failed.
func handedOn(accounts int) (plan.Plan, plan.Result) {
	p := planned()
	p.Steps, p.Destinations = nil, nil
	p.Findings = []plan.Finding{{Level: plan.Note, Summary: "every account gets an image in 2 Regions"}}
	p.Images[0].Account, p.Images[0].Causes = home.Account, p.Images[0].Causes[:1]
	r := plan.Result{Begun: morning, Source: []plan.SourceEnd{{Region: home.Region, ImageID: "ami-0aaaaaaaaaaaaaaaa"}}}
	done := func(s plan.Step, begun, took time.Duration, made string) {
		p.Steps = append(p.Steps, s)
		r.Steps = append(r.Steps, plan.Ended{Step: s.Base().Step, At: s.Base().At, Begun: morning.Add(begun), Ended: morning.Add(begun + took), Made: made})
		if end := morning.Add(begun + took); end.After(r.Ended) {
			r.Ended = end
		}
	}
	volumes := []struct {
		device   string
		gib      int64
		snapshot string
	}{{"/dev/xvda", 8, "snap-0a"}, {"/dev/xvdb", 100, "snap-0b"}}
	regions := []string{"ap-northeast-1", "us-west-2"}
	for i, region := range regions {
		at := plan.Place{Account: home.Account, Region: region}
		for _, v := range volumes {
			done(&plan.CopySnapshot{Head: plan.Head{Step: plan.ID("stage/" + region + "/" + v.device[5:]), At: at}, Source: plan.Ref{Known: v.snapshot}, FromRegion: home.Region,
				Device: v.device, KeyARN: keyOf(at), GiB: v.gib}, time.Minute, time.Duration(v.gib+40*int64(i+1))*5*time.Second, "snap-0123456789abcdef0")
		}
	}
	carried := []plan.Carried{{Attribute: "Architecture", How: plan.Kept}, {Attribute: "BootMode", How: plan.Kept}, {Attribute: "EnaSupport", How: plan.Kept}, {Attribute: "ImdsSupport", How: plan.Kept},
		{Attribute: "RootDeviceName", How: plan.Kept}, {Attribute: "UefiData", How: plan.Kept}, {Attribute: "Name", How: plan.Set}, {Attribute: "Tags", How: plan.Set},
		{Attribute: "DeprecationTime", How: plan.Lost, Why: "the date after which the image is deprecated"}, {Attribute: "OwnerId", How: plan.OutputOnly}}
	for i := range accounts {
		target := "prod"
		if i%3 == 2 {
			target = "staging"
		}
		for j, region := range regions {
			at := plan.Place{Account: fmt.Sprintf("%012d", 222222222222+i), Region: region}
			broken := i == accounts-1 && j == 1
			d := plan.DestinationPlan{At: at, Target: target, FromRegion: region, Name: "golden 2026-03-02", KeyARN: keyOf(at), Carried: carried}
			end := plan.DestinationEnd{At: at, Target: target, State: plan.Served, ImageID: fmt.Sprintf("ami-0%016x", 4096*i+j)}
			made := plan.Made{At: at, Target: target, ImageID: end.ImageID, Name: d.Name, Carried: carried}
			for _, v := range volumes {
				begun := time.Duration(v.gib+40*int64(j+1))*5*time.Second + time.Minute + time.Duration(i%7)*10*time.Second
				s := &plan.CopySnapshot{Head: plan.Head{Step: plan.ID("copy/" + at.Account + "/" + region + "/" + v.device[5:]), At: at, For: at},
					Source: plan.Ref{From: plan.ID("stage/" + region + "/" + v.device[5:])}, FromRegion: region, Device: v.device, KeyARN: keyOf(at), GiB: v.gib}
				done(s, begun, time.Duration(v.gib)*4*time.Second+time.Duration(i%5)*20*time.Second, fmt.Sprintf("snap-0%016x", 4096*i+j))
				made.Snapshots = append(made.Snapshots, plan.MadeSnapshot{Device: v.device, SnapshotID: "snap-0c", KeyARN: keyOf(at), GiB: int32(v.gib)})
			}
			if broken {
				f := plan.Finding{Level: plan.Refused, Rule: "3.1.4", At: at, Operation: "ec2:CopySnapshot", Principal: "arn:aws:sts::" + at.Account + ":assumed-role/golden-image-target/run",
					Summary: "could not copy the staged /dev/xvdb, 100 GiB to " + at.String() + ": the key cannot be used", Because: "arn:aws:sts::" + at.Account + ":assumed-role/golden-image-target/run has no right to kms:CreateGrant (AWS: Given key ID is not accessible)",
					Next: "let the role use the key", Additions: []plan.Addition{{Policy: "identity policy of role golden-image-target", Statement: plan.Statement{Sid: "CreateGrant", Effect: "Allow", Action: []string{"kms:CreateGrant"}, Resource: []string{"*"}}}}}
				r.Steps[len(r.Steps)-1].Failure = &f
				r.Findings = append(r.Findings, f)
				end.State, end.ImageID = plan.Unserved, ""
				r.Left = append(r.Left, plan.Leftover{At: at, Kind: "snapshot", Resource: "snap-0123456789abcdef1", GiB: 8, Why: "completed; the next run goes on with it"})
				r.Failure = fmt.Sprintf("1 of %d destinations have no image:\nand the rest of the text", 2*accounts)
			} else {
				r.Images = append(r.Images, made)
			}
			p.Destinations = append(p.Destinations, d)
			r.Destinations = append(r.Destinations, end)
		}
	}
	r.Findings = append(r.Findings, p.Findings...)
	p.Estimate = plan.Estimate{Copies: len(p.Steps), GiBStored: int64(len(p.Steps)) * 54, GiBStaged: 216, GiBTransferred: 108, Takes: 30 * time.Minute}
	r.Ended = r.Ended.Add(time.Minute)
	return p, r
}

func document(accounts int) report.Document {
	p, r := handedOn(accounts)
	return report.Of(p, r, r.Ended, false)
}

func page(t *testing.T, d report.Document) string {
	t.Helper()
	text, err := d.HTML()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAReportInEveryMedium(t *testing.T) {
	d := document(3)
	text, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/report.json.golden", string(text))
	golden.Equal(t, "testdata/report.html.golden", page(t, d))
	golden.Equal(t, "testdata/report.md.golden", string(d.Markdown()))
}

func TestAReportSaysWhatCameOfShareBlocks(t *testing.T) {
	p, r := handedOn(1)
	p.Destinations, r.Destinations, r.Images, r.Failure, r.Findings = nil, nil, nil, "", nil
	with := plan.Audience{Accounts: []string{prod.Account}}
	p.Shares = []plan.SharePlan{{At: home, Names: []string{"ours", "theirs"}, ImageID: "ami-0a", Staged: true, With: with}}
	d := report.Of(p, r, r.Ended, false)
	if d.Shares[0].Done || d.Shares[0].ImageID != "" {
		t.Errorf("planned: %+v", d.Shares)
	}
	r.Shares = []plan.Shared{{At: home, ImageID: "ami-0b", With: with}}
	d = report.Of(p, r, r.Ended, false)
	if s := d.Shares[0]; !s.Done || s.ImageID != "ami-0b" || d.Headline != "Shared in 1 Region" {
		t.Errorf("%q, %+v", d.Headline, s)
	}
	for _, text := range []string{page(t, d), string(d.Markdown())} {
		if !strings.Contains(text, "ami-0b") || !strings.Contains(text, "ours, theirs") || !strings.Contains(text, prod.Account) {
			t.Error(text)
		}
	}
}

func TestAReportSaysWhoMayUseWhichKeyForWhatFromThenOn(t *testing.T) {
	p, r := handedOn(1)
	grant := &plan.CreateGrant{Head: plan.Head{Step: "grant/1", At: prod}, KeyARN: keyOf(prod), Name: "fleet", Grantee: "arn:aws:iam::222222222222:role/fleet", Operations: []string{"Decrypt", "DescribeKey"}, Lasting: true}
	p.Steps = append(p.Steps, grant, &plan.CreateGrant{Head: plan.Head{Step: "grant/2", At: home}, KeyARN: keyOf(home), Name: "for a copy"})
	for _, state := range []string{"missing", "stands"} {
		d := report.Of(p, r, r.Ended, true)
		if len(d.Grants) != 1 {
			t.Fatalf("%+v", d.Grants)
		}
		for _, text := range []string{page(t, d), string(d.Markdown())} {
			for _, want := range []string{"fleet", keyOf(prod), grant.Grantee, "Decrypt, DescribeKey", state} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in %s", want, text)
				}
			}
		}
		r.Grants = []plan.Granted{{At: prod, KeyARN: keyOf(prod), Name: "fleet"}}
	}
	if d := report.Of(p, r, r.Ended, false); d.Grants[0].Grantee != "arn:aws:iam::222222222222:role/…" {
		t.Errorf("without details: %+v", d.Grants)
	}
}

func TestAReportSaysWhatNamesAnImageAndWhyItIsCopiedWhole(t *testing.T) {
	p, r := handedOn(1)
	p.Destinations[0].Method, p.Destinations[0].MethodWhy = plan.ByImage, "it has watermarks"
	r.Images[0].Pointers = []plan.Pointer{{Kind: "SSM parameter", Name: "/golden/ami", Set: true}}
	html := page(t, report.Of(p, r, r.Ended, false))
	for _, want := range []string{"it has watermarks", "SSM parameter /golden/ami"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestAReportOfAThousandTargetsIsReadable(t *testing.T) {
	d := document(500) // in two Regions
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
