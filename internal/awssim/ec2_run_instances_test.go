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

// oneOf asks for one instance of an image.
func oneOf(image string) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{
		ImageId:      &image,
		InstanceType: types.InstanceTypeT3Nano,
		MinCount:     aws.Int32(1),
		MaxCount:     aws.Int32(1),
	}
}

// encryptRoot asks for an encrypted root volume; nil: under the default key.
func encryptRoot(key *string) func(*ec2.RunInstancesInput) {
	return func(in *ec2.RunInstancesInput) {
		in.BlockDeviceMappings = []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{Encrypted: aws.Bool(true), KmsKeyId: key}},
		}
	}
}

// TestRunInstances_encryption is the rows of table 1.1 that a launch can meet.
func TestRunInstances_encryption(t *testing.T) {
	for _, row := range []struct {
		rule      string
		ofImage   bool // the image's snapshot is under a customer key
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
				keys := map[string]string{"image's": f.key(), "given": f.key()}
				ofImage := ""
				if row.ofImage {
					ofImage = keys["image's"]
				}

				image := f.image(ofImage)
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

// TestRunInstances_sharedImageUsesOwnKey covers rules 2.2.7 and 1.1.5. A shared image is launched without its snapshots
// being shared (2.2.7), and its volumes are under the default key of who launches (1.1.5).
func TestRunInstances_sharedImageUsesOwnKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.key()
		requireOutput(f.kms.PutKeyPolicy(f.Context(),
			&kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":["111111111111","999999999999"]},"Action":"kms:*","Resource":"*"}]}`)}))(f)

		image := f.image(key)
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

// TestRunInstances_unusableKey covers rule 8.6.
// A launch with a key that cannot be used is accepted; the instance ends, and says why (1.8.6, 8.5, 8.6, A.4.9).
func TestRunInstances_unusableKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.key()
		image := f.image(key)
		requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		id := f.launch(f.ec2, image)
		time.Sleep(time.Minute)
		got := f.instance(f.ec2, id)
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

		if left := requireOutput(f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
			Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: []string{"snap-*"}}},
		}))(f).Volumes; len(left) != 0 {
			t.Errorf("volumes are left: %v", left)
		}
	})
}

// TestStartInstances_unusableKey covers rule 8.6. An existing instance whose key was disabled runs on, but does not
// start again: it is stopped with the older text (3.1.12, 8.6).
func TestStartInstances_unusableKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.key()
		id := f.launch(f.ec2, f.image(key))
		time.Sleep(time.Minute)
		requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		time.Sleep(time.Hour)
		if state := f.instance(f.ec2, id).State.Name; state != types.InstanceStateNameRunning {
			t.Errorf("with its key disabled, the running instance is %s", state)
		}

		requireOutput(f.ec2.StopInstances(f.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		requireOutput(f.ec2.StartInstances(f.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		got := f.instance(f.ec2, id)
		if got.State.Name != types.InstanceStateNameStopped ||
			*got.StateReason.Message != "Client.InternalError: Client error on launch" {
			t.Errorf("started without its key, the instance is %s: %+v", got.State.Name, got.StateReason)
		}

		requireOutput(f.kms.EnableKey(f.Context(), &kms.EnableKeyInput{KeyId: &key}))(f)
		requireOutput(f.ec2.StartInstances(f.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		if state := f.instance(f.ec2, id).State.Name; state != types.InstanceStateNameRunning {
			t.Errorf("with its key back, the instance is %s", state)
		}
	})
}

// TestDescribeInstances_terminatedForAnHour covers rule 8.7.
func TestDescribeInstances_terminatedForAnHour(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.launch(f.ec2, f.image(""))
		time.Sleep(time.Minute)
		root := f.rootVolume(f.ec2, id)
		requireOutput(f.ec2.TerminateInstances(f.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(50 * time.Minute)
		if state := f.instance(f.ec2, id).State.Name; state != types.InstanceStateNameTerminated {
			t.Errorf("the instance is %s", state)
		}

		_, err := f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*root.VolumeId}})
		requireErrorCode(t, err, "InvalidVolume.NotFound")
		time.Sleep(15 * time.Minute)
		_, err = f.ec2.DescribeInstances(f.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		requireErrorCode(t, err, "InvalidInstanceID.NotFound")
	})
}

// TestRunInstances_unsupportedInstanceType covers rule 2.4.
// An image must support what the instance type needs: the losses of a careless registration show here (2.4, 2.4.4).
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
		"architecture": {func(in *ec2.RegisterImageInput) {}, types.InstanceTypeT4gNano, "InvalidParameterValue"},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				image := f.image("", row.change)
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

// TestRunInstances_keyWithoutEncrypted covers rule 1.1.11.
func TestRunInstances_keyWithoutEncrypted(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image, key := f.image(""), f.key()
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

// TestRunInstances_dryRunUnknownImage covers rules 6.1 and 6.3.
// A dry run proves rights, not that there is an image; but an image has to be named (6.2, 6.3, A.4.12).
func TestRunInstances_dryRunUnknownImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		in := &ec2.RunInstancesInput{
			ImageId:      aws.String("ami-0123456789abcdef0"),
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

// TestRunInstances_clientToken covers rule 4.2.3.
func TestRunInstances_clientToken(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.image("")
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
		image := f.image("")
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

// What a launch needs of the keys: grants on the new volume's, and where the data goes from one key to another,
// re-encryption from the first (A.4.8, A.4.9). A missing right ends the instance; Decrypt is not among them.
func TestRunInstances_permissions(t *testing.T) {
	for _, row := range []struct {
		rule, denied, on string // on: "image's" or "given"
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
				keys := map[string]string{"image's": f.key(), "given": f.key()}
				given := keys["given"]
				launcher := ec2.NewFromConfig(f.user(owner, "launcher", `{"Effect":"Allow","Action":"*","Resource":"*"}`,
					`{"Effect":"Deny","Action":"`+row.denied+`","Resource":"`+keys[row.on]+`"}`))
				id := f.launch(launcher, f.image(keys["image's"]), encryptRoot(&given))
				time.Sleep(time.Minute)
				if state := f.instance(f.ec2, id).State.Name; state != row.ends {
					t.Errorf("without %s on the key the instance is %s, want %s", row.denied, state, row.ends)
				}
			})
		})
	}
}

