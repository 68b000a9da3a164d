// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestScale_thousandAccounts lets a thousand accounts copy a snapshot four times each and poll for hours. World,
// clients and recording together use less than 1 GiB.
func TestScale_thousandAccounts(t *testing.T) {
	const accounts, volumes = 1000, 4
	runWithFixture(t, func(f fixture) {
		var group sync.WaitGroup
		for i := range accounts {
			group.Go(func() {
				client := ec2.NewFromConfig(f.world.Config(fmt.Sprintf("%012d", i), home))
				volume := requireOutput(client.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
					AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(500),
				}))(f)

				time.Sleep(time.Minute)
				source := requireOutput(client.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(f)
				time.Sleep(4 * time.Hour)
				var copies []string
				for range volumes {
					copied := requireOutput(client.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
						SourceRegion: aws.String(home), SourceSnapshotId: source.SnapshotId, Encrypted: aws.Bool(true),
					}))(f)
					copies = append(copies, *copied.SnapshotId)
				}

				for pending := true; pending; time.Sleep(15 * time.Minute) {
					seen := requireOutput(client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: copies}))(f)
					pending = false
					for _, s := range seen.Snapshots {
						pending = pending || s.State == types.SnapshotStatePending
					}
				}
			})
		}

		group.Wait()
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		records := f.world.Records()
		t.Logf(
			"%d calls, %s of virtual time, %d MiB", len(records), time.Since(records[0].At).Round(time.Minute), memory.Sys>>20,
		)

		if memory.Sys > 1<<30 {
			t.Errorf("the process took %d MiB of the system", memory.Sys>>20)
		}
	})
}
