// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

var (
	asTarget = iampolicy.Principal{ARN: targetRole, Account: target, Role: role}
	forEC2   = iampolicy.Context{"kms:GrantIsForAWSResource": {"true"}}
	directly = iampolicy.Context{"kms:GrantIsForAWSResource": {"false"}}
)

// delegating is the statement of a key policy that lets the identity policies of its account decide.
const delegating = `{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, ` +
	`"Action": "kms:*", "Resource": "*"}`

// statementTest evaluates a request after the statements of a finding are added.
type statementTest struct {
	title    string // beginning of the title of a case
	key      string // key or role whose policy receives statements; empty if no resource policy applies
	existing string // statement that the policy of the key already has
	omit     string // beginning of the names of policies whose statements are omitted
	request  iampolicy.Request
	denied   bool
}

var statementTests = []statementTest{
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   sourceKey,
		request: iampolicy.Request{
			Principal:       asTarget,
			Action:          "kms:CreateGrant",
			Resource:        sourceKey,
			ResourceAccount: source,
			Context:         forEC2,
		},
	},
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   sourceKey,
		omit:  "key policy",
		request: iampolicy.Request{
			Principal:       asTarget,
			Action:          "kms:CreateGrant",
			Resource:        sourceKey,
			ResourceAccount: source,
			Context:         forEC2,
		},
		denied: true,
	},
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   sourceKey,
		omit:  "identity policy",
		request: iampolicy.Request{
			Principal:       asTarget,
			Action:          "kms:CreateGrant",
			Resource:        sourceKey,
			ResourceAccount: source,
			Context:         forEC2,
		},
		denied: true,
	},
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   sourceKey,
		request: iampolicy.Request{
			Principal:       asTarget,
			Action:          "kms:CreateGrant",
			Resource:        sourceKey,
			ResourceAccount: source,
			Context:         directly,
		},
		denied: true,
	},
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   sourceKey,
		request: iampolicy.Request{
			Principal:       asTarget,
			Action:          "kms:Decrypt",
			Resource:        sourceKey,
			ResourceAccount: source,
		},
		denied: true,
	},
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   targetKey,
		omit:  "identity policy",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "kms:CreateGrant",
			Resource:  targetKey,
			Context:   forEC2,
		},
	},
	{
		title: "1.8.4 CopySnapshot in the target, a permission",
		key:   targetKey,
		omit:  "identity policy",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "kms:GenerateDataKeyWithoutPlaintext",
			Resource:  targetKey,
		},
	},
	{
		title:    "1.8.4 CopySnapshot in the target, a permission",
		key:      targetKey,
		existing: delegating,
		omit:     "key policy",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "kms:GenerateDataKeyWithoutPlaintext",
			Resource:  targetKey,
		},
	},
	{
		title: "1.8.3 the same, the key is a third",
		key:   thirdKey,
		request: iampolicy.Request{
			Principal:       asTarget,
			Action:          "kms:DescribeKey",
			Resource:        thirdKey,
			ResourceAccount: third,
		},
	},
	{
		title:    "6.2 a key by its alias",
		key:      targetKey,
		existing: delegating,
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "kms:DescribeKey",
			Resource:  targetKey,
			Context:   iampolicy.Context{"kms:ResourceAliases": {"alias/golden-target"}},
		},
	},
	{
		title:    "6.2 a key by its alias",
		key:      targetKey,
		existing: delegating,
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "kms:DescribeKey",
			Resource:  targetKey,
			Context:   iampolicy.Context{"kms:ResourceAliases": {"alias/other"}},
		},
		denied: true,
	},
	{
		title: "6.2 no identity policy allows the copy",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "ec2:CopySnapshot",
			Resource:  oneSnapshot,
		},
	},
	{
		title: "6.2 no identity policy allows the copy",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "ec2:DeleteSnapshot",
			Resource:  oneSnapshot,
		},
		denied: true,
	},
	{
		title: "6.2 no identity policy allows the tags",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "ec2:CreateTags",
			Resource:  snapshots,
			Context:   iampolicy.Context{"ec2:CreateAction": {"CopySnapshot"}},
		},
	},
	{
		title: "6.2 no identity policy allows the tags",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "ec2:CreateTags",
			Resource:  snapshots,
			Context:   iampolicy.Context{},
		},
		denied: true,
	},
	{
		title: "6.2 no identity policy allows to look",
		request: iampolicy.Request{
			Principal: asTarget,
			Action:    "ec2:DescribeImages",
			Resource:  "*",
		},
	},
}

