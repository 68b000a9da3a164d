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

// autoScaling makes the service-linked role of Auto Scaling in an account, and is its ARN and a client in its name.
func (b fixture) autoScaling(account string) (string, *ec2.Client) {
	b.Helper()
	made := ok(iam.NewFromConfig(b.world.Config(account, home)).CreateServiceLinkedRole(b.Context(), &iam.CreateServiceLinkedRoleInput{
		AWSServiceName: aws.String("autoscaling.amazonaws.com"),
	}))(b)
	config := ok(b.world.ServiceConfig(*made.Role.Arn, home))(b)
	return *made.Role.Arn, ec2.NewFromConfig(config)
}

// ends is the state that an instance of an image comes to when the service launches it.
func (b fixture) ends(service *ec2.Client, image string) types.InstanceStateName {
	b.Helper()
	id := b.launch(service, image)
	time.Sleep(time.Minute)
	return b.instance(service, id).State.Name
}

// setPolicy gives a key the default statement, and others.
func (b fixture) setPolicy(key string, statements ...string) {
	b.Helper()
	all := append([]string{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"kms:*","Resource":"*"}`}, statements...)
	ok(b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(all, ",") + `]}`)}))(b)
}

const (
	usesKey    = `{"Effect":"Allow","Principal":{"AWS":"WHO"},"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*","kms:GenerateDataKey*","kms:DescribeKey"],"Resource":"*"}`
	makesGrant = `{"Effect":"Allow","Principal":{"AWS":"WHO"},"Action":"kms:CreateGrant","Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}`
)

// TestAutoScaling_needsKeyPolicy covers rules 8.1 and 8.2.
// The service-linked role may use aws/ebs, and a customer key only where the key policy says so: using it, and making grants for
// AWS's own resources (8.1, 8.2).
func TestAutoScaling_needsKeyPolicy(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		role, service := b.autoScaling(owner)
		if state := b.ends(service, b.image("alias/aws/ebs")); state != types.InstanceStateNameRunning {
			t.Errorf("under aws/ebs the instance is %s", state)
		}
		key := b.key()
		image := b.image(key)
		if state := b.ends(service, image); state != types.InstanceStateNameTerminated {
			t.Errorf("without a word in the key policy the instance is %s", state)
		}
		named := func(statement string) string { return strings.ReplaceAll(statement, "WHO", role) }
		b.setPolicy(key, named(usesKey))
		if state := b.ends(service, image); state != types.InstanceStateNameTerminated {
			t.Errorf("without the right to make grants the instance is %s", state)
		}
		b.setPolicy(key, named(usesKey), named(makesGrant))
		if state := b.ends(service, image); state != types.InstanceStateNameRunning {
			t.Errorf("with both statements the instance is %s", state)
		}
	})
}

// TestAutoScaling_keyOfOtherAccount covers rule 8.3.
// For a key of another account, its policy admits the account of the group, and somebody there makes a grant for the
// service-linked role (8.3).
func TestAutoScaling_keyOfOtherAccount(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		role, service := b.autoScaling(member)
		key := b.key()
		b.setPolicy(key,
			strings.ReplaceAll(usesKey, "WHO", "arn:aws:iam::999999999999:root"),
			`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"kms:CreateGrant","Resource":"*"}`)
		image := b.image(key)
		ok(b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(member)}}},
		}))(b)
		if state := b.ends(service, image); state != types.InstanceStateNameTerminated {
			t.Errorf("without a grant the instance is %s", state)
		}
		ok(kms.NewFromConfig(b.world.Config(member, home)).CreateGrant(b.Context(), &kms.CreateGrantInput{
			KeyId: &key, GranteePrincipal: &role, Operations: []kmstypes.GrantOperation{
				kmstypes.GrantOperationEncrypt, kmstypes.GrantOperationDecrypt, kmstypes.GrantOperationReEncryptFrom, kmstypes.GrantOperationReEncryptTo,
				kmstypes.GrantOperationGenerateDataKey, kmstypes.GrantOperationGenerateDataKeyWithoutPlaintext, kmstypes.GrantOperationDescribeKey,
				kmstypes.GrantOperationCreateGrant,
			},
		}))(b)
		if state := b.ends(service, image); state != types.InstanceStateNameRunning {
			t.Errorf("with the grant the instance is %s", state)
		}
	})
}
