// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

func (w *World) ec2(account string) *ec2.Client { return ec2.NewFromConfig(w.Config(account, region)) }
func (w *World) kms(account string) *kms.Client { return kms.NewFromConfig(w.Config(account, region)) }

// keyARN is an account's key of an alias, without "alias/".
func keyARN(t *testing.T, w *World, account, alias string) string {
	t.Helper()
	return *must(w.kms(account).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/" + alias)}))(t).KeyMetadata.Arn
}

// image is an account's own of a name.
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

// snapshots are those of an image, by device.
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

// patience is for what the world does in seconds, asked for ten times a second.
const patience = time.Minute

func fast(o *ec2.ImageAvailableWaiterOptions) {
	o.MinDelay, o.MaxDelay = 100*time.Millisecond, 100*time.Millisecond
}