// The statements of a finding allow what was denied, and nothing else.
func TestExplain_statementsAllow(t *testing.T) {
	for _, c := range statementTests {
		i := slices.IndexFunc(cases, func(tc titledCase) bool { return strings.HasPrefix(tc.title, c.title) })
		f := Explain(cases[i].Case)

		var identity, resource []string
		if c.existing != "" {
			resource = append(resource, c.existing)
		}
		for _, a := range f.PolicyStatements {
			switch {
			case c.omit != "" && strings.HasPrefix(a.Policy, c.omit):
			case strings.HasPrefix(a.Policy, "identity policy"):
				identity = append(identity, a.Statement.String())
			case strings.HasPrefix(a.Policy, "key policy of "+c.key):
				resource = append(resource, a.Statement.String())
			}
		}

		decision, err := iampolicy.Evaluate(c.request, c.policies(t, identity, resource))
		if err != nil || decision.Allowed == c.denied {
			t.Errorf("%s: %s without %q: got allowed %v, %s, %v\n%s",
				c.title, c.request.Action, c.omit, decision.Allowed, decision.Text(), err, f.PolicyStatements)
		}
	}
}

func (c statementTest) policies(t *testing.T, identity, resource []string) iampolicy.Policies {
	t.Helper()
	policies := iampolicy.Policies{
		Identity: []*iampolicy.Document{parseStatements(t, iampolicy.Identity, identity)},
	}
	if c.key != "" {
		policies.Resource = parseStatements(t, iampolicy.Resource, resource)
	}
	return policies
}

// unrelated holds a statement for each kind of policy, because a policy without statements is invalid.
var unrelated = map[iampolicy.Kind]string{
	iampolicy.Identity: `{"Effect": "Deny", "Action": "none:None", "Resource": "*"}`,
	iampolicy.Resource: `{"Effect": "Deny", "Action": "none:None", "Principal": {"AWS": "*"}, "Resource": "*"}`,
}

func parseStatements(t *testing.T, kind iampolicy.Kind, statements []string) *iampolicy.Document {
	t.Helper()
	if len(statements) == 0 {
		statements = []string{unrelated[kind]}
	}
	policy := `{"Version": "2012-10-17", "Statement": [` + strings.Join(statements, ", ") + `]}`
	d, err := iampolicy.Parse([]byte(policy), kind)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The trust policy may require another external ID. A statement without that condition would open the role to every
// caller of the account (rule 5.6).
func TestExplain_externalIDForgottenOrWrong(t *testing.T) {
	refused := []string{
		"5.6 AssumeRole: trust",
		"5.6 AssumeRole: the trust policy named",
	}
	problems := []struct {
		name       string
		externalID bool
		step       step.Step
		want       string
	}{
		{"forgotten", false, nil, "external_id is missing, or"},
		{"wrong", true, nil, "external_id does not match, or"},
		{"unknown", false, registerImage(), "external_id is missing or does not match, or"},
	}
	for _, title := range refused {
		i := slices.IndexFunc(cases, func(c titledCase) bool { return strings.HasPrefix(c.title, title) })
		for _, problem := range problems {
			c := cases[i].Case
			c.ExternalID, c.Step = problem.externalID, problem.step
			f := Explain(c)
			if !strings.Contains(f.Summary, problem.want) || !strings.Contains(f.Remediation, "sts:ExternalId") {
				t.Errorf("%s, %s: got %q, next %q", title, problem.name, f.Summary, f.Remediation)
			}
			if f.PolicyStatements != nil {
				t.Errorf("%s, %s: got statements %v", title, problem.name, f.PolicyStatements)
			}
		}
	}
}

// An external ID that worked in another account of the block is not the cause, so no advice begins with it.
func TestExplain_externalIDWorkedElsewhere(t *testing.T) {
	for title, want := range map[string]string{
		"5.6 AssumeRole: trust":            "Check the name and account of the role. Compare the trust policy of ",
		"5.6 AssumeRole: the trust policy": "Compare the trust policy of ",
	} {
		i := slices.IndexFunc(cases, func(c titledCase) bool { return strings.HasPrefix(c.title, title) })
		f := Explain(cases[i].withExternalIDOf(third))
		if strings.Contains(f.Summary+f.Remediation, "external_id") || !strings.HasPrefix(f.Remediation, want) {
			t.Errorf("%s: got %q, next %q", title, f.Summary, f.Remediation)
		}
		if !strings.Contains(f.Detail, "The same external ID worked in account "+third) {
			t.Errorf("%s: got %q", title, f.Detail)
		}
	}
}

// The error names the denied action, so the external ID is not the cause.
func TestExplain_sessionTagsDenied(t *testing.T) {
	for _, c := range cases {
		isTags := strings.HasPrefix(c.title, "5.6 AssumeRole: session tags")
		isIdentity := strings.HasPrefix(c.title, "5.6 AssumeRole: a source identity")
		f := Explain(c.Case)
		if isTags && !strings.Contains(f.Remediation, "Add sts:TagSession to the statement") ||
			isIdentity && !strings.Contains(f.Remediation, "Add sts:SetSourceIdentity to the statement") {
			t.Errorf("%s: got next %q", c.title, f.Remediation)
		}
		if (isTags || isIdentity) && (strings.Contains(f.Summary, "external_id") || f.PolicyStatements != nil) {
			t.Errorf("%s: got %q with statements %v", c.title, f.Summary, f.PolicyStatements)
		}
	}
}
