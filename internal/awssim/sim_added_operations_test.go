// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestIAM_lists lists a role, its policies and its attachments. The names ignore case (rule B.9.1).
func TestIAM_lists(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(owner, "Copier", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ec2:Describe*"`))
		client := iam.NewFromConfig(f.world.Config(owner, home))
		managed := requireOutput(client.CreatePolicy(f.Context(), &iam.CreatePolicyInput{
			PolicyName: aws.String("read"), PolicyDocument: newPolicy(allowStatement(`"kms:DescribeKey"`)),
		}))(f).Policy.Arn
		requireNoError(client.AttachRolePolicy(f.Context(), &iam.AttachRolePolicyInput{
			RoleName: aws.String("COPIER"), PolicyArn: managed,
		}))(f)

		roles := requireOutput(client.ListRoles(f.Context(), &iam.ListRolesInput{}))(f).Roles
		if len(roles) != 1 || *roles[0].Arn != role || *roles[0].RoleName != "Copier" {
			t.Errorf("roles %+v", roles)
		}
		inline := requireOutput(client.ListRolePolicies(f.Context(), &iam.ListRolePoliciesInput{
			RoleName: aws.String("copier"),
		}))(f).PolicyNames
		attached := requireOutput(client.ListAttachedRolePolicies(f.Context(), &iam.ListAttachedRolePoliciesInput{
			RoleName: aws.String("copier"),
		}))(f).AttachedPolicies
		if len(inline) != 1 || len(attached) != 1 || *attached[0].PolicyArn != *managed {
			t.Errorf("inline %v, attached %+v", inline, attached)
		}

		policies := requireOutput(client.ListPolicies(f.Context(), &iam.ListPoliciesInput{
			Scope: iamtypes.PolicyScopeTypeLocal, OnlyAttached: true,
		}))(f).Policies
		if len(policies) != 1 || *policies[0].AttachmentCount != 1 {
			t.Errorf("policies %+v", policies)
		}
		version := requireOutput(client.GetPolicyVersion(f.Context(), &iam.GetPolicyVersionInput{
			PolicyArn: managed, VersionId: aws.String("v1"),
		}))(f).PolicyVersion
		if strings.Contains(*version.Document, "+") || !strings.HasPrefix(*version.Document, "%7B%22Version%22") {
			t.Errorf("B.9.2: the document is %s", *version.Document)
		}
	})
}

// TestSimulatePrincipalPolicy_decisions expects each of the decisions allowed, implicitDeny and explicitDeny.
func TestSimulatePrincipalPolicy_decisions(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(owner, "copier", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ec2:*"`)+
			`,{"Effect":"Deny","Action":"ec2:DeleteSnapshot","Resource":"*"}`)
		got := requireOutput(iam.NewFromConfig(f.world.Config(owner, home)).SimulatePrincipalPolicy(
			f.Context(), &iam.SimulatePrincipalPolicyInput{
				PolicySourceArn: &role, ActionNames: []string{"ec2:CopySnapshot", "ec2:DeleteSnapshot", "kms:CreateGrant"},
			},
		))(f).EvaluationResults
		for i, want := range []iamtypes.PolicyEvaluationDecisionType{"allowed", "explicitDeny", "implicitDeny"} {
			expectEqual(f, "the decision for "+*got[i].EvalActionName, got[i].EvalDecision, want)
		}
	})
}

// TestDecodeAuthorizationMessage_ownRefusals decodes the message of a refusal.
func TestDecodeAuthorizationMessage_ownRefusals(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(owner, "copier", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"kms:*"`))
		snapshot := f.createSnapshot("")
		_, err := ec2.NewFromConfig(f.sessionCredentials(role)).DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{
			SnapshotId: &snapshot,
		})
		refusal := requireErrorCode(f, err, "UnauthorizedOperation")
		encoded := regexp.MustCompile(`failure message: (\S+)`).FindStringSubmatch(refusal.ErrorMessage())
		if encoded == nil {
			t.Fatal(refusal.ErrorMessage())
		}

		client := sts.NewFromConfig(f.world.Config(owner, home))
		text := requireOutput(client.DecodeAuthorizationMessage(f.Context(), &sts.DecodeAuthorizationMessageInput{
			EncodedMessage: &encoded[1],
		}))(f).DecodedMessage
		var content authorizationFailure
		if err := json.Unmarshal([]byte(*text), &content); err != nil {
			t.Fatal(err)
		}
		expectEqual(f, "the action", content.Context.Action, "ec2:DeleteSnapshot")
		expectEqual(f, "an explicit deny", content.ExplicitDeny, false)

		_, err = client.DecodeAuthorizationMessage(f.Context(), &sts.DecodeAuthorizationMessageInput{
			EncodedMessage: aws.String("none"),
		})
		requireErrorCode(f, err, "InvalidAuthorizationMessageException")
	})
}

// TestParameters_historyAndDelete reads all versions of a parameter, and deletes several parameters.
func TestParameters_historyAndDelete(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.ssm(owner)
		requireNoError(f.putParameter(client, "p", "one"))(f)
		requireNoError(f.putParameter(client, "p", "two", overwriting, securedBy("")))(f)
		got := requireOutput(client.GetParameterHistory(f.Context(), &ssm.GetParameterHistoryInput{
			Name: aws.String("p"), WithDecryption: aws.Bool(true),
		}))(f).Parameters
		if len(got) != 2 || *got[0].Value != "one" || *got[1].Value != "two" ||
			got[1].Type != ssmtypes.ParameterTypeSecureString {
			t.Errorf("history %+v", got)
		}

		deleted := requireOutput(client.DeleteParameters(f.Context(), &ssm.DeleteParametersInput{
			Names: []string{"p", "none"},
		}))(f)
		if len(deleted.DeletedParameters) != 1 || len(deleted.InvalidParameters) != 1 {
			t.Errorf("%+v", deleted)
		}
	})
}

// TestDeleteLaunchTemplateVersions_default deletes a version. It cannot delete the default version, and numbers are not
// used again.
func TestDeleteLaunchTemplateVersions_default(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		data := &types.RequestLaunchTemplateData{InstanceType: types.InstanceTypeT3Micro}
		template := requireOutput(f.ec2.CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("web"), LaunchTemplateData: data,
		}))(f).LaunchTemplate.LaunchTemplateId
		add := func() int64 {
			return *requireOutput(f.ec2.CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{
				LaunchTemplateId: template, LaunchTemplateData: data,
			}))(f).LaunchTemplateVersion.VersionNumber
		}

		add()
		got := requireOutput(f.ec2.DeleteLaunchTemplateVersions(f.Context(), &ec2.DeleteLaunchTemplateVersionsInput{
			LaunchTemplateId: template, Versions: []string{"1", "2", "9"},
		}))(f)
		if len(got.SuccessfullyDeletedLaunchTemplateVersions) != 1 ||
			len(got.UnsuccessfullyDeletedLaunchTemplateVersions) != 2 {
			t.Errorf("%+v", got)
		}
		expectEqual(f, "the number of the next version", add(), 3)
	})
}

// TestListImagesInRecycleBin_none shows that no image is in the Recycle Bin.
func TestListImagesInRecycleBin_none(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		got := requireOutput(f.ec2.ListImagesInRecycleBin(f.Context(), &ec2.ListImagesInRecycleBinInput{}))(f).Images
		expectEqual(f, "images in the Recycle Bin", len(got), 0)
	})
}
