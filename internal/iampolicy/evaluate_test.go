// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

const (
	owner  = "111122223333"
	other  = "444455556666"
	keyARN = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	bucket = "arn:aws:s3:::amzn-s3-demo-bucket/x"

	decision = "IAM-UG:reference_policies_evaluation-logic_policy-eval-denyallow"
	texts    = "IAM-UG:troubleshoot_access-denied"
)

func user(account, name string) iampolicy.Principal {
	return iampolicy.Principal{ARN: "arn:aws:iam::" + account + ":user/" + name, Account: account}
}

func session(account, role string) iampolicy.Principal {
	return iampolicy.Principal{
		ARN:     "arn:aws:sts::" + account + ":assumed-role/" + role[strings.LastIndex(role, "/")+1:] + "/session",
		Account: account,
		Role:    "arn:aws:iam::" + account + ":role/" + role,
	}
}

func root(account string) iampolicy.Principal {
	return iampolicy.Principal{ARN: "arn:aws:iam::" + account + ":root", Account: account}
}

func service(name string) iampolicy.Principal { return iampolicy.Principal{ARN: name} }

func evaluate(t testing.TB, r iampolicy.Request, p iampolicy.Policies) iampolicy.Decision {
	t.Helper()
	d, err := iampolicy.Evaluate(r, p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// may returns a policy with one statement, with its effect, actions and further elements.
func may(effect, action string, elements ...string) string {
	all := strings.Join(
		elements,
		" ",
	)
	if !strings.Contains(all, `"Resource"`) && !strings.Contains(all, `"NotResource"`) {
		elements = append(elements, `"Resource": "*"`)
	}
	return fmt.Sprintf(
		`{"Version": "2012-10-17", "Statement": [{"Effect": %q, "Action": %q, %s}]}`,
		effect,
		action,
		strings.Join(elements, ", "),
	)
}

func to(principal string) string { return fmt.Sprintf(`"Principal": {"AWS": %q}`, principal) }

// set is Policies in text.
type set struct {
	identity, session, boundary, resource string // empty without the policy
	trust                                 bool   // resource is a trust policy
	scps, rcps                            [][]string
	grants                                []iampolicy.Grant
}

func (s set) parsed(t testing.TB) iampolicy.Policies {
	p := iampolicy.Policies{Grants: s.grants}
	if s.identity != "" {
		p.Identity = documents(t, iampolicy.Identity, s.identity)
	}
	if s.session != "" {
		p.Session = documents(t, iampolicy.Session, s.session)
	}
	if s.boundary != "" {
		p.Boundary = documents(t, iampolicy.Boundary, s.boundary)[0]
	}
	switch {
	case s.trust:
		p.Resource = documents(t, iampolicy.Trust, strings.Replace(s.resource, `, "Resource": "*"`, "", 1))[0]
	case s.resource != "":
		p.Resource = documents(t, iampolicy.Resource, s.resource)[0]
	}
	for _, level := range s.scps {
		p.ServiceControl = append(p.ServiceControl, documents(t, iampolicy.ServiceControl, level...))
	}
	for _, level := range s.rcps {
		p.ResourceControl = append(p.ResourceControl, documents(t, iampolicy.ResourceControl, level...))
	}
	return p
}

type evaluation struct {
	source  string
	request iampolicy.Request
	set     set
	want    string // "allowed by KIND", or the end of AWS's refusal
}

func (c evaluation) check(t *testing.T) {
	t.Run(c.source, func(t *testing.T) {
		d := evaluate(t, c.request, c.set.parsed(t))
		got := d.Text()
		if d.Allowed {
			got = "allowed by " + string(d.By)
		}
		if got != c.want {
			t.Errorf("got  %s\nwant %s\nfor %+v\nwith %+v", got, c.want, c.request, c.set)
		}
	})
}

// These cases combine the policies that allow with those that limit, within one account.
func TestEvaluate_sameAccount(t *testing.T) {
	all, s3 := may("Allow", "*"), may("Allow", "s3:*")
	carlos, role := user(owner, "carlossalazar"), session(owner, "app/Demo")
	put := func(who iampolicy.Principal) iampolicy.Request {
		return iampolicy.Request{Principal: who, Action: "s3:PutObject", Resource: bucket}
	}
	allowed := func(k iampolicy.Kind) string { return "allowed by " + string(k) }
	carlosLogs := `{"Version": "2012-10-17", "Statement": [
		{"Sid": "AllowS3Self", "Effect": "Allow", "Action": "s3:*",
			"Resource": ["arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar/*", "arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar"]},
		{"Sid": "DenyS3Logs", "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::*log*"}]}`
	bucketOfCarlos := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "` +
		carlos.ARN + `"}, "Action": "s3:*",
		"Resource": ["arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar/*", "arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar"]}]}`
	const example = "IAM-UG:reference_policies_evaluation-logic_policy-eval-basics, example"
	const noIdentity = "because no identity-based policy allows the s3:PutObject action"

	for _, c := range []evaluation{
		{decision + ": denied by default", put(carlos), set{}, noIdentity},
		{decision + ": identity", put(carlos), set{identity: s3}, allowed(iampolicy.Identity)},
		{
			decision + ": identity or resource",
			put(carlos),
			set{resource: may("Allow", "s3:*", to(carlos.ARN))},
			allowed(iampolicy.Resource),
		},
		{
			decision + ": explicit deny wins",
			put(carlos),
			set{identity: s3, resource: may("Deny", "s3:Put*", to("*"))},
			"with an explicit deny in a resource-based policy",
		},
		{decision + ": root user", put(root(owner)), set{}, allowed(iampolicy.ByRoot)},
		{
			decision + ": root user",
			put(root(owner)),
			set{resource: may("Deny", "s3:*", to("*"))},
			"with an explicit deny in a resource-based policy",
		},
		{
			example,
			iampolicy.Request{
				Principal: carlos,
				Action:    "s3:PutObject",
				Resource:  "arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar-logs/x",
			},
			set{identity: carlosLogs},
			"with an explicit deny in an identity-based policy",
		},
		{
			example,
			iampolicy.Request{
				Principal: carlos,
				Action:    "s3:PutObject",
				Resource:  "arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar/x",
			},
			set{identity: carlosLogs, resource: bucketOfCarlos},
			allowed(iampolicy.Resource),
		},
		{
			example,
			iampolicy.Request{
				Principal: user(owner, "other"),
				Action:    "s3:PutObject",
				Resource:  "arn:aws:s3:::amzn-s3-demo-bucket-carlossalazar/x",
			},
			set{resource: bucketOfCarlos},
			noIdentity,
		},

		{
			"IAM-UG:access_policies_boundaries: intersection",
			put(carlos),
			set{identity: s3, boundary: may("Allow", "ec2:*")},
			"because no permissions boundary allows the s3:PutObject action",
		},
		{"IAM-UG:access_policies_boundaries: gives nothing itself", put(carlos), set{boundary: s3}, noIdentity},
		{"IAM-UG:access_policies_boundaries", put(carlos), set{identity: s3, boundary: all}, allowed(iampolicy.Identity)},
		{
			texts + ": permissions boundary, explicit",
			put(carlos),
			set{identity: s3, boundary: may("Deny", "s3:*")},
			"with an explicit deny in a permissions boundary",
		},
		{
			"IAM-UG:access_policies_boundaries: session policies, intersection",
			put(role),
			set{identity: s3, session: may("Allow", "ec2:*")},
			"because no session policy allows the s3:PutObject action",
		},
		{"IAM-UG:access_policies_boundaries: session policies, intersection", put(role), set{session: s3}, noIdentity},
		{
			"IAM-UG:access_policies_boundaries: session policies",
			put(role),
			set{identity: s3, session: all},
			allowed(iampolicy.Identity),
		},
		{
			texts + ": session policy, explicit",
			put(role),
			set{identity: s3, session: may("Deny", "s3:*")},
			"with an explicit deny in a session policy",
		},

		{
			decision + ": IAM user named",
			put(carlos),
			set{boundary: may("Allow", "ec2:*"), resource: may("Allow", "s3:*", to(carlos.ARN))},
			allowed(iampolicy.Resource),
		},
		{
			decision + ": IAM role named",
			put(role),
			set{resource: may("Allow", "s3:*", to(role.Role))},
			allowed(iampolicy.Resource),
		},
		{
			decision + ": IAM role named, session policy limits",
			put(role),
			set{session: may("Allow", "ec2:*"), resource: may("Allow", "s3:*", to(role.Role))},
			"because no session policy allows the s3:PutObject action",
		},
		{
			decision + ": IAM role named, boundary limits",
			put(role),
			set{boundary: may("Allow", "ec2:*"), resource: may("Allow", "s3:*", to(role.Role))},
			"because no permissions boundary allows the s3:PutObject action",
		},
		{
			decision + ": IAM role named, both allow",
			put(role),
			set{boundary: all, session: all, resource: may("Allow", "s3:*", to(role.Role))},
			allowed(iampolicy.Resource),
		},
		{
			decision + ": IAM role session named",
			put(role),
			set{boundary: may("Allow", "ec2:*"), session: may("Allow", "ec2:*"), resource: may("Allow", "s3:*", to(role.ARN))},
			allowed(iampolicy.Resource),
		},
		{
			decision + ": IAM role session named, explicit deny",
			put(role),
			set{session: may("Deny", "s3:*"), resource: may("Allow", "s3:*", to(role.ARN))},
			"with an explicit deny in a session policy",
		},
		{decision + ": * with aws:PrincipalArn", put(role), set{
			session: may("Allow", "ec2:*"),
			resource: may(
				"Allow",
				"s3:*",
				to("*"),
				`"Condition": {"ArnEquals": {"aws:PrincipalArn": "`+role.Role+`"}}`,
			),
		}, allowed(iampolicy.Resource)},
		{decision + ": * with aws:PrincipalArn of another", put(role), set{
			resource: may(
				"Allow",
				"s3:*",
				to("*"),
				`"Condition": {"ArnEquals": {"aws:PrincipalArn": "`+role.ARN+`"}}`,
			),
		}, noIdentity},
		{
			"IAM-UG:reference_policies_elements_principal: account principals delegate",
			put(role),
			set{resource: may("Allow", "s3:*", to(owner))},
			noIdentity,
		},
		{
			"IAM-UG:reference_policies_elements_principal: account principals delegate",
			put(role),
			set{identity: s3, resource: may("Allow", "s3:*", to(root(owner).ARN))},
			allowed(iampolicy.Identity),
		},
		{
			"IAM-UG:reference_policies_elements_principal: other account",
			put(role),
			set{resource: may("Allow", "s3:*", to(other))},
			noIdentity,
		},
		{
			"IAM-UG:reference_policies_elements_principal: other session",
			put(role),
			set{resource: may("Allow", "s3:*", to(strings.Replace(role.ARN, "/session", "/other", 1)))},
			noIdentity,
		},
		{
			decision + ": federated user session named", put(iampolicy.Principal{
				ARN:     "arn:aws:sts::" + owner + ":federated-user/carlossalazar",
				Account: owner,
				Role:    carlos.ARN,
			}),
			set{
				session:  may("Allow", "ec2:*"),
				resource: may("Allow", "s3:*", to("arn:aws:sts::"+owner+":federated-user/carlossalazar")),
			},
			allowed(iampolicy.Resource),
		},
		{
			decision + ": user of a federated session named", put(iampolicy.Principal{
				ARN:     "arn:aws:sts::" + owner + ":federated-user/carlossalazar",
				Account: owner,
				Role:    carlos.ARN,
			}),
			set{
				session:  may("Allow", "ec2:*"),
				resource: may("Allow", "s3:*", to(carlos.ARN)),
			},
			"because no session policy allows the s3:PutObject action",
		},
		{
			"IAM-UG:reference_policies_elements_principal: services",
			put(service("cloudtrail.amazonaws.com")),
			set{resource: may("Allow", "s3:*", `"Principal": {"Service": ["cloudtrail.amazonaws.com", "ec2.amazonaws.com"]}`)},
			allowed(iampolicy.Resource),
		},
		{
			"IAM-UG:reference_policies_elements_principal: services",
			put(service("sns.amazonaws.com")),
			set{resource: may("Allow", "s3:*", `"Principal": {"Service": "cloudtrail.amazonaws.com"}`)},
			"because no resource-based policy allows the s3:PutObject action",
		},

		{
			"6.5: the resource of CopySnapshot is a pattern itself",
			iampolicy.Request{
				Principal: role,
				Action:    "ec2:CopySnapshot",
				Resource:  "arn:aws:ec2:us-east-1::snapshot/*",
			},
			set{
				identity: all,
				session:  may("Allow", "ec2:CopySnapshot", `"NotResource": "arn:aws:ec2:us-east-1::snapshot/snap-1"`),
			},
			allowed(iampolicy.Identity),
		},
		{
			"A.4.11: copy-snapshot-iam/source-only",
			iampolicy.Request{
				Principal: role,
				Action:    "ec2:CopySnapshot",
				Resource:  "arn:aws:ec2:us-east-1::snapshot/*",
			},
			set{
				identity: all,
				session:  may("Allow", "ec2:CopySnapshot", `"Resource": "arn:aws:ec2:us-east-1::snapshot/snap-1"`),
			},
			"because no session policy allows the ec2:CopySnapshot action",
		},
		{
			"6.5: aws:ResourceAccount is the owner of the source",
			iampolicy.Request{
				Principal:       role,
				Action:          "ec2:CopySnapshot",
				Resource:        "arn:aws:ec2:us-east-1::snapshot/snap-1",
				ResourceAccount: other,
			},
			set{
				identity: may("Allow", "ec2:*", `"Condition": {"StringEquals": {"aws:ResourceAccount": "`+owner+`"}}`),
			},
			"because no identity-based policy allows the ec2:CopySnapshot action",
		},
		{
			"A.4.4: sharing of a snapshot is no matter of policies",
			iampolicy.Request{
				Principal:       role,
				Action:          "ec2:CopySnapshot",
				Resource:        "arn:aws:ec2:us-east-1::snapshot/snap-1",
				ResourceAccount: other,
			},
			set{
				identity: may("Allow", "ec2:*", `"Condition": {"StringEquals": {"aws:ResourceAccount": "`+other+`"}}`),
			},
			allowed(iampolicy.Identity),
		},
		{
			"6.5: ec2:CreateAction",
			iampolicy.Request{
				Principal: role,
				Action:    "ec2:CreateTags",
				Resource:  "arn:aws:ec2:us-east-1::snapshot/*",
				Context:   iampolicy.Context{"ec2:CreateAction": {"CopySnapshot"}},
			},
			set{
				identity: may("Allow", "ec2:CreateTags", `"Condition": {"StringEquals": {"ec2:CreateAction": "CopySnapshot"}}`),
			},
			allowed(iampolicy.Identity),
		},
	} {
		c.check(t)
	}
}

func TestEvaluate_resourcesAndActions(t *testing.T) {
	const resources = "IAM-UG:reference_policies_elements_resource"
	for _, c := range []struct {
		source   string
		element  string // with Action or Resource in it
		action   string
		resource string
		want     bool
	}{
		{
			"IAM-UG:reference_policies_elements_action",
			`"Action": "ec2:copysnapshot", "Resource": "*"`,
			"ec2:CopySnapshot",
			"*",
			true,
		},
		{
			"IAM-UG:reference_policies_elements_action",
			`"Action": "iam:*AccessKey*", "Resource": "*"`,
			"iam:CreateAccessKey",
			"*",
			true,
		},
		{
			"IAM-UG:reference_policies_elements_action",
			`"Action": "iam:*AccessKey*", "Resource": "*"`,
			"iam:CreateUser",
			"*",
			false,
		},
		{
			"IAM-UG:reference_policies_elements_action",
			`"Action": "iam:?reateUser", "Resource": "*"`,
			"iam:CreateUser",
			"*",
			true,
		},
		{"IAM-UG:reference_policies_elements_action", `"Action": "s3:*", "Resource": "*"`, "ec2:CopySnapshot", "*", false},
		{
			"IAM-UG:reference_policies_elements_notaction",
			`"NotAction": "iam:*", "Resource": "*"`,
			"ec2:CopySnapshot",
			"*",
			true,
		},
		{
			"IAM-UG:reference_policies_elements_notaction",
			`"NotAction": ["iam:*", "ec2:*"], "Resource": "*"`,
			"ec2:CopySnapshot",
			"*",
			false,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket/1/2/test/3/object.jpg",
			true,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket/1///test///object.jpg",
			true,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket//test/object.jpg",
			true,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket/1/test/",
			true,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket/1-test/object.jpg",
			false,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket/test/object.jpg",
			false,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"`,
			"s3:GetObject",
			"arn:aws:s3:::amzn-s3-demo-bucket/1/2/test.jpg",
			false,
		},
		{
			resources + ": case",
			`"Action": "*", "Resource": "arn:aws:iam::111122223333:user/Bob"`,
			"iam:GetUser",
			"arn:aws:iam::111122223333:user/bob",
			false,
		},
		{
			resources + ": ?",
			`"Action": "*", "Resource": "arn:aws:iam::111122223333:user/B?b"`,
			"iam:GetUser",
			"arn:aws:iam::111122223333:user/Bob",
			true,
		},
		{
			resources + ": * at the end goes past colons",
			`"Action": "*", "Resource": "arn:aws:ec2:*"`,
			"ec2:CopySnapshot",
			"arn:aws:ec2:us-east-1::snapshot/snap-1",
			true,
		},
		{
			resources + ": * before a colon goes past colons",
			`"Action": "*", "Resource": "arn:aws:logs:us-east-1:111122223333:log-group:*:x"`,
			"logs:GetLogEvents",
			"arn:aws:logs:us-east-1:111122223333:log-group:a:b:x",
			true,
		},
		{
			resources + ": * elsewhere stays in its segment",
			`"Action": "*", "Resource": "arn:aws:logs:us-east-1:111122223333:log-group:a*x"`,
			"logs:GetLogEvents",
			"arn:aws:logs:us-east-1:111122223333:log-group:abx",
			true,
		},
		{
			resources + ": * elsewhere stays in its segment",
			`"Action": "*", "Resource": "arn:aws:logs:us-east-1:111122223333:log-group:a*x"`,
			"logs:GetLogEvents",
			"arn:aws:logs:us-east-1:111122223333:log-group:a:x",
			false,
		},
		{
			resources,
			`"Action": "*", "Resource": "arn:aws:ec2:us-east-1::snapshot/snap-1"`,
			"ec2:CopySnapshot",
			"arn:aws:ec2:us-east-1::snapshot/snap-12",
			false,
		},
		{
			"IAM-UG:reference_policies_grammar: incomplete ARN",
			`"Action": "*", "Resource": "arn:aws:ec2"`,
			"ec2:CopySnapshot",
			"arn:aws:ec2:us-east-1::snapshot/snap-1",
			true,
		},
		{
			"IAM-UG:reference_policies_elements_notresource",
			`"Action": "*", "NotResource": "arn:aws:ec2:*::snapshot/snap-1"`,
			"ec2:CopySnapshot",
			"arn:aws:ec2:us-east-1::snapshot/snap-1",
			false,
		},
		{
			"IAM-UG:reference_policies_elements_notresource",
			`"Action": "*", "NotResource": "arn:aws:ec2:*::snapshot/snap-1"`,
			"ec2:CopySnapshot",
			"arn:aws:ec2:us-east-1::snapshot/snap-2",
			true,
		},
		{
			variables + " in resources",
			`"Action": "*", "Resource": "arn:aws:ssm:us-east-2:111122223333:parameter/${aws:username}/*"`,
			"ssm:PutParameter",
			"arn:aws:ssm:us-east-2:111122223333:parameter/Bob/ami",
			true,
		},
		{
			variables + " in resources",
			`"Action": "*", "Resource": "arn:aws:ssm:us-east-2:111122223333:parameter/${aws:username}/*"`,
			"ssm:PutParameter",
			"arn:aws:ssm:us-east-2:111122223333:parameter/Ann/ami",
			false,
		},
		{
			variables + " no value matches no resource",
			`"Action": "*", "Resource": "arn:aws:ssm:us-east-2:111122223333:parameter/${aws:PrincipalTag/x}*"`,
			"ssm:PutParameter",
			"arn:aws:ssm:us-east-2:111122223333:parameter/ami",
			false,
		},
		{
			variables + " no value matches no resource",
			`"Action": "*", "NotResource": "arn:aws:ssm:us-east-2:111122223333:parameter/${aws:PrincipalTag/x}*"`,
			"ssm:PutParameter",
			"arn:aws:ssm:us-east-2:111122223333:parameter/ami",
			true,
		},
	} {
		t.Run(c.source, func(t *testing.T) {
			p := iampolicy.Policies{
				Identity: documents(
					t,
					iampolicy.Identity,
					`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", `+c.element+`}]}`,
				),
			}
			got := evaluate(t, iampolicy.Request{Principal: user(owner, "path/Bob"), Action: c.action, Resource: c.resource}, p)
			if got.Allowed != c.want {
				t.Errorf("%s: %s on %s: allowed %v, want %v", c.element, c.action, c.resource, got.Allowed, c.want)
			}
		})
	}
}

func TestEvaluate_notPrincipal(t *testing.T) {
	const source = "IAM-UG:reference_policies_elements_notprincipal"
	role := session(owner, "read-only-role")
	except := func(principals ...string) string {
		return fmt.Sprintf(
			`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*",
				"NotPrincipal": {"AWS": ["%s"]}}]}`,
			strings.Join(principals, `", "`),
		)
	}
	const denied = "with an explicit deny in a resource-based policy"
	get := func(who iampolicy.Principal) iampolicy.Request {
		return iampolicy.Request{Principal: who, Action: "s3:GetObject", Resource: bucket}
	}
	s3 := may("Allow", "s3:*")
	for _, c := range []evaluation{
		{
			source + ": user and account",
			get(user(owner, "a")),
			set{identity: s3, resource: except(user(owner, "a").ARN, root(owner).ARN)},
			"allowed by identity-based policy",
		},
		{
			source + ": the account must be named",
			get(user(owner, "a")),
			set{identity: s3, resource: except(user(owner, "a").ARN)},
			denied,
		},
		{
			source + ": another user",
			get(user(owner, "b")),
			set{identity: s3, resource: except(user(owner, "a").ARN, owner)},
			denied,
		},
		{
			source + ": role and account",
			get(role),
			set{identity: s3, resource: except(role.Role, owner)},
			"allowed by identity-based policy",
		},
		{
			source + ": role, session and account",
			get(role),
			set{identity: s3, resource: except(role.Role, role.ARN, owner)},
			"allowed by identity-based policy",
		},
		{
			source + ": the role is looked at before the session",
			get(role),
			set{identity: s3, resource: except(role.ARN, owner)},
			denied,
		},
		{source + ": only the account", get(role), set{identity: s3, resource: except(owner)}, denied},
		{source + ": only the account", get(root(owner)), set{resource: except(owner)}, "allowed by root user"},
		{
			source + ": whoever has a boundary is denied",
			get(role),
			set{identity: s3, boundary: s3, resource: except(role.Role, owner)},
			denied,
		},
		{source + ": services", get(service("cloudtrail.amazonaws.com")), set{resource: except(owner)}, denied},
		{
			source + ": everyone",
			get(user(owner, "a")),
			set{identity: s3, resource: except("*")},
			"allowed by identity-based policy",
		},
	} {
		c.check(t)
	}
}

// Only the key policy and grants give access to a key.
func TestEvaluate_keyPolicy(t *testing.T) {
	const keys = "KMS-DG:key-policy-default"
	kms := may("Allow", "kms:*")
	role := session(owner, "ExampleUserRole")
	decrypt := func(who iampolicy.Principal) iampolicy.Request {
		return iampolicy.Request{Principal: who, Action: "kms:Decrypt", Resource: keyARN, ResourceAccount: owner}
	}
	delegating := may("Allow", "kms:*", to(root(owner).ARN))
	ebs := `{"Version": "2012-10-17",
		"Statement": [{"Sid": "Allow access through EBS for all principals in the account that are authorized to use EBS",
		"Effect": "Allow", "Principal": {"AWS": "*"},
		"Condition": {"StringEquals": {"kms:CallerAccount": "111122223333", "kms:ViaService": "ec2.us-west-2.amazonaws.com"}},
		"Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant",
			"kms:DescribeKey"], "Resource": "*"}]}`
	via := func(r iampolicy.Request, service string) iampolicy.Request {
		r.Context = iampolicy.Context{"kms:ViaService": {service}}
		return r
	}
	const noResource = "because no resource-based policy allows the kms:Decrypt action"
	const noIdentity = "because no identity-based policy allows the kms:Decrypt action"

	for _, c := range []evaluation{
		{
			keys + ": delegation and IAM policy",
			decrypt(role),
			set{identity: kms, resource: delegating},
			"allowed by identity-based policy",
		},
		{"KMS-DG:policy-evaluation: example 1", decrypt(user(owner, "Alice")), set{resource: delegating}, noIdentity},
		{
			keys + ": without delegation IAM policies are ineffective",
			decrypt(role),
			set{identity: kms, resource: may("Allow", "kms:*", to("arn:aws:iam::111122223333:role/ExampleAdminRole"))},
			noResource,
		},
		{
			keys + ": IAM policies that deny are effective",
			decrypt(role),
			set{identity: may("Deny", "kms:*"), resource: may("Allow", "kms:*", to(role.Role))},
			"with an explicit deny in an identity-based policy",
		},
		{
			keys + ": delegation of some actions only",
			decrypt(role),
			set{identity: kms, resource: may("Allow", "kms:DescribeKey", to(owner))},
			noResource,
		},
		{
			keys + ": named",
			decrypt(role),
			set{resource: may("Allow", "kms:Decrypt", to(role.Role))},
			"allowed by resource-based policy",
		},
		{
			keys + ": root user by delegation",
			decrypt(root(owner)),
			set{resource: delegating},
			"allowed by resource-based policy",
		},
		{
			keys + ": the root user has no permission by itself",
			decrypt(root(owner)),
			set{resource: may("Allow", "kms:*", to(role.Role))},
			noResource,
		},
		{
			"KMS-DG:key-policy-overview: no Resource, no effect",
			decrypt(role),
			set{identity: kms, resource: `{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*"}]}`},
			noResource,
		},
		{
			"KMS-DG:key-policy-overview: no Action, no effect",
			decrypt(role),
			set{identity: kms, resource: `{"Statement": [{"Effect": "Allow", "Principal": "*", "Resource": "*"}]}`},
			noResource,
		},
		{decision + ": key policies must allow explicitly", decrypt(role), set{identity: kms}, noResource},
		{
			"KMS-DG:kms-api-permissions: no key as resource",
			iampolicy.Request{Principal: role, Action: "kms:CreateKey", Resource: "*"},
			set{identity: kms},
			"allowed by identity-based policy",
		},

		{"3.2.5", via(decrypt(role), "ec2.us-west-2.amazonaws.com"), set{resource: ebs}, "allowed by resource-based policy"},
		{"3.2.5: not directly", decrypt(role), set{identity: kms, resource: ebs}, noResource},
		{
			"3.2.4: a service of another Region",
			via(decrypt(role), "ec2.us-east-1.amazonaws.com"),
			set{identity: kms, resource: ebs},
			noResource,
		},
		{
			"3.2.5: not for other accounts",
			via(decrypt(session(other, "x")), "ec2.us-west-2.amazonaws.com"),
			set{identity: kms, resource: ebs},
			noResource,
		},
		{
			"8.1: Auto Scaling's role and AWS managed keys",
			via(
				decrypt(session(owner, "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")),
				"ec2.us-west-2.amazonaws.com",
			),
			set{resource: ebs},
			"allowed by resource-based policy",
		},
		{
			"8.1: ... and customer keys",
			decrypt(session(owner, "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")),
			set{resource: delegating},
			noIdentity,
		},
		{
			"8.2",
			decrypt(session(owner, "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")),
			set{
				resource: may(
					"Allow",
					"kms:Decrypt",
					to("arn:aws:iam::111122223333:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"),
				),
			},
			"allowed by resource-based policy",
		},

		{
			"3.2.1: both sides",
			decrypt(session(other, "Engineering")),
			set{
				identity: may("Allow", "kms:Decrypt", `"Resource": "`+keyARN+`"`),
				resource: may("Allow", "kms:Decrypt", to(root(other).ARN)),
			},
			"allowed by identity-based policy",
		},
		{
			"3.2.1: only the key policy",
			decrypt(session(other, "Engineering")),
			set{resource: may("Allow", "kms:Decrypt", to(session(other, "Engineering").Role))},
			noIdentity,
		},
		{
			"3.2.1: only the key policy, naming the session",
			decrypt(session(other, "Engineering")),
			set{resource: may("Allow", "kms:Decrypt", to(session(other, "Engineering").ARN))},
			noIdentity,
		},
		{
			"3.2.1: only the identity policy",
			decrypt(session(other, "Engineering")),
			set{identity: kms, resource: delegating},
			noResource,
		},
		{
			"3.2.1: session policies of the caller limit",
			decrypt(session(other, "Engineering")),
			set{
				identity: kms,
				session:  may("Allow", "ec2:*"),
				resource: may("Allow", "kms:*", to(session(other, "Engineering").ARN)),
			},
			"because no session policy allows the kms:Decrypt action",
		},
		{
			"3.2.1: root user of the other account",
			decrypt(root(other)),
			set{resource: may("Allow", "kms:*", to(other))},
			"allowed by root user",
		},
		{
			"KMS-DG:key-policy-overview: * and the identity policy",
			decrypt(session(other, "Engineering")),
			set{identity: kms, resource: may("Allow", "kms:*", to("*"))},
			"allowed by identity-based policy",
		},
		{
			"KMS-DG:key-policy-overview: * and no identity policy",
			decrypt(session(other, "Engineering")),
			set{resource: may("Allow", "kms:*", to("*"))},
			noIdentity,
		},
		{
			"2.2.6, 3.2.8: aws:PrincipalOrgID",
			inOrganization(decrypt(session(other, "x")), "o-1"),
			set{
				identity: kms,
				resource: may("Allow", "kms:*", to("*"), `"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}`),
			},
			"allowed by identity-based policy",
		},
		{
			"2.2.6, 3.2.8: aws:PrincipalOrgID",
			inOrganization(decrypt(session(other, "x")), "o-2"),
			set{
				identity: kms,
				resource: may("Allow", "kms:*", to("*"), `"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}`),
			},
			noResource,
		},
		{
			"3.2.2: operations not for other accounts",
			iampolicy.Request{
				Principal:       session(other, "x"),
				Action:          "kms:GetKeyPolicy",
				Resource:        keyARN,
				ResourceAccount: owner,
			},
			set{identity: kms, resource: may("Allow", "kms:*", to(other))},
			"because no resource-based policy allows the kms:GetKeyPolicy action",
		},
		{
			"3.2.2: operations for other accounts",
			iampolicy.Request{
				Principal:       session(other, "x"),
				Action:          "kms:ListGrants",
				Resource:        keyARN,
				ResourceAccount: owner,
			},
			set{identity: kms, resource: may("Allow", "kms:*", to(other))},
			"allowed by identity-based policy",
		},

		{
			"3.2.3: kms:GrantIsForAWSResource",
			iampolicy.Request{
				Principal: role,
				Action:    "kms:CreateGrant",
				Resource:  keyARN,
				Context:   iampolicy.Context{"kms:GrantIsForAWSResource": {"true"}},
			},
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"Bool": {"kms:GrantIsForAWSResource": true}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"3.2.3: kms:GrantIsForAWSResource, direct call",
			iampolicy.Request{
				Principal: role,
				Action:    "kms:CreateGrant",
				Resource:  keyARN,
				Context:   iampolicy.Context{"kms:GrantIsForAWSResource": {"false"}},
			},
			set{
				identity: kms,
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}`,
				),
			},
			"because no resource-based policy allows the kms:CreateGrant action",
		},
		{
			"KMS-DG:conditions-kms kms:EncryptionContextKeys",
			iampolicy.Request{
				Principal: role,
				Action:    "kms:Decrypt",
				Resource:  keyARN,
				Context:   iampolicy.Context{"kms:EncryptionContext:aws:ebs:id": {"vol-1"}},
			},
			set{
				resource: may(
					"Allow",
					"kms:Decrypt",
					to(role.Role),
					`"Condition": {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "aws:ebs:id"},
						"StringLike": {"kms:EncryptionContext:aws:ebs:id": "vol-*"}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"A: other partitions",
			iampolicy.Request{
				Principal: iampolicy.Principal{
					ARN:     "arn:aws-cn:sts::" + owner + ":assumed-role/R/S",
					Account: owner,
					Role:    "arn:aws-cn:iam::" + owner + ":role/R",
				},
				Action:   "kms:Decrypt",
				Resource: "arn:aws-cn:kms:cn-north-1:" + owner + ":key/1",
			},
			set{
				identity: kms,
				resource: may("Allow", "kms:*", to("arn:aws-cn:iam::"+owner+":root")),
			},
			"allowed by identity-based policy",
		},
	} {
		c.check(t)
	}
}

func inOrganization(r iampolicy.Request, id string) iampolicy.Request {
	r.Principal.Member.Organization = id
	return r
}

// Only the trust policy lets a principal assume a role.
func TestEvaluate_trustPolicy(t *testing.T) {
	const source = decision + ": trust policies must allow explicitly"
	assume := func(who iampolicy.Principal) iampolicy.Request {
		return iampolicy.Request{
			Principal:       who,
			Action:          "sts:AssumeRole",
			Resource:        "arn:aws:iam::" + owner + ":role/target",
			ResourceAccount: owner,
		}
	}
	sts := may("Allow", "sts:AssumeRole", `"Resource": "arn:aws:iam::`+owner+`:role/target"`)
	bob := user(owner, "bob")
	const noTrust = "because no role trust policy allows the sts:AssumeRole action"
	const noIdentity = "because no identity-based policy allows the sts:AssumeRole action"
	external := may("Allow", "sts:AssumeRole", to(other), `"Condition": {"StringEquals": {"sts:ExternalId": "12345"}}`)
	withID := func(id string) iampolicy.Request {
		r := assume(session(other, "build"))
		r.Context = iampolicy.Context{"sts:ExternalId": {id}}
		return r
	}
	for _, c := range []evaluation{
		{
			"KMS-DG:policy-evaluation: example 2",
			assume(bob),
			set{trust: true, resource: may("Allow", "sts:AssumeRole", to(bob.ARN))},
			"allowed by role trust policy",
		},
		{
			source,
			assume(bob),
			set{identity: sts, trust: true, resource: may("Allow", "sts:AssumeRole", to(user(owner, "ann").ARN))},
			noTrust,
		},
		{
			source + ": delegation",
			assume(bob),
			set{identity: sts, trust: true, resource: may("Allow", "sts:AssumeRole", to(owner))},
			"allowed by identity-based policy",
		},
		{
			source + ": delegation",
			assume(bob),
			set{trust: true, resource: may("Allow", "sts:AssumeRole", to(owner))},
			noIdentity,
		},
		{
			"IAM-UG:reference_policies_evaluation-logic-cross-account",
			assume(session(other, "build")),
			set{identity: sts, trust: true, resource: may("Allow", "sts:AssumeRole", to(other))},
			"allowed by identity-based policy",
		},
		{
			"IAM-UG:reference_policies_evaluation-logic-cross-account",
			assume(session(other, "build")),
			set{trust: true, resource: may("Allow", "sts:AssumeRole", to(session(other, "build").Role))},
			noIdentity,
		},
		{
			"IAM-UG:reference_policies_evaluation-logic-cross-account",
			assume(session(other, "build")),
			set{identity: sts, trust: true, resource: may("Allow", "sts:AssumeRole", to(owner))},
			noTrust,
		},
		{
			"5.6: external id",
			withID("12345"),
			set{identity: sts, trust: true, resource: external},
			"allowed by identity-based policy",
		},
		{"5.6: external id", withID("54321"), set{identity: sts, trust: true, resource: external}, noTrust},
		{"5.6: external id", assume(session(other, "build")), set{identity: sts, trust: true, resource: external}, noTrust},
		{
			"5.6: sts:TagSession is an action of its own",
			iampolicy.Request{
				Principal: bob,
				Action:    "sts:TagSession",
				Resource:  "arn:aws:iam::" + owner + ":role/target",
				Context:   iampolicy.Context{"aws:RequestTag/a": {"b"}, "sts:TransitiveTagKeys": {"a"}},
			},
			set{
				trust:    true,
				resource: may("Allow", "sts:AssumeRole", to(bob.ARN)),
			},
			"because no identity-based policy allows the sts:TagSession action",
		},
		{
			texts + ": role trust policy, explicit",
			assume(bob),
			set{trust: true, resource: may("Deny", "sts:AssumeRole", to(owner))},
			"with an explicit deny in the role trust policy",
		},
		{
			"IAM-UG:reference_policies_elements_principal: services",
			assume(service("ec2.amazonaws.com")),
			set{trust: true, resource: may("Allow", "sts:AssumeRole", `"Principal": {"Service": "ec2.amazonaws.com"}`)},
			"allowed by role trust policy",
		},
		{
			"IAM-UG:reference_policies_elements_principal: services",
			assume(service("ec2.amazonaws.com")),
			set{trust: true, resource: may("Allow", "sts:AssumeRole", to(owner))},
			noTrust,
		},
		{
			"IAM-UG:reference_policies_elements_principal: federated",
			iampolicy.Request{
				Principal: service("arn:aws:iam::" + owner + ":oidc-provider/token.example"),
				Action:    "sts:AssumeRoleWithWebIdentity",
				Resource:  "arn:aws:iam::" + owner + ":role/target",
			},
			set{
				trust: true,
				resource: may(
					"Allow",
					"sts:AssumeRoleWithWebIdentity",
					`"Principal": {"Federated": "arn:aws:iam::`+owner+`:oidc-provider/token.example"}`,
				),
			},
			"allowed by role trust policy",
		},
	} {
		c.check(t)
	}
}

func TestEvaluate_crossAccount(t *testing.T) {
	const source = "IAM-UG:reference_policies_evaluation-logic-cross-account, example"
	demo := session("111111111111", "Demo")
	identity := `{"Version": "2012-10-17", "Statement": [
		{"Sid": "AllowS3ListRead", "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
		{"Sid": "AllowS3ProductionObjectActions", "Effect": "Allow", "Action": "s3:*Object*",
			"Resource": "arn:aws:s3:::amzn-s3-demo-bucket-production/*"},
		{"Sid": "DenyS3Logs", "Effect": "Deny", "Action": "s3:*", "Resource": ["arn:aws:s3:::*log*",
			"arn:aws:s3:::*log*/*"]}]}`
	resource := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject*", "s3:PutObject*",
		"s3:ReplicateObject", "s3:RestoreObject"],
		"Principal": {"AWS": "arn:aws:iam::111111111111:role/Demo"},
			"Resource": "arn:aws:s3:::amzn-s3-demo-bucket-production/*"}]}`
	on := func(action, name string) iampolicy.Request {
		return iampolicy.Request{
			Principal:       demo,
			Action:          action,
			Resource:        "arn:aws:s3:::" + name + "/x",
			ResourceAccount: "222222222222",
		}
	}
	for _, c := range []evaluation{
		{
			source,
			on("s3:PutObject", "amzn-s3-demo-bucket-production-logs"),
			set{identity: identity},
			"with an explicit deny in an identity-based policy",
		},
		{
			source,
			on("s3:PutObject", "amzn-s3-demo-bucket-production"),
			set{identity: identity, resource: resource},
			"allowed by identity-based policy",
		},
		{
			source + ": not delete",
			on("s3:DeleteObject", "amzn-s3-demo-bucket-production"),
			set{identity: identity, resource: resource},
			"because no resource-based policy allows the s3:DeleteObject action",
		},
		{
			source + ": both",
			on("s3:PutObject", "amzn-s3-demo-bucket-production"),
			set{resource: resource},
			"because no identity-based policy allows the s3:PutObject action",
		},
	} {
		c.check(t)
	}
}

// Scenarios of ORG-UG:orgs_manage_policies_scps_evaluation: policies per level from the root to the account.
func TestEvaluate_serviceControlPolicy(t *testing.T) {
	const source = "ORG-UG:orgs_manage_policies_scps_evaluation, "
	full, denyS3, denyEC2 := may("Allow", "*"), may("Deny", "s3:*"), may("Deny", "ec2:*")
	allowEC2, allowS3 := may("Allow", "ec2:*"), may("Allow", "s3:*")
	list := func(service string, who iampolicy.Principal) iampolicy.Request {
		return iampolicy.Request{Principal: who, Action: service + ":List", Resource: "*"}
	}
	member := user(owner, "admin")
	const allowed = "allowed by identity-based policy"
	denied := "with an explicit deny in a service control policy"
	missing := func(service string) string {
		return "because no service control policy allows the " + service + ":List action"
	}
	management := member
	management.Member.Management = true
	for _, c := range []evaluation{
		{
			source + "scenario 1: account B",
			list("s3", member),
			set{scps: [][]string{{full}, {full, denyS3}, {full, denyEC2}}},
			denied,
		},
		{
			source + "scenario 1: account B",
			list("ec2", member),
			set{scps: [][]string{{full}, {full, denyS3}, {full, denyEC2}}},
			denied,
		},
		{source + "scenario 1: account A", list("s3", member), set{scps: [][]string{{full}, {full, denyS3}, {full}}}, denied},
		{
			source + "scenario 1: account A",
			list("ec2", member),
			set{scps: [][]string{{full}, {full, denyS3}, {full}}},
			allowed,
		},
		{source + "scenario 2", list("ec2", member), set{scps: [][]string{{full}, {allowEC2}, {full}}}, allowed},
		{source + "scenario 2", list("s3", member), set{scps: [][]string{{full}, {allowEC2}, {full}}}, missing("s3")},
		{source + "scenario 3", list("ec2", member), set{scps: [][]string{{denyS3}, {full}, {full}}}, missing("ec2")},
		{
			source + "scenario 4: account D",
			list("ec2", member),
			set{scps: [][]string{{full}, {full}, {full, denyEC2}, {full}}},
			denied,
		},
		{
			source + "scenario 4: account E",
			list("ec2", member),
			set{scps: [][]string{{full}, {full}, {full}, {full}}},
			allowed,
		},
		{
			source + "scenario 6: account D",
			list("s3", member),
			set{scps: [][]string{{full, denyS3}, {full}, {allowS3}, {full}}},
			denied,
		},
		{
			source + "scenario 6: account D",
			list("ec2", member),
			set{scps: [][]string{{full, denyS3}, {full}, {allowS3}, {full}}},
			missing("ec2"),
		},
		{
			source + "scenario 7",
			list("ec2", member),
			set{scps: [][]string{{may("Allow", "iam:*"), allowEC2}, {full}, {full}}},
			allowed,
		},
		{
			source + "scenario 7",
			list("kms", member),
			set{scps: [][]string{{may("Allow", "iam:*"), allowEC2}, {full}, {full}}},
			missing("kms"),
		},
		{
			"ORG-UG:orgs_manage_policies_scps: root user too",
			list("s3", root(owner)),
			set{scps: [][]string{{full, denyS3}}},
			denied,
		},
		{
			"ORG-UG:orgs_manage_policies_scps: not service-linked roles",
			list("s3", session(owner, "aws-service-role/x.amazonaws.com/AWSServiceRoleForX")),
			set{scps: [][]string{{full, denyS3}}},
			allowed,
		},
		{
			"ORG-UG:orgs_manage_policies_scps: not the management account",
			list("s3", management),
			set{scps: [][]string{{full, denyS3}}},
			allowed,
		},
		{
			"ORG-UG:orgs_manage_policies_scps: grants nothing",
			list("s3", member),
			set{identity: allowEC2, scps: [][]string{{full}}},
			"because no identity-based policy allows the s3:List action",
		},
		{
			"ORG-UG:orgs_manage_policies_scps_syntax: LimitActionsInRegion",
			iampolicy.Request{
				Principal: member,
				Action:    "ec2:List",
				Resource:  "*",
				Context:   iampolicy.Context{"aws:RequestedRegion": {"eu-west-1"}},
			},
			set{
				scps: [][]string{
					{
						full,
						strings.Replace(
							may("Deny", "iam:*", `"Condition": {"StringNotEquals": {"aws:RequestedRegion": "us-west-1"}}`),
							`"Action"`,
							`"NotAction"`,
							1,
						),
					},
				},
			},
			denied,
		},
	} {
		if c.set.identity == "" {
			c.set.identity = full
		}
		c.check(t)
	}
}

func TestEvaluate_resourceControlPolicy(t *testing.T) {
	const source = "ORG-UG:orgs_manage_policies_rcps"
	full := may("Allow", "*", `"Principal": "*"`)
	outside := may(
		"Deny",
		"kms:*",
		`"Principal": "*"`,
		`"Condition": {"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-1"},
			"BoolIfExists": {"aws:PrincipalIsAWSService": "false"}}`,
	)
	decrypt := func(who iampolicy.Principal) iampolicy.Request {
		return iampolicy.Request{Principal: who, Action: "kms:Decrypt", Resource: keyARN, ResourceAccount: owner}
	}
	kms, everyone := may("Allow", "kms:*"), may("Allow", "kms:*", to("*"))
	const denied = "with an explicit deny in a resource control policy"
	management := decrypt(session(other, "x"))
	management.ResourceMember.Management = true
	retire := iampolicy.Request{
		Principal:       session(other, "x"),
		Action:          "kms:RetireGrant",
		Resource:        keyARN,
		ResourceAccount: owner,
		Grant:           &iampolicy.Grant{Retiring: session(other, "x").Role},
	}
	for _, c := range []evaluation{
		{
			source + ": principals of other organizations",
			decrypt(session(other, "x")),
			set{identity: kms, resource: everyone, rcps: [][]string{{full}, {full, outside}}},
			denied,
		},
		{
			source + ": principals of the organization",
			inOrganization(decrypt(session(other, "x")), "o-1"),
			set{identity: kms, resource: everyone, rcps: [][]string{{full}, {full, outside}}},
			"allowed by identity-based policy",
		},
		{
			source + ": root users too",
			decrypt(root(other)),
			set{resource: everyone, rcps: [][]string{{full, outside}}},
			denied,
		},
		{
			source + ": services, unless the policy excepts them",
			decrypt(service("ec2.amazonaws.com")),
			set{resource: everyone, rcps: [][]string{{full, outside}}},
			"allowed by resource-based policy",
		},
		{
			source + ": not service-linked roles",
			decrypt(session(other, "aws-service-role/x.amazonaws.com/X")),
			set{identity: kms, resource: everyone, rcps: [][]string{{full, outside}}},
			"allowed by identity-based policy",
		},
		{
			source + ": not in the management account",
			management,
			set{identity: kms, resource: everyone, rcps: [][]string{{full, outside}}},
			"allowed by identity-based policy",
		},
		{
			source + ": not kms:RetireGrant",
			retire,
			set{identity: kms, rcps: [][]string{{full, outside}}},
			"allowed by identity-based policy",
		},
		{
			source + ": not services without RCPs",
			iampolicy.Request{
				Principal:       session(other, "x"),
				Action:          "ec2:CopySnapshot",
				Resource:        "arn:aws:ec2:us-east-1::snapshot/snap-1",
				ResourceAccount: owner,
			},
			set{identity: may("Allow", "*"), rcps: [][]string{{outside}}},
			"allowed by identity-based policy",
		},
		{
			decision + ": an Allow at every level",
			decrypt(session(other, "x")),
			set{identity: kms, resource: everyone, rcps: [][]string{{may("Deny", "kms:Sign", `"Principal": "*"`)}}},
			"because no resource control policy allows the kms:Decrypt action",
		},
	} {
		c.check(t)
	}
}

// These condition keys follow from the caller (IAM-UG:reference_policies_variables, table of principal key values).
func TestConditionKeys_principal(t *testing.T) {
	for _, c := range []struct {
		who  iampolicy.Principal
		keys map[string]string // wanted values. Empty for an absent key
	}{
		{
			root(owner),
			map[string]string{
				"aws:PrincipalType":         "Account",
				"aws:userid":                owner,
				"aws:username":              "",
				"aws:PrincipalArn":          root(owner).ARN,
				"aws:PrincipalIsAWSService": "false",
			},
		},
		{
			user(owner, "path/ann"),
			map[string]string{
				"aws:PrincipalType":    "User",
				"aws:username":         "ann",
				"aws:PrincipalAccount": owner,
				"aws:PrincipalOrgID":   "",
				"aws:ResourceAccount":  owner,
			},
		},
		{
			session(owner, "path/build"),
			map[string]string{
				"aws:PrincipalType":        "AssumedRole",
				"aws:username":             "",
				"aws:PrincipalArn":         "arn:aws:iam::" + owner + ":role/path/build",
				"aws:PrincipalServiceName": "",
			},
		},
		{
			iampolicy.Principal{
				ARN:     "arn:aws:sts::" + owner + ":federated-user/ann",
				Account: owner,
				Role:    user(owner, "ann").ARN,
			},
			map[string]string{
				"aws:PrincipalType": "FederatedUser",
				"aws:PrincipalArn":  "arn:aws:sts::" + owner + ":federated-user/ann",
				"aws:username":      "",
			},
		},
		{
			service("ec2.amazonaws.com"),
			map[string]string{
				"aws:PrincipalIsAWSService": "true",
				"aws:PrincipalServiceName":  "ec2.amazonaws.com",
				"aws:PrincipalAccount":      "",
			},
		},
	} {
		for key, value := range c.keys {
			condition := fmt.Sprintf(`"Condition": {"StringEquals": {%q: %q}}`, key, value)
			if value == "" {
				condition = fmt.Sprintf(`"Condition": {"Null": {%q: "true"}}`, key)
			}
			p := iampolicy.Policies{Resource: documents(t, iampolicy.Resource, may("Allow", "s3:*", to("*"), condition))[0]}
			r := iampolicy.Request{Principal: c.who, Action: "s3:GetObject", Resource: bucket}
			if d := evaluate(t, r, p); d.By != iampolicy.Resource || !d.Allowed {
				t.Errorf("%s: %s is not %q", c.who.ARN, key, value)
			}
		}
	}
}

func TestConditionKeys_organization(t *testing.T) { // IAM-UG:reference_policies_condition-keys
	r := iampolicy.Request{
		Principal:       session(other, "x"),
		Action:          "ec2:CopySnapshot",
		Resource:        "arn:aws:ec2:us-east-1::snapshot/snap-1",
		ResourceAccount: owner,
	}
	r.Principal.Member = iampolicy.Membership{Organization: "o-1", Path: "o-1/r-1/ou-1/"}
	r.ResourceMember = iampolicy.Membership{Organization: "o-2", Path: "o-2/r-2/"}
	for condition, want := range map[string]bool{
		`{"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-1/r-1/*"}}`: true,
		`{"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-2/*"}}`:     false,
		`{"ForAnyValue:StringLike": {"aws:ResourceOrgPaths": "o-2/*"}}`:      true,
		`{"StringEquals": {"aws:ResourceOrgID": "${aws:PrincipalOrgID}"}}`:   false,
		`{"StringEquals": {"aws:ResourceOrgID": "o-2"}}`:                     true,
	} {
		p := iampolicy.Policies{Identity: documents(t, iampolicy.Identity, may("Allow", "ec2:*", `"Condition": `+condition))}
		if got := evaluate(t, r, p); got.Allowed != want {
			t.Errorf("%s: allowed %v, want %v", condition, got.Allowed, want)
		}
	}
}

// A session without a session policy is not limited. A session whose policies do not mention the action allows nothing.
func TestEvaluate_emptySessionPolicy(t *testing.T) {
	r := iampolicy.Request{Principal: session(owner, "x"), Action: "s3:GetObject", Resource: bucket}
	p := iampolicy.Policies{Identity: documents(t, iampolicy.Identity, may("Allow", "s3:*"))}
	if d := evaluate(t, r, p); !d.Allowed {
		t.Errorf("%+v", d)
	}
	p.Session = []*iampolicy.Document{}
	if d := evaluate(t, r, p); d.Allowed || d.By != iampolicy.Session {
		t.Errorf("%+v", d)
	}
}

func TestEvaluate_incompleteRequest(t *testing.T) {
	whole := iampolicy.Request{Principal: root(owner), Action: "s3:GetObject", Resource: "*"}
	for name, spoil := range map[string]func(*iampolicy.Request){
		"principal": func(r *iampolicy.Request) { r.Principal.ARN = "" },
		"action":    func(r *iampolicy.Request) { r.Action = "" },
		"resource":  func(r *iampolicy.Request) { r.Resource = "" },
	} {
		r := whole
		spoil(&r)
		if d, err := iampolicy.Evaluate(r, iampolicy.Policies{}); err == nil {
			t.Errorf("without %s: %+v", name, d)
		}
	}
}

func TestDecision_statement(t *testing.T) {
	text := `{"Version": "2012-10-17", "Statement": [{"Sid": "Reads", "Effect": "Allow", "Action": "ec2:Describe*",
		"Resource": "*"}, {"Effect": "Deny", "Action": "ec2:Delete*", "Resource": "*"}]}`
	p := iampolicy.Policies{Identity: documents(t, iampolicy.Identity, text)}
	for action, want := range map[string]string{
		"ec2:DescribeImages": "Reads",
		"ec2:DeleteSnapshot": "statement 2",
		"ec2:CopyImage":      "",
	} {
		got := evaluate(
			t,
			iampolicy.Request{Principal: user(owner, "a"), Action: action, Resource: "*"},
			p,
		).Statement
		if got != want {
			t.Errorf("%s: decided by %q, want %q", action, got, want)
		}
	}
}
