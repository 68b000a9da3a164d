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
	operators     = "IAM-UG:reference_policies_elements_condition_operators"
	severalValues = "IAM-UG:reference_policies_condition-logic-multiple-context-keys-or-values"
	multivalued   = "IAM-UG:reference_policies_condition-single-vs-multi-valued-context-keys"
	variables     = "IAM-UG:reference_policies_variables"
)

// These are the tables of the documentation, by page and section. Condition keys of services that the plugin does not
// call are replaced by keys of the same type.
func TestEvaluate_conditions(t *testing.T) {
	team := `{"StringEquals": {"aws:PrincipalTag/department": ["finance", "hr", "legal"],
		"aws:PrincipalTag/role": ["audit", "security"]},
		"ArnLike": {"aws:PrincipalArn": ["arn:aws:iam::222222222222:user/Ana", "arn:aws:iam::222222222222:user/Mary"]}}`
	notTeam := strings.Replace(team, "ArnLike", "ArnNotLike", 1)
	tagged := `{"StringEqualsIgnoreCase": {"aws:RequestTag/environment": ["preprod", "storage"]},
		"ForAnyValue:StringEquals": {"aws:TagKeys": "environment"}}`
	onlyTags := `{"ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]},
		"Null": {"aws:TagKeys": "false"}}`
	anyTag := `{"ForAnyValue:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]}}`
	aliases := `{"ForAllValues:ArnLike": {"kms:ResourceAliases": "arn:aws:kms:*:111122223333:alias/team*"}}`
	type C = iampolicy.Context

	for _, c := range []struct {
		source    string
		condition string
		context   C
		want      bool
	}{
		{
			operators + " String",
			`{"StringEquals": {"aws:PrincipalTag/job-category": "iamuser-admin"}}`,
			C{"aws:PrincipalTag/job-category": {"iamuser-admin"}},
			true,
		},
		{
			operators + " String",
			`{"StringEquals": {"aws:PrincipalTag/job-category": "iamuser-admin"}}`,
			C{"aws:PrincipalTag/job-category": {"dev-ops"}},
			false,
		},
		{operators + " String", `{"StringEquals": {"aws:PrincipalTag/job-category": "iamuser-admin"}}`, nil, false},
		{
			operators + " String, exact",
			`{"StringEquals": {"aws:PrincipalTag/a": "X"}}`,
			C{"aws:PrincipalTag/a": {"x"}},
			false,
		},
		{
			operators + " String, exact",
			`{"StringEquals": {"aws:PrincipalTag/a": "x*"}}`,
			C{"aws:PrincipalTag/a": {"xy"}},
			false,
		},
		{
			operators + " String, negated",
			`{"StringNotEquals": {"aws:PrincipalTag/a": "x"}}`,
			C{"aws:PrincipalTag/a": {"y"}},
			true,
		},
		{
			operators + " String, negated",
			`{"StringNotEquals": {"aws:PrincipalTag/a": "x"}}`,
			C{"aws:PrincipalTag/a": {"x"}},
			false,
		},
		{operators + " Important: key not present", `{"StringNotEquals": {"aws:PrincipalTag/a": "x"}}`, nil, true},
		{operators + " Important: key not present", `{"StringNotLike": {"aws:PrincipalTag/a": "x"}}`, nil, true},
		{operators + " Important: key not present", `{"ArnNotLike": {"aws:SourceArn": "arn:aws:s3:::x"}}`, nil, true},
		{
			operators + " String, ignoring case",
			`{"StringEqualsIgnoreCase": {"aws:PrincipalTag/a": "X"}}`,
			C{"aws:PrincipalTag/a": {"x"}},
			true,
		},
		{
			operators + " String, ignoring case",
			`{"StringNotEqualsIgnoreCase": {"aws:PrincipalTag/a": "X"}}`,
			C{"aws:PrincipalTag/a": {"x"}},
			false,
		},
		{
			operators + " String, wildcards",
			`{"StringLike": {"ec2:InstanceType": ["t1.*", "t2.*"]}}`,
			C{"ec2:InstanceType": {"t1.micro"}},
			true,
		},
		{
			operators + " String, wildcards",
			`{"StringLike": {"ec2:InstanceType": "t?.*"}}`,
			C{"ec2:InstanceType": {"t10.micro"}},
			false,
		},
		{
			operators + " String, wildcards",
			`{"StringNotLike": {"ec2:InstanceType": "t?.*"}}`,
			C{"ec2:InstanceType": {"m5.large"}},
			true,
		},
		{
			operators + " String, case of keys",
			`{"StringEquals": {"AWS:principaltag/A": "x"}}`,
			C{"aws:PrincipalTag/a": {"x"}},
			true,
		},

		{operators + " Multivalued string", tagged, C{"aws:RequestTag/environment": {"preprod"}}, true},
		{
			operators + " Multivalued string",
			tagged,
			C{"aws:RequestTag/environment": {"PreProd"}, "aws:RequestTag/costcenter": {"1"}},
			true,
		},
		{operators + " Multivalued string", tagged, C{"aws:RequestTag/Environment": {"preprod"}}, false},
		{
			operators + " Multivalued string",
			tagged,
			C{"aws:RequestTag/environment": {"preprod"}, "aws:TagKeys": {"costcenter"}},
			false,
		},
		{operators + " Multivalued string", tagged, C{"aws:TagKeys": {"environment"}}, false},
		{operators + " Multivalued string", tagged, nil, false},

		{operators + " Numeric", `{"NumericLessThanEquals": {"ec2:VolumeSize": "10"}}`, C{"ec2:VolumeSize": {"10"}}, true},
		{operators + " Numeric", `{"NumericLessThanEquals": {"ec2:VolumeSize": 10}}`, C{"ec2:VolumeSize": {"11"}}, false},
		{operators + " Numeric", `{"NumericLessThan": {"ec2:VolumeSize": "10"}}`, C{"ec2:VolumeSize": {"10"}}, false},
		{operators + " Numeric", `{"NumericEquals": {"ec2:VolumeSize": "10"}}`, C{"ec2:VolumeSize": {"10.0"}}, true},
		{operators + " Numeric", `{"NumericNotEquals": {"ec2:VolumeSize": "10"}}`, C{"ec2:VolumeSize": {"10"}}, false},
		{operators + " Numeric", `{"NumericGreaterThan": {"ec2:VolumeSize": "10"}}`, C{"ec2:VolumeSize": {"9.5"}}, false},
		{
			operators + " Numeric",
			`{"NumericGreaterThanEquals": {"ec2:VolumeSize": "9.5"}}`,
			C{"ec2:VolumeSize": {"9.5"}},
			true,
		},
		{operators + " Numeric", `{"NumericGreaterThanEquals": {"ec2:VolumeSize": "9.5"}}`, nil, false},

		{
			operators + " Date",
			`{"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}}`,
			C{"aws:TokenIssueTime": {"2020-01-01T00:00:02Z"}},
			true,
		},
		{
			operators + " Date",
			`{"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}}`,
			C{"aws:TokenIssueTime": {"2020-01-01T00:00:01Z"}},
			false,
		},
		{operators + " Date", `{"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}}`, nil, false},
		{
			operators + " Date, zones",
			`{"DateEquals": {"aws:CurrentTime": "2020-01-01T01:00+01:00"}}`,
			C{"aws:CurrentTime": {"2020-01-01T00:00:00Z"}},
			true,
		},
		{
			operators + " Date, epoch",
			`{"DateLessThan": {"aws:CurrentTime": "1577836801"}}`,
			C{"aws:CurrentTime": {"2020-01-01T00:00:00Z"}},
			true,
		},
		{
			operators + " Date, day",
			`{"DateGreaterThanEquals": {"aws:CurrentTime": "2020-01-01"}}`,
			C{"aws:CurrentTime": {"2019-12-31T23:59:59Z"}},
			false,
		},
		{
			operators + " Date",
			`{"DateLessThanEquals": {"aws:CurrentTime": "2020-01-01"}}`,
			C{"aws:CurrentTime": {"2020-01-01T00:00:00Z"}},
			true,
		},
		{
			operators + " Date",
			`{"DateNotEquals": {"aws:CurrentTime": "2020-01-01"}}`,
			C{"aws:CurrentTime": {"2020-01-01T00:00:00Z"}},
			false,
		},

		{operators + " Boolean", `{"Bool": {"aws:SecureTransport": "false"}}`, C{"aws:SecureTransport": {"false"}}, true},
		{operators + " Boolean", `{"Bool": {"aws:SecureTransport": "false"}}`, C{"aws:SecureTransport": {"true"}}, false},
		{operators + " Boolean", `{"Bool": {"aws:SecureTransport": "false"}}`, nil, false},
		{
			"KMS-DG:conditions-kms kms:BypassPolicyLockoutSafetyCheck",
			`{"Bool": {"kms:BypassPolicyLockoutSafetyCheck": true}}`,
			C{"kms:BypassPolicyLockoutSafetyCheck": {"true"}},
			true,
		},
		{
			"KMS-DG:conditions-kms kms:BypassPolicyLockoutSafetyCheck",
			`{"Null": {"kms:BypassPolicyLockoutSafetyCheck": true}}`,
			nil,
			true,
		},
		{
			"KMS-DG:conditions-kms kms:BypassPolicyLockoutSafetyCheck",
			`{"Null": {"kms:BypassPolicyLockoutSafetyCheck": true}}`,
			C{"kms:BypassPolicyLockoutSafetyCheck": {"false"}},
			false,
		},

		{
			operators + " Binary",
			`{"BinaryEquals": {"aws:PrincipalTag/key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}`,
			C{"aws:PrincipalTag/key": {"QmluYXJ5VmFsdWVJbkJhc2U2NA=="}},
			true,
		},
		{
			operators + " Binary",
			`{"BinaryEquals": {"aws:PrincipalTag/key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}`,
			C{"aws:PrincipalTag/key": {"ASIAIOSFODNN7EXAMPLE"}},
			false,
		},
		{operators + " Binary", `{"BinaryEquals": {"aws:PrincipalTag/key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}`, nil, false},

		{
			operators + " IP address",
			`{"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`,
			C{"aws:SourceIp": {"203.0.113.1"}},
			true,
		},
		{
			operators + " IP address",
			`{"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`,
			C{"aws:SourceIp": {"198.51.100.1"}},
			false,
		},
		{
			operators + " IP address",
			`{"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:DB8:1234:5678::/64"]}}`,
			C{"aws:SourceIp": {"2001:db8:1234:5678::1"}},
			true,
		},
		{
			operators + " IP address, no prefix",
			`{"IpAddress": {"aws:SourceIp": "203.0.113.1"}}`,
			C{"aws:SourceIp": {"203.0.113.2"}},
			false,
		},
		{
			operators + " IP address, negated",
			`{"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`,
			C{"aws:SourceIp": {"198.51.100.1"}},
			true,
		},
		{operators + " IP address", `{"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`, nil, false},

		{
			operators + " ARN",
			`{"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-west-2:123456789012:TOPIC-ID"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:us-west-2:123456789012:TOPIC-ID"}},
			true,
		},
		{
			operators + " ARN",
			`{"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-west-2:123456789012:TOPIC-ID"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:us-west-2:777788889999:TOPIC-ID"}},
			false,
		},
		{operators + " ARN", `{"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-west-2:123456789012:TOPIC-ID"}}`, nil, false},
		{
			operators + " ARN, Equals is Like",
			`{"ArnEquals": {"aws:SourceArn": "arn:aws:sns:*:*:TOPIC*"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:us-west-2:777788889999:TOPIC-ID"}},
			true,
		},
		{
			operators + " ARN, parts apart",
			`{"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:TOPIC-ID"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:us-west-2:777788889999:TOPIC-ID"}},
			false,
		},
		{
			operators + " ARN, six parts",
			`{"ArnLike": {"aws:SourceArn": "arn:aws:sns:*"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:us-west-2:777788889999:TOPIC-ID"}},
			false,
		},
		{
			operators + " ARN, six parts",
			`{"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:x"}},
			false,
		},
		{
			operators + " ARN, negated",
			`{"ArnNotEquals": {"aws:SourceArn": "arn:aws:sns:*:*:TOPIC*"}}`,
			C{"aws:SourceArn": {"arn:aws:sns:us-west-2:777788889999:OTHER"}},
			true,
		},

		// The table has this for logs:LogGeneratingResourceArns. The table of ForAllValues:StringNotLike is not used: it
		// contradicts the text of its page in two of three rows.
		{
			operators + " Multivalued ARN",
			aliases,
			C{"kms:ResourceAliases": {"arn:aws:kms:us-east-1:111122223333:alias/team-a"}},
			true,
		},
		{
			operators + " Multivalued ARN",
			aliases,
			C{
				"kms:ResourceAliases": {
					"arn:aws:kms:us-east-1:111122223333:alias/team-a",
					"arn:aws:kms:us-east-1:111122223333:alias/team-b",
				},
			},
			true,
		},
		{
			operators + " Multivalued ARN",
			aliases,
			C{"kms:ResourceAliases": {"arn:aws:kms:us-east-1:777788889999:alias/team-a"}},
			false,
		},
		{operators + " Multivalued ARN", aliases, nil, true},

		{
			operators + " IfExists",
			`{"StringLikeIfExists": {"ec2:InstanceType": ["t1.*", "t2.*", "m3.*"]}}`,
			C{"ec2:InstanceType": {"t1.micro"}},
			true,
		},
		{
			operators + " IfExists",
			`{"StringLikeIfExists": {"ec2:InstanceType": ["t1.*", "t2.*", "m3.*"]}}`,
			C{"ec2:InstanceType": {"m2.micro"}},
			false,
		},
		{operators + " IfExists", `{"StringLikeIfExists": {"ec2:InstanceType": ["t1.*", "t2.*", "m3.*"]}}`, nil, true},
		{operators + " IfExists, negated", `{"StringNotEqualsIfExists": {"ec2:InstanceType": "t1.micro"}}`, nil, true},
		{
			operators + " Null",
			`{"Null": {"aws:TokenIssueTime": "false"}}`,
			C{"aws:TokenIssueTime": {"2020-01-01T00:00:00Z"}},
			true,
		},
		{operators + " Null", `{"Null": {"aws:TokenIssueTime": "false"}}`, nil, false},
		{operators + " Null", `{"Null": {"aws:TokenIssueTime": "true"}}`, nil, true},
		{operators + " Null, no value", `{"Null": {"aws:TokenIssueTime": "true"}}`, C{"aws:TokenIssueTime": {}}, true},

		{
			severalValues,
			team,
			C{
				"aws:PrincipalTag/department": {"legal"},
				"aws:PrincipalTag/role":       {"audit"},
				"aws:PrincipalArn":            {"arn:aws:iam::222222222222:user/Mary"},
			},
			true,
		},
		{
			severalValues,
			team,
			C{
				"aws:PrincipalTag/department": {"hr"},
				"aws:PrincipalTag/role":       {"audit"},
				"aws:PrincipalArn":            {"arn:aws:iam::222222222222:user/Nikki"},
			},
			false,
		},
		{
			severalValues,
			team,
			C{
				"aws:PrincipalTag/department": {"hr"},
				"aws:PrincipalTag/role":       {"payroll"},
				"aws:PrincipalArn":            {"arn:aws:iam::222222222222:user/Mary"},
			},
			false,
		},
		{
			severalValues,
			team,
			C{"aws:PrincipalTag/department": {"hr"}, "aws:PrincipalArn": {"arn:aws:iam::222222222222:user/Mary"}},
			false,
		},
		{severalValues, team, C{"aws:PrincipalArn": {"arn:aws:iam::222222222222:user/Mary"}}, false},
		{
			severalValues,
			notTeam,
			C{
				"aws:PrincipalTag/department": {"legal"},
				"aws:PrincipalTag/role":       {"audit"},
				"aws:PrincipalArn":            {"arn:aws:iam::222222222222:user/Nikki"},
			},
			true,
		},
		{
			severalValues,
			notTeam,
			C{
				"aws:PrincipalTag/department": {"hr"},
				"aws:PrincipalTag/role":       {"audit"},
				"aws:PrincipalArn":            {"arn:aws:iam::222222222222:user/Mary"},
			},
			false,
		},
		{
			severalValues,
			notTeam,
			C{
				"aws:PrincipalTag/department": {"hr"},
				"aws:PrincipalTag/role":       {"payroll"},
				"aws:PrincipalArn":            {"arn:aws:iam::222222222222:user/Nikki"},
			},
			false,
		},
		{
			severalValues,
			notTeam,
			C{"aws:PrincipalTag/department": {"hr"}, "aws:PrincipalArn": {"arn:aws:iam::222222222222:user/Nikki"}},
			false,
		},

		{multivalued + " ForAllValues", onlyTags, C{"aws:TagKeys": {"environment"}}, true},
		{multivalued + " ForAllValues", onlyTags, C{"aws:TagKeys": {"cost-center"}}, true},
		{multivalued + " ForAllValues", onlyTags, C{"aws:TagKeys": {"environment", "cost-center"}}, true},
		{multivalued + " ForAllValues", onlyTags, C{"aws:TagKeys": {"environment", "dept"}}, false},
		{multivalued + " ForAllValues", onlyTags, nil, false},
		{multivalued + " ForAllValues, no keys", `{"ForAllValues:StringEquals": {"aws:TagKeys": "environment"}}`, nil, true},
		{multivalued + " ForAnyValue", anyTag, C{"aws:TagKeys": {"environment"}}, true},
		{multivalued + " ForAnyValue", anyTag, C{"aws:TagKeys": {"cost-center"}}, true},
		{multivalued + " ForAnyValue", anyTag, C{"aws:TagKeys": {"environment", "cost-center"}}, true},
		{multivalued + " ForAnyValue", anyTag, C{"aws:TagKeys": {"environment", "dept"}}, true},
		{multivalued + " ForAnyValue", anyTag, C{"aws:TagKeys": {"dept"}}, false},
		{multivalued + " ForAnyValue", anyTag, nil, false},
		{
			operators + " Multivalued string, ForAllValues negated",
			`{"ForAllValues:StringNotEquals": {"aws:TagKeys": ["a", "b"]}}`,
			C{"aws:TagKeys": {"a", "c"}},
			false,
		},
		{
			operators + " Multivalued string, ForAllValues negated",
			`{"ForAllValues:StringNotLike": {"aws:TagKeys": ["a*", "b"]}}`,
			C{"aws:TagKeys": {"c", "d"}},
			true,
		},
		{
			operators + " Multivalued string, ForAnyValue negated",
			`{"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["a", "b"]}}`,
			C{"aws:TagKeys": {"a", "c"}},
			true,
		},
		{
			operators + " Multivalued string, ForAnyValue negated",
			`{"ForAnyValue:StringNotLike": {"aws:TagKeys": ["a", "b"]}}`,
			C{"aws:TagKeys": {"a", "b"}},
			false,
		},
		{multivalued + " ForAnyValue, no key", `{"ForAnyValue:StringNotEquals": {"aws:TagKeys": "a"}}`, nil, false},

		{
			variables + " in conditions",
			`{"StringEquals": {"ec2:ResourceTag/Owner": "${aws:PrincipalTag/owner}"}}`,
			C{"ec2:ResourceTag/Owner": {"ann"}, "aws:PrincipalTag/owner": {"ann"}},
			true,
		},
		{
			variables + " in conditions",
			`{"StringEquals": {"ec2:ResourceTag/Owner": "${aws:PrincipalTag/owner}"}}`,
			C{"ec2:ResourceTag/Owner": {"ann"}, "aws:PrincipalTag/owner": {"bob"}},
			false,
		},
		{
			variables + " no value",
			`{"StringEquals": {"ec2:ResourceTag/Owner": "${aws:PrincipalTag/owner}"}}`,
			C{"ec2:ResourceTag/Owner": {"ann"}},
			false,
		},
		{
			variables + " no value",
			`{"StringLike": {"ec2:ResourceTag/Owner": "*${aws:PrincipalTag/owner}*"}}`,
			C{"ec2:ResourceTag/Owner": {"ann"}},
			false,
		},
		{
			variables + " no value, inverted",
			`{"StringNotEquals": {"ec2:ResourceTag/Owner": "${aws:PrincipalTag/owner}"}}`,
			C{"ec2:ResourceTag/Owner": {"ann"}},
			true,
		},
		{
			variables + " no value, inverted",
			`{"StringNotLike": {"ec2:ResourceTag/Owner": "*${aws:PrincipalTag/owner}*"}}`,
			C{"ec2:ResourceTag/Owner": {"ann"}},
			true,
		},
		{
			variables + " default",
			`{"StringEquals": {"ec2:ResourceTag/Team": "${aws:PrincipalTag/team, 'company-wide'}"}}`,
			C{"ec2:ResourceTag/Team": {"company-wide"}},
			true,
		},
		{
			variables + " default",
			`{"StringEquals": {"ec2:ResourceTag/Team": "${aws:PrincipalTag/team, 'company-wide'}"}}`,
			C{"ec2:ResourceTag/Team": {"company-wide"}, "aws:PrincipalTag/team": {"yellow"}},
			false,
		},
		{
			variables + " special characters",
			`{"StringLike": {"ec2:ResourceTag/a": "${*}${?}${$}*"}}`,
			C{"ec2:ResourceTag/a": {"*?$x"}},
			true,
		},
		{
			variables + " special characters",
			`{"StringLike": {"ec2:ResourceTag/a": "${*}"}}`,
			C{"ec2:ResourceTag/a": {"x"}},
			false,
		},
		{
			variables + " values are no patterns",
			`{"StringLike": {"ec2:ResourceTag/a": "${aws:PrincipalTag/a}"}}`,
			C{"ec2:ResourceTag/a": {"xyz"}, "aws:PrincipalTag/a": {"x*"}},
			false,
		},
		{
			variables + " ARN operators",
			`{"ArnLike": {"aws:SourceArn": "arn:aws:ec2:*:${aws:PrincipalAccount}:snapshot/*"}}`,
			C{"aws:SourceArn": {"arn:aws:ec2:us-east-1:222222222222:snapshot/snap-1"}},
			true,
		},
	} {
		t.Run(c.source, func(t *testing.T) {
			text := fmt.Sprintf(
				`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": %s}}`,
				c.condition,
			)
			got := evaluate(
				t,
				iampolicy.Request{
					Principal: user("222222222222", "someone"),
					Action:    "ec2:CreateTags",
					Resource:  "*",
					Context:   c.context,
				},
				iampolicy.Policies{Identity: documents(t, iampolicy.Identity, text)},
			)
			if got.Allowed != c.want {
				t.Errorf("%s with %v: allowed %v, want %v", c.condition, c.context, got.Allowed, c.want)
			}
		})
	}
}

func TestVariables_oldVersion(t *testing.T) { // IAM-UG:reference_policies_variables, Note
	text := `{"Version": "2008-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
		"Condition": {"StringEquals": {"ec2:ResourceTag/a": "${aws:username}"}}}}`
	for value, want := range map[string]bool{"${aws:username}": true, "someone": false} {
		got := evaluate(
			t,
			iampolicy.Request{
				Principal: user("222222222222", "someone"),
				Action:    "ec2:CreateTags",
				Resource:  "*",
				Context:   iampolicy.Context{"ec2:ResourceTag/a": {value}},
			},
			iampolicy.Policies{Identity: documents(t, iampolicy.Identity, text)},
		)
		if got.Allowed != want {
			t.Errorf("%s: allowed %v, want %v", value, got.Allowed, want)
		}
	}
}

// If the documentation is unclear, or the caller does not know a value, the decision is unknown.
func TestEvaluate_unknownValue(t *testing.T) {
	who := user("222222222222", "someone")
	allow := `{"Effect": "Allow", "Action": "*", "Resource": "*"}`
	for _, c := range []struct {
		name       string
		statements string
		context    iampolicy.Context
		unsure     []string
		want       string // part of the error. Empty if the decision is to allow
	}{
		{
			"several values without a set operator",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:TagKeys": "a"}}}`,
			iampolicy.Context{"aws:TagKeys": {"a", "b"}},
			nil,
			"aws:tagkeys",
		},
		{
			"a single value without a set operator",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:TagKeys": "a"}}}`,
			iampolicy.Context{"aws:TagKeys": {"a"}},
			nil,
			"",
		},
		{
			"tags that differ only in case",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:RequestTag/a": "x"}}}`,
			iampolicy.Context{"aws:RequestTag/a": {"x"}, "aws:RequestTag/A": {"y"}},
			nil,
			"aws:requesttag/a",
		},
		{
			"an allow that may hold",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/a": "x"}}}`,
			nil,
			[]string{"aws:PrincipalTag/"},
			"aws:principaltag/a",
		},
		{
			"an allow that may hold, beside one that does",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/a": "x"}}}, ` +
				allow,
			nil,
			[]string{"aws:PrincipalTag/"},
			"",
		},
		{
			"a deny that may hold",
			allow +
				`, {"Effect": "Deny", "Action": "*", "Resource": "*",
					"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}`,
			nil,
			[]string{"aws:MultiFactorAuthPresent"},
			"aws:multifactorauthpresent",
		},
		{
			"a deny that may hold, on something else",
			allow +
				`, {"Effect": "Deny", "Action": "*", "Resource": "arn:aws:ec2:*:*:image/*",
					"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}`,
			nil,
			[]string{"aws:MultiFactorAuthPresent"},
			"",
		},
		{
			"a deny that may hold but for another condition",
			allow +
				`, {"Effect": "Deny", "Action": "*", "Resource": "*",
					"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}, "StringEquals": {"aws:PrincipalAccount": "1"}}}`,
			nil,
			[]string{"aws:MultiFactorAuthPresent"},
			"",
		},
		{
			"an unknown variable",
			`{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:ec2:*:*:${aws:PrincipalTag/a}"}`,
			nil,
			[]string{"aws:PrincipalTag/a"},
			"aws:principaltag/a",
		},
		{
			"an unknown key that would follow from the request",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:ViaAWSService": "false"}}}`,
			nil,
			[]string{"aws:ViaAWSService"},
			"aws:viaawsservice",
		},
		{
			"an unknown key that is given",
			`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/a": "x"}}}`,
			iampolicy.Context{"aws:PrincipalTag/a": {"x"}},
			[]string{"aws:PrincipalTag/"},
			"",
		},
		{
			"a misspelled key in the request",
			allow,
			iampolicy.Context{"aws:PrincipalTags/a": {"x"}},
			nil,
			"aws:PrincipalTags/a",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			policies := iampolicy.Policies{
				Identity: documents(t, iampolicy.Identity, `{"Version": "2012-10-17", "Statement": [`+c.statements+`]}`),
			}
			got, err := iampolicy.Evaluate(
				iampolicy.Request{
					Principal: who,
					Action:    "ec2:CreateTags",
					Resource:  "arn:aws:ec2:us-east-1::snapshot/snap-1",
					Context:   c.context,
					Unsure:    c.unsure,
				},
				policies,
			)
			switch {
			case c.want == "" && (err != nil || !got.Allowed):
				t.Errorf("%+v, %v; want an allow", got, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%+v, %v; want an error that names %s", got, err, c.want)
			}
		})
	}
}

func TestEvaluate_keyPolicyMayAllow(t *testing.T) {
	r := iampolicy.Request{
		Principal: session(owner, "x"),
		Action:    "kms:Decrypt",
		Resource:  keyARN,
		Unsure:    []string{"aws:PrincipalOrgID"},
	}
	inOrg := `"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}`
	kms := may("Allow", "kms:*")
	for _, c := range []struct {
		name    string
		set     set
		decided bool
	}{
		{"no other policy allows", set{identity: kms, resource: may("Allow", "kms:*", to("*"), inOrg)}, false},
		{"the principal's own policies do not allow", set{resource: may("Allow", "kms:*", to("*"), inOrg)}, false},
		{"a deny decides", set{identity: may("Deny", "kms:*"), resource: may("Allow", "kms:*", to("*"), inOrg)}, true},
		{
			"a grant allows",
			set{
				resource: may("Allow", "kms:*", to("*"), inOrg),
				grants:   []iampolicy.Grant{{Grantee: session(owner, "x").Role, Operations: []string{"Decrypt"}}},
			},
			true,
		},
		{
			"an organization that may allow",
			set{identity: kms, resource: may("Allow", "kms:*", to(owner)), scps: [][]string{{may("Allow", "*", inOrg)}}},
			false,
		},
		{
			"an organization that may deny what is refused anyway",
			set{
				resource: may("Allow", "kms:*", to(owner)),
				scps:     [][]string{{may("Allow", "*")}, {may("Deny", "*", inOrg), may("Allow", "*")}},
			},
			true,
		},
	} {
		d, err := iampolicy.Evaluate(r, c.set.parsed(t))
		if (err == nil) != c.decided || err != nil && d.Allowed {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
}
