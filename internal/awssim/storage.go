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
	snapshots   stock[*snapshot]
	volumes     shelf[*volume]
	images      stock[*image]
	lineages    map[lineage][]string  // ids of the snapshots of the same data in a place
	namedImages map[imageKey][]string // ids of images by their names
	usedBy      map[string][]string   // ids of images by the snapshots they use
	settings    map[place]*settings
	labels      map[string]*label      // tags of every resource of EC2, by its id
	copying     map[place]*copies      // what copies to a place are on their way
	timed       map[string][]timedCopy // by account: those on their way (4.8.2)
	buckets     map[bucketKey]*bucket

	copyLimits   map[string]int // snapshot copies at a time of accounts that support has raised (4.1.1)
	snapshotTime func(SnapshotJob) time.Duration
	copied       func(Copied)
	clientCall   time.Duration // what a client takes for a call (WithSlowClients)
	unlimited    bool          // no token buckets
}

func newStorageState() storageState {
	return storageState{
		snapshots:   newStock[*snapshot](),
		volumes:     newShelf[*volume](),
		images:      newStock[*image](),
		lineages:    map[lineage][]string{},
		namedImages: map[imageKey][]string{},
		usedBy:      map[string][]string{},
		settings:    map[place]*settings{},
		labels:      map[string]*label{},
		copying:     map[place]*copies{},
		timed:       map[string][]timedCopy{},
		buckets:     map[bucketKey]*bucket{},
		copyLimits:  map[string]int{},
	}
}

// lineage is the data of a volume in a place, where snapshots of it, and copies of those, may be.
type lineage struct {
	at     place
	volume string
}

// idForm is the form of EC2's ids, after the prefix: the old one, or the one with 17 digits.
var idForm = regexp.MustCompile(`^([0-9a-f]{8}|[0-9a-f]{17})$`)

// formed reports whether an id has the form of EC2's.
func formed(id, prefix string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && idForm.MatchString(digits)
}

// wellFormed reports whether an id passes the check inside EC2's ids as well, as far as it is known: of 17 digits the first
// is 0, and not all are (2.5.10).
func wellFormed(id, prefix string) bool {
	digits := strings.TrimPrefix(id, prefix)
	return formed(id, prefix) && (len(digits) == 8 || digits[0] == '0' && strings.Trim(digits, "0") != "")
}

// settled reports whether a describe call knows a thing that was made at a moment; a stale read misses what is young (4.4.1).
func (w *World) settled(c *Call, made time.Time) bool {
	return !w.breaks(c, "4.4.1", c.fault == StaleRead && c.At.Sub(made) < staleFor)
}

// millis cuts a moment as EC2 shows it.
func millis(t time.Time) *time.Time { return aws.Time(t.UTC().Truncate(time.Millisecond)) }
