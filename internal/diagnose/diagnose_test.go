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

// document is a finding in full.
func document(title string, f distribution.Finding) string {
	var t strings.Builder
	fmt.Fprintf(&t, "# %s\n", title)
	write := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&t, "%s: %s\n", name, text)
		}
	}
	write(string(f.Level), f.Summary)
	write("because", f.Detail)
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

func TestEveryRefusalHasItsMessage(t *testing.T) {
	var all []string
	for _, c := range cases {
		all = append(all, document(c.title, Explain(c.Case)))
	}
	golden.Equal(t, "testdata/catalogue.golden", strings.Join(all, "\n"))
}

func TestACaseRestsOnTheRuleOfItsTitle(t *testing.T) {
	for _, c := range cases {
		want, _, _ := strings.Cut(c.title, " ")
		if got := Explain(c.Case).Reference; got != strings.Trim(want, "-") {
			t.Errorf("%s: the finding rests on %q", c.title, got)
		}
	}
}

func TestEveryEntryIsMetByACase(t *testing.T) {
	met := map[*rule]bool{}
	for _, c := range cases {
		met[read(c.Case).entry()] = true
	}
	for i, e := range catalogue {
		if !met[&catalogue[i]] {
			t.Errorf("%s: no case comes to %q", e.rules, e.says)
		}
	}
}

func TestEveryRefusalThatTheRulesNameIsInTheCatalogue(t *testing.T) {
	known := map[string]bool{}
	for _, e := range catalogue {
		for _, rule := range strings.Fields(e.rules) {
			known[rule] = true
		}
	}
	numbered := map[string]bool{}
	for _, section := range sections {
		for n := 1; n <= section.last; n++ {
			rule := fmt.Sprintf("%s.%d", section.name, n)
			numbered[rule] = true
			reason := noRefusal[rule]
			switch {
			case known[rule] == (reason != ""):
				t.Errorf("%s: in the catalogue: %v; reason not to be there: %q", rule, known[rule], reason)
			}
		}
	}
	for rule := range noRefusal {
		if !numbered[rule] {
			t.Errorf("%s: a reason for a rule that nobody asked for", rule)
		}
	}
}

// sections of the rules whose refusals have to be explained, and their last rule.
var sections = []struct {
	name string
	last int
}{{"1.8", 7}, {"2.1", 10}, {"2.2", 15}, {"2.3", 6}, {"3.4", 3}, {"4.1", 5}, {"5", 10}, {"6", 9}, {"7", 13}, {"8", 8}, {"A.2", 5}, {"A.3", 3}, {"A.4", 12}}

// noRefusal is why a rule of these sections has no entry.
var noRefusal = map[string]string{
	"2.1.4":  "says what can be shared with; there is no parameter to refuse",
	"2.1.8":  "sharing succeeds without the key",
	"2.1.9":  "sharing succeeds; the copy fails as 1.8.4",
	"2.1.10": "about public snapshots with product codes; the plugin makes nothing public, and no text is known",
	"2.2.1":  "says what is allowed",
	"2.2.4":  "says what can be shared with",
	"2.2.5":  "a quota whose refusal is published nowhere",
	"2.2.6":  "what a key policy has to hold; without it the launch ends as 8.5",
	"2.2.7":  "says what a launch needs; without it, it ends as 8.5",
	"2.2.13": "about public images, and settings that take time",
	"2.2.15": "sharing shares no tags: nothing is refused",
	"2.3.4":  "a table of billing codes",
	"2.3.5":  "about public snapshots",
	"2.3.6":  "a parameter that is not supported and not sent",
	"6.1":    "lists calls that can be dry",
	"6.3":    "a dry run refuses what 6.2 refuses",
	"6.4":    "an order of checks",
	"6.6":    "KMS refuses dry runs with the codes of 3.4 and 3.7",
	"6.7":    "a parameter",
	"6.8":    "says what a refusal proves: a warning, see TestARefusedLookAtAKeyProvesNothing",
	"6.9":    "lists calls that cannot be dry",
	"7.11":   "says how parameters are shared",
	"7.12":   "about AWS's own parameters",
	"7.13":   "about a console",
	"8.1":    "what the service-linked role may; without it the launch ends as 8.5",
	"8.2":    "statements for a key in the same account; without them the launch ends as 8.5",
	"8.4":    "advice",
	"8.7":    "how long a terminated instance is shown",
	"8.8":    "how long a new grant takes",
	"A.2.4":  "what an answer looks like",
	"A.4.2":  "a success",
	"A.4.10": "KMS names the identity policy: 6.2",
}

func TestAnExplicitDenyIsNeverAnsweredWithAStatement(t *testing.T) {
	met := 0
	for _, c := range cases {
		f := Explain(c.Case)
		if !strings.Contains(c.Refusal.Message, "with an explicit deny") {
			continue
		}
		met++
		if f.PolicyStatements != nil || !strings.Contains(f.Remediation, "no statement helps") {
			t.Errorf("%s: %v, %q", c.title, f.PolicyStatements, f.Remediation)
		}
	}
	if met == 0 {
		t.Error("no case of an explicit deny")
	}
}

