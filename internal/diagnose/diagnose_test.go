// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// formatFinding returns every member of a finding.
func formatFinding(title string, f distribution.Finding) string {
	var t strings.Builder
	fmt.Fprintf(&t, "# %s\n", title)
	write := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&t, "%s: %s\n", name, text)
		}
	}
	write(string(f.Level), f.Summary)
	write("code", f.Code)
	write("because", f.Detail)
	write("AWS", strings.TrimPrefix(f.AWSCode+": "+f.AWSMessage, ": "))
	write("next", f.Remediation)
	before := ""
	for _, a := range f.PolicyStatements {
		if a.Policy != before {
			before = a.Policy
			fmt.Fprintf(&t, "add to the %s\n", before)
		}
		fmt.Fprintf(&t, "  %s\n", a.Statement)
	}
	write("at", f.Location.String())
	write("principal", f.Principal)
	write("resource", f.Resource)
	write("call", f.Operation)
	write("rule", f.Reference)
	return t.String()
}

func TestExplain_golden(t *testing.T) {
	var all []string
	for _, c := range cases {
		all = append(all, formatFinding(c.title, Explain(c.Case)))
	}
	golden.Equal(t, "testdata/rules.golden", strings.Join(all, "\n"))
}

func TestExplain_reference(t *testing.T) {
	for _, c := range cases {
		want, _, _ := strings.Cut(c.title, " ")
		if got := Explain(c.Case).Reference; got != strings.Trim(want, "-") {
			t.Errorf("%s: got reference %q", c.title, got)
		}
	}
}

// Every rule is the first match of at least one case.
func TestRules_allReached(t *testing.T) {
	reached := map[*rule]bool{}
	for _, c := range cases {
		reached[newMatch(c.Case).rule()] = true
	}
	for i, r := range rules {
		for _, want := range []*rule{&rules[i], r.externalIDWorked} {
			if want != nil && !reached[want] {
				t.Errorf("%s: no case reaches %q", want.references, want.summary)
			}
		}
	}
}

// Every error that the AWS rules name has a rule in this package, or a reason why it needs none.
func TestRules_complete(t *testing.T) {
	explained := map[string]bool{}
	for _, r := range rules {
		for _, number := range strings.Fields(r.references) {
			explained[number] = true
		}
	}
	numbers := map[string]bool{}
	for _, section := range sections {
		for n := 1; n <= section.last; n++ {
			number := fmt.Sprintf("%s.%d", section.name, n)
			numbers[number] = true
			if reason := unexplained[number]; explained[number] == (reason != "") {
				t.Errorf("%s: has a rule: %v; reason to have none: %q", number, explained[number], reason)
			}
		}
	}
	for number := range unexplained {
		if !numbers[number] {
			t.Errorf("%s: not in the sections", number)
		}
	}
}

// sections are those of the AWS rules whose errors must be explained, with the number of their last rule.
var sections = []struct {
	name string
	last int
}{
	{"1.8", 7},
	{"2.1", 10},
	{"2.2", 15},
	{"2.3", 6},
	{"3.4", 3},
	{"4.1", 5},
	{"5", 12},
	{"6", 9},
	{"7", 13},
	{"8", 8},
	{"A.2", 5},
	{"A.3", 3},
	{"A.4", 12},
}

// unexplained holds the AWS rules of these sections without a rule here, and why.
var unexplained = map[string]string{
	"2.1.4":  "says what can be shared with; there is no parameter to refuse",
	"2.1.8":  "sharing succeeds without the key",
	"2.1.9":  "sharing succeeds; the copy fails as 1.8.4",
	"2.1.10": "about public snapshots with product codes; the plugin makes nothing public, and no text is known",
	"2.2.1":  "says what is allowed",
	"2.2.4":  "says what can be shared with",
	"2.2.5":  "a quota whose error is not published",
	"2.2.6":  "what a key policy has to hold; without it the launch ends as 8.5",
	"2.2.7":  "says what a launch needs; without it, it ends as 8.5",
	"2.2.13": "about public images, and settings that take time",
	"2.2.15": "sharing shares no tags: nothing is refused",
	"2.3.4":  "a table of billing codes",
	"2.3.5":  "about public snapshots",
	"2.3.6":  "a parameter that is not supported and not sent",
	"5.12":   "what SDKs do with the time of an answer",
	"6.1":    "lists calls that can be dry",
	"6.3":    "a dry run fails as 6.2",
	"6.4":    "an order of checks",
	"6.6":    "KMS refuses dry runs with the codes of 3.4 and 3.7",
	"6.7":    "a parameter",
	"6.8":    "says what a refusal proves: a warning, see TestExplain_deniedKeyLookup",
	"6.9":    "lists calls that cannot be dry",
	"7.11":   "says how parameters are shared",
	"7.12":   "about AWS's own parameters",
	"7.13":   "about a console",
	"8.1":    "permissions of the service-linked role; without them the launch ends as 8.5",
	"8.2":    "statements for a key in the same account; without them the launch ends as 8.5",
	"8.4":    "advice",
	"8.7":    "how long a terminated instance is shown",
	"8.8":    "how long a new grant takes",
	"A.2.4":  "what an answer looks like",
	"A.4.2":  "a success",
	"A.4.10": "KMS names the identity policy: 6.2",
}

