// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package policy_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/policy"
)

var kinds = []policy.Kind{policy.Identity, policy.Session, policy.Boundary, policy.ServiceControl, policy.ResourceControl, policy.Resource, policy.Trust}

// Any text is a policy or an error that says of what kind of policy it is, the same both times.
func FuzzParse(f *testing.F) {
	f.Add(uint8(0), []byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Copy*", "NotResource": "arn:aws:ec2:*::snapshot/${aws:PrincipalTag/x, 'y'}"}]}`))
	f.Add(uint8(5), []byte(`{"Id": "k", "Statement": {"Sid": "a b", "Effect": "Deny", "NotPrincipal": {"AWS": ["111122223333"]}, "NotAction": ["kms:?ecrypt"], "Resource": "*", "Condition": {"ForAnyValue:StringLikeIfExists": {"aws:TagKeys": ["a*", 1, true]}}}}`))
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		k := kinds[int(kind)%len(kinds)]
		d, err := policy.Parse(text, k)
		again, errAgain := policy.Parse(text, k)
		if (d == nil) == (err == nil) || (err == nil) != (errAgain == nil) || (d == nil) != (again == nil) {
			t.Fatalf("%v %v, then %v %v", d, err, again, errAgain)
		}
		if err != nil && !strings.HasPrefix(err.Error(), string(k)+": ") {
			t.Fatalf("%v is not about a %s", err, k)
		}
	})
}

// A decision is the same every time, and what it says is complete; no Deny of everything, added anywhere, leaves an allow;
// and without any policy only a root user may do anything.
func FuzzEvaluate(f *testing.F) {
	f.Add([]byte(may("Allow", "kms:*")), []byte(may("Allow", "*")), []byte(may("Allow", "kms:*", to(owner))), []byte(may("Allow", "*")),
		user(owner, "a").ARN, "", owner, "kms:Decrypt", keyARN, owner, "kms:ViaService", "ec2.us-east-1.amazonaws.com", user(owner, "a").ARN, "Decrypt")
	f.Add([]byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:ec2:*:*:snapshot/${aws:username}*", "Condition": {"StringNotEquals": {"aws:RequestTag/a": "${aws:PrincipalTag/a}"}}}]}`), []byte(nil), []byte(nil), []byte(nil),
		session(owner, "r").ARN, session(owner, "r").Role, owner, "ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/a", other, "aws:RequestTag/a", "*", "", "")
	f.Fuzz(func(t *testing.T, identity, session, resource, scp []byte, arn, role, account, action, on, resourceAccount, key, value, grantee, operation string) {
		var p policy.Policies
		if d, err := policy.Parse(identity, policy.Identity); err == nil {
			p.Identity = []*policy.Document{d}
		}
		if d, err := policy.Parse(session, policy.Session); err == nil {
			p.Session = []*policy.Document{d}
		}
		if d, err := policy.Parse(resource, policy.Resource); err == nil {
			p.Resource = d
		}
		if d, err := policy.Parse(scp, policy.ServiceControl); err == nil {
			p.ServiceControl = [][]*policy.Document{{d}}
		}
		grant := policy.Grant{ID: "1", Grantee: grantee, Operations: []string{operation, "CreateGrant"}}
		p.Grants = []policy.Grant{grant}
		r := policy.Request{Principal: policy.Principal{ARN: arn, Role: role, Account: account}, Action: action, Resource: on, ResourceAccount: resourceAccount, Grant: &grant}
		if key != "" {
			r.Context = policy.Context{key: {value}}
		}

		d, err := policy.Evaluate(r, p)
		again, errAgain := policy.Evaluate(r, p)
		if !reflect.DeepEqual(d, again) || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("%+v %v, then %+v %v", d, err, again, errAgain)
		}
		if err != nil {
			if d.Allowed {
				t.Fatalf("%+v in spite of %v", d, err)
			}
			return
		}
		if (d.Text() == "") != d.Allowed || d.By == "" {
			t.Fatalf("%+v says %q", d, d.Text())
		}

		denyAll := func(change func(*policy.Policies)) {
			more := p
			change(&more)
			if d, _ := policy.Evaluate(r, more); d.Allowed {
				t.Fatalf("%+v in spite of a Deny of everything", d)
			}
		}
		if account != "" {
			denyAll(func(p *policy.Policies) {
				p.Session = append(p.Session[:len(p.Session):len(p.Session)], documents(t, policy.Session, may("Deny", "*"))...)
			})
			denyAll(func(p *policy.Policies) { p.Boundary = documents(t, policy.Boundary, may("Deny", "*"))[0] })
			if !strings.Contains(role, ":role/aws-service-role/") {
				denyAll(func(p *policy.Policies) {
					p.ServiceControl = [][]*policy.Document{documents(t, policy.ServiceControl, may("Deny", "*"))}
				})
			}
			if arn != root(account).ARN {
				denyAll(func(p *policy.Policies) {
					p.Identity = append(documents(t, policy.Identity, may("Deny", "*")), p.Identity...)
				})
			}
		}
		if action != "kms:RetireGrant" {
			denyAll(func(p *policy.Policies) { p.Resource = documents(t, policy.Resource, may("Deny", "*", to("*")))[0] })
		}
		if alone, err := policy.Evaluate(policy.Request{Principal: r.Principal, Action: action, Resource: on, ResourceAccount: resourceAccount}, policy.Policies{}); err == nil && alone.Allowed && alone.By != policy.ByRoot {
			t.Fatalf("%+v without any policy", alone)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	p := set{
		identity: `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["ec2:Describe*", "ec2:CopySnapshot", "ec2:CreateTags"], "Resource": "*"}, {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:Decrypt"], "Resource": "arn:aws:kms:*:111122223333:key/*"}]}`,
		resource: may("Allow", "kms:*", to(owner)),
		scps:     [][]string{{may("Allow", "*")}, {may("Allow", "*")}},
	}.parsed(b)
	r := policy.Request{Principal: session(owner, "build"), Action: "kms:Decrypt", Resource: keyARN, Context: policy.Context{"kms:ViaService": {"ec2.us-west-2.amazonaws.com"}, "aws:RequestedRegion": {"us-west-2"}}}
	for b.Loop() {
		if d, err := policy.Evaluate(r, p); err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
}
