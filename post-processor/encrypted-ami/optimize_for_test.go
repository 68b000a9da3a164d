// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// With optimize_for = "time" each account copies the snapshot of the image directly, and nothing is staged. By default
// one staged copy serves both accounts.
func TestOptimizeFor_copies(t *testing.T) {
	for optimizeFor, want := range map[string]struct{ staged, direct int }{
		"cost": {1, 0},
		"time": {0, 2},
	} {
		onStage(t, func(s *stage) {
			o := anotherRegion(s)
			o["optimize_for"] = optimizeFor
			images, err := s.cloud(source).DescribeImages(s.Context(), &ec2.DescribeImagesInput{ImageIds: []string{s.image}})
			s.must(err)
			original := *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId

			_, err = s.run(s.Context(), o)
			s.must(err)
			staged, direct := 0, 0
			for _, call := range s.world.Records()[s.begun:].Mutating().Calls("ec2:CopySnapshot") {
				switch {
				case call.Account == source:
					staged++
				case slices.Contains(call.Resources, original):
					direct++
				}
			}
			if staged != want.staged || direct != want.direct {
				t.Errorf("optimize_for = %q: got %d staged and %d direct copies, want %+v", optimizeFor, staged, direct, want)
			}
		})
	}
}

// The plan shows what the other value would cost, and how long it would take.
func TestOptimizeFor_planShowsOther(t *testing.T) {
	for optimizeFor, want := range map[string]string{
		"cost": `Faster: copy directly between Regions in each account: 2 copies, 20 GiB between Regions, about 2 minutes, ` +
			`$1.00 a month for 20 GiB of snapshots, $0.40 once for transfer (list prices, us-east-1):
    optimize_for = "time"`,
		"time": `Cheaper: transfer once to each Region for all its accounts: 3 copies, 10 GiB between Regions, ` +
			`about 5 minutes, $1.00 a month for 20 GiB of snapshots, $0.20 once for transfer (list prices, us-east-1):
    optimize_for = "cost"`,
	} {
		onStage(t, func(s *stage) {
			o := anotherRegion(s)
			o["optimize_for"], o["mode"] = optimizeFor, "plan"
			_, err := s.run(s.Context(), o)
			s.must(err)
			if got := s.screen.String(); !strings.Contains(got, want) {
				t.Errorf("optimize_for = %q: got %s\nwant %s", optimizeFor, got, want)
			}
		})
	}
}
