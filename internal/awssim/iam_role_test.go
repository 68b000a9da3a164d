// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestCreateRole_keepsAttributes(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client, name := b.iam(owner), "target"
		trust := policyOf(trusting(rootOf(member), `"sts:AssumeRole"`))
		made := ok(client.CreateRole(b.Context(), &iam.CreateRoleInput{RoleName: &name, Path: aws.String("/golden/"), AssumeRolePolicyDocument: trust,
			Description: aws.String("for images"), Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(b).Role
		got := ok(client.GetRole(b.Context(), &iam.GetRoleInput{RoleName: &name}))(b).Role
		text := ok(url.QueryUnescape(*got.AssumeRolePolicyDocument))(b)
		if *got.Arn != "arn:aws:iam::"+owner+":role/golden/target" || *got.RoleId != *made.RoleId || !strings.HasPrefix(*got.RoleId, "AROA") || text != *trust || len(got.Tags) != 1 {
			b.Errorf("%+v", got)
		}
		must(client.PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: policyOf(may(`"ec2:*"`))}))(b)
		own := ok(client.GetRolePolicy(b.Context(), &iam.GetRolePolicyInput{RoleName: &name, PolicyName: aws.String("own")}))(b)
		if text := ok(url.QueryUnescape(*own.PolicyDocument))(b); text != *policyOf(may(`"ec2:*"`)) {
			b.Errorf("%s", text)
		}
	})
}

func TestIAM_invalidRequests(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client := b.iam(owner)
		b.role(owner, "role", trusting(rootOf(owner), `"sts:*"`))
		create := func(name, trust string, changes ...func(*iam.CreateRoleInput)) error {
			in := &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}
			for _, change := range changes {
				change(in)
			}
			_, err := client.CreateRole(b.Context(), in)
			return err
		}
		trust := *policyOf(trusting(rootOf(owner), `"sts:*"`))
		longest := func(seconds int32) func(*iam.CreateRoleInput) {
			return func(in *iam.CreateRoleInput) { in.MaxSessionDuration = &seconds }
		}
		_, unknown := client.GetRole(b.Context(), &iam.GetRoleInput{RoleName: aws.String("unknown")})
		_, boundary := client.PutRolePermissionsBoundary(b.Context(), &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("role"), PermissionsBoundary: aws.String("arn:aws:iam::" + owner + ":policy/unknown")})
		_, inline := client.PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("role"), PolicyName: aws.String("own"), PolicyDocument: aws.String("{")})
		for name, row := range map[string]struct {
			err  error
			code string
		}{
			"a name that is taken":                  {create("role", trust), "EntityAlreadyExists"},
			"a name with a blank":                   {create("a b", trust), "ValidationError"},
			"a path without slashes":                {create("x", trust, func(in *iam.CreateRoleInput) { in.Path = aws.String("x") }), "ValidationError"},
			"a trust policy that is none":           {create("x", "{}"), "MalformedPolicyDocument"},
			"a trust policy with a resource":        {create("x", *policyOf(trustingKey(rootOf(owner), `"sts:*"`))), "MalformedPolicyDocument"},
			"trust in somebody who is not there":    {create("x", *policyOf(trusting("arn:aws:iam::"+owner+":role/unknown", `"sts:*"`))), "MalformedPolicyDocument"},
			"5.1 sessions shorter than an hour":     {create("x", trust, longest(3599)), "ValidationError"},
			"5.1 sessions longer than twelve hours": {create("x", trust, longest(43201)), "ValidationError"},
			"a role that is not there":              {unknown, "NoSuchEntity"},
			"a boundary that is not there":          {boundary, "NoSuchEntity"},
			"a policy that is none":                 {inline, "MalformedPolicyDocument"},
		} {
			b.Log(name)
			requireErrorCode(b, row.err, row.code)
		}
	})
}

