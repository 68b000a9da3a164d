// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// Record says that a run uses a source image, and until when. All times are AWS's.
type Record struct {
	ID         string
	Ended      bool
	Began      time.Time
	Until      time.Time  // when the record lapses, unless the run renews it before
	Protection Protection // relation of the run to the image's deregistration protection
	Scope      string     // digest of the accounts and keys that the run uses
	Regions    []string   // where the run creates resources. AllRegions if they do not fit
}

// Protection says whether a run needs the deregistration protection of a source image, and who enabled it.
type Protection string

// The values of Protection. merge keeps the first one that is not NoProtection.
const (
	NoProtection      Protection = "none"
	ProtectionHeld    Protection = "held"    // a run enabled it, and this run needs it
	ProtectionNeeded  Protection = "needed"  // this run needs it, and another user enabled it
	ProtectionLifting Protection = "lifting" // the run has succeeded and disables it, unless another run needs it
)

// AllRegions replaces the Regions of a record that do not fit into a tag.
const AllRegions = "*"

const maxTagValue = 256

var recordValue = regexp.MustCompile(
	`^(working|ended) began=(\S+) until=(\S+) protection=(held|needed|lifting|none) scope=(\S*) regions=(\S*)$`,
)

// tag returns the tag that stores a record.
func (r Record) tag() (key, value string) {
	state := "working"
	if r.Ended {
		state = "ended"
	}
	value = fmt.Sprintf("%s began=%s until=%s protection=%s scope=%s regions=",
		state, formatTime(r.Began), formatTime(r.Until), cmp.Or(r.Protection, NoProtection), r.Scope)
	regions := strings.Join(r.Regions, ",")
	if len(value)+len(regions) > maxTagValue {
		regions = AllRegions
	}
	return provenance.RecordKey(r.ID), value + regions
}

// parseRecord parses a tag. The result is false if the tag is not a record. An unreadable record is an error, because
// its run may be active.
func parseRecord(key, value string) (Record, bool, error) {
	id, ok := provenance.ParseRecordKey(key)
	if !ok {
		return Record{}, false, nil
	}
	found := recordValue.FindStringSubmatch(value)
	if found == nil {
		return Record{}, true, unreadable(key, value)
	}
	began, err := time.Parse(time.RFC3339, found[2])
	if err != nil {
		return Record{}, true, unreadable(key, value)
	}
	until, err := time.Parse(time.RFC3339, found[3])
	if err != nil {
		return Record{}, true, unreadable(key, value)
	}
	r := Record{
		ID:         id,
		Ended:      found[1] == "ended",
		Began:      began,
		Until:      until,
		Protection: Protection(found[4]),
		Scope:      found[5],
	}
	if found[6] != "" {
		r.Regions = strings.Split(found[6], ",")
	}
	return r, true, nil
}

func unreadable(key, value string) error {
	return fmt.Errorf("tag %s of the source image cannot be read: %q; delete it once no run of another version works on "+
		"the image", key, value)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// merge joins the records of one run on two source images.
func (r Record) merge(o Record) Record {
	r.Ended = r.Ended && o.Ended
	for _, p := range []Protection{ProtectionHeld, ProtectionNeeded, ProtectionLifting} {
		if r.Protection == p || o.Protection == p {
			r.Protection = p
			break
		}
	}
	if o.Until.Before(r.Until) {
		r.Until = o.Until
	}
	if o.Began.Before(r.Began) {
		r.Began = o.Began
	}
	r.Regions = slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.Regions, o.Regions))))
	return r
}

// Scope returns a digest of the accounts, organizational units and keys that a run uses.
func Scope(used []string) string {
	sum := sha256.Sum256([]byte(strings.Join(used, "\n")))
	return hex.EncodeToString(sum[:4])
}

// grace is how long the run of a lapsed record still counts as active. It covers the age of a Date header.
const grace = 5 * time.Minute

// missingAge is the minimum age of a resource at which a missing record means that its run has ended.
const missingAge = 15 * time.Minute

// isWorking reports whether the run of a record owns its resources at a time.
func (r Record) isWorking(now time.Time) bool { return !r.Ended && !now.After(r.Until.Add(grace)) }