// TestRunInstances_authorizedResources covers rule 6.5.
// What IAM is asked by a launch: each resource that it uses or makes, and tags of their own (6.5).
func TestRunInstances_authorizedResources(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.image("")
		may := func(name, resources string) *ec2.Client {
			return ec2.NewFromConfig(f.user(
				owner, name, `{"Effect":"Allow","Action":"ec2:RunInstances","Resource":[`+resources+`]}`,
			))
		}

		const created = `"arn:aws:ec2:*:*:instance/*","arn:aws:ec2:*:*:volume/*","arn:aws:ec2:*:*:network-interface/*",` +
			`"arn:aws:ec2:*:*:subnet/*","arn:aws:ec2:*:*:security-group/*"`

		_, err := may("without-image", created).RunInstances(f.Context(), oneOf(image))
		requireErrorCode(t, err, "UnauthorizedOperation")
		client := may("with-image", created+`,"arn:aws:ec2:us-east-1::image/`+image+`"`)
		f.launch(client, image)
		tagged := oneOf(image)
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

// TestRunInstances_resolvesParameter covers rule 7.11.
// A launch follows "resolve:ssm:" to the image that a parameter names, if the caller may read it (7.11).
func TestRunInstances_resolvesParameter(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.image("")
		parameters := ssm.NewFromConfig(f.world.Config(owner, home))
		requireOutput(parameters.PutParameter(f.Context(), &ssm.PutParameterInput{
			Name:     aws.String("/golden/web"),
			Value:    &image,
			Type:     ssmtypes.ParameterTypeString,
			DataType: aws.String("aws:ec2:image"),
		}))(f)

		time.Sleep(5 * time.Minute)
		if got := f.instance(f.ec2, f.launch(f.ec2, "resolve:ssm:/golden/web")).ImageId; *got != image {
			t.Errorf("launched %s, want %s", *got, image)
		}

		id := f.template(&types.RequestLaunchTemplateData{ImageId: aws.String("resolve:ssm:/golden/web")})
		view := requireOutput(f.ec2.DescribeLaunchTemplateVersions(
			f.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id, ResolveAlias: aws.Bool(true)},
		))(f)

		if got := *view.LaunchTemplateVersions[0].LaunchTemplateData.ImageId; got != image {
			t.Errorf("the template shows %s, want %s", got, image)
		}

		blind := ec2.NewFromConfig(f.user(owner, "blind", `{"Effect":"Allow","Action":"ec2:*","Resource":"*"}`))
		_, err := blind.RunInstances(f.Context(), oneOf("resolve:ssm:/golden/web"))
		requireErrorCode(t, err, "UnauthorizedOperation")
		_, err = f.ec2.RunInstances(f.Context(), oneOf("resolve:ssm:/golden/none"))
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}
