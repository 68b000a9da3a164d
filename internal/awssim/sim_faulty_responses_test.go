// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// creatingCalls create a resource and return its ID as the SDK reads it.
func creatingCalls(f fixture) map[string]func() (string, error) {
	snapshot := f.waitForSnapshot(
		f.ec2,
		*requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
			VolumeId: aws.String(f.createVolume("")),
		}))(f).SnapshotId,
	)

	image, key := f.createImage(""), f.createKey()
	return map[string]func() (string, error){
		"ec2:CopySnapshot": func() (string, error) {
			out, err := f.ec2.CopySnapshot(
				f.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: snapshot.SnapshotId},
				withoutEC2Retries,
			)
			return readID(out, err, func() *string { return out.SnapshotId })
		},
		"ec2:RegisterImage": func() (string, error) {
			out, err := f.ec2.RegisterImage(f.Context(), &ec2.RegisterImageInput{
				Name:               aws.String(time.Now().Format("image 150405.000000")),
				RootDeviceName:     aws.String("/dev/sda1"),
				VirtualizationType: aws.String("hvm"),
				BlockDeviceMappings: []types.BlockDeviceMapping{
					{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
				},
			}, withoutEC2Retries)
			return readID(out, err, func() *string { return out.ImageId })
		},
		"ec2:CopyImage": func() (string, error) {
			in := &ec2.CopyImageInput{SourceRegion: aws.String(home), SourceImageId: &image}
			withUniqueName(in)
			out, err := f.ec2.CopyImage(f.Context(), in, withoutEC2Retries)
			return readID(out, err, func() *string { return out.ImageId })
		},
		"ec2:RunInstances": func() (string, error) {
			out, err := f.ec2.RunInstances(f.Context(), oneInstance(image), withoutEC2Retries)
			return readID(out, err, func() *string {
				if len(out.Instances) == 0 {
					return nil
				}
				return out.Instances[0].InstanceId
			})
		},
		"ec2:CreateVolume": func() (string, error) {
			out, err := f.ec2.CreateVolume(
				f.Context(), &ec2.CreateVolumeInput{
					AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1),
				}, withoutEC2Retries,
			)
			return readID(out, err, func() *string { return out.VolumeId })
		},
		"kms:CreateGrant": func() (string, error) {
			out, err := f.kms.CreateGrant(f.Context(), &kms.CreateGrantInput{
				KeyId: &key, GranteePrincipal: aws.String(rootOf(member)), Operations: []kmstypes.GrantOperation{
					kmstypes.GrantOperationDecrypt,
				},
			}, withoutKMSRetries)
			return readID(out, err, func() *string { return out.GrantId })
		},
	}
}

// readID returns what id returns, unless the call failed.
func readID[Out any](_ Out, err error, id func() *string) (string, error) {
	if err != nil {
		return "", err
	}
	return aws.ToString(id()), nil
}

// TestFaultyAnswers_withoutID shows that the SDK reads a response without body or ID as a success, whatever the effect.
func TestFaultyAnswers_withoutID(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		calls := creatingCalls(f)
		for action, call := range calls {
			var changes []Mutation
			f.world.OnMutation(func(m Mutation) { changes = append(changes, m) })
			for fault, effects := range map[Fault]int{EmptyResponse: 1, MissingID: 1, ProxyResponse: 0} {
				changes = nil
				f.world.Inject(FaultRule{Fault: fault, Action: action, Times: 1})
				time.Sleep(time.Minute) // for the token bucket
				id, err := call()
				if err != nil || id != "" {
					t.Errorf("%s with %s: id %q, error %v", action, fault, id, err)
				}
				if len(changes) != effects {
					t.Errorf("%s with %s: %d effects, want %d", action, fault, len(changes), effects)
				}
				f.world.rules = nil
			}

			if id, err := call(); err != nil || id == "" {
				t.Errorf("%s without a fault: id %q, error %v", action, id, err)
			}
		}
	})
}

// TestMissingID_clientTokenStillWorks shows that a repeated call with the same client token gets the full response.
func TestMissingID_clientTokenStillWorks(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		in := &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1), ClientToken: aws.String("token"),
		}
		f.world.Inject(FaultRule{Fault: MissingID, Action: "ec2:CreateVolume", Nth: 1})
		first := requireOutput(f.ec2.CreateVolume(f.Context(), in))(f)
		again := requireOutput(f.ec2.CreateVolume(f.Context(), in))(f)
		expectEqual(f, "the id of the first answer", first.VolumeId, nil)
		if again.VolumeId == nil || f.tagValue(*again.VolumeId) != "" {
			t.Errorf("the second answer has the id %v", again.VolumeId)
		}
	})
}

// TestEmptyAnswer_refusalsArrive shows that errors arrive, and that reading calls return nothing.
func TestEmptyAnswer_refusalsArrive(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		volume := f.createVolume("")
		f.world.Inject(FaultRule{Fault: EmptyResponse})
		_, err := f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{"vol-0fedcba9876543210"}})
		requireErrorCode(f, err, "InvalidVolume.NotFound")
		seen := requireOutput(f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{volume}}))(f)
		expectEqual(f, "the volumes seen", len(seen.Volumes), 0)
		keys := requireOutput(f.kms.ListKeys(f.Context(), &kms.ListKeysInput{}))(f)
		expectEqual(f, "the keys seen", len(keys.Keys), 0)
	})
}

// TestSilent_untilTimeout shows that a silent call has no effect and no response.
func TestSilent_untilTimeout(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.Inject(FaultRule{Fault: Silent, Action: "ec2:CreateVolume", Times: 1})
		ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)}
		if _, err := f.ec2.CreateVolume(ctx, in, withoutEC2Retries); !errors.Is(err, context.DeadlineExceeded) {
			f.Errorf("got %v, want a timeout", err)
		}
		expectEqual(f, "the wait", time.Since(begun), time.Minute)
		volumes, err := f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{})
		if err != nil || len(volumes.Volumes) > 0 {
			f.Errorf("got %d volumes, %v, want none", len(volumes.Volumes), err)
		}
	})
}
