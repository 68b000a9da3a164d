// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Limits on copies that are on their way to an account's Region at a time (4.1.1, 4.1.2). Whether a CopyImage counts
// against the first is not documented; here it does not (4.1.3, an open question: Q4).
const (
	snapshotCopyLimit = 20
	imageCopyLimit    = 300
)

// copies are the ends of the copies that are on their way to a place.
type copies struct {
	snapshots, images []time.Time
}

func (w *World) copiesTo(at place) *copies {
	made, there := w.copying[at]
	if !there {
		made = &copies{}
		w.copying[at] = made
	}
	return made
}

// running drops what is over and counts the rest.
func running(ends *[]time.Time, now time.Time) int {
	*ends = slices.DeleteFunc(*ends, func(end time.Time) bool { return !now.Before(end) })
	return len(*ends)
}

// RaiseCopyLimit is what support does for an account: more snapshot copies at a time (4.1.1).
func (w *World) RaiseCopyLimit(account string, limit int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.copyLimits[account] = limit
}

// admitSnapshotCopy refuses the copy that is one too many; nothing is made then (A.3.1, A.3.2).
func (w *World) admitSnapshotCopy(c *Call) error {
	limit, raised := w.copyLimits[c.place().account]
	if !raised {
		limit = snapshotCopyLimit
	}
	if w.breaks(c, "4.1.1", running(&w.copiesTo(c.place()).snapshots, c.At) >= limit) {
		return invalid("ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is %d for this destination region.", limit)
	}
	return nil
}

// admitImageCopy is admitSnapshotCopy for images. Its text is published nowhere (Q7).
func (w *World) admitImageCopy(c *Call) error {
	if w.breaks(c, "4.1.2", running(&w.copiesTo(c.place()).images, c.At) >= imageCopyLimit) {
		return invalid("ResourceLimitExceeded", "Too many image copies in progress. The limit is %d for this destination region.", imageCopyLimit)
	}
	return nil
}

// bucketKey names a token bucket: each action of an account in a Region has its own (4.2).
type bucketKey struct {
	at     place
	action string
}

// bucket is a token bucket as a function of the clock.
type bucket struct {
	tokens float64
	at     time.Time
}

// rate is what a bucket holds and what it gets back in a second.
type rate struct{ size, refill float64 }

// rates of rule 4.2 for EC2 and 3.2.9 for KMS; mutating calls of EC2 that are not named have otherRate.
var (
	rates = map[string]rate{
		"ec2:CopyImage":               {100, 1},
		"ec2:CreateSnapshot":          {100, 5},
		"ec2:DeleteSnapshot":          {100, 5},
		"ec2:ModifyImageAttribute":    {100, 5},
		"ec2:ModifySnapshotAttribute": {100, 5},
		"ec2:DeregisterImage":         {100, 5},
		"ec2:CreateTags":              {100, 10},
		"ec2:RunInstances":            {5, 2},
		"kms:CreateGrant":             {50, 50},
		"kms:RetireGrant":             {50, 50},
		"kms:RevokeGrant":             {50, 50},
		"kms:ListGrants":              {100, 100},
		"kms:GetKeyPolicy":            {1000, 1000},
		"kms:DescribeKey":             {2000, 2000},
	}
	otherRate = rate{50, 5}
	readRate  = rate{100, 20}
	listRate  = rate{50, 10} // describe calls without ids, filters and pages
)

// WithoutThrottling leaves the token buckets out.
func WithoutThrottling() Option { return func(w *World) { w.unlimited = true } }

// throttle takes a token for a call, and refuses the call when there is none (4.2.1).
func (w *World) throttle(c *Call) error {
	limit, limited := rateOf(c)
	if w.unlimited || !limited {
		return nil
	}
	key := bucketKey{c.place(), c.Service + ":" + c.Operation}
	if limit == listRate {
		key.action += " of all"
	}
	b, there := w.buckets[key]
	if !there {
		b = &bucket{limit.size, c.At}
		w.buckets[key] = b
	}
	b.tokens = min(limit.size, b.tokens+limit.refill*c.At.Sub(b.at).Seconds())
	b.at = c.At
	if w.breaks(c, "4.2.1", b.tokens < 1) {
		return throttled(c)
	}
	b.tokens--
	return nil
}

func rateOf(c *Call) (rate, bool) {
	if named, there := rates[c.Service+":"+c.Operation]; there {
		return named, true
	}
	if c.Service != "ec2" {
		return rate{}, false
	}
	switch {
	case strings.HasPrefix(c.Operation, "Describe") && asksForAll(c.In):
		return listRate, true
	case strings.HasPrefix(c.Operation, "Describe"), strings.HasPrefix(c.Operation, "Get"):
		return readRate, true
	}
	return otherRate, true
}

// asksForAll reports a describe call that names no ids, no filter and no page.
func asksForAll(in any) bool {
	value := reflect.ValueOf(in).Elem()
	if !value.FieldByName("MaxResults").IsValid() {
		return false
	}
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		narrows := name == "Filters" || name == "MaxResults" || name == "NextToken" || strings.HasSuffix(name, "Ids") || strings.HasSuffix(name, "Names")
		if narrows && !value.Field(i).IsZero() {
			return false
		}
	}
	return true
}
