// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// storageState holds snapshots, volumes, images and the limits of EC2 calls.
type storageState struct {
	snapshots regionalMap[*snapshot]
	volumes   orderedMap[*volume]
	images    regionalMap[*image]
	// IDs of snapshots with the same data
	lineages         map[lineageKey][]string
	imagesByName     map[imageNameKey][]string // image IDs
	imagesBySnapshot map[string][]string       // image IDs by snapshot ID
	accountSettings  map[location]*settings
	resources        map[string]*ec2Resource // by ID
	recipientTags    map[recipientTagsKey]*ec2Resource
	copyQuotas       map[location]*copyEndTimes // end times of copies in progress
	timeBasedCopies  map[string][]timeBasedCopy // by account (rule 4.8.2)
	tokenBuckets     map[tokenBucketKey]*tokenBucket
	usageReports     []*usageReport

	snapshotCopyQuotas map[string]int // by account, if AWS Support raised the quota (rule 4.1.1)
	snapshotDuration   func(SnapshotJob) time.Duration
	onCopyScheduled    func(CopySchedule)
	clientCallTime     time.Duration // time that a client takes for a call (WithSlowClients)
	throttlingOff      bool
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
		recipientTags:      map[recipientTagsKey]*ec2Resource{},
		copyQuotas:         map[location]*copyEndTimes{},
		timeBasedCopies:    map[string][]timeBasedCopy{},
		tokenBuckets:       map[tokenBucketKey]*tokenBucket{},
		snapshotCopyQuotas: map[string]int{},
	}
}

// lineageKey identifies the data of a volume in an account and Region, with all snapshots and copies of it.
type lineageKey struct {
	location location
	volume   string
}

// idPattern matches the part of an EC2 ID after the prefix: 8 or 17 digits.
var idPattern = regexp.MustCompile(`^([0-9a-f]{8}|[0-9a-f]{17})$`)

// hasIDFormat reports whether an ID has the format of EC2.
func hasIDFormat(id, prefix string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && idPattern.MatchString(digits)
}

// exampleDigits are the digits of IDs in AWS's documentation. EC2 refuses them as malformed.
const exampleDigits = "0123456789abcdef0"

// isValidID reports whether an ID also passes EC2's checksum as far as it is known. The first of 17 digits is 0, not
// all digits are 0, and the ID is not the example of the documentation (rule 2.5.10).
func isValidID(id, prefix string) bool {
	digits := strings.TrimPrefix(id, prefix)
	return hasIDFormat(id, prefix) &&
		(len(digits) == 8 || digits[0] == '0' && strings.Trim(digits, "0") != "" && digits != exampleDigits)
}

// isVisible reports whether a describe call returns a resource. A stale read misses new resources (rule 4.4.1).
func (w *World) isVisible(c *Call, created time.Time) bool {
	return !w.violates(c, "4.4.1", c.fault == StaleRead && c.At.Sub(created) < staleReadWindow)
}

// toMilliseconds truncates a time as EC2 does.
func toMilliseconds(t time.Time) *time.Time { return aws.Time(t.UTC().Truncate(time.Millisecond)) }

// computeState holds instances and their dependencies.
type computeState struct {
	enabledRegions map[location]bool     // opt-in Regions that the account enabled
	networks       map[location]*network // created at first use
	// accounts and Regions without a default VPC
	withoutDefaultVPC map[location]bool
	hosts             []dedicatedHost
	instances         orderedMap[*instance]       // by ID
	keyPairs          orderedMap[keyPair]         // by ID
	launchTemplates   orderedMap[*launchTemplate] // by ID
	clientTokens      map[clientTokenKey]idempotencyRecord
}

func newComputeState() computeState {
	return computeState{
		enabledRegions: map[location]bool{},
		networks:       map[location]*network{},

		withoutDefaultVPC: map[location]bool{},
		instances:         newOrderedMap[*instance](),
		keyPairs:          newOrderedMap[keyPair](),
		launchTemplates:   newOrderedMap[*launchTemplate](),
		clientTokens:      map[clientTokenKey]idempotencyRecord{},
	}
}
