// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// requester makes the calls of TestRequest_refused.
type requester struct {
	fixture
	iam *iam.Client
	ssm *ssm.Client
}

func newRequester(f fixture) requester {
	config := f.world.Config(owner, home)
	return requester{f, iam.NewFromConfig(config), ssm.NewFromConfig(config)}
}

// refusedRequest is a request, and how AWS refuses it.
type refusedRequest struct {
	rule       string // with a description
	send       func(r requester) error
	code, text string // the message contains the text; empty code for success
}

// errorOf returns the error of a call.
func errorOf[In, Opt, Out any](
	r requester, call func(context.Context, *In, ...Opt) (*Out, error), in *In,
) error {
	_, err := call(r.Context(), in)
	return err
}

// TestRequest_refused covers rules B.2 to B.9: how AWS refuses requests.
func TestRequest_refused(t *testing.T) {
	for _, row := range append(refusedEC2Requests(), refusedOtherRequests()...) {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				err := row.send(newRequester(f))
				if row.code == "" {
					if err != nil {
						f.Error(err)
					}
					return
				}
				requireErrorMessage(f, err, row.code, row.text)
			})
		})
	}
}

// volumeOf returns a request that creates a volume of a type in a dry run.
func volumeOf(kind types.VolumeType, gib int32, changes ...func(*ec2.CreateVolumeInput)) func(requester) error {
	return func(r requester) error {
		in := &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), DryRun: aws.Bool(true), Size: &gib, VolumeType: kind,
		}
		for _, change := range changes {
			change(in)
		}
		return errorOf(r, r.ec2.CreateVolume, in)
	}
}

func iops(n int32) func(*ec2.CreateVolumeInput) {
	return func(in *ec2.CreateVolumeInput) { in.Iops = &n }
}

func throughput(n int32) func(*ec2.CreateVolumeInput) {
	return func(in *ec2.CreateVolumeInput) { in.Throughput = &n }
}

// templateOf returns a request that creates a launch template.
func templateOf(name string, data types.RequestLaunchTemplateData) func(requester) error {
	return func(r requester) error {
		return errorOf(r, r.ec2.CreateLaunchTemplate, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: &name, LaunchTemplateData: &data,
		})
	}
}

// versionOf returns a request that describes a version of a launch template.
func versionOf(version string) func(requester) error {
	return func(r requester) error {
		if err := templateOf("web", types.RequestLaunchTemplateData{InstanceType: "t3.nano"})(r); err != nil {
			return err
		}
		return errorOf(r, r.ec2.DescribeLaunchTemplateVersions, &ec2.DescribeLaunchTemplateVersionsInput{
			LaunchTemplateName: aws.String("web"), Versions: []string{version},
		})
	}
}

