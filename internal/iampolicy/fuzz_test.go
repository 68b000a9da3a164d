// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var kinds = []iampolicy.Kind{
	iampolicy.Identity,
	iampolicy.Session,
	iampolicy.Boundary,
	iampolicy.ServiceControl,
	iampolicy.ResourceControl,
	iampolicy.Resource,
	iampolicy.Trust,
}

// FuzzParse checks that any text is a policy or an error that names the kind of policy, with the same result twice.
func FuzzParse(f *testing.F) {
	f.Add(
		uint8(0),
		[]byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Copy*",
				"NotResource": "arn:aws:ec2:*::snapshot/${aws:PrincipalTag/x, 'y'}"}]}`),
	)
	f.Add(
		uint8(5),
		[]byte(`{"Id": "k", "Statement": {"Sid": "a b", "Effect": "Deny", "NotPrincipal": {"AWS": ["111122223333"]},
				"NotAction": ["kms:?ecrypt"], "Resource": "*",
				"Condition": {"ForAnyValue:StringLikeIfExists": {"aws:TagKeys": ["a*", 1, true]}}}}`),
	)
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		k := kinds[int(kind)%len(kinds)]
		d, err := iampolicy.Parse(text, k)
		again, errAgain := iampolicy.Parse(text, k)
		if (d == nil) == (err == nil) || (err == nil) != (errAgain == nil) || (d == nil) != (again == nil) {
			t.Fatalf("%v %v, then %v %v", d, err, again, errAgain)
		}
		if err != nil && !strings.HasPrefix(err.Error(), string(k)+": ") {
			t.Fatalf("%v is not about a %s", err, k)
		}
	})
}

// FuzzEvaluate checks that a decision is repeatable and complete. A Deny of everything in any policy must refuse.
// Without any policy, only a root user may be allowed.
func FuzzEvaluate(f *testing.F) {
	f.Add(
		[]byte(may("Allow", "kms:*")),
		[]byte(may("Allow", "*")),
		[]byte(may("Allow", "kms:*", to(owner))),
		[]byte(may("Allow", "*")),
		user(owner, "a").ARN,
		"",
		owner,
		"kms:Decrypt",
		keyARN,
		owner,
		"kms:ViaService",
		"ec2.us-east-1.amazonaws.com",
		user(owner, "a").ARN,
		"Decrypt",
	)
	f.Add(
		[]byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*",
				"Resource": "arn:aws:ec2:*:*:snapshot/${aws:username}*",
				"Condition": {"StringNotEquals": {"aws:RequestTag/a": "${aws:PrincipalTag/a}"}}}]}`),
		[]byte(nil),
		[]byte(nil),
		[]byte(nil),
		session(owner, "r").ARN,
		session(owner, "r").Role,
		owner,
		"ec2:CreateTags",
		"arn:aws:ec2:us-east-1::snapshot/a",
		other,
		"aws:RequestTag/a",
		"*",
		"",
		"",
	)
	f.Fuzz(func(
		t *testing.T,
		identity, session, resource, scp []byte,
		arn, role, account, action, on, resourceAccount, key, value, grantee, operation string,
	) {
		grant := iampolicy.Grant{ID: "1", Grantee: grantee, Operations: []string{operation, "CreateGrant"}}
		p := fuzzedPolicies(identity, session, resource, scp)
		p.Grants = []iampolicy.Grant{grant}

		r := iampolicy.Request{
			Principal:       iampolicy.Principal{ARN: arn, Role: role, Account: account},
			Action:          action,
			Resource:        on,
			ResourceAccount: resourceAccount,
			Grant:           &grant,
		}
		if key != "" {
			r.Context = iampolicy.Context{key: {value}}
		}

		if isDecided := checkDecision(t, r, p); !isDecided {
			return
		}
		for _, denied := range denyEverything(t, r, p) {
			if d, _ := iampolicy.Evaluate(r, denied); d.Allowed {
				t.Fatalf("%+v in spite of a Deny of everything", d)
			}
		}

		r.Context, r.Grant = nil, nil
		alone, err := iampolicy.Evaluate(r, iampolicy.Policies{})
		if err == nil && alone.Allowed && alone.By != iampolicy.ByRoot {
			t.Fatalf("%+v without any policy", alone)
		}
	})
}

