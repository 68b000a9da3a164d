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
	runWithFixture(t, func(f fixture) {
		client, name := f.iam(owner), "target"
		trust := newPolicy(trustStatement(rootOf(member), `"sts:AssumeRole"`))
		created := requireOutput(client.CreateRole(f.Context(), &iam.CreateRoleInput{
			RoleName:                 &name,
			Path:                     aws.String("/golden/"),
			AssumeRolePolicyDocument: trust,
			Description:              aws.String("for images"),
			Tags:                     []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		}))(f).Role

		got := requireOutput(client.GetRole(f.Context(), &iam.GetRoleInput{RoleName: &name}))(f).Role
		text := requireOutput(url.QueryUnescape(*got.AssumeRolePolicyDocument))(f)
		if *got.Arn != "arn:aws:iam::"+owner+":role/golden/target" || *got.RoleId != *created.RoleId ||
			!strings.HasPrefix(*got.RoleId, "AROA") || text != *trust || len(got.Tags) != 1 {
			f.Errorf("%+v", got)
		}

		requireNoError(client.PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: newPolicy(allowStatement(`"ec2:*"`)),
		}))(f)

		own := requireOutput(client.GetRolePolicy(f.Context(), &iam.GetRolePolicyInput{
			RoleName: &name, PolicyName: aws.String("own"),
		}))(f)

		if text := requireOutput(url.QueryUnescape(*own.PolicyDocument))(f); text != *newPolicy(allowStatement(`"ec2:*"`)) {
			f.Errorf("%s", text)
		}
	})
}

func TestGetUserPolicy_returnsInlinePolicy(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client, name := f.iam(owner), aws.String("builder")
		requireOutput(client.CreateUser(f.Context(), &iam.CreateUserInput{UserName: name}))(f)
		want := newPolicy(allowStatement(`"ec2:*"`))
		requireOutput(client.PutUserPolicy(f.Context(), &iam.PutUserPolicyInput{
			UserName: name, PolicyName: aws.String("own"), PolicyDocument: want,
		}))(f)

		found := requireOutput(client.GetUserPolicy(f.Context(), &iam.GetUserPolicyInput{
			UserName: name, PolicyName: aws.String("own"),
		}))(f)
		if got := requireOutput(url.QueryUnescape(*found.PolicyDocument))(f); got != *want {
			f.Errorf("got %s, want %s", got, *want)
		}

		_, err := client.GetUserPolicy(f.Context(), &iam.GetUserPolicyInput{
			UserName: name, PolicyName: aws.String("unknown"),
		})
		requireErrorCode(f, err, "NoSuchEntity")
	})
}

func TestIAM_invalidRequests(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.iam(owner)
		f.createRole(owner, "role", trustStatement(rootOf(owner), `"sts:*"`))
		create := func(name, trust string, changes ...func(*iam.CreateRoleInput)) error {
			in := &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}
			for _, change := range changes {
				change(in)
			}
			_, err := client.CreateRole(f.Context(), in)
			return err
		}

		trust := *newPolicy(trustStatement(rootOf(owner), `"sts:*"`))
		longest := func(seconds int32) func(*iam.CreateRoleInput) {
			return func(in *iam.CreateRoleInput) { in.MaxSessionDuration = &seconds }
		}

		_, unknown := client.GetRole(f.Context(), &iam.GetRoleInput{RoleName: aws.String("unknown")})
		_, boundary := client.PutRolePermissionsBoundary(f.Context(), &iam.PutRolePermissionsBoundaryInput{
			RoleName: aws.String("role"), PermissionsBoundary: aws.String("arn:aws:iam::" + owner + ":policy/unknown"),
		})

		_, inline := client.PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: aws.String("role"), PolicyName: aws.String("own"), PolicyDocument: aws.String("{"),
		})

		for name, row := range map[string]struct {
			err  error
			code string
		}{
			"a name that is taken": {create("role", trust), "EntityAlreadyExists"},
			"a name with a blank":  {create("a b", trust), "ValidationError"},
			"a path without slashes": {
				create("x", trust, func(in *iam.CreateRoleInput) { in.Path = aws.String("x") }), "ValidationError",
			},
			"a trust policy that is none": {create("x", "{}"), "MalformedPolicyDocument"},
			"a trust policy with a resource": {
				create("x", *newPolicy(keyStatement(rootOf(owner), `"sts:*"`))), "MalformedPolicyDocument",
			},
			"trust in somebody who is not there": {
				create(
					"x", *newPolicy(trustStatement("arn:aws:iam::"+owner+":role/unknown", `"sts:*"`)),
				), "MalformedPolicyDocument",
			},
			"5.1 sessions shorter than an hour":     {create("x", trust, longest(3599)), "ValidationError"},
			"5.1 sessions longer than twelve hours": {create("x", trust, longest(43201)), "ValidationError"},
			"a role that is not there":              {unknown, "NoSuchEntity"},
			"a boundary that is not there":          {boundary, "NoSuchEntity"},
			"a policy that is none":                 {inline, "MalformedPolicyDocument"},
		} {
			f.Log(name)
			requireErrorCode(f, row.err, row.code)
		}
	})
}

