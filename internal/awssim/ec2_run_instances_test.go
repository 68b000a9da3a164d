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
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// oneInstance requests one instance of an image.
func oneInstance(image string) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{
		ImageId:      &image,
		InstanceType: types.InstanceTypeT3Nano,
		MinCount:     aws.Int32(1),
		MaxCount:     aws.Int32(1),
	}
}

// encryptRoot requests an encrypted root volume. A nil key means the default key.
func encryptRoot(key *string) func(*ec2.RunInstancesInput) {
	return func(in *ec2.RunInstancesInput) {
		in.BlockDeviceMappings = []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{Encrypted: aws.Bool(true), KmsKeyId: key}},
		}
	}
}

// TestRunInstances_encryption checks the rows of table 1.1 that apply to a launch.
func TestRunInstances_encryption(t *testing.T) {
	for _, row := range []struct {
		rule      string
		ofImage   bool // the image's snapshot is encrypted with a customer managed key
		byDefault bool
		flag      bool
		given     bool
		want      string // "", "aws/ebs", "image's", "given"
	}{
		{rule: "1.1.2", want: ""},
		{rule: "1.1.3", ofImage: true, want: "image's"},
		{rule: "1.1.6", flag: true, want: "aws/ebs"},
		{rule: "1.1.7", byDefault: true, want: "aws/ebs"},
		{
			rule:    "1.1.8 flag",
			ofImage: true,
			flag:    true,
			want:    "image's",
		},
		{
			rule:      "1.1.8 default",
			ofImage:   true,
			byDefault: true,
			want:      "image's",
		},
		{
			rule:  "1.1.10 plain",
			flag:  true,
			given: true,
			want:  "given",
		},
		{
			rule:    "1.1.10 encrypted",
			ofImage: true,
			flag:    true,
			given:   true,
			want:    "given",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				keys := map[string]string{"image's": f.createKey(), "given": f.createKey()}
				ofImage := ""
				if row.ofImage {
					ofImage = keys["image's"]
				}

				image := f.createImage(ofImage)
				if row.byDefault {
					requireOutput(f.ec2.EnableEbsEncryptionByDefault(f.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(f)
				}

				var changes []func(*ec2.RunInstancesInput)
				if row.flag {
					var given *string
					if row.given {
						given = aws.String(keys["given"])
					}
					changes = append(changes, encryptRoot(given))
				}

				id := f.launch(f.ec2, image, changes...)
				time.Sleep(time.Minute)
				keys["aws/ebs"] = *requireOutput(f.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{
					KeyId: aws.String("alias/aws/ebs"),
				}))(f).KeyMetadata.Arn

				if got := aws.ToString(f.rootVolume(f.ec2, id).KmsKeyId); got != keys[row.want] {
					t.Errorf("the volume is under %q, want %q", got, keys[row.want])
				}
			})
		})
	}
}

// TestRunInstances_sharedImageUsesOwnKey covers rules 2.2.7 and 1.1.5. The snapshots of a shared image need not be
// shared. The volumes are encrypted with the caller's default key.
func TestRunInstances_sharedImageUsesOwnKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		requireOutput(f.kms.PutKeyPolicy(f.Context(),
			&kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":["111111111111","999999999999"]},"Action":"kms:*","Resource":"*"}]}`)}))(f)

		image := f.createImage(key)
		others := ec2.NewFromConfig(f.world.Config(member, home))
		in := &ec2.RunInstancesInput{
			ImageId:      &image,
			InstanceType: types.InstanceTypeT3Nano,
			MinCount:     aws.Int32(1),
			MaxCount:     aws.Int32(1),
		}

		_, err := others.RunInstances(f.Context(), in)
		requireErrorCode(t, err, "InvalidAMIID.NotFound")
		requireOutput(f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{
				Add: []types.LaunchPermission{{UserId: aws.String(member)}},
			},
		}))(f)

		id := f.launch(others, image)
		time.Sleep(time.Minute)
		managed := requireOutput(kms.NewFromConfig(f.world.Config(member, home)).DescribeKey(
			f.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")},
		))(f)
		if got := aws.ToString(f.rootVolume(others, id).KmsKeyId); got != *managed.KeyMetadata.Arn {
			t.Errorf("the volume is under %q, want %q", got, *managed.KeyMetadata.Arn)
		}
	})
}

