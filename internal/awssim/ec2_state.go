// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// storageState is what EBS and the AMI catalogue hold, and the limits of calls.
type storageState struct {
	snapshots        regionalMap[*snapshot]
	volumes          orderedMap[*volume]
	images           regionalMap[*image]
	lineages         map[lineageKey][]string   // ids of the snapshots of the same data in a place
	imagesByName     map[imageNameKey][]string // ids of images by their names
	imagesBySnapshot map[string][]string       // ids of images by the snapshots they use
	accountSettings  map[location]*settings
	resources        map[string]*ec2Resource    // tags of every resource of EC2, by its id
	copyQuotas       map[location]*copyEndTimes // what copies to a place are on their way
	timeBasedCopies  map[string][]timeBasedCopy // by account: those on their way (4.8.2)
	tokenBuckets     map[tokenBucketKey]*tokenBucket

	snapshotCopyQuotas map[string]int // snapshot copies at a time of accounts that support has raised (4.1.1)
	snapshotDuration   func(SnapshotJob) time.Duration
	onCopyScheduled    func(CopySchedule)
	clientCallTime     time.Duration // what a client takes for a call (WithSlowClients)
	throttlingOff      bool          // no token buckets
}

func newStorageState() storageState {
	return storageState{
		snapshots:          newRegionalMap[*snapshot](),
		volumes:            newOrderedMap[*volume](),
		images:             newRegionalMap[*image](),
		lineages:           map[lineageKey][]string{},
		imagesByName:       map[imageNameKey][]string{},
		imagesBySnapshot:   map[string][]string{},
		accountSettings:    map[location]*settings{},
		resources:          map[string]*ec2Resource{},
		copyQuotas:         map[location]*copyEndTimes{},
		timeBasedCopies:    map[string][]timeBasedCopy{},
		tokenBuckets:       map[tokenBucketKey]*tokenBucket{},
		snapshotCopyQuotas: map[string]int{},
	}
}

// lineageKey is the data of a volume in a place, where snapshots of it, and copies of those, may be.
type lineageKey struct {
	location location
	volume   string
}

// idPattern is the form of EC2's ids, after the prefix: the old one, or the one with 17 digits.
var idPattern = regexp.MustCompile(`^([0-9a-f]{8}|[0-9a-f]{17})$`)

// hasIDFormat reports whether an id has the form of EC2's.
func hasIDFormat(id, prefix string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && idPattern.MatchString(digits)
}

// isValidID reports whether an id passes the check inside EC2's ids as well, as far as it is known: of 17 digits the
// first is 0, and not all are (2.5.10).
func isValidID(id, prefix string) bool {
	digits := strings.TrimPrefix(id, prefix)
	return hasIDFormat(id, prefix) && (len(digits) == 8 || digits[0] == '0' && strings.Trim(digits, "0") != "")
}

// isVisible reports whether a describe call knows a thing that was made at a moment; a stale read misses what is young
// (4.4.1).
func (w *World) isVisible(c *Call, created time.Time) bool {
	return !w.violates(c, "4.4.1", c.fault == StaleRead && c.At.Sub(created) < staleReadWindow)
}

// toMilliseconds cuts a moment as EC2 shows it.
func toMilliseconds(t time.Time) *time.Time { return aws.Time(t.UTC().Truncate(time.Millisecond)) }

// computeState is instances and what they need.
type computeState struct {
	enabledRegions  map[location]bool                    // opt-in Regions that an account uses
	networks        map[location]*network                // made at first use
	instances       orderedMap[*instance]                // by id
	keyPairs        orderedMap[keyPair]                  // by id
	launchTemplates orderedMap[*launchTemplate]          // by id
	clientTokens    map[clientTokenKey]idempotencyRecord // client tokens
}

func newComputeState() computeState {
	return computeState{
		enabledRegions:  map[location]bool{},
		networks:        map[location]*network{},
		instances:       newOrderedMap[*instance](),
		keyPairs:        newOrderedMap[keyPair](),
		launchTemplates: newOrderedMap[*launchTemplate](),
		clientTokens:    map[clientTokenKey]idempotencyRecord{},
	}
}