func TestARefusedLookAtAKeyProvesNothing(t *testing.T) { // 3.2.4, 6.8
	refusal := distribution.APIError{Operation: "kms:DescribeKey", Status: 400, Code: "AccessDeniedException", Message: notShown}
	if got := Explain(Case{Refusal: refusal, At: atTarget, Resource: targetKey}).Level; got != distribution.Warning {
		t.Errorf("a look: %s", got)
	}
	if got := Explain(Case{Refusal: refusal, At: atTarget, Resource: "alias/golden"}).Level; got != distribution.Refused {
		t.Errorf("a look at an alias, whose ARN a copy would need: %s", got)
	}
	if got := Explain(Case{Refusal: refusal, Step: copyUnder(targetKey, sourceKey)}).Level; got != distribution.Refused {
		t.Errorf("a step: %s", got)
	}
}

func TestWhatAWSHasNotSeenYetIsPremature(t *testing.T) { // 4.4.4, 4.6.5, 1.8.4
	for _, c := range cases {
		text := c.Refusal.Message
		want := text == "Given key ID is not accessible" || text == "Source snapshot is not found" || text == "Source snapshot is not complete" ||
			text == "You do not have permission to access the storage of this ami"
		if got := IsEventualConsistency(c.Refusal); got != want {
			t.Errorf("%s: %v", c.title, got)
		}
	}
}

func TestTextsAreMatchedByWhatDoesNotVary(t *testing.T) { // 2.2.2, 4.1.1
	varying := regexp.MustCompile(`['’]|^\s|\s$|limit is|^$`)
	for _, e := range catalogue {
		for _, fragment := range e.messageContains {
			if varying.MatchString(fragment) {
				t.Errorf("%s: %q", e.rules, fragment)
			}
		}
	}
}