// TestRunInstances_unusableKey covers rule 8.6. EC2 accepts the launch, and the instance terminates with a reason
// (rules 1.8.6, 8.5 and A.4.9).
func TestRunInstances_unusableKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		image := f.createImage(key)
		requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		id := f.launch(f.ec2, image)
		time.Sleep(time.Minute)
		got := f.describeInstance(f.ec2, id)
		if got.State.Name != types.InstanceStateNameTerminated || *got.State.Code != 48 {
			t.Errorf("the instance is %s (%d)", got.State.Name, *got.State.Code)
		}

		if got.StateReason == nil || *got.StateReason.Code != "Client.InvalidKMSKey.InvalidState" ||
			*got.StateReason.Message != "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state" {
			t.Errorf("reason %+v", got.StateReason)
		}

		if *got.StateTransitionReason != "Client.InternalError" || len(got.BlockDeviceMappings) != 0 {
			t.Errorf("transition reason %q, devices %v", *got.StateTransitionReason, got.BlockDeviceMappings)
		}

		left := requireOutput(f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
			Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: []string{"snap-*"}}},
		}))(f).Volumes
		if len(left) != 0 {
			t.Errorf("volumes are left: %v", left)
		}
	})
}

// TestStartInstances_unusableKey covers rule 8.6. An instance whose key is disabled keeps running but cannot be started
// again (rule 3.1.12).
func TestStartInstances_unusableKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		id := f.launch(f.ec2, f.createImage(key))
		time.Sleep(time.Minute)
		requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		time.Sleep(time.Hour)
		if state := f.describeInstance(f.ec2, id).State.Name; state != types.InstanceStateNameRunning {
			t.Errorf("with its key disabled, the running instance is %s", state)
		}

		requireOutput(f.ec2.StopInstances(f.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		requireOutput(f.ec2.StartInstances(f.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		got := f.describeInstance(f.ec2, id)
		if got.State.Name != types.InstanceStateNameStopped ||
			*got.StateReason.Message != "Client.InternalError: Client error on launch" {
			t.Errorf("started without its key, the instance is %s: %+v", got.State.Name, got.StateReason)
		}

		requireOutput(f.kms.EnableKey(f.Context(), &kms.EnableKeyInput{KeyId: &key}))(f)
		requireOutput(f.ec2.StartInstances(f.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		if state := f.describeInstance(f.ec2, id).State.Name; state != types.InstanceStateNameRunning {
			t.Errorf("with its key back, the instance is %s", state)
		}
	})
}

// TestDescribeInstances_terminatedForAnHour covers rule 8.7. A terminated instance is described for an hour.
func TestDescribeInstances_terminatedForAnHour(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.launch(f.ec2, f.createImage(""))
		time.Sleep(time.Minute)
		root := f.rootVolume(f.ec2, id)
		requireOutput(f.ec2.TerminateInstances(f.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(50 * time.Minute)
		if state := f.describeInstance(f.ec2, id).State.Name; state != types.InstanceStateNameTerminated {
			t.Errorf("the instance is %s", state)
		}

		_, err := f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*root.VolumeId}})
		requireErrorCode(t, err, "InvalidVolume.NotFound")
		time.Sleep(15 * time.Minute)
		_, err = f.ec2.DescribeInstances(f.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		requireErrorCode(t, err, "InvalidInstanceID.NotFound")
	})
}

// TestRunInstances_unsupportedInstanceType covers rule 2.4. A launch reveals attributes that a registration lost (rule
// 2.4.4).
func TestRunInstances_unsupportedInstanceType(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*ec2.RegisterImageInput)
		kind   types.InstanceType
		code   string
	}{
		"2.4.4 no ENA": {
			func(in *ec2.RegisterImageInput) { in.EnaSupport = nil }, types.InstanceTypeT3Nano, "InvalidParameterCombination",
		},
		"paravirtual": {
			func(in *ec2.RegisterImageInput) { in.VirtualizationType = nil }, types.InstanceTypeT2Micro,
			"InvalidParameterCombination",
		},
		"architecture": {func(*ec2.RegisterImageInput) {}, types.InstanceTypeT4gNano, "InvalidParameterValue"},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				image := f.createImage("", row.change)
				_, err := f.ec2.RunInstances(f.Context(), &ec2.RunInstancesInput{
					ImageId:      &image,
					InstanceType: row.kind,
					MinCount:     aws.Int32(1),
					MaxCount:     aws.Int32(1),
				})
				requireErrorCode(t, err, row.code)
			})
		})
	}
}

// TestRunInstances_keyWithoutEncrypted covers rule 1.1.11. A key without Encrypted=true is refused, even an empty
// key.
func TestRunInstances_keyWithoutEncrypted(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image, key := f.createImage(""), f.createKey()
		_, err := f.ec2.RunInstances(f.Context(), &ec2.RunInstancesInput{
			ImageId:      &image,
			InstanceType: types.InstanceTypeT3Nano,
			MinCount:     aws.Int32(1),
			MaxCount:     aws.Int32(1),
			BlockDeviceMappings: []types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{KmsKeyId: &key}},
			},
		})

		got := requireErrorCode(t, err, "InvalidParameterDependency").ErrorMessage()
		if got != "The parameter KmsKeyId requires the parameter Encrypted to be set." {
			t.Errorf("message %q", got)
		}
	})
}

