// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Each state of the image has its own next step. For example, it does not help to build a pending image again.
func TestValidateImage_unavailable(t *testing.T) {
	nextSteps := map[ec2types.ImageState]string{
		ec2types.ImageStatePending:  "wait with `aws ec2 wait image-available --region us-west-2 --image-ids ami-0a`, then",
		ec2types.ImageStateDisabled: "enable it with `aws ec2 enable-image --region us-west-2 --image-id ami-0a`, then",
		ec2types.ImageStateFailed:   "build it again",
		ec2types.ImageStateError:    "build it again",
	}
	for state, want := range nextSteps {
		image := &ec2types.Image{
			OwnerId:        aws.String("111111111111"),
			State:          state,
			RootDeviceType: ec2types.DeviceTypeEbs,
		}
		source := distribution.SourceImage{Region: "us-west-2", ImageID: "ami-0a"}
		findings := validateImage(source, distribution.Image{Image: image}, "111111111111", nil)
		if len(findings) != 1 || !strings.HasPrefix(findings[0].Remediation, want) {
			t.Errorf("%s: got %v, want next step %q", state, findings, want)
		}
	}
}

// Credentials of a target instead of the source cannot see the image. The finding must not say that the image does not
// exist.
func TestValidateImage_credentialsOfTarget(t *testing.T) {
	targets := []distribution.Target{{Name: "prod", AccountIDs: []string{"999999999999"}}}
	for account, want := range map[string]string{
		"999999999999": "use the credentials of the account that built the image",
		"333333333333": "check the region and the credentials of the post-processor against the builder's",
	} {
		findings := validateImage(distribution.SourceImage{}, distribution.Image{}, account, targets)
		if len(findings) != 1 || findings[0].Remediation != want {
			t.Errorf("%s: got %v, want next step %q", account, findings, want)
		}
	}
}

// A device without a name, or a root device without a snapshot, is an error of the image. It must not cause a panic.
func TestValidateImage_incompleteDevices(t *testing.T) {
	root := func(name, snapshot *string) ec2types.BlockDeviceMapping {
		return ec2types.BlockDeviceMapping{DeviceName: name, Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot}}
	}
	blank := ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &ec2types.EbsBlockDevice{}}
	cases := map[string]struct {
		mappings []ec2types.BlockDeviceMapping
		want     string
	}{
		"no name": {
			mappings: []ec2types.BlockDeviceMapping{root(nil, aws.String("snap-0a"))},
			want:     distribution.CodeDeviceUnnamed,
		},
		"no snapshot": {
			mappings: []ec2types.BlockDeviceMapping{root(aws.String("xvda"), nil)},
			want:     distribution.CodeAMINotEBSBacked,
		},
		"no devices": {want: distribution.CodeAMINotEBSBacked},
		"blank second device": {
			mappings: []ec2types.BlockDeviceMapping{root(aws.String("xvda"), aws.String("snap-0a")), blank},
		},
	}
	for name, c := range cases {
		image := &ec2types.Image{
			OwnerId:             aws.String("111111111111"),
			State:               ec2types.ImageStateAvailable,
			RootDeviceType:      ec2types.DeviceTypeEbs,
			RootDeviceName:      aws.String("xvda"),
			BlockDeviceMappings: c.mappings,
		}
		snapshot := distribution.Snapshot{Snapshot: ec2types.Snapshot{State: ec2types.SnapshotStateCompleted}}
		facts := distribution.Image{Image: image, Snapshots: map[string]distribution.Snapshot{"snap-0a": snapshot}}
		source := distribution.SourceImage{Region: "us-west-2", ImageID: "ami-0a"}
		var codes []string
		for _, f := range validateImage(source, facts, "111111111111", nil) {
			codes = append(codes, f.Code)
		}
		if got := strings.Join(codes, " "); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