func TestIAM_boundariesAndManagedPolicies(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client, name := b.iam(owner), aws.String("target")
		role := b.role(owner, "target", trusting(rootOf(owner), `"sts:*"`))
		session := ec2Of(b.session(role))
		look := func() error {
			_, err := session.DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{})
			return err
		}
		requireErrorMessage(b, look(), "UnauthorizedOperation", "because no identity-based policy allows")
		administrator := aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
		must(client.AttachRolePolicy(b.Context(), &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: administrator}))(b)
		if err := look(); err != nil {
			b.Error(err)
		}
		bound := ok(client.CreatePolicy(b.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("bound"), PolicyDocument: policyOf(may(`"kms:*"`))}))(b).Policy.Arn
		must(client.PutRolePermissionsBoundary(b.Context(), &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: bound}))(b)
		requireErrorMessage(b, look(), "UnauthorizedOperation", "because no permissions boundary allows the ec2:DescribeRegions action") // A.4.11
		must(client.DeleteRolePermissionsBoundary(b.Context(), &iam.DeleteRolePermissionsBoundaryInput{RoleName: name}))(b)
		if err := look(); err != nil {
			b.Error(err)
		}
		_, err := client.DeleteRole(b.Context(), &iam.DeleteRoleInput{RoleName: name})
		requireErrorCode(b, err, "DeleteConflict")
		must(client.DetachRolePolicy(b.Context(), &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: administrator}))(b)
		must(client.DeleteRole(b.Context(), &iam.DeleteRoleInput{RoleName: name}))(b)
		requireErrorMessage(b, look(), "UnauthorizedOperation", "because no identity-based policy allows") // its session lives on, without rights
	})
}

func TestIAM_usersAndAccessKeys(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client, name := b.iam(owner), aws.String("somebody")
		look := ec2Of(b.user(owner, *name, may(`"ec2:*"`)))
		must(look.DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{}))(b)
		second := ok(client.CreateAccessKey(b.Context(), &iam.CreateAccessKeyInput{UserName: name}))(b).AccessKey
		_, err := client.CreateAccessKey(b.Context(), &iam.CreateAccessKeyInput{UserName: name})
		requireErrorCode(b, err, "LimitExceeded")
		config := b.as(*second.AccessKeyId, *second.SecretAccessKey, "")
		_, err = iam.NewFromConfig(config).CreateUser(b.Context(), &iam.CreateUserInput{UserName: aws.String("other")})
		requireErrorMessage(b, err, "AccessDenied", "because no identity-based policy allows the iam:CreateUser action")
		must(client.DeleteAccessKey(b.Context(), &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: second.AccessKeyId}))(b)
		_, err = ec2Of(config).DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{})
		requireErrorCode(b, err, "AuthFailure")
	})
}

// TestServiceLinkedRole_cannotBeChanged covers rule 8.1.
func TestServiceLinkedRole_cannotBeChanged(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client := b.iam(owner)
		create := func(service string, suffix *string) (*iam.CreateServiceLinkedRoleOutput, error) {
			return client.CreateServiceLinkedRole(b.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: &service, CustomSuffix: suffix})
		}
		made := ok(create("autoscaling.amazonaws.com", aws.String("blue")))(b).Role
		if *made.Arn != "arn:aws:iam::"+owner+":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_blue" { // 8.1
			b.Errorf("8.1: %s", *made.Arn)
		}
		_, err := create("autoscaling.amazonaws.com", aws.String("blue"))
		requireErrorCode(b, err, "InvalidInput")
		_, err = client.PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: made.RoleName, PolicyName: aws.String("own"), PolicyDocument: policyOf(may(`"kms:*"`))})
		requireErrorCode(b, err, "UnmodifiableEntity") // 8.1: no IAM policy can be put on it
		_, err = b.assume(b.user(owner, "caller", may(`"sts:*"`)), *made.Arn)
		requireErrorCode(b, err, "AccessDenied")
	})
}
