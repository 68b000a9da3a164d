// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"encoding/json"
	"fmt"
	"slices"
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

func page(t *testing.T, m report.Manifest) string {
	t.Helper()
	text, err := m.HTML()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func marshal(t *testing.T, m report.Manifest) string {
	t.Helper()
	text, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// texts returns the report as HTML and as Markdown.
func texts(t *testing.T, m report.Manifest) []string {
	t.Helper()
	return []string{page(t, m), string(m.Markdown())}
}

func TestManifest_formats(t *testing.T) {
	m := reporttest.Manifest(3)
	golden.Equal(t, "testdata/manifest.json.golden", marshal(t, m))
	golden.Equal(t, "testdata/report.html.golden", page(t, m))
	golden.Equal(t, "testdata/report.md.golden", string(m.Markdown()))
}

// The golden file has every option of the document: shares, grants, a launch check, statements.
func TestManifest_details(t *testing.T) {
	p, r := reporttest.Run(1)
	at := p.Destinations[0].At
	p.Destinations[0].Method, p.Destinations[0].MethodWhy = distribution.ByImage, "it has watermarks"
	r.Images[0].Pointers = []distribution.Pointer{
		{Kind: "SSM parameter", Name: "/golden/ami", Set: true},
		{Kind: "launch template", Name: "web"},
	}
	launch := &step.RunInstance{Base: step.Base{ID: "launch/1", Location: at, Destination: at}, InstanceType: "t3.micro"}
	grant := lastingGrant()
	base := func(id distribution.StepID) step.Base { return step.Base{ID: id, Location: at, Destination: at} }
	p.Steps = append(
		p.Steps,
		launch,
		grant,
		&step.CreateGrant{
			Base:    base("grant/2"),
			KeyARN:  reporttest.KeyARN(reporttest.Source),
			Name:    "encrypted-ami/ami-0a/222222222222/run",
			Grantee: "arn:aws:iam::222222222222:role/golden-image-target",
		},
		&step.PutParameter{Base: base("parameter/1"), Name: "/golden/ami"},
		&step.DeleteRelease{Base: base("release/1"), ImageID: "ami-01"},
		&step.DeleteRelease{Base: base("release/2"), ImageID: "ami-02"}, // in use, so it stays
	)
	for id, made := range map[distribution.StepID]string{
		"grant/2":     "2d3e4f",
		"parameter/1": "/golden/ami:12",
		"release/1":   "ami-01",
		"release/2":   "",
	} {
		r.Steps = append(r.Steps, distribution.StepResult{Step: id, At: at, Begun: r.Ended, Ended: r.Ended, Made: made})
	}
	r.Steps = append(r.Steps, distribution.StepResult{
		Step:  launch.ID,
		At:    at,
		Begun: r.Ended.Add(-time.Minute),
		Ended: r.Ended.Add(-19 * time.Second),
		Made:  "i-0123456789abcdef0",
	})
	r.Grants = []distribution.KeyGrantResult{
		{At: grant.Location, KeyARN: grant.KeyARN, Name: grant.Name, GrantID: "0a1b2c"},
	}
	r.Source[0].Protected = true
	golden.Equal(t, "testdata/manifest-details.json.golden", marshal(t, reporttest.NewManifest(p, r)))
}

func lastingGrant() *step.CreateGrant {
	return &step.CreateGrant{
		Base:       step.Base{ID: "grant/1", Location: reporttest.Target},
		KeyARN:     reporttest.KeyARN(reporttest.Target),
		Name:       "fleet",
		Grantee:    "arn:aws:iam::222222222222:role/fleet",
		Operations: []string{"Decrypt", "DescribeKey"},
		Lasting:    true,
	}
}

// A manifest that is written and read again renders the same reports.
func TestManifest_roundTrip(t *testing.T) {
	for _, accounts := range []int{1, 3} {
		p, r := reporttest.Run(accounts)
		m := reporttest.NewManifest(p, r)
		var again report.Manifest
		if err := json.Unmarshal([]byte(marshal(t, m)), &again); err != nil {
			t.Fatal(err)
		}
		want := texts(t, m)
		for i, got := range texts(t, again) {
			if got != want[i] {
				t.Errorf("%d accounts: got\n%s\nwant\n%s", accounts, got, want[i])
			}
		}
	}
}

// Every manifest has every key, and lists are never null.
func TestManifest_emptyHasEveryKey(t *testing.T) {
	var full, empty map[string]any
	for text, into := range map[string]*map[string]any{
		marshal(t, reporttest.Manifest(1)):             &full,
		marshal(t, report.NewManifest(report.Input{})): &empty,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range full {
		got, found := empty[key]
		_, wantList := value.([]any)
		if _, isList := got.([]any); !found || isList != wantList {
			t.Errorf("%s: got %v in an empty manifest, want an empty value like %T", key, got, value)
		}
	}
	run := empty["run"].(map[string]any)
	if started, found := run["started_at"]; !found || started != nil {
		t.Errorf("started_at: got %v, want null", started)
	}
}

func TestManifest_sorted(t *testing.T) {
	p, r := reporttest.Run(3)
	want := marshal(t, reporttest.NewManifest(p, r))
	slices.Reverse(p.Destinations)
	slices.Reverse(r.Destinations)
	slices.Reverse(r.Images)
	if got := marshal(t, reporttest.NewManifest(p, r)); got != want {
		t.Error("the order of the destinations depends on the order of the template")
	}
	m := reporttest.NewManifest(p, r)
	if !slices.IsSortedFunc(m.Steps, func(a, b report.Step) int { return a.StartedAt.Compare(b.StartedAt.Time) }) {
		t.Error("the steps are not sorted by start")
	}
}

func TestManifest_status(t *testing.T) {
	p, r := reporttest.Run(1)
	failed := r
	r.Failure = ""
	running := r
	running.Ended = time.Time{}
	for _, c := range []struct {
		in   report.Input
		want report.Status
	}{
		{report.Input{Plan: p, Result: running}, report.Running},
		{report.Input{Plan: p, Result: r}, report.Succeeded},
		{report.Input{Plan: p, Result: r, Mode: report.PlanOnly}, report.Planned},
		{report.Input{Plan: p, Result: failed}, report.Failed},
		{report.Input{Plan: p, Result: failed, Canceled: true}, report.Canceled},
		{report.Input{Plan: p, Result: r, Canceled: true}, report.Succeeded}, // canceled after its last step
	} {
		if got := report.NewManifest(c.in).Status; got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// Each failed step refers to its finding, and each destination to its findings.
func TestManifest_findingIDs(t *testing.T) {
	m := reporttest.Manifest(2)
	var fromSteps, fromDestinations []string
	for _, s := range m.Steps {
		if s.Status == report.Failed {
			fromSteps = append(fromSteps, string(s.FindingID))
		}
	}
	for _, d := range m.Destinations {
		fromDestinations = append(fromDestinations, d.FindingIDs...)
	}
	if want := []string{"f1"}; !slices.Equal(fromSteps, want) || !slices.Equal(fromDestinations, want) {
		t.Errorf("got %q from steps and %q from destinations, want %q", fromSteps, fromDestinations, want)
	}
	if m.Findings[0].ID != "f1" || m.Findings[0].Severity != report.SeverityError {
		t.Errorf("got %+v first, want the error f1", m.Findings[0])
	}
}

// A cause that several destinations share has one finding, which all of them refer to.
func TestManifest_findingOfTwoDestinations(t *testing.T) {
	p, r := reporttest.Run(2)
	first, second := p.Destinations[0].At, p.Destinations[1].At
	r.Findings = []distribution.Finding{{
		Level:    distribution.Refused,
		Location: first,
		Summary:  "could not copy",
		Also:     []distribution.Failure{{At: second, Summary: "could not copy either"}, {At: second, Summary: "nor that"}},
	}}
	failure := distribution.Finding{Level: distribution.Refused, Location: second, Summary: "nor that"}
	r.Steps = []distribution.StepResult{{Step: p.Steps[0].Meta().ID, At: second, Failure: &failure}}

	m := report.NewManifest(report.Input{Plan: p, Result: r})
	for _, d := range m.Destinations {
		at := distribution.Location{Account: d.AccountID, Region: d.Region}
		if isHit := at == first || at == second; isHit && !slices.Equal(d.FindingIDs, []string{"f1"}) {
			t.Errorf("%s %s: got findings %q, want f1 once", d.AccountID, d.Region, d.FindingIDs)
		}
	}
	if got := m.Steps[0].FindingID; got != "f1" {
		t.Errorf("got finding %q of the failed step, want f1", got)
	}
}

// The reports name roles and the statements to add. No finding contains an external ID.
func TestManifest_statements(t *testing.T) {
	p, r := reporttest.Run(1)
	f := reporttest.NewManifest(p, r).Findings[0]
	if len(f.PolicyStatements) != 1 || f.PolicyStatements[0].PolicyType != "identity" || f.Principal == "" {
		t.Errorf("got %+v", f)
	}
}

func TestReport_shares(t *testing.T) {
	p, r := reporttest.Run(1)
	p.Destinations, r.Destinations, r.Images, r.Failure, r.Findings = nil, nil, nil, "", nil
	with := distribution.LaunchPermissions{Accounts: []string{reporttest.Target.Account}}
	p.Shares = []plan.SharePlan{{
		At:      reporttest.Source,
		Names:   []string{"ours", "theirs"},
		ImageID: "ami-0a",
		Staged:  true,
		With:    with,
	}}
	if s := reporttest.NewManifest(p, r).Shares[0]; s.Status != report.Pending || s.AMIID != "" {
		t.Errorf("planned: got %+v", s)
	}

	r.Shares = []distribution.Shared{{At: reporttest.Source, ImageID: "ami-0b", With: with}}
	m := reporttest.NewManifest(p, r)
	if s := m.Shares[0]; s.Status != report.Succeeded || s.AMIID != "ami-0b" || m.Headline() != "Shared in 1 Region" {
		t.Errorf("got %q, %+v", m.Headline(), s)
	}
	for _, text := range texts(t, m) {
		for _, want := range []string{"ami-0b", "ours, theirs", reporttest.Target.Account} {
			if !strings.Contains(text, want) {
				t.Errorf("want %q in %s", want, text)
			}
		}
	}
}

func TestReport_grants(t *testing.T) {
	p, r := reporttest.Run(1)
	grant := lastingGrant()
	temporary := &step.CreateGrant{
		Base:   step.Base{ID: "grant/2", Location: reporttest.Source},
		KeyARN: reporttest.KeyARN(reporttest.Source),
		Name:   "for a copy",
	}
	p.Steps = append(p.Steps, grant, temporary)
	for _, state := range []string{"missing", "created"} {
		m := reporttest.NewManifest(p, r)
		if len(m.KMSGrants) != 2 || m.KMSGrants[0].Temporary || !m.KMSGrants[1].Temporary {
			t.Fatalf("got %+v, want the grant that stays and the temporary one", m.KMSGrants)
		}
		for _, text := range texts(t, m) {
			if strings.Contains(text, temporary.Name) {
				t.Errorf("got the temporary grant in %s", text)
			}
			for _, want := range []string{"fleet", grant.KeyARN, grant.Grantee, "Decrypt, DescribeKey", state} {
				if !strings.Contains(text, want) {
					t.Errorf("want %q in %s", want, text)
				}
			}
		}
		r.Grants = []distribution.KeyGrantResult{{At: grant.Location, KeyARN: grant.KeyARN, Name: grant.Name}}
	}
}

func TestReport_publicationsAndMethod(t *testing.T) {
	p, r := reporttest.Run(1)
	p.Destinations[0].Method, p.Destinations[0].MethodWhy = distribution.ByImage, "it has watermarks"
	r.Images[0].Pointers = []distribution.Pointer{{Kind: "SSM parameter", Name: "/golden/ami", Set: true}}
	html := page(t, reporttest.NewManifest(p, r))
	for _, want := range []string{"it has watermarks", "SSM parameter /golden/ami"} {
		if !strings.Contains(html, want) {
			t.Errorf("want %q in the page", want)
		}
	}
}

func TestReport_thousandDestinations(t *testing.T) {
	m := reporttest.Manifest(500) // in two Regions
	started := time.Now()
	html, markdown := page(t, m), m.Markdown()
	t.Logf("HTML %d KiB, Markdown %d KiB, both in %s", len(html)>>10, len(markdown)>>10, time.Since(started))
	if len(m.Destinations) != 1000 || len(html) > 2<<20 {
		t.Errorf("got %d destinations and %d bytes of HTML, want 1000 and at most 2 MiB", len(m.Destinations), len(html))
	}
	if len(markdown) > 1<<20 { // the limit of GitHub for the summary of a job
		t.Errorf("got %d bytes of Markdown, want at most 1 MiB", len(markdown))
	}
	if boxes := strings.Count(html, `class="node `); boxes > 30 {
		t.Errorf("got %d boxes, want at most 30", boxes)
	}
}

// These are the jq commands of the documentation.
func TestManifest_documentedReads(t *testing.T) {
	var m struct {
		Status       string
		Destinations []struct {
			Status    string
			AccountID string `json:"account_id"`
			Region    string
			AMIID     string `json:"ami_id"`
		}
	}
	if err := json.Unmarshal([]byte(marshal(t, reporttest.Manifest(1))), &m); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, d := range m.Destinations {
		if d.Status == "succeeded" {
			rows = append(rows, fmt.Sprint(d.AccountID, d.Region, d.AMIID))
		}
	}
	want := []string{fmt.Sprint("222222222222", "ap-northeast-1", "ami-00000000000000000")}
	if m.Status != "failed" || !slices.Equal(rows, want) {
		t.Errorf("got %s, %q, want failed, %q", m.Status, rows, want)
	}
}

// The page of 10,000 destinations can be opened: at most 5 MiB, each destination in the table, and in the time line the
// copies that failed, and those that the run waited for.
func TestReport_tenThousandDestinations(t *testing.T) {
	m := reporttest.Manifest(5000) // in two Regions
	for i := range m.Destinations {
		m.Destinations[i].Published = []report.Publication{
			{Kind: "ssm_parameter", Name: "/golden/images/web/current", Status: report.Succeeded},
		}
	}

	html := page(t, m)
	t.Logf("HTML %d KiB", len(html)>>10)
	if len(m.Destinations) != 10000 || len(html) > 5<<20 {
		t.Errorf("got %d destinations and %d bytes of HTML, want 10000 and at most 5 MiB", len(m.Destinations), len(html))
	}
	if got := strings.Count(html, `<tr class="is-`); got != 10000 {
		t.Errorf("got %d rows of destinations, want 10000", got)
	}
	const omitted = "ended earlier and are only in the manifest"
	for _, want := range []string{omitted, ">staged in us-west-2<", `<rect class="f"`} {
		if !strings.Contains(html, want) {
			t.Errorf("want %q in the page", want)
		}
	}
	if !strings.Contains(string(m.Markdown()), omitted) {
		t.Error("the Markdown does not say that copies are left out")
	}
}

// The report counts the copy that a share block shares: it stays. A shared source AMI needs no copy.
func TestMarkdown_sharedCopyIsStored(t *testing.T) {
	for ami, want := range map[string]string{"ami-0copy": "12 GiB stored", "ami-0a": "0 GiB stored"} {
		m := report.Manifest{
			SourceAMIs: []report.SourceAMI{
				{Region: "us-west-2", AMIID: "ami-0a", Volumes: []report.Volume{{SizeGiB: 8}, {SizeGiB: 4}}},
			},
			Shares: []report.Share{{Region: "us-west-2", AMIID: report.OptionalString(ami), Status: report.Succeeded}},
		}
		if got := string(m.Markdown()); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %q in it", ami, got, want)
		}
	}
}

// The Markdown report can be read in a terminal: ARNs, actions and options are in backticks, and the text has no
// character references such as &amp;.
func TestMarkdown_readableInTerminal(t *testing.T) {
	m := report.Manifest{Status: report.Failed, Findings: []report.Finding{{
		Severity: report.SeverityError,
		Option:   `target "prod": assume_role`,
		Summary:  "role golden-image-target may not kms:CreateGrant on arn:aws:kms:us-west-2:222222222222:key/1",
		Detail:   "external_id is missing (or does not match); it costs $1.40 a month.",
		NextStep: "Set external_id.",
	}}}
	text := string(m.Markdown())
	for _, want := range []string{
		"`target \"prod\": assume_role`",
		"may not `kms:CreateGrant` on `arn:aws:kms:us-west-2:222222222222:key/1`\n\n  ",
		"\n\n  `external_id` is missing (or does not match); it costs `$1.40` a month.\n\n  Next step: Set `external_id`.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want %q in it", text, want)
		}
	}
	if strings.Contains(text, "&#") {
		t.Errorf("got character references: %s", text)
	}
}
