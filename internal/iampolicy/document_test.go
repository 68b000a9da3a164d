// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy_test

import (
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

func documents(t testing.TB, kind iampolicy.Kind, texts ...string) []*iampolicy.Document {
	t.Helper()
	var all []*iampolicy.Document
	for _, text := range texts {
		d, err := iampolicy.Parse([]byte(text), kind)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, d)
	}
	return all
}

// A policy with an unknown element is refused, and the error names that element.
func TestParse_unknown(t *testing.T) {
	const grammar = "IAM-UG:reference_policies_grammar"
	statement := func(elements string) string { return `{"Version": "2012-10-17", "Statement": [{` + elements + `}]}` }
	all := `"Effect": "Allow", "Action": "*", "Resource": "*"`
	condition := func(c string) string { return statement(all + `, "Condition": ` + c) }
	key := `"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"`

	for _, c := range []struct {
		source string
		kind   iampolicy.Kind
		text   string
		want   string // what the error names. Empty without an error
	}{
		{grammar, iampolicy.Identity, statement(all), ""},
		{grammar + ": one statement without a list", iampolicy.Identity, `{"Statement": {` + all + `}}`, ""},
		{
			grammar + ": any order",
			iampolicy.Identity,
			`{"Statement": [{"Resource": ["*"], "Action": ["ec2:Describe*", "ec2:List*"], "Effect": "Deny", "Sid": "1"}],
				"Version": "2012-10-17"}`,
			"",
		},
		{grammar, iampolicy.Identity, `{`, "EOF"},
		{grammar, iampolicy.Identity, ``, "EOF"},
		{grammar, iampolicy.Identity, `[]`, "object"},
		{grammar, iampolicy.Identity, statement(all) + `x`, "after the policy"},
		{grammar, iampolicy.Identity, statement(all) + `{}`, "after the policy"},
		{grammar, iampolicy.Identity, strings.Repeat("[", 100000), "deep"},
		{grammar, iampolicy.Identity, `{"Statement": []}`, "Statement"},
		{grammar, iampolicy.Identity, `{"Version": "2012-10-17"}`, "Statement"},
		{grammar, iampolicy.Identity, `{"Version": "2012-10-18", "Statement": [{` + all + `}]}`, "Version"},
		{grammar, iampolicy.Identity, `{"version": "2012-10-17", "Statement": [{` + all + `}]}`, `"version"`},
		{grammar + ": Id", iampolicy.Identity, `{"Id": "x", "Statement": [{` + all + `}]}`, `"Id"`},
		{grammar + ": Id", iampolicy.Resource, `{"Id": "key-consolepolicy", "Statement": [{` + key + `}]}`, ""},
		{grammar + ": Id", iampolicy.Resource, `{"Id": 1, "Statement": [{` + key + `}]}`, "Id"},
		{grammar, iampolicy.Identity, `{"Statement": ["x"]}`, "statement 1"},
		{grammar + ": not the same key twice", iampolicy.Identity, statement(all + `, "Effect": "Allow"`), `"Effect"`},
		{grammar + ": Sid", iampolicy.Identity, statement(`"Sid": "a b", ` + all), "Sid"},
		{
			grammar + ": Sid",
			iampolicy.Identity,
			`{"Statement": [{"Sid": "a", ` + all + `}, {"Sid": "a", ` + all + `}]}`,
			"Sid",
		},
		{
			"KMS-DG:key-policy-overview: Sid with spaces",
			iampolicy.Resource,
			statement(`"Sid": "Enable IAM User Permissions", ` + key),
			"",
		},
		{grammar + ": Effect", iampolicy.Identity, statement(`"Effect": "allow", "Action": "*", "Resource": "*"`), "Effect"},
		{grammar + ": Effect", iampolicy.Identity, statement(`"Action": "*", "Resource": "*"`), "Effect"},
		{grammar, iampolicy.Identity, statement(`"Effect": "Allow", "Resource": "*"`), "Action"},
		{grammar, iampolicy.Identity, statement(`"Effect": "Allow", "Action": "*"`), "Resource"},
		{grammar, iampolicy.Identity, statement(`"Effect": "Allow", "Action": [], "Resource": "*"`), "Action"},
		{grammar, iampolicy.Identity, statement(`"Effect": "Allow", "Action": 1, "Resource": "*"`), "Action"},
		{
			grammar,
			iampolicy.Identity,
			statement(`"Effect": "Allow", "Action": "*", "NotAction": "ec2:*", "Resource": "*"`),
			"NotAction",
		},
		{
			grammar,
			iampolicy.Identity,
			statement(`"Effect": "Allow", "NotAction": "ec2:*", "NotResource": "arn:aws:s3:::x"`),
			"",
		},
		{grammar, iampolicy.Identity, statement(all + `, "Resorce": "*"`), `"Resorce"`},
		{grammar, iampolicy.Identity, statement(all + `, "NotCondition": {}`), `"NotCondition"`},
		{
			"IAM-UG:reference_policies_elements_action",
			iampolicy.Identity,
			statement(`"Effect": "Allow", "Action": "CopySnapshot", "Resource": "*"`),
			"CopySnapshot",
		},
		{
			"IAM-UG:reference_policies_elements_action",
			iampolicy.Identity,
			statement(`"Effect": "Allow", "Action": "ec2:Copy Snapshot", "Resource": "*"`),
			"Copy Snapshot",
		},
		{
			"IAM-UG:reference_policies_elements_resource",
			iampolicy.Identity,
			statement(`"Effect": "Allow", "Action": "*", "Resource": "snap-1"`),
			"snap-1",
		},
		{
			grammar + ": incomplete ARN",
			iampolicy.Identity,
			statement(`"Effect": "Allow", "Action": "*", "Resource": "arn:aws:sqs"`),
			"",
		},
		{
			grammar + ": incomplete ARN",
			iampolicy.Session,
			statement(`"Effect": "Allow", "Action": "*", "Resource": "arn:aws:sqs"`),
			"arn:aws:sqs",
		},

		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Identity,
			statement(all + `, "Principal": "*"`),
			"Principal",
		},
		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Session,
			statement(all + `, "NotPrincipal": "*"`),
			"Principal",
		},
		{
			"ORG-UG:orgs_manage_policies_scps_syntax",
			iampolicy.ServiceControl,
			statement(all + `, "Principal": "*"`),
			"Principal",
		},
		{"IAM-UG:reference_policies_elements_principal", iampolicy.Resource, statement(all), "Principal"},
		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Resource,
			statement(all +
				`, "Principal": {"AWS": ["123456789012", "arn:aws:iam::555555555555:root",
						"arn:aws-cn:iam::555555555555:role/path/x", "arn:aws:sts::555555555555:assumed-role/x/y",
						"arn:aws:sts::555555555555:federated-user/x", "AROACKCEVSQ6C2EXAMPLE", "*"], "Service": "ec2.amazonaws.com"}`),
			"",
		},
		{
			"IAM-UG:reference_policies_elements_principal: no part of a name",
			iampolicy.Resource,
			statement(all + `, "Principal": {"AWS": "arn:aws:iam::111122223333:role/*"}`),
			"role/*",
		},
		{
			"IAM-UG:reference_policies_elements_principal: no groups",
			iampolicy.Resource,
			statement(all + `, "Principal": {"AWS": "arn:aws:iam::111122223333:group/x"}`),
			"group/x",
		},
		{
			"IAM-UG:reference_policies_elements_principal: no Service *",
			iampolicy.Resource,
			statement(all + `, "Principal": {"Service": "*"}`),
			"Service",
		},
		{
			"IAM-UG:reference_policies_elements_principal: canonical users are S3's",
			iampolicy.Resource,
			statement(all + `, "Principal": {"CanonicalUser": "79a5"}`),
			"CanonicalUser",
		},
		{
			"IAM-UG:reference_policies_elements_principal: federated only in trust policies",
			iampolicy.Resource,
			statement(all + `, "Principal": {"Federated": "accounts.google.com"}`),
			"Federated",
		},
		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Trust,
			statement(`"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
					"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/tokens.actions.githubusercontent.com"}`),
			"",
		},
		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Resource,
			statement(all + `, "Principal": {"Users": "x"}`),
			"Users",
		},
		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Resource,
			statement(all + `, "Principal": {"AWS": []}`),
			"Principal",
		},
		{
			"IAM-UG:reference_policies_elements_principal",
			iampolicy.Resource,
			statement(all + `, "Principal": "111122223333"`),
			"Principal",
		},
		{
			"IAM-UG:reference_policies_elements_notprincipal",
			iampolicy.Resource,
			statement(`"Effect": "Deny", "Action": "*", "Resource": "*", "NotPrincipal": {"AWS": "111122223333"}`),
			"",
		},
		{
			"IAM-UG:reference_policies_elements_notprincipal: with Deny",
			iampolicy.Resource,
			statement(all + `, "NotPrincipal": {"AWS": "111122223333"}`),
			"NotPrincipal",
		},
		{
			"IAM-UG:reference_policies_elements_notprincipal: not in trust policies",
			iampolicy.Trust,
			statement(`"Effect": "Deny", "Action": "sts:AssumeRole", "NotPrincipal": {"AWS": "111122223333"}`),
			"NotPrincipal",
		},
		{
			"KMS-DG:policy-evaluation: trust policy without Resource",
			iampolicy.Trust,
			statement(`"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "111122223333"}`),
			"",
		},
		{
			"IAM: has prohibited field Resource",
			iampolicy.Trust,
			statement(all + `, "Principal": {"AWS": "111122223333"}`),
			"Resource",
		},
		{
			"KMS-DG:key-policy-overview: Action may be missing",
			iampolicy.Resource,
			statement(`"Effect": "Allow", "Principal": "*", "Resource": "*"`),
			"",
		},

		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: RCPFullAWSAccess",
			iampolicy.ResourceControl,
			statement(all + `, "Principal": "*"`),
			"",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax",
			iampolicy.ResourceControl,
			statement(`"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
					"Condition": {"BoolIfExists": {"aws:SecureTransport": "false"}}`),
			"",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: Version",
			iampolicy.ResourceControl,
			`{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}]}`,
			"Version",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: Allow",
			iampolicy.ResourceControl,
			statement(`"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"`),
			"RCPFullAWSAccess",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: Action *",
			iampolicy.ResourceControl,
			statement(`"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"`),
			"Action",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: Principal",
			iampolicy.ResourceControl,
			statement(`"Effect": "Deny", "Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"`),
			"Principal",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: NotAction",
			iampolicy.ResourceControl,
			statement(`"Effect": "Deny", "Principal": "*", "NotAction": "kms:*", "Resource": "*"`),
			"NotAction",
		},
		{
			"ORG-UG:orgs_manage_policies_rcps_syntax: NotPrincipal",
			iampolicy.ResourceControl,
			statement(`"Effect": "Deny", "NotPrincipal": "*", "Action": "kms:*", "Resource": "*"`),
			"NotPrincipal",
		},

		{operators, iampolicy.Identity, condition(`{"StringEqual": {"aws:PrincipalArn": "x"}}`), "StringEqual"},
		{operators, iampolicy.Identity, condition(`{"ForSomeValues:StringEquals": {"aws:TagKeys": "x"}}`), "ForSomeValues"},
		{operators, iampolicy.Identity, condition(`{":StringEquals": {"aws:TagKeys": "x"}}`), ":StringEquals"},
		{operators, iampolicy.Identity, condition(`{"ForAnyValue:Null": {"aws:TagKeys": "true"}}`), "ForAnyValue:Null"},
		{operators, iampolicy.Identity, condition(`{"stringequals": {"aws:PrincipalArn": "x"}}`), "stringequals"},
		{
			operators + ": IfExists but with Null",
			iampolicy.Identity,
			condition(`{"NullIfExists": {"aws:PrincipalArn": "true"}}`),
			"NullIfExists",
		},
		{operators, iampolicy.Identity, condition(`{"StringEquals": {"aws:PrincipelArn": "x"}}`), "aws:PrincipelArn"},
		{operators, iampolicy.Identity, condition(`{"StringEquals": {"aws:RequestTag/": "x"}}`), "aws:RequestTag/"},
		{operators, iampolicy.Identity, condition(`{"StringEquals": {"s3:prefix": "x"}}`), "s3:prefix"},
		{
			operators + ": types",
			iampolicy.Identity,
			condition(`{"NumericEquals": {"aws:PrincipalArn": "1"}}`),
			"aws:PrincipalArn",
		},
		{operators + ": types", iampolicy.Identity, condition(`{"NumericEquals": {"ec2:VolumeSize": "ten"}}`), "ten"},
		{operators + ": types", iampolicy.Identity, condition(`{"Bool": {"aws:SecureTransport": "yes"}}`), "yes"},
		{operators + ": types", iampolicy.Identity, condition(`{"DateLessThan": {"aws:CurrentTime": "2020"}}`), "2020"},
		{operators + ": types", iampolicy.Identity, condition(`{"IpAddress": {"aws:SourceIp": "here"}}`), "here"},
		{operators + ": types", iampolicy.Identity, condition(`{"BinaryEquals": {"aws:PrincipalTag/a": "!"}}`), "!"},
		{operators, iampolicy.Identity, condition(`{"StringEquals": {"aws:PrincipalArn": null}}`), "aws:PrincipalArn"},
		{operators, iampolicy.Identity, condition(`{"StringEquals": {"aws:PrincipalArn": []}}`), "aws:PrincipalArn"},
		{operators, iampolicy.Identity, condition(`{"StringEquals": "aws:PrincipalArn"}`), "StringEquals"},
		{operators, iampolicy.Identity, condition(`[]`), "Condition"},
		{variables, iampolicy.Identity, condition(`{"StringEquals": {"aws:PrincipalArn": "${aws:Unknown}"}}`), "aws:Unknown"},
		{
			variables + ": without an end",
			iampolicy.Identity,
			condition(`{"StringEquals": {"aws:PrincipalArn": "${aws:username"}}`),
			"${aws:username",
		},
		{
			variables + ": form",
			iampolicy.Identity,
			condition(`{"StringEquals": {"aws:PrincipalArn": "${aws:username, x}"}}`),
			"aws:username, x",
		},
		{
			variables + ": multivalued",
			iampolicy.Identity,
			condition(`{"StringEquals": {"aws:PrincipalArn": "${aws:TagKeys}"}}`),
			"aws:TagKeys",
		},
		{
			variables + ": not with Numeric",
			iampolicy.Identity,
			condition(`{"NumericEquals": {"ec2:VolumeSize": "${aws:EpochTime}"}}`),
			"aws:EpochTime",
		},
		{
			variables + ": behind the fifth colon",
			iampolicy.Identity,
			statement(
				`"Effect": "Allow", "Action": "*", "Resource": "arn:aws:ec2:us-east-1:${aws:PrincipalAccount}:snapshot/*"`,
			),
			"fifth colon",
		},

		{"", iampolicy.Kind("tag policy"), statement(all), "tag policy"},
	} {
		t.Run(c.source, func(t *testing.T) {
			_, err := iampolicy.Parse([]byte(c.text), c.kind)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%v in %s", err, c.text)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one that names %s, for %.200s", err, c.want, c.text)
			case err != nil && !strings.HasPrefix(err.Error(), string(c.kind)):
				t.Errorf("error %v does not say that it is about a %s", err, c.kind)
			}
		})
	}
}
