// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// If the SDK gains a setting of volumes that is not copied, every new version would lose it.
func TestRequestMappings_everySetting(t *testing.T) {
	shown := ec2types.LaunchTemplateEbsBlockDevice{
		DeleteOnTermination:      aws.Bool(false),
		EbsCardIndex:             aws.Int32(1),
		Encrypted:                aws.Bool(true),
		Iops:                     aws.Int32(4000),
		KmsKeyId:                 aws.String("alias/data"),
		SnapshotId:               aws.String("snap-0123456789abcdef0"),
		Throughput:               aws.Int32(500),
		VolumeInitializationRate: aws.Int32(200),
		VolumeSize:               aws.Int32(50),
		VolumeType:               ec2types.VolumeTypeGp3,
	}
	requireAllSet(t, shown)

	given := requestMappings([]ec2types.LaunchTemplateBlockDeviceMapping{
		{DeviceName: aws.String("/dev/sdh"), Ebs: &shown},
	})
	if len(given) != 1 || aws.ToString(given[0].DeviceName) != "/dev/sdh" {
		t.Fatalf("got %+v, want one mapping of /dev/sdh", given)
	}
	requireAllSet(t, *given[0].Ebs)
}

// Without a snapshot in the mappings, AWS itself inherits them.
func TestRequestMappings_noSnapshot(t *testing.T) {
	shown := []ec2types.LaunchTemplateBlockDeviceMapping{{
		DeviceName: aws.String("/dev/xvda"),
		Ebs:        &ec2types.LaunchTemplateEbsBlockDevice{VolumeSize: aws.Int32(50)},
	}}
	if given := requestMappings(shown); given != nil {
		t.Errorf("got %+v, want no mapping", given)
	}
}

// requireAllSet fails for an exported field that is zero.
func requireAllSet(t *testing.T, value any) {
	t.Helper()
	fields := reflect.ValueOf(value)
	for i := range fields.NumField() {
		if field := fields.Type().Field(i); field.IsExported() && fields.Field(i).IsZero() {
			t.Errorf("%s of %s is not set", field.Name, fields.Type())
		}
	}
}