// An explicit deny has no statement to add, because none would help.
func TestExplain_explicitDeny(t *testing.T) {
	denied := 0
	for _, c := range cases {
		f := Explain(c.Case)
		if !strings.Contains(c.Refusal.Message, "with an explicit deny") {
			continue
		}
		denied++
		if f.PolicyStatements != nil || !strings.Contains(f.Remediation, "no statement helps") {
			t.Errorf("%s: %v, %q", c.title, f.PolicyStatements, f.Remediation)
		}
	}
	if denied == 0 {
		t.Error("no case of an explicit deny")
	}
}

// A denied DescribeKey does not show that the key is unusable: EC2 may still be allowed to use it (rules 3.2.4 and
// 6.8).
func TestExplain_deniedKeyLookup(t *testing.T) {
	refusal := distribution.APIError{
		Operation: "kms:DescribeKey",
		Status:    400,
		Code:      "AccessDeniedException",
		Message:   hiddenKeyText,
	}
	if got := Explain(Case{Refusal: refusal, At: atTarget, Resource: targetKey}).Level; got != distribution.Warning {
		t.Errorf("lookup by ARN: got %s", got)
	}
	if got := Explain(Case{Refusal: refusal, At: atTarget, Resource: "alias/golden"}).Level; got != distribution.Refused {
		t.Errorf("lookup by alias, whose ARN a copy needs: got %s", got)
	}
	ofStep := Case{Refusal: refusal, Step: copySnapshot(targetKey, sourceKey)}
	if got := Explain(ofStep).Level; got != distribution.Refused {
		t.Errorf("step: got %s", got)
	}
}

// An error may be temporary until AWS sees a change (rules 4.4.4, 4.6.5 and 1.8.4).
func TestIsEventualConsistency(t *testing.T) {
	for _, c := range cases {
		text := c.Refusal.Message
		want := slices.Contains([]string{
			"Given key ID is not accessible",
			"Source snapshot is not found",
			"Source snapshot is not complete",
			"You do not have permission to access the storage of this ami",
		}, text)
		if got := IsEventualConsistency(c.Refusal); got != want {
			t.Errorf("%s: %v", c.title, got)
		}
	}
}

// The fragments of messages that rules match contain no apostrophes, outer blanks or limits, because those vary (rules
// 2.2.2 and 4.1.1).
func TestRules_fragments(t *testing.T) {
	varying := regexp.MustCompile(`['’]|^\s|\s$|limit is|^$`)
	for _, r := range rules {
		for _, fragment := range r.messageContains {
			if varying.MatchString(fragment) {
				t.Errorf("%s: %q", r.references, fragment)
			}
		}
	}
}

func TestExplain_placeholders(t *testing.T) {
	for _, c := range cases {
		for _, bare := range []Case{c.Case, {Refusal: c.Refusal}} {
			f := Explain(bare)
			for _, text := range []string{f.Summary, f.Detail, f.Remediation} {
				if regexp.MustCompile(`[{}]|  |\(\)|: $|^; `).MatchString(text) {
					t.Errorf("%s: %q", c.title, text)
				}
			}
			if f.Summary == "" || f.Remediation == "" {
				t.Errorf("%s: no summary or no next step", c.title)
			}
		}
	}
}

func TestExplain_validStatements(t *testing.T) {
	name := regexp.MustCompile(`^[A-Za-z0-9]+$`)
	for _, c := range cases {
		seen := map[string]bool{}
		for _, a := range Explain(c.Case).PolicyStatements {
			kind := iampolicy.Identity
			if strings.HasPrefix(a.Policy, "key policy") {
				kind = iampolicy.Resource
			}
			policy := `{"Version": "2012-10-17", "Statement": [` + a.Statement.String() + `]}`
			if _, err := iampolicy.Parse([]byte(policy), kind); err != nil {
				t.Errorf("%s: %v", c.title, err)
			}
			if !name.MatchString(a.Statement.Sid) {
				t.Errorf("%s: Sid %q", c.title, a.Statement.Sid)
			}
			id := a.Policy + a.Statement.Sid
			if seen[id] {
				t.Errorf("%s: two statements with the same Sid in the %s", c.title, a.Policy)
			}
			seen[id] = true
		}
	}
}

// EC2 also returns AuthFailure for a wrong clock, so the credentials may be correct (rule 5.11).
func TestExplain_wrongClock(t *testing.T) {
	for _, c := range cases {
		isAboutTime := strings.HasPrefix(c.title, "5.8 EC2 does not know") || strings.HasPrefix(c.title, "5.4 EC2") ||
			strings.HasPrefix(c.title, "5.11 ") && strings.Contains(c.title, "the clock")
		f := Explain(c.Case)
		if isAboutTime && (!strings.Contains(f.Detail, "15 minutes") || !strings.Contains(f.Remediation, "clock")) {
			t.Errorf("%s: got detail %q, next step %q", c.title, f.Detail, f.Remediation)
		}
		if !isAboutTime && strings.Contains(f.Remediation, "clock") {
			t.Errorf("%s: got next step %q", c.title, f.Remediation)
		}
	}
}

// A policy may deny creating a resource without tags. The advice must be to add the tags, not to weaken the policy.
func TestExplain_denyForMissingTags(t *testing.T) {
	operations := map[string]bool{"ec2:RunInstances": true, "ec2:CopySnapshot": true, "kms:CreateGrant": false}
	for operation, want := range operations {
		refusal := distribution.APIError{
			Operation: operation,
			Code:      "UnauthorizedOperation",
			Message:   "with an explicit deny in a service control policy",
		}
		f := Explain(Case{Refusal: refusal})
		if got := strings.Contains(f.Remediation, "run_tags, tags and snapshot_tags, and change no policy"); got != want {
			t.Errorf("%s: got %q", operation, f.Remediation)
		}
	}
}