func TestNoTextIsLeftUnfilled(t *testing.T) {
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

func TestStatementsAreWhatPoliciesTake(t *testing.T) {
	name := regexp.MustCompile(`^[A-Za-z0-9]+$`)
	for _, c := range cases {
		seen := map[string]bool{}
		for _, a := range Explain(c.Case).PolicyStatements {
			kind := iampolicy.Identity
			switch {
			case strings.HasPrefix(a.Policy, "key policy"):
				kind = iampolicy.Resource
			case strings.HasPrefix(a.Policy, "trust policy"):
				kind = iampolicy.Trust
			}
			if _, err := iampolicy.Parse([]byte(`{"Version": "2012-10-17", "Statement": [`+a.Statement.String()+`]}`), kind); err != nil {
				t.Errorf("%s: %v", c.title, err)
			}
			if !name.MatchString(a.Statement.Sid) {
				t.Errorf("%s: Sid %q", c.title, a.Statement.Sid)
			}
			id := a.Policy + a.Statement.Sid
			if seen[id] {
				t.Errorf("%s: two statements of one name in the %s", c.title, a.Policy)
			}
			seen[id] = true
		}
	}
}

// A statement does what it is for, and no more.
func TestStatementsLiftTheRefusal(t *testing.T) {
	asTarget := iampolicy.Principal{ARN: targetRole, Account: target, Role: role}
	asPacker := iampolicy.Principal{ARN: packerRole, Account: source, Role: "arn:aws:iam::111111111111:role/packer"}
	forEC2 := iampolicy.Context{"kms:GrantIsForAWSResource": {"true"}}
	directly := iampolicy.Context{"kms:GrantIsForAWSResource": {"false"}}
	delegating := `{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, "Action": "kms:*", "Resource": "*"}`
	for _, c := range []struct {
		title  string // of the case
		key    string // whose policy takes statements; "" where no policy of a resource bears on it
		also   string // what stands in that policy already
		skip   string // statements of places that begin so are left out
		ask    iampolicy.Request
		denied bool
	}{
		{title: "1.8.4 CopySnapshot in the target, a right", key: sourceKey, ask: iampolicy.Request{Principal: asTarget, Action: "kms:CreateGrant", Resource: sourceKey, ResourceAccount: source, Context: forEC2}},
		{title: "1.8.4 CopySnapshot in the target, a right", key: sourceKey, skip: "key policy", ask: iampolicy.Request{Principal: asTarget, Action: "kms:CreateGrant", Resource: sourceKey, ResourceAccount: source, Context: forEC2}, denied: true},
		{title: "1.8.4 CopySnapshot in the target, a right", key: sourceKey, skip: "identity policy", ask: iampolicy.Request{Principal: asTarget, Action: "kms:CreateGrant", Resource: sourceKey, ResourceAccount: source, Context: forEC2}, denied: true},
		{title: "1.8.4 CopySnapshot in the target, a right", key: sourceKey, ask: iampolicy.Request{Principal: asTarget, Action: "kms:CreateGrant", Resource: sourceKey, ResourceAccount: source, Context: directly}, denied: true},
		{title: "1.8.4 CopySnapshot in the target, a right", key: sourceKey, ask: iampolicy.Request{Principal: asTarget, Action: "kms:Decrypt", Resource: sourceKey, ResourceAccount: source}, denied: true},
		{title: "1.8.4 CopySnapshot in the target, a right", key: targetKey, skip: "identity policy", ask: iampolicy.Request{Principal: asTarget, Action: "kms:CreateGrant", Resource: targetKey, Context: forEC2}},
		{title: "1.8.4 CopySnapshot in the target, a right", key: targetKey, skip: "identity policy", ask: iampolicy.Request{Principal: asTarget, Action: "kms:GenerateDataKeyWithoutPlaintext", Resource: targetKey}},
		{title: "1.8.4 CopySnapshot in the target, a right", key: targetKey, skip: "key policy", also: delegating, ask: iampolicy.Request{Principal: asTarget, Action: "kms:GenerateDataKeyWithoutPlaintext", Resource: targetKey}},
		{title: "1.8.3 the same, the key is a third", key: thirdKey, ask: iampolicy.Request{Principal: asTarget, Action: "kms:DescribeKey", Resource: thirdKey, ResourceAccount: third}},
		{title: "6.2 a key by its alias", key: targetKey, also: delegating, ask: iampolicy.Request{Principal: asTarget, Action: "kms:DescribeKey", Resource: targetKey, Context: iampolicy.Context{"kms:ResourceAliases": {"alias/golden-target"}}}},
		{title: "6.2 a key by its alias", key: targetKey, also: delegating, ask: iampolicy.Request{Principal: asTarget, Action: "kms:DescribeKey", Resource: targetKey, Context: iampolicy.Context{"kms:ResourceAliases": {"alias/other"}}}, denied: true},
		{title: "6.2 no identity policy allows the copy", ask: iampolicy.Request{Principal: asTarget, Action: "ec2:CopySnapshot", Resource: oneSnapshot}},
		{title: "6.2 no identity policy allows the copy", ask: iampolicy.Request{Principal: asTarget, Action: "ec2:DeleteSnapshot", Resource: oneSnapshot}, denied: true},
		{title: "6.2 no identity policy allows the tags", ask: iampolicy.Request{Principal: asTarget, Action: "ec2:CreateTags", Resource: snapshots, Context: iampolicy.Context{"ec2:CreateAction": {"CopySnapshot"}}}},
		{title: "6.2 no identity policy allows the tags", ask: iampolicy.Request{Principal: asTarget, Action: "ec2:CreateTags", Resource: snapshots, Context: iampolicy.Context{}}, denied: true},
		{title: "6.2 no identity policy allows to look", ask: iampolicy.Request{Principal: asTarget, Action: "ec2:DescribeImages", Resource: "*"}},
		{title: "5.6 AssumeRole: trust", key: role, ask: iampolicy.Request{Principal: asPacker, Action: "sts:AssumeRole", Resource: role, ResourceAccount: target}},
		{title: "5.6 AssumeRole: the trust policy named", key: role, skip: "identity policy", ask: iampolicy.Request{Principal: asPacker, Action: "sts:AssumeRole", Resource: role, ResourceAccount: target}, denied: true},
	} {
		i := slices.IndexFunc(cases, func(one titled) bool { return strings.HasPrefix(one.title, c.title) })
		f := Explain(cases[i].Case)
		var identity, resource []string
		if c.also != "" {
			resource = append(resource, c.also)
		}
		for _, a := range f.PolicyStatements {
			text := a.Statement.String()
			switch {
			case c.skip != "" && strings.HasPrefix(a.Policy, c.skip):
			case strings.HasPrefix(a.Policy, "identity policy"):
				identity = append(identity, text)
			case strings.HasPrefix(a.Policy, "key policy of "+c.key), strings.HasPrefix(a.Policy, "trust policy"):
				resource = append(resource, text)
			}
		}
		policies := iampolicy.Policies{Identity: []*iampolicy.Document{parsed(t, iampolicy.Identity, identity)}}
		switch c.key {
		case "":
		case role:
			policies.Resource = parsed(t, iampolicy.Trust, resource)
		default:
			policies.Resource = parsed(t, iampolicy.Resource, resource)
		}
		d, err := iampolicy.Evaluate(c.ask, policies)
		if err != nil || d.Allowed == c.denied {
			t.Errorf("%s: %s with %s left out: allowed %v, %s, %v\n%s", c.title, c.ask.Action, c.skip, d.Allowed, d.Text(), err, f.PolicyStatements)
		}
	}
}

func parsed(t *testing.T, kind iampolicy.Kind, statements []string) *iampolicy.Document {
	t.Helper()
	if len(statements) == 0 { // of nobody's concern
		statements = []string{`{"Effect": "Deny", "Action": "none:None"` + map[iampolicy.Kind]string{iampolicy.Identity: `, "Resource": "*"}`,
			iampolicy.Resource: `, "Principal": {"AWS": "*"}, "Resource": "*"}`, iampolicy.Trust: `, "Principal": {"AWS": "*"}}`}[kind]}
	}
	d, err := iampolicy.Parse([]byte(`{"Version": "2012-10-17", "Statement": [`+strings.Join(statements, ", ")+`]}`), kind)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