func refusedEC2Requests() []refusedRequest {
	const value, combination = "InvalidParameterValue", "InvalidParameterCombination"
	return []refusedRequest{
		{"B.2.1 a text as volume ID", func(r requester) error {
			return errorOf(r, r.ec2.DescribeVolumes, &ec2.DescribeVolumesInput{VolumeIds: []string{"bad"}})
		}, value, "Expected: 'vol-...'"},
		{"B.2.1 a volume ID with a wrong checksum", func(r requester) error {
			return errorOf(r, r.ec2.DescribeVolumes, &ec2.DescribeVolumesInput{
				VolumeIds: []string{"vol-00000000000000000"},
			})
		}, "InvalidVolumeID.Malformed", ""},
		{"B.2.1 a dry run with a malformed ID", func(r requester) error {
			return errorOf(r, r.ec2.CreateSnapshot, &ec2.CreateSnapshotInput{
				VolumeId: aws.String("bad"), DryRun: aws.Bool(true),
			})
		}, value, ""},
		{"B.3.1 gp2 at its maximum", volumeOf("gp2", 16384), "DryRunOperation", ""},
		{"B.3.1 gp2 too large", volumeOf("gp2", 16385), value, "too large"},
		{"B.3.1 gp3 too large", volumeOf("gp3", 65537), value, "too large"},
		{"B.3.1 st1 too small", volumeOf("st1", 124), value, "too small"},
		{"B.3.1 io2 too small", volumeOf("io2", 3, iops(100)), value, "too small"},
		{"B.3.1 standard too large", volumeOf("standard", 1025), value, "too large"},
		{"B.3.2 io1 without IOPS", volumeOf("io1", 100), "MissingParameter", "iops"},
		{"B.3.2 gp2 with IOPS", volumeOf("gp2", 100, iops(300)), combination, "iops is not supported for gp2"},
		{"B.3.2 io1 with few IOPS", volumeOf("io1", 100, iops(99)), value, "too low"},
		{"B.3.2 gp3 with many IOPS", volumeOf("gp3", 65536, iops(80001)), value, "too high"},
		{"B.3.3 gp3 with IOPS for its size", volumeOf("gp3", 10, iops(5000)), "DryRunOperation", ""},
		{"B.3.3 gp3 with too many IOPS for its size", volumeOf("gp3", 10, iops(5001)), value, "ratio"},
		{"B.3.3 io2 with too many IOPS for its size", volumeOf("io2", 4, iops(4001)), value, "ratio"},
		{"B.3.3 gp3 throughput above a quarter", volumeOf("gp3", 100, throughput(751)), value, "ratio"},
		{"B.3.4 gp2 with throughput", volumeOf("gp2", 100, throughput(125)), combination, "throughput"},
		{"B.3.4 gp3 with low throughput", volumeOf("gp3", 100, throughput(124)), value, "too low"},
		{"B.3.4 gp3 with high throughput", volumeOf("gp3", 100, iops(9000), throughput(2001)), value, "too high"},
		{"B.3.5 a rate without a snapshot", volumeOf("gp3", 100, func(in *ec2.CreateVolumeInput) {
			in.VolumeInitializationRate = aws.Int32(100)
		}), combination, "VolumeInitializationRate"},
		{"B.3.1 a mapping of RegisterImage", func(r requester) error {
			_, err := r.registerImage(r.ec2, r.createSnapshot(""), func(in *ec2.RegisterImageInput) {
				in.BlockDeviceMappings[0].Ebs.VolumeSize, in.DryRun = aws.Int32(16385), aws.Bool(true)
			})
			return err
		}, value, "too large"},
		{"B.3.6 a mapping of RunInstances", func(r requester) error {
			in := oneInstance(r.createImage(""))
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{
				DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(4)},
			}}
			return errorOf(r, r.ec2.RunInstances, in)
		}, "InvalidBlockDeviceMapping", "is smaller than snapshot"},
		{"B.4.1 a short name", templateOf("ab", types.RequestLaunchTemplateData{
			InstanceType: "t3.nano",
		}), "InvalidLaunchTemplateName.MalformedException", "between 3 and 128 characters"},
		{"B.4.1 a name with a space", templateOf("web server", types.RequestLaunchTemplateData{
			InstanceType: "t3.nano",
		}), "InvalidLaunchTemplateName.MalformedException", ""},
		{"B.4.2 version zero", versionOf("0"), value, "a numeric version"},
		{"B.4.2 a version that is no number", versionOf("latest"), value, "a numeric version"},
		{"B.4.2 an unknown version", versionOf("2"), "InvalidLaunchTemplateId.VersionNotFound", "version 2"},
		{"B.4.3 a hop limit of 65", templateOf("web", types.RequestLaunchTemplateData{
			MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(65)},
		}), value, "‘65’"},
		{"B.4.4 an unknown instance type", templateOf("web", types.RequestLaunchTemplateData{
			InstanceType: "not-real",
		}), "", ""},
		{"B.4.5 a template by name and ID", func(r requester) error {
			return errorOf(r, r.ec2.DeleteLaunchTemplate, &ec2.DeleteLaunchTemplateInput{
				LaunchTemplateId: aws.String("lt-0fedcba9876543210"), LaunchTemplateName: aws.String("web"),
			})
		}, combination, "to delete the template"},
		{"B.7.1 tags of the greatest length", func(r requester) error {
			return errorOf(r, r.ec2.CreateTags, &ec2.CreateTagsInput{
				Resources: []string{r.createSnapshot("")},
				Tags:      []types.Tag{tag(strings.Repeat("k", 128), strings.Repeat("é", 256))},
			})
		}, "", ""},
		{"B.7.1 a key of 129 characters", func(r requester) error {
			return errorOf(r, r.ec2.CreateTags, &ec2.CreateTagsInput{
				Resources: []string{r.createSnapshot("")}, Tags: []types.Tag{tag(strings.Repeat("k", 129), "")},
			})
		}, value, "maximum length of 128"},
		{"B.8.1 a long description of a snapshot", func(r requester) error {
			return errorOf(r, r.ec2.CreateSnapshot, &ec2.CreateSnapshotInput{
				VolumeId: aws.String(r.createVolume("")), Description: aws.String(strings.Repeat("d", 256)),
			})
		}, value, "It exceeds 255 characters"},
		{"B.8.1 a long description of an image copy", func(r requester) error {
			_, err := r.copyImage(r.ec2, r.createImage(""), withUniqueName, func(in *ec2.CopyImageInput) {
				in.Description, in.DryRun = aws.String(strings.Repeat("d", 256)), aws.Bool(true)
			})
			return err
		}, value, "It exceeds 255 characters"},
		{"B.8.1 a description of 255 characters", func(r requester) error {
			return errorOf(r, r.ec2.CreateSnapshot, &ec2.CreateSnapshotInput{
				VolumeId: aws.String(r.createVolume("")), Description: aws.String(strings.Repeat("d", 255)),
			})
		}, "", ""},
		{"B.8.2 an image description that is not ASCII", func(r requester) error {
			_, err := r.registerImage(r.ec2, r.createSnapshot(""), func(in *ec2.RegisterImageInput) {
				in.Description, in.DryRun = aws.String("Golden — image"), aws.Bool(true)
			})
			return err
		}, value, "Character sets beyond ASCII"},
		{"B.8.2 a changed image description that is not ASCII", func(r requester) error {
			return errorOf(r, r.ec2.ModifyImageAttribute, &ec2.ModifyImageAttributeInput{
				ImageId:     aws.String(r.createImage("")),
				Description: &types.AttributeValue{Value: aws.String("Golden — image")},
				DryRun:      aws.Bool(true),
			})
		}, value, "Character sets beyond ASCII"},
		{"B.8.2 a snapshot description that is not ASCII", func(r requester) error {
			return errorOf(r, r.ec2.CopySnapshot, &ec2.CopySnapshotInput{
				SourceRegion: aws.String(home), SourceSnapshotId: aws.String(r.createSnapshot("")),
				Description: aws.String("Golden — snapshot"), DryRun: aws.Bool(true),
			})
		}, value, "Character sets beyond ASCII"},
		{"B.8.3 the mapping /dev/sda for the root /dev/sda1", func(r requester) error {
			_, err := r.registerImage(r.ec2, r.createSnapshot(""), func(in *ec2.RegisterImageInput) {
				in.RootDeviceName, in.BlockDeviceMappings[0].DeviceName = aws.String("/dev/sda1"), aws.String("/dev/sda")
			})
			return err
		}, "", ""},
	}
}