// Records are the records on the source images of a run, with AWS's time when they were read.
type Records struct {
	all          []Record // sorted by id
	now          time.Time
	own, resumed string
	takesOver    Takeover
	scope        string // of this run
}

// IsOver reports whether a run no longer owns its resources. It is also true for this run and for the run that it
// resumes. created is AWS's creation time of the resource. If the resource is new, a missing record proves nothing,
// because the record may have been written after the last read.
func (rs Records) IsOver(run string, created time.Time) bool {
	if rs.isOurs(run) || invariant.Ownership.IsOff() {
		return true
	}
	if r, ok := rs.find(run); ok {
		return !r.isWorking(rs.now)
	}
	return !created.IsZero() && rs.now.Sub(created) > missingAge
}

// Covers reports whether there is a record of an ended run whose time span includes a time.
func (rs Records) Covers(run string, created time.Time) bool {
	r, ok := rs.find(run)
	return ok && !r.isWorking(rs.now) && !created.Before(r.Began) && !created.After(r.Until)
}

// Working returns the records of other active runs.
func (rs Records) Working() []Record {
	if invariant.Withdrawal.IsOff() {
		return nil
	}
	return rs.where(func(r Record) bool { return r.isWorking(rs.now) && !rs.isOurs(r.ID) })
}

// Over returns the records of ended runs, without that of this run.
func (rs Records) Over() []Record {
	return rs.where(func(r Record) bool { return rs.IsOver(r.ID, r.Began) && r.ID != rs.own })
}

// OtherHoldsProtection reports whether the record of another run holds the protection of the source image.
func (rs Records) OtherHoldsProtection() bool { return len(rs.ProtectionHolders()) > 0 }

// ProtectionHolders returns the records of other runs that need the protection of the source image. A failed run needs
// it until it is resumed, because Packer would deregister an image without protection.
func (rs Records) ProtectionHolders() []Record {
	return rs.where(func(r Record) bool {
		needs := r.Protection == ProtectionHeld && !rs.replaces(r) || r.Protection == ProtectionNeeded && r.isWorking(rs.now)
		return needs && !rs.isOurs(r.ID)
	})
}

// IsWorking reports whether the run of a record owns its resources.
func (rs Records) IsWorking(r Record) bool { return r.isWorking(rs.now) }

// replaces reports whether this run replaces an ended run.
func (rs Records) replaces(r Record) bool {
	isTaken := rs.takesOver == TakesOverAll || rs.takesOver == TakesOverScope && r.Scope == rs.scope
	return isTaken && !r.isWorking(rs.now)
}

// AnyHoldsProtection reports whether any record holds the protection. If none does, another user enabled it.
func (rs Records) AnyHoldsProtection() bool {
	return len(rs.where(func(r Record) bool { return r.claimsProtection() })) > 0
}

// IsProtectionHeld reports whether a record among the tags of a source image holds its protection. That includes the
// record of a run that was about to disable it.
func IsProtectionHeld(tags map[string]string) bool {
	for key, value := range tags {
		if r, ok, err := parseRecord(key, value); ok && (err != nil || r.claimsProtection()) {
			return true
		}
	}
	return false
}

// claimsProtection reports whether a run enabled the protection, according to its record.
func (r Record) claimsProtection() bool {
	return r.Protection == ProtectionHeld || r.Protection == ProtectionLifting
}

// Regions returns the Regions of all records, sorted: earlier runs may have left resources there.
func (rs Records) Regions() []string {
	var regions []string
	for _, r := range rs.all {
		regions = append(regions, r.Regions...)
	}
	return slices.Compact(slices.Sorted(slices.Values(regions)))
}

func (rs Records) isOurs(run string) bool { return run != "" && (run == rs.own || run == rs.resumed) }

func (rs Records) find(run string) (Record, bool) {
	i := slices.IndexFunc(rs.all, func(r Record) bool { return r.ID == run })
	if i < 0 {
		return Record{}, false
	}
	return rs.all[i], true
}

func (rs Records) where(keep func(Record) bool) []Record {
	return slices.DeleteFunc(slices.Clone(rs.all), func(r Record) bool { return !keep(r) })
}
