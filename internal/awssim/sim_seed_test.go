// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shareAndCopy shares a snapshot with accounts that copy it at the same time, poll the copy and register it.
func shareAndCopy(t *testing.T, w *World) {
	ctx := t.Context()
	owner := ec2.NewFromConfig(w.Config(owner, home))
	volume, err := owner.CreateVolume(ctx, &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8),
	})
	if err != nil {
		t.Fatal(err)
	}

	time.Sleep(time.Minute)
	snapshot, err := owner.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		t.Fatal(err)
	}

	var accounts []string
	for i := range 5 {
		accounts = append(accounts, fmt.Sprintf("99999999999%d", i))
	}

	if _, err := owner.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
		SnapshotId:    snapshot.SnapshotId,
		Attribute:     types.SnapshotAttributeNameCreateVolumePermission,
		OperationType: types.OperationTypeAdd,
		UserIds:       accounts,
	}); err != nil {
		t.Fatal(err)
	}

	waitForSnapshotState(t, owner, *snapshot.SnapshotId)
	var group sync.WaitGroup
	for _, account := range accounts {
		group.Go(func() {
			copyAndRegister(ctx, t, ec2.NewFromConfig(w.Config(account, "eu-west-1")), *snapshot.SnapshotId)
		})
	}

	group.Wait()
}

// waitForSnapshotState waits until a snapshot is no longer pending and returns its state.
func waitForSnapshotState(t *testing.T, client *ec2.Client, id string) types.Snapshot {
	for {
		seen, err := client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil {
			t.Error(err)
			return types.Snapshot{}
		}
		if seen.Snapshots[0].State != types.SnapshotStatePending {
			return seen.Snapshots[0]
		}
		time.Sleep(15 * time.Second)
	}
}

func copyAndRegister(ctx context.Context, t *testing.T, client *ec2.Client, source string) {
	copied, err := client.CopySnapshot(ctx, &ec2.CopySnapshotInput{
		SourceRegion: aws.String(home), SourceSnapshotId: &source, Encrypted: aws.Bool(true),
	})
	if err != nil {
		t.Error(err)
		return
	}

	if state := waitForSnapshotState(t, client, *copied.SnapshotId).State; state != types.SnapshotStateCompleted {
		t.Errorf("the copy is %s", state)
	}

	if _, err := client.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:               aws.String("golden"),
		RootDeviceName:     aws.String("/dev/sda1"),
		VirtualizationType: aws.String("hvm"),
		Architecture:       types.ArchitectureValuesX8664,
		BlockDeviceMappings: []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: copied.SnapshotId}},
		},
	}); err != nil {
		t.Error(err)
	}
}

// Accounts and Regions of the tests.
const (
	owner  = "111111111111"
	member = "999999999999"
	home   = "us-east-1"
)

// TestSeed_repeatsRun runs each of a hundred seeds twice, with a third of the calls throttled. The recordings are equal
// call by call.
func TestSeed_repeatsRun(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var runs [2]Records
			for i := range runs {
				synctest.Test(t, func(t *testing.T) {
					w := New(WithSeed(seed), WithChaos(0.3, Throttled))
					shareAndCopy(t, w)
					runs[i] = w.Records()
				})
			}

			if throttled := runs[0].filter(func(r Record) bool { return r.Fault == Throttled }); len(throttled) == 0 {
				t.Error("nothing was throttled")
			}
			if difference := cmp.Diff(runs[0], runs[1], cmpopts.IgnoreUnexported(AuthorizationRequest{})); difference != "" {
				t.Error(difference)
			}
		})
	}
}

// TestSeed_differentSeedsDiffer shows that TestSeed_repeatsRun can fail.
func TestSeed_differentSeedsDiffer(t *testing.T) {
	var runs [2]Records
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			w := New(WithSeed(uint64(i)))
			shareAndCopy(t, w)
			runs[i] = w.Records()
		})
	}
	if cmp.Equal(runs[0], runs[1], cmpopts.IgnoreUnexported(AuthorizationRequest{})) {
		t.Error("two seeds made the same run")
	}
}