// keyWith returns a request that creates a key.
func keyWith(in kms.CreateKeyInput) func(requester) error {
	return func(r requester) error { return errorOf(r, r.kms.CreateKey, &in) }
}

func keyTag(key, value string) kmstypes.Tag { return kmstypes.Tag{TagKey: &key, TagValue: &value} }

// manyKeyTags returns n tags of a key.
func manyKeyTags(n int) (tags []kmstypes.Tag) {
	for i := range n {
		tags = append(tags, keyTag(strings.Repeat("k", i+1), ""))
	}
	return tags
}

// replicaIn returns a request that creates a replica in a Region.
func replicaIn(region string) func(requester) error {
	return func(r requester) error {
		created := requireOutput(r.kms.CreateKey(r.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)}))(r)
		return errorOf(r, r.kms.ReplicateKey, &kms.ReplicateKeyInput{
			KeyId: created.KeyMetadata.KeyId, ReplicaRegion: &region,
		})
	}
}

// parameterOf returns a request that reads a selector of the parameter /golden.
func parameterOf(selector string) func(requester) error {
	return func(r requester) error {
		requireNoError(r.ssm.PutParameter(r.Context(), &ssm.PutParameterInput{
			Name: aws.String("/golden"), Value: aws.String("1"), Type: ssmtypes.ParameterTypeString,
		}))(r)
		return errorOf(r, r.ssm.GetParameter, &ssm.GetParameterInput{Name: aws.String("/golden" + selector)})
	}
}

