// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// A launch template that maps a device to a snapshot keeps it in the version that names the image. A second run creates
// no version.
func TestCreateLaunchTemplateVersion_keepsSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := templated(t, web)
		const snapshot = "snap-0123456789abcdef0"
		_, err := h.ec2(target, home).CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateName: aws.String("web"),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
				InstanceType: ec2types.InstanceTypeM7gLarge,
				BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{
					DeviceName: aws.String("/dev/sdh"),
					Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{
						SnapshotId: aws.String(snapshot),
						VolumeSize: aws.Int32(20),
					},
				}},
			},
		})
		h.must(err)
		req.Targets[0].Templates[0].Source = "$Latest"

		for range 2 {
			_, result := h.run(t.Context(), req)
			h.complete(result)
			req.Targets[0].Templates[0].Source = "2"
		}

		versions := h.versions()
		if len(versions) != 3 {
			t.Fatalf("got %d versions, want 3", len(versions))
		}
		mappings := versions[0].LaunchTemplateData.BlockDeviceMappings
		if len(mappings) != 1 || aws.ToString(mappings[0].Ebs.SnapshotId) != snapshot {
			t.Errorf("got mappings %+v, want /dev/sdh of %s", mappings, snapshot)
		}
	})
}