// TestRunInstances_dryRunUnknownImage covers rules 6.1 and 6.3. A dry run proves permissions, not that the image
// exists. The request must still name an image (rules 6.2 and A.4.12).
func TestRunInstances_dryRunUnknownImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		in := &ec2.RunInstancesInput{
			ImageId:      aws.String("ami-0fedcba9876543210"),
			InstanceType: types.InstanceTypeT3Nano,
			MinCount:     aws.Int32(1),
			MaxCount:     aws.Int32(1),
			DryRun:       aws.Bool(true),
		}

		_, err := f.ec2.RunInstances(f.Context(), in)
		requireErrorCode(t, err, "DryRunOperation")
		in.ImageId = nil
		_, err = f.ec2.RunInstances(f.Context(), in)
		got := requireErrorCode(t, err, "MissingParameter").ErrorMessage()
		if got != "The request must contain the parameter ImageId" {
			t.Errorf("message %q", got)
		}
	})
}

// TestRunInstances_clientToken covers rule 4.2.3. A client token makes a call idempotent.
func TestRunInstances_clientToken(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		with := func(token string) func(*ec2.RunInstancesInput) {
			return func(in *ec2.RunInstancesInput) { in.ClientToken = &token }
		}

		first := f.launch(f.ec2, image, with("a"))
		again := f.launch(f.ec2, image, with("a"))
		other := f.launch(f.ec2, image, with("b"))
		if first != again || first == other {
			t.Errorf("tokens a, a, b launched %s, %s, %s", first, again, other)
		}

		_, err := f.ec2.RunInstances(f.Context(), &ec2.RunInstancesInput{
			ImageId:      &image,
			InstanceType: types.InstanceTypeT3Micro,
			MinCount:     aws.Int32(1),
			MaxCount:     aws.Int32(1),
			ClientToken:  aws.String("a"),
		})

		requireErrorCode(t, err, "IdempotentParameterMismatch")
	})
}

func TestRunInstances_unmodeledParameter(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		_, err := f.ec2.RunInstances(f.Context(), &ec2.RunInstancesInput{
			ImageId:            &image,
			MinCount:           aws.Int32(1),
			MaxCount:           aws.Int32(1),
			HibernationOptions: &types.HibernationOptionsRequest{Configured: aws.Bool(true)},
		})
		got := requireErrorCode(t, err, "UnsupportedOperation").ErrorMessage()
		if got != "The simulated AWS does not model the parameter HibernationOptions of RunInstances." {
			t.Errorf("message %q", got)
		}
	})
}

// TestRunInstances_permissions checks rules A.4.8 and A.4.9. A launch needs grants on the key of the new volume, and
// re-encryption if the keys differ. A missing permission terminates the instance. Decrypt is not needed.
func TestRunInstances_permissions(t *testing.T) {
	for _, row := range []struct {
		rule, denied, on string // on is "image's" or "given"
		ends             types.InstanceStateName
	}{
		{"A.4.9", "kms:CreateGrant", "given", types.InstanceStateNameTerminated},
		{"A.4.8 data key", "kms:GenerateDataKeyWithoutPlaintext", "given", types.InstanceStateNameTerminated},
		{"A.4.8 source", "kms:ReEncryptFrom", "image's", types.InstanceStateNameTerminated},
		{"A.4.8 no grant on the source", "kms:CreateGrant", "image's", types.InstanceStateNameRunning},
		{"A.4.8 no decryption", "kms:Decrypt", "given", types.InstanceStateNameRunning},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				keys := map[string]string{"image's": f.createKey(), "given": f.createKey()}
				given := keys["given"]
				launcher := ec2.NewFromConfig(f.createUser(owner, "launcher", `{"Effect":"Allow","Action":"*","Resource":"*"}`,
					`{"Effect":"Deny","Action":"`+row.denied+`","Resource":"`+keys[row.on]+`"}`))
				id := f.launch(launcher, f.createImage(keys["image's"]), encryptRoot(&given))
				time.Sleep(time.Minute)
				if state := f.describeInstance(f.ec2, id).State.Name; state != row.ends {
					t.Errorf("without %s on the key the instance is %s, want %s", row.denied, state, row.ends)
				}
			})
		})
	}
}