func TestIAM_boundariesAndManagedPolicies(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client, name := f.iam(owner), aws.String("target")
		role := f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:*"`))
		session := ec2Of(f.sessionCredentials(role))
		look := func() error {
			_, err := session.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
			return err
		}

		requireErrorMessage(f, look(), "UnauthorizedOperation", "because no identity-based policy allows")
		administrator := aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
		requireNoError(client.AttachRolePolicy(f.Context(), &iam.AttachRolePolicyInput{
			RoleName: name, PolicyArn: administrator,
		}))(f)

		if err := look(); err != nil {
			f.Error(err)
		}

		bound := requireOutput(client.CreatePolicy(f.Context(), &iam.CreatePolicyInput{
			PolicyName: aws.String("bound"), PolicyDocument: newPolicy(allowStatement(`"kms:*"`)),
		}))(f).Policy.Arn

		requireNoError(client.PutRolePermissionsBoundary(f.Context(), &iam.PutRolePermissionsBoundaryInput{
			RoleName: name, PermissionsBoundary: bound,
		}))(f)

		// rule A.4.11: an authorization error names the type of the policy that denied it
		requireErrorMessage(
			f, look(), "UnauthorizedOperation", "because no permissions boundary allows the ec2:DescribeRegions action",
		)

		requireNoError(client.DeleteRolePermissionsBoundary(f.Context(), &iam.DeleteRolePermissionsBoundaryInput{
			RoleName: name,
		}))(f)

		if err := look(); err != nil {
			f.Error(err)
		}

		_, err := client.DeleteRole(f.Context(), &iam.DeleteRoleInput{RoleName: name})
		requireErrorCode(f, err, "DeleteConflict")
		requireNoError(client.DetachRolePolicy(f.Context(), &iam.DetachRolePolicyInput{
			RoleName: name, PolicyArn: administrator,
		}))(f)

		requireNoError(client.DeleteRole(f.Context(), &iam.DeleteRoleInput{RoleName: name}))(f)
		// the session continues without permissions
		requireErrorMessage(f, look(), "UnauthorizedOperation", "because no identity-based policy allows")
	})
}

func TestIAM_usersAndAccessKeys(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client, name := f.iam(owner), aws.String("somebody")
		look := ec2Of(f.createUser(owner, *name, allowStatement(`"ec2:*"`)))
		requireNoError(look.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
		second := requireOutput(client.CreateAccessKey(f.Context(), &iam.CreateAccessKeyInput{UserName: name}))(f).AccessKey
		_, err := client.CreateAccessKey(f.Context(), &iam.CreateAccessKeyInput{UserName: name})
		requireErrorCode(f, err, "LimitExceeded")
		config := f.withCredentials(*second.AccessKeyId, *second.SecretAccessKey, "")
		_, err = iam.NewFromConfig(config).CreateUser(f.Context(), &iam.CreateUserInput{UserName: aws.String("other")})
		requireErrorMessage(f, err, "AccessDenied", "because no identity-based policy allows the iam:CreateUser action")
		requireNoError(client.DeleteAccessKey(f.Context(), &iam.DeleteAccessKeyInput{
			UserName: name, AccessKeyId: second.AccessKeyId,
		}))(f)

		_, err = ec2Of(config).DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
		requireErrorCode(f, err, "AuthFailure")
	})
}

// TestServiceLinkedRole_cannotBeChanged covers rule 8.1. A service-linked role needs a key policy or a grant,
// because no IAM policy can be attached to it.
func TestServiceLinkedRole_cannotBeChanged(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.iam(owner)
		create := func(service string, suffix *string) (*iam.CreateServiceLinkedRoleOutput, error) {
			return client.CreateServiceLinkedRole(f.Context(), &iam.CreateServiceLinkedRoleInput{
				AWSServiceName: &service, CustomSuffix: suffix,
			})
		}

		created := requireOutput(create("autoscaling.amazonaws.com", aws.String("blue")))(f).Role
		if *created.Arn != "arn:aws:iam::"+owner+
			":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_blue" {
			// the path of a service-linked role names its service (rule 8.1)
			f.Errorf("8.1: %s", *created.Arn)
		}

		_, err := create("autoscaling.amazonaws.com", aws.String("blue"))
		requireErrorCode(f, err, "InvalidInput")
		_, err = client.PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: created.RoleName, PolicyName: aws.String("own"), PolicyDocument: newPolicy(allowStatement(`"kms:*"`)),
		})

		requireErrorCode(f, err, "UnmodifiableEntity") // rule 8.1: no IAM policy can be attached
		_, err = f.assumeRole(f.createUser(owner, "caller", allowStatement(`"sts:*"`)), *created.Arn)
		requireErrorCode(f, err, "AccessDenied")
	})
}
