// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

func (w *World) ec2(account string) *ec2.Client { return ec2.NewFromConfig(w.Config(account, region)) }

func (w *World) kms(account string) *kms.Client { return kms.NewFromConfig(w.Config(account, region)) }

// keyARN returns the ARN of an account's key by its alias, without the prefix "alias/".
func keyARN(t *testing.T, w *World, account, alias string) string {
	t.Helper()
	return *must(w.kms(account).DescribeKey(t.Context(), &kms.DescribeKeyInput{
		KeyId: aws.String("alias/" + alias),
	}))(t).KeyMetadata.Arn
}

// makeKey creates a key with an alias in an account and Region that other accounts may use. It returns the ARN.
func makeKey(t *testing.T, w configures, account, region, alias string, users ...string) string {
	t.Helper()
	keys := kms.NewFromConfig(w.Config(account, region))
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::` + strings.Join(
		users,
		`:root","arn:aws:iam::`,
	) + `:root"]},"Action":"kms:*","Resource":"*"}]}`
	made := must(keys.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &policy}))(t)
	must(keys.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: made.KeyMetadata.KeyId}))(t)
	return *made.KeyMetadata.Arn
}

// configures is a simulated AWS, or the builder of one.
type configures interface {
	Config(account, region string) aws.Config
}

// lend lets accounts launch an image, and copy it with its snapshots.
func lend(t *testing.T, cloud *ec2.Client, image *string, snapshots, users []string) {
	t.Helper()
	for _, user := range users {
		for _, snapshot := range snapshots {
			must(cloud.ModifySnapshotAttribute(t.Context(), &ec2.ModifySnapshotAttributeInput{
				SnapshotId: &snapshot,
				Attribute:  types.SnapshotAttributeNameCreateVolumePermission,
				CreateVolumePermission: &types.CreateVolumePermissionModifications{
					Add: []types.CreateVolumePermission{{UserId: &user}},
				},
			}))(t)
		}
		must(cloud.ModifyImageAttribute(
			t.Context(),
			&ec2.ModifyImageAttributeInput{
				ImageId:          image,
				LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: &user}}},
			},
		))(t)
	}
}

// copied copies an image into the source account, and returns the ID of the copy once it is available.
func copied(t *testing.T, w *World, in *ec2.CopyImageInput) string {
	t.Helper()
	in.SourceRegion = aws.String(region)
	made := must(w.ec2(source).CopyImage(t.Context(), in))(t)
	err := ec2.NewImageAvailableWaiter(w.ec2(source), fast).
		Wait(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}}, patience)
	if err != nil {
		t.Fatal(err)
	}
	return *made.ImageId
}

// image returns the image of a name that an account owns.
func image(t *testing.T, w *World, account, name string) types.Image {
	t.Helper()
	answer := must(w.ec2(account).DescribeImages(t.Context(), &ec2.DescribeImagesInput{
		Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}},
	}))(t)
	if len(answer.Images) != 1 {
		t.Fatalf("%s has %d images named %q, want 1", account, len(answer.Images), name)
	}
	return answer.Images[0]
}

// snapshots returns the snapshots of an image by device.
func snapshots(t *testing.T, w *World, account string, image types.Image) map[string]types.Snapshot {
	t.Helper()
	found := map[string]types.Snapshot{}
	for _, mapping := range image.BlockDeviceMappings {
		answer := must(w.ec2(account).
			DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*mapping.Ebs.SnapshotId}}))(t)
		found[*mapping.DeviceName] = answer.Snapshots[0]
	}
	return found
}

// must ends the test if a call fails: must(cloud.CreateKey(ctx, in))(t).
func must[T any](answer T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// patience is how long the tests poll, ten times a second, for what the simulated AWS does within seconds.
const patience = time.Minute

func fast(o *ec2.ImageAvailableWaiterOptions) {
	o.MinDelay, o.MaxDelay = 100*time.Millisecond, 100*time.Millisecond
}
