// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// copiesAtOnce is how many copies AWS lets an account have on their way to a Region (4.1.1).
const copiesAtOnce = 20

// bound is the time that no run can go below, by the simulated AWS's own draws: of the copies that were made, the longest chain of
// one copy on another, or the work of an account's copies to a Region shared out evenly among as many as AWS admits at once. Calls
// count nothing.
func bound(copies []awssim.Copied) time.Duration {
	type lane struct{ account, region string }
	took, work := map[string]time.Duration{}, map[lane]time.Duration{}
	for _, c := range copies {
		took[c.SnapshotID] = c.Ends.Sub(c.Begun)
		work[lane{c.Account, c.Region}] += c.Ends.Sub(c.Begun)
	}
	var most time.Duration
	for _, c := range copies {
		most = max(most, took[c.SourceID]+took[c.SnapshotID])
	}
	for _, all := range work {
		most = max(most, all/copiesAtOnce)
	}
	return most
}