const trustOfEC2 = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
	`"Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// roleRequest returns a request that creates the role "web", and then sends another request about it.
func roleRequest(send func(r requester, role *string) error) func(requester) error {
	return func(r requester) error {
		role := aws.String("web")
		requireNoError(r.iam.CreateRole(r.Context(), &iam.CreateRoleInput{
			RoleName: role, AssumeRolePolicyDocument: aws.String(trustOfEC2),
		}))(r)
		return send(r, role)
	}
}

func refusedOtherRequests() []refusedRequest {
	const invalid = "ValidationException"
	return []refusedRequest{
		{"B.5.1 a reserved tag key", keyWith(kms.CreateKeyInput{
			Tags: []kmstypes.Tag{keyTag("AWS:k", "v")},
		}), "TagException", "Tags beginning with aws: are reserved"},
		{"B.5.1 a tag key twice", keyWith(kms.CreateKeyInput{
			Tags: []kmstypes.Tag{keyTag("k", "v"), keyTag("k", "w")},
		}), "TagException", "Duplicate tag keys"},
		{"B.5.1 50 tags", keyWith(kms.CreateKeyInput{Tags: manyKeyTags(50)}), "", ""},
		{"B.5.1 51 tags", keyWith(kms.CreateKeyInput{Tags: manyKeyTags(51)}), "TagException", "Too many tags"},
		{"B.5.1 a long tag key", keyWith(kms.CreateKeyInput{
			Tags: []kmstypes.Tag{keyTag(strings.Repeat("k", 129), "v")},
		}), invalid, "at 'tags.1.member.tagKey' failed"},
		{"B.5.2 HMAC without a key usage", keyWith(kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecHmac256,
		}), invalid, "You must specify a KeyUsage value"},
		{"B.5.2 a key usage of another key spec", keyWith(kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeKeyAgreement,
		}), invalid, "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"},
		{"B.5.3 a short rotation period", func(r requester) error {
			return errorOf(r, r.kms.EnableKeyRotation, &kms.EnableKeyRotationInput{
				KeyId: aws.String(r.createKey()), RotationPeriodInDays: aws.Int32(89),
			})
		}, invalid, "greater than or equal to 90"},
		{"B.5.4 rotation of an RSA key", func(r requester) error {
			created := requireOutput(r.kms.CreateKey(r.Context(), &kms.CreateKeyInput{
				KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeSignVerify,
			}))(r)
			return errorOf(r, r.kms.EnableKeyRotation, &kms.EnableKeyRotationInput{KeyId: created.KeyMetadata.KeyId})
		}, "UnsupportedOperationException", ""},
		{"B.5.7 a large plaintext", func(r requester) error {
			return errorOf(r, r.kms.Encrypt, &kms.EncryptInput{
				KeyId: aws.String(r.createKey()), Plaintext: make([]byte, 4097),
			})
		}, invalid, "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		{"B.5.9 a replica in the primary's Region", replicaIn(home), invalid, "because it contains the primary"},
		{"B.5.9 a replica in another partition", replicaIn("cn-north-1"), invalid, "same AWS partition"},
		{"B.5.10 an alias without its prefix", func(r requester) error {
			return errorOf(r, r.kms.CreateAlias, &kms.CreateAliasInput{
				AliasName: aws.String("golden"), TargetKeyId: aws.String(r.createKey()),
			})
		}, invalid, `Alias must start with the prefix "alias/"`},
		{"B.6.2 a label", parameterOf(":prod"), "ParameterVersionNotFound", "the specified label, prod"},
		{"B.6.2 a version", parameterOf(":2"), "ParameterVersionNotFound", "could not find version 2"},
		{"B.6.2 an empty selector", parameterOf(":"), invalid, "referencing a version/label"},
		{"B.7.3 a tag of a parameter", func(r requester) error {
			return errorOf(r, r.ssm.PutParameter, &ssm.PutParameterInput{
				Name: aws.String("/golden"), Value: aws.String("1"), Type: ssmtypes.ParameterTypeString,
				Tags: []ssmtypes.Tag{{Key: aws.String("owner"), Value: aws.String("R&D")}},
			})
		}, invalid, "tags.1.member.value"},
		{"B.9.3 a trust policy that is no JSON", func(r requester) error {
			return errorOf(r, r.iam.CreateRole, &iam.CreateRoleInput{
				RoleName: aws.String("web"), AssumeRolePolicyDocument: aws.String("{Effect}"),
			})
		}, "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"B.9.4 a long description", roleRequest(func(r requester, role *string) error {
			return errorOf(r, r.iam.UpdateRole, &iam.UpdateRoleInput{
				RoleName: role, Description: aws.String(strings.Repeat("d", 1001)),
			})
		}), "ValidationError", "less than or equal to 1000"},
		{"B.9.5 a policy by its name", roleRequest(func(r requester, role *string) error {
			return errorOf(r, r.iam.AttachRolePolicy, &iam.AttachRolePolicyInput{
				RoleName: role, PolicyArn: aws.String("AdministratorAccess"),
			})
		}), "ValidationError", "Invalid ARN:  Could not be parsed!"},
		{"B.9.6 no permissions boundary", roleRequest(func(r requester, role *string) error {
			return errorOf(r, r.iam.DeleteRolePermissionsBoundary, &iam.DeleteRolePermissionsBoundaryInput{RoleName: role})
		}), "NoSuchEntity", ""},
	}
}

// TestKeyRotation_onDemand covers rule B.5.5. The status shows an on-demand rotation while it is in progress.
func TestKeyRotation_onDemand(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		status := func() *kms.GetKeyRotationStatusOutput {
			return requireOutput(f.kms.GetKeyRotationStatus(f.Context(), &kms.GetKeyRotationStatusInput{KeyId: &key}))(f)
		}

		requireNoError(f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(f)
		if got := status(); got.OnDemandRotationStartDate == nil || got.KeyRotationEnabled {
			f.Errorf("during the rotation: %+v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := status(); got.OnDemandRotationStartDate != nil {
			f.Errorf("after the rotation: %+v", got)
		}
	})
}

// TestDecrypt_namesAnotherRegionsKey covers rule B.5.8. Decrypt compares the key in the request with the key of the
// ciphertext before it looks up the Region of the ARN.
func TestDecrypt_namesAnotherRegionsKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		primary := requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)}))(f)
		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: primary.KeyMetadata.KeyId, Plaintext: []byte("x"),
		}))(f)
		requireNoError(f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: primary.KeyMetadata.KeyId, ReplicaRegion: aws.String(away),
		}))(f)

		_, err := f.inLocation(owner, away).kms.Decrypt(f.Context(), &kms.DecryptInput{
			CiphertextBlob: encrypted.CiphertextBlob, KeyId: primary.KeyMetadata.Arn,
		})
		requireErrorCode(f, err, "IncorrectKeyException")
	})
}

// TestGetParameters_unknownSelectors covers rules B.6.3 and B.6.4. Selectors that match no version are listed, and tags
// of a parameter can be named without the slash.
func TestGetParameters_unknownSelectors(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		r := newRequester(f)
		requireNoError(r.ssm.PutParameter(f.Context(), &ssm.PutParameterInput{
			Name: aws.String("/golden"), Value: aws.String("1"), Type: ssmtypes.ParameterTypeString,
		}))(f)

		got := requireOutput(r.ssm.GetParameters(f.Context(), &ssm.GetParametersInput{
			Names: []string{"/golden:1", "/golden:2", "/golden:prod", "/none"},
		}))(f)
		if len(got.Parameters) != 1 || len(got.InvalidParameters) != 3 {
			f.Errorf("B.6.3: %d parameters, invalid %v", len(got.Parameters), got.InvalidParameters)
		}

		err := errorOf(r, r.ssm.AddTagsToResource, &ssm.AddTagsToResourceInput{
			ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
			ResourceId:   aws.String("golden"),
			Tags:         []ssmtypes.Tag{{Key: aws.String("team"), Value: aws.String("web")}},
		})
		if err != nil {
			f.Errorf("B.6.4: %v", err)
		}
	})
}
