// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// examples are the templates of example/, each with what it requires, its arguments and its promised result.
var examples = map[string]struct {
	prepare   func(t *testing.T, h Host) []string // returns arguments of packer build. Nil for none
	delivered func(t *testing.T, w *World)
}{
	"single-account": {
		func(*testing.T, Host) []string {
			return []string{"-var=external_id=golden-images-4711"}
		},
		func(t *testing.T, w *World) { owns(t, w, target, "golden-target") },
	},
	"organization": {
		func(t *testing.T, h Host) []string {
			return []string{"-var=external_id=golden-images-4711", "-var=organizational_unit_id=" + unit(t, h.World)}
		},
		func(t *testing.T, w *World) { owns(t, w, target, "golden-target") },
	},
	"new-accounts": {
		func(t *testing.T, h Host) []string {
			arguments := []string{"-var=external_id=golden-images-4711", "-var=organizational_unit_id=" + unit(t, h.World)}
			nameSourceAMI(t, h.World)
			return arguments
		},
		func(t *testing.T, w *World) { owns(t, w, target, "golden-target") },
	},
	"preflight": {
		func(*testing.T, Host) []string { return []string{"-var=external_id=golden-images-4711"} },
		func(t *testing.T, w *World) { owns(t, w, target, "golden-target") },
	},
	"auto-scaling": {
		func(*testing.T, Host) []string { return nil },
		func(t *testing.T, w *World) {
			if len(owned(t, w, target, region)) > 0 {
				t.Error("the other account has a copy")
			}
			shared := must(
				w.ec2(target).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ExecutableUsers: []string{"self"}}),
			)(t).Images
			if len(shared) != 1 || *shared[0].OwnerId != source {
				t.Errorf("%d images are shared with the other account", len(shared))
			}
		},
	},
	"ssm-and-launch-template": {
		func(t *testing.T, h Host) []string {
			prepareWeb(t, h.World)
			return []string{"-var=external_id=golden-images-4711"}
		},
		func(t *testing.T, w *World) {
			image := owns(t, w, target, "golden-target")
			parameter := must(ssm.NewFromConfig(w.Config(target, region)).
				GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/golden/ami")}))(t).Parameter
			if *parameter.Value != image || *parameter.DataType != "aws:ec2:image" {
				t.Errorf("the parameter names %s as %s, want %s", *parameter.Value, *parameter.DataType, image)
			}
			versions := must(w.ec2(target).DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
				LaunchTemplateName: aws.String("web"), Versions: []string{"$Default"},
			}))(t).LaunchTemplateVersions
			if *versions[0].VersionNumber != 2 || aws.ToString(versions[0].LaunchTemplateData.ImageId) != image ||
				versions[0].LaunchTemplateData.InstanceType != types.InstanceTypeT3Micro {
				t.Errorf(
					"the default version is %d with %s",
					*versions[0].VersionNumber,
					aws.ToString(versions[0].LaunchTemplateData.ImageId),
				)
			}
		},
	},
	"promote": {
		func(t *testing.T, h Host) []string {
			prepareWeb(t, h.World)
			return []string{"-only=amazon-ebs.golden", externalID}
		},
		func(t *testing.T, w *World) {
			owns(t, w, target, "golden-target")
			stored := must(ssm.NewFromConfig(w.Config(target, region)).
				GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/golden/ami"}}))(t)
			if len(stored.Parameters) > 0 {
				t.Errorf("the release on hold is published as %v", stored.Parameters)
			}
		},
	},
	"existing-ami": {
		existing,
		func(t *testing.T, w *World) { owns(t, w, target, "golden-target") },
	},
	"imported-key": {
		func(t *testing.T, h Host) []string {
			importedKey(t, h.World)
			return existing(t, h)
		},
		func(t *testing.T, w *World) { owns(t, w, target, "golden-target") },
	},
}

func TestExamples_outcome(t *testing.T) {
	t.Parallel()
	folders := must(filepath.Glob("../../example/*/template.pkr.hcl"))(t)
	if len(folders) != len(examples) {
		t.Errorf("%d templates, and promises of %d", len(folders), len(examples))
	}
	for name, example := range examples {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "")
			path := must(filepath.Abs(filepath.Join("../../example", name, "template.pkr.hcl")))(t)
			arguments := append([]string{"build", "-color=false", "-var=poll_interval=1s"}, example.prepare(t, h)...)
			h.packer(t, 0, append(arguments, path)...)
			example.delivered(t, h.World)
		})
	}
}

func TestREADME_template(t *testing.T) {
	text := string(must(os.ReadFile("../../README.md"))(t))
	_, rest, _ := strings.Cut(text, "```hcl\n")
	template, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("README.md has no HCL block")
	}
	h := newHost(t, strings.Replace(template, "post-processor \"encrypted-ami\" {", "post-processor \"encrypted-ami\" "+
		"{\n    poll_interval = \"1s\"", 1))
	h.packer(t, 0, "build", "-color=false", "-var=external_id=golden-images-4711", ".")
	owns(t, h.World, target, "golden-target")
}