// fuzzedPolicies returns the policies that can be parsed.
func fuzzedPolicies(identity, session, resource, scp []byte) (p iampolicy.Policies) {
	if d, err := iampolicy.Parse(identity, iampolicy.Identity); err == nil {
		p.Identity = []*iampolicy.Document{d}
	}
	if d, err := iampolicy.Parse(session, iampolicy.Session); err == nil {
		p.Session = []*iampolicy.Document{d}
	}
	if d, err := iampolicy.Parse(resource, iampolicy.Resource); err == nil {
		p.Resource = d
	}
	if d, err := iampolicy.Parse(scp, iampolicy.ServiceControl); err == nil {
		p.ServiceControl = [][]*iampolicy.Document{{d}}
	}
	return p
}

// checkDecision evaluates a request twice. It reports whether there is a decision, which must be complete.
func checkDecision(t *testing.T, r iampolicy.Request, p iampolicy.Policies) bool {
	t.Helper()

	d, err := iampolicy.Evaluate(r, p)
	again, errAgain := iampolicy.Evaluate(r, p)
	if !reflect.DeepEqual(d, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
		t.Fatalf("%+v %v, then %+v %v", d, err, again, errAgain)
	}

	if err != nil {
		if d.Allowed {
			t.Fatalf("%+v in spite of %v", d, err)
		}
		return false
	}
	if (d.Text() == "") != d.Allowed || d.By == "" {
		t.Fatalf("%+v says %q", d, d.Text())
	}
	return true
}

// denyEverything returns the policies with a Deny of everything, in turn in each policy that applies to the request.
func denyEverything(t *testing.T, r iampolicy.Request, p iampolicy.Policies) (all []iampolicy.Policies) {
	t.Helper()

	add := func(change func(*iampolicy.Policies)) {
		changed := p
		change(&changed)
		all = append(all, changed)
	}
	deny := may("Deny", "*")

	if r.Principal.Account != "" {
		add(func(p *iampolicy.Policies) {
			p.Session = slices.Concat(p.Session, documents(t, iampolicy.Session, deny))
		})
		add(func(p *iampolicy.Policies) { p.Boundary = documents(t, iampolicy.Boundary, deny)[0] })
		if !strings.Contains(r.Principal.Role, ":role/aws-service-role/") {
			add(func(p *iampolicy.Policies) {
				p.ServiceControl = [][]*iampolicy.Document{documents(t, iampolicy.ServiceControl, deny)}
			})
		}
		if r.Principal.ARN != root(r.Principal.Account).ARN {
			add(func(p *iampolicy.Policies) {
				p.Identity = slices.Concat(documents(t, iampolicy.Identity, deny), p.Identity)
			})
		}
	}
	if r.Action != "kms:RetireGrant" {
		add(func(p *iampolicy.Policies) {
			p.Resource = documents(t, iampolicy.Resource, may("Deny", "*", to("*")))[0]
		})
	}
	return all
}

func BenchmarkEvaluate(b *testing.B) {
	p := set{
		identity: `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["ec2:Describe*",
			"ec2:CopySnapshot", "ec2:CreateTags"], "Resource": "*"}, {"Effect": "Allow", "Action": ["kms:DescribeKey",
			"kms:Decrypt"], "Resource": "arn:aws:kms:*:111122223333:key/*"}]}`,
		resource: may("Allow", "kms:*", to(owner)),
		scps:     [][]string{{may("Allow", "*")}, {may("Allow", "*")}},
	}.parsed(b)
	r := iampolicy.Request{
		Principal: session(owner, "build"),
		Action:    "kms:Decrypt",
		Resource:  keyARN,
		Context:   iampolicy.Context{"kms:ViaService": {"ec2.us-west-2.amazonaws.com"}, "aws:RequestedRegion": {"us-west-2"}},
	}
	for b.Loop() {
		if d, err := iampolicy.Evaluate(r, p); err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
}
