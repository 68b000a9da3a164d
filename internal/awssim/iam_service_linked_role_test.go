// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// assumeAutoScalingRole creates the service-linked role of Auto Scaling in an account. It returns its ARN and a client
// of its session.
func (f fixture) assumeAutoScalingRole(account string) (string, *ec2.Client) {
	f.Helper()
	created := requireOutput(iam.NewFromConfig(f.world.Config(account, home)).CreateServiceLinkedRole(f.Context(),
		&iam.CreateServiceLinkedRoleInput{
			AWSServiceName: aws.String("autoscaling.amazonaws.com"),
		}))(f)
	config := requireOutput(f.world.ServiceConfig(*created.Role.Arn, home))(f)
	return *created.Role.Arn, ec2.NewFromConfig(config)
}

// launchedState returns the state of an instance some time after the service launched it.
func (f fixture) launchedState(service *ec2.Client, image string) types.InstanceStateName {
	f.Helper()
	id := f.launch(service, image)
	time.Sleep(time.Minute)
	return f.describeInstance(service, id).State.Name
}

// setKeyPolicy sets a key policy with the default statement and others.
func (f fixture) setKeyPolicy(key string, statements ...string) {
	f.Helper()
	all := append(
		[]string{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"kms:*","Resource":"*"}`},
		statements...,
	)
	requireOutput(f.kms.PutKeyPolicy(f.Context(), &kms.PutKeyPolicyInput{
		KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(all, ",") + `]}`),
	}))(f)
}

const (
	usesKey = `{"Effect":"Allow","Principal":{"AWS":"WHO"},"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*",` +
		`"kms:GenerateDataKey*","kms:DescribeKey"],"Resource":"*"}`
	makesGrant = `{"Effect":"Allow","Principal":{"AWS":"WHO"},"Action":"kms:CreateGrant","Resource":"*",` +
		`"Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}`
)

// TestAutoScaling_needsKeyPolicy covers rules 8.1 and 8.2. The role can use aws/ebs. A customer managed key must allow
// its use and grants for AWS resources in its key policy.
func TestAutoScaling_needsKeyPolicy(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role, service := f.assumeAutoScalingRole(owner)
		if state := f.launchedState(service, f.createImage("alias/aws/ebs")); state != types.InstanceStateNameRunning {
			t.Errorf("under aws/ebs the instance is %s", state)
		}

		key := f.createKey()
		image := f.createImage(key)
		if state := f.launchedState(service, image); state != types.InstanceStateNameTerminated {
			t.Errorf("without a word in the key policy the instance is %s", state)
		}

		named := func(statement string) string { return strings.ReplaceAll(statement, "WHO", role) }
		f.setKeyPolicy(key, named(usesKey))
		if state := f.launchedState(service, image); state != types.InstanceStateNameTerminated {
			t.Errorf("without the permission to create grants the instance is %s", state)
		}

		f.setKeyPolicy(key, named(usesKey), named(makesGrant))
		if state := f.launchedState(service, image); state != types.InstanceStateNameRunning {
			t.Errorf("with both statements the instance is %s", state)
		}
	})
}

// TestAutoScaling_keyOfOtherAccount covers rule 8.3. The key policy allows the account of the group, and a principal
// there creates a grant for the service-linked role.
func TestAutoScaling_keyOfOtherAccount(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role, service := f.assumeAutoScalingRole(member)
		key := f.createKey()
		f.setKeyPolicy(key,
			strings.ReplaceAll(usesKey, "WHO", "arn:aws:iam::999999999999:root"),
			`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"kms:CreateGrant","Resource":"*"}`)

		image := f.createImage(key)
		requireOutput(f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{
				Add: []types.LaunchPermission{{UserId: aws.String(member)}},
			},
		}))(f)

		if state := f.launchedState(service, image); state != types.InstanceStateNameTerminated {
			t.Errorf("without a grant the instance is %s", state)
		}

		requireOutput(kms.NewFromConfig(f.world.Config(member, home)).CreateGrant(f.Context(), &kms.CreateGrantInput{
			KeyId: &key, GranteePrincipal: &role, Operations: []kmstypes.GrantOperation{
				kmstypes.GrantOperationEncrypt, kmstypes.GrantOperationDecrypt, kmstypes.GrantOperationReEncryptFrom,
				kmstypes.GrantOperationReEncryptTo,
				kmstypes.GrantOperationGenerateDataKey, kmstypes.GrantOperationGenerateDataKeyWithoutPlaintext,
				kmstypes.GrantOperationDescribeKey,
				kmstypes.GrantOperationCreateGrant,
			},
		}))(f)

		if state := f.launchedState(service, image); state != types.InstanceStateNameRunning {
			t.Errorf("with the grant the instance is %s", state)
		}
	})
}