// owns checks that an account has one image, whose two snapshots it owns under the key of an alias. It returns the ID
// of the image.
func owns(t *testing.T, w *World, account, alias string) string {
	t.Helper()
	images := owned(t, w, account, region)
	if len(images) != 1 || len(images[0].BlockDeviceMappings) != 2 || images[0].State != types.ImageStateAvailable {
		t.Fatalf("%s has %d images", account, len(images))
	}
	key := keyARN(t, w, account, alias)
	for device, snapshot := range snapshots(t, w, account, images[0]) {
		if *snapshot.OwnerId != account || aws.ToString(snapshot.KmsKeyId) != key {
			t.Errorf(
				"%s: %s of %s is under %s, want %s",
				device,
				*snapshot.SnapshotId,
				*snapshot.OwnerId,
				aws.ToString(snapshot.KmsKeyId),
				key,
			)
		}
	}
	return *images[0].ImageId
}

// existing creates an image of the source account without a build.
func existing(t *testing.T, h Host) []string {
	t.Helper()
	return []string{
		fmt.Sprintf(`-var=existing_amis={%q=%q}`, region, *image(t, h.World, source, "base-1").ImageId),
		"-var=external_id=golden-images-4711",
	}
}

// unit creates an organization of the source account with the target account in a unit, and returns the ID of the unit.
func unit(t *testing.T, w *World) string {
	t.Helper()
	management := organizations.NewFromConfig(w.Config(source, "us-east-1"))
	must(management.CreateOrganization(
		t.Context(),
		&organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll},
	))(t)
	root := must(management.ListRoots(t.Context(), &organizations.ListRootsInput{}))(t).Roots[0].Id
	made := must(management.CreateOrganizationalUnit(
		t.Context(),
		&organizations.CreateOrganizationalUnitInput{ParentId: root, Name: aws.String("workloads")},
	))(t).OrganizationalUnit.Id
	invited := must(management.InviteAccountToOrganization(t.Context(), &organizations.InviteAccountToOrganizationInput{
		Target: &orgtypes.HandshakeParty{Id: aws.String(target), Type: orgtypes.HandshakePartyTypeAccount},
	}))(t)
	must(organizations.NewFromConfig(w.Config(target, "us-east-1")).
		AcceptHandshake(t.Context(), &organizations.AcceptHandshakeInput{HandshakeId: invited.Handshake.Id}))(t)
	must(management.MoveAccount(
		t.Context(),
		&organizations.MoveAccountInput{AccountId: aws.String(target), SourceParentId: root, DestinationParentId: made},
	))(t)
	addBuilderPolicy(
		t,
		w,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"organizations:List*","Resource":"*"}]}`,
	)
	return *made
}

// nameSourceAMI writes the SSM parameter that names the current AMI. The builder may read it.
func nameSourceAMI(t *testing.T, w *World) {
	t.Helper()
	must(ssm.NewFromConfig(w.Config(source, region)).PutParameter(t.Context(), &ssm.PutParameterInput{
		Name:     aws.String("/golden/source-ami"),
		Value:    image(t, w, source, "base-1").ImageId,
		Type:     "String",
		DataType: aws.String("aws:ec2:image"),
	}))(t)
	addBuilderPolicy(t, w, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",`+
		`"Action":["organizations:List*","ssm:GetParameter"],"Resource":"*"}]}`)
}

// importedKey creates alias/golden-imported in the source account, with imported material and the policy of
// alias/golden-source.
func importedKey(t *testing.T, w *World) {
	t.Helper()
	keys := w.kms(source)
	policy := must(
		keys.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: aws.String(keyARN(t, w, source, "golden-source"))}),
	)(t).Policy
	key := must(
		keys.CreateKey(t.Context(), &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, Policy: policy}),
	)(t).KeyMetadata.KeyId
	given := must(keys.GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{
		KeyId:             key,
		WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesOaepSha256,
		WrappingKeySpec:   kmstypes.WrappingKeySpecRsa2048,
	}))(t)
	wrapping := must(x509.ParsePKIXPublicKey(given.PublicKey))(t).(*rsa.PublicKey)
	material := slices.Repeat([]byte{7}, 32)
	must(keys.ImportKeyMaterial(t.Context(), &kms.ImportKeyMaterialInput{
		KeyId: key, ImportToken: given.ImportToken, ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire,
		EncryptedKeyMaterial: must(rsa.EncryptOAEP(sha256.New(), rand.Reader, wrapping, material, nil))(t),
	}))(t)
	must(keys.CreateAlias(
		t.Context(),
		&kms.CreateAliasInput{AliasName: aws.String("alias/golden-imported"), TargetKeyId: key},
	))(t)
}

// setTargetPolicy replaces the permissions of the target's role.
func setTargetPolicy(t *testing.T, w *World, policy string) {
	t.Helper()
	must(iam.NewFromConfig(w.Config(target, region)).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("golden-image-target"), PolicyName: aws.String("golden-image"), PolicyDocument: &policy,
	}))(t)
}

// addBuilderPolicy gives the user that runs packer more permissions.
func addBuilderPolicy(t *testing.T, w *World, policy string) {
	t.Helper()
	must(iam.NewFromConfig(w.Config(source, region)).PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName: aws.String("builder"), PolicyName: aws.String("more"), PolicyDocument: &policy,
	}))(t)
}
