// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// patience is for what the world does in seconds; nothing waits that long unless it is broken.
const patience = time.Minute

func (w *World) ec2(account string) *ec2.Client { return ec2.NewFromConfig(w.Config(account, region)) }
func (w *World) kms(account string) *kms.Client { return kms.NewFromConfig(w.Config(account, region)) }
func (w *World) iam(account string) *iam.Client { return iam.NewFromConfig(w.Config(account, region)) }

// prepare makes what the builds of these tests need in an empty world: the source's key, which the target may use; the
// target's key; its role, with an external id.
func prepare(t *testing.T, w *World) {
	t.Helper()
	makeKey(t, w, source, "alias/golden-source", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%[1]s:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%[2]s:root"},"Action":["kms:Decrypt","kms:DescribeKey","kms:ReEncrypt*","kms:GenerateDataKey*","kms:CreateGrant"],"Resource":"*"}]}`, source, target))
	makeKey(t, w, target, "alias/golden-target", "")
	cloud := w.iam(target)
	must(cloud.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("golden-image-target"),
		AssumeRolePolicyDocument: aws.String(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},
			"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"golden"}}}]}`, source)),
	}))(t)
	must(cloud.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("golden-image-target"), PolicyName: aws.String("golden"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","kms:*"],"Resource":"*"}]}`),
	}))(t)
}

// makeKey makes a customer key with an alias and returns its ARN. Policy "" is the default: the account itself.
func makeKey(t *testing.T, w *World, account, alias, policy string) string {
	t.Helper()
	in := &kms.CreateKeyInput{}
	if policy != "" {
		in.Policy = aws.String(policy)
	}
	made := must(w.kms(account).CreateKey(t.Context(), in))(t).KeyMetadata
	must(w.kms(account).CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: made.KeyId}))(t)
	return *made.Arn
}

// baseImage registers an image with two volumes, "base-1", encrypted with a key; "" is none.
func baseImage(t *testing.T, w *World, account, key string) string {
	t.Helper()
	cloud := w.ec2(account)
	var mappings []types.BlockDeviceMapping
	for _, device := range []string{"/dev/xvda", "/dev/xvdb"} {
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(8), VolumeType: types.VolumeTypeGp3}
		if key != "" {
			in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String(key)
		}
		volume := must(cloud.CreateVolume(t.Context(), in))(t)
		eventually(t, "volume available", func(ctx context.Context) (bool, error) {
			answer, err := cloud.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}})
			return err == nil && answer.Volumes[0].State == types.VolumeStateAvailable, err
		})
		snapshot := must(cloud.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(t)
		eventually(t, "snapshot completed", func(ctx context.Context) (bool, error) {
			answer, err := cloud.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*snapshot.SnapshotId}})
			return err == nil && answer.Snapshots[0].State == types.SnapshotStateCompleted, err
		})
		mappings = append(mappings, types.BlockDeviceMapping{DeviceName: aws.String(device), Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}})
	}
	return *must(cloud.RegisterImage(t.Context(), &ec2.RegisterImageInput{
		Name: aws.String("base-1"), Architecture: types.ArchitectureValuesX8664, RootDeviceName: aws.String("/dev/xvda"),
		VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true), BlockDeviceMappings: mappings,
	}))(t).ImageId
}

// images are an account's own, and snapshots those of one of them, by device.
func images(t *testing.T, w *World, account string) []types.Image {
	t.Helper()
	return must(w.ec2(account).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(t).Images
}

func snapshots(t *testing.T, w *World, account string, image types.Image) map[string]types.Snapshot {
	t.Helper()
	found := map[string]types.Snapshot{}
	for _, mapping := range image.BlockDeviceMappings {
		answer := must(w.ec2(account).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*mapping.Ebs.SnapshotId}}))(t)
		found[*mapping.DeviceName] = answer.Snapshots[0]
	}
	return found
}

// must ends the test unless a call was a success: must(cloud.CreateKey(ctx, in))(t).
func must[T any](answer T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// eventually asks ten times a second: the world is another process, in its own time.
func eventually(t *testing.T, what string, ask func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		done, err := ask(ctx)
		if done {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s", what, patience)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