// TestRunInstances_authorizedResources covers rule 6.5. IAM authorizes each resource that a launch uses or creates, and
// the tags separately.
func TestRunInstances_authorizedResources(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		may := func(name, resources string) *ec2.Client {
			return ec2.NewFromConfig(f.createUser(
				owner, name, `{"Effect":"Allow","Action":"ec2:RunInstances","Resource":[`+resources+`]}`,
			))
		}

		const created = `"arn:aws:ec2:*:*:instance/*","arn:aws:ec2:*:*:volume/*","arn:aws:ec2:*:*:network-interface/*",` +
			`"arn:aws:ec2:*:*:subnet/*","arn:aws:ec2:*:*:security-group/*"`

		_, err := may("without-image", created).RunInstances(f.Context(), oneInstance(image))
		requireErrorCode(t, err, "UnauthorizedOperation")
		client := may("with-image", created+`,"arn:aws:ec2:us-east-1::image/`+image+`"`)
		f.launch(client, image)
		tagged := oneInstance(image)
		tagged.TagSpecifications = []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}},
		}

		_, err = client.RunInstances(f.Context(), tagged)
		text := requireErrorCode(t, err, "UnauthorizedOperation").ErrorMessage()
		if !strings.Contains(text, "ec2:CreateTags") {
			t.Errorf("message %q", text)
		}
	})
}

// TestRunInstances_networkInterfaceTags covers rule B.12.4. The policy allows a network interface with a tag only.
func TestRunInstances_networkInterfaceTags(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		client := ec2.NewFromConfig(f.createUser(owner, "launcher",
			`{"Effect":"Allow","Action":"ec2:*","NotResource":"arn:aws:ec2:*:*:network-interface/*"}`,
			`{"Effect":"Allow","Action":"ec2:*","Resource":"arn:aws:ec2:*:*:network-interface/*",`+
				`"Condition":{"StringEquals":{"aws:RequestTag/cost-center":"42"}}}`))
		tagging := func(kind types.ResourceType, value string) *ec2.RunInstancesInput {
			in := oneInstance(image)
			in.TagSpecifications = []types.TagSpecification{
				{ResourceType: kind, Tags: []types.Tag{tag("cost-center", value)}},
			}
			return in
		}

		for name, in := range map[string]*ec2.RunInstancesInput{
			"no tags":                        oneInstance(image),
			"tags of the instance only":      tagging(types.ResourceTypeInstance, "42"),
			"another value of the interface": tagging(types.ResourceTypeNetworkInterface, "43"),
		} {
			_, err := client.RunInstances(f.Context(), in)
			text := requireErrorCode(t, err, "UnauthorizedOperation").ErrorMessage()
			if !strings.Contains(text, "network-interface/*") {
				t.Errorf("with %s the message is %q", name, text)
			}
		}

		out := requireOutput(client.RunInstances(f.Context(), tagging(types.ResourceTypeNetworkInterface, "42")))(f)
		card := *out.Instances[0].NetworkInterfaces[0].NetworkInterfaceId
		seen := requireOutput(f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{
			Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{card}}},
		}))(f)
		expectEqual(f, "the number of tags of the network interface", len(seen.Tags), 1)
	})
}

// TestRunInstances_resolvesParameter covers rule 7.11. A caller that can read the parameter can launch
// "resolve:ssm:<name>".
func TestRunInstances_resolvesParameter(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		parameters := ssm.NewFromConfig(f.world.Config(owner, home))
		requireOutput(parameters.PutParameter(f.Context(), &ssm.PutParameterInput{
			Name:     aws.String("/golden/web"),
			Value:    &image,
			Type:     ssmtypes.ParameterTypeString,
			DataType: aws.String("aws:ec2:image"),
		}))(f)

		time.Sleep(5 * time.Minute)
		if got := f.describeInstance(f.ec2, f.launch(f.ec2, "resolve:ssm:/golden/web")).ImageId; *got != image {
			t.Errorf("launched %s, want %s", *got, image)
		}

		id := f.createLaunchTemplate(&types.RequestLaunchTemplateData{ImageId: aws.String("resolve:ssm:/golden/web")})
		view := requireOutput(f.ec2.DescribeLaunchTemplateVersions(
			f.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id, ResolveAlias: aws.Bool(true)},
		))(f)

		if got := *view.LaunchTemplateVersions[0].LaunchTemplateData.ImageId; got != image {
			t.Errorf("the template shows %s, want %s", got, image)
		}

		blind := ec2.NewFromConfig(f.createUser(owner, "blind", `{"Effect":"Allow","Action":"ec2:*","Resource":"*"}`))
		_, err := blind.RunInstances(f.Context(), oneInstance("resolve:ssm:/golden/web"))
		requireErrorCode(t, err, "UnauthorizedOperation")
		_, err = f.ec2.RunInstances(f.Context(), oneInstance("resolve:ssm:/golden/none"))
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}
