// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// fenceBefore is how long before the record lapses the last mutating call may be signed. AWS refuses a signature that
// is older than 15 minutes, so every signed call takes effect before the record lapses.
const fenceBefore = 16 * time.Minute

// ErrLapsed means that the record of the run was not renewed in time. Other runs may own its resources by now.
var ErrLapsed = errors.New("the record of this run has lapsed, because the run was suspended or could not renew it")

// ErrNoRecord means that the run tried a mutating call before it had a record.
var ErrNoRecord = errors.New("the run has no record on the source image yet")

// Check reports whether a mutating call may be sent. signed is the date in its signature. Only this date limits when
// AWS accepts the call, whatever pauses or clock errors occur. Calls for protection, signing keys and records need no
// record.
func (r *Run) Check(input any, signed time.Time) error {
	r.mu.Lock()
	until := r.until
	r.mu.Unlock()
	if r.isExempt(input, until) || invariant.Fence.IsOff() {
		return nil
	}
	if until.IsZero() {
		return ErrNoRecord
	}
	if now, ok := r.clock.Now(); ok && now.After(signed) {
		signed = now
	}
	if signed.After(until.Add(-fenceBefore)) {
		return ErrLapsed
	}
	return nil
}

// isExempt reports whether a call is allowed without a record. Renewing a lapsed record is not allowed: it stays
// lapsed.
func (r *Run) isExempt(input any, until time.Time) bool {
	switch in := input.(type) {
	case *ec2.EnableImageDeregistrationProtectionInput:
		return true
	case *ec2.CreateTagsInput:
		return all(in.Tags, func(tag types.Tag) bool {
			record, ok, err := parseRecord(aws.ToString(tag.Key), aws.ToString(tag.Value))
			isRenewal := ok && !record.Ended && !until.IsZero()
			return err == nil && ok && !isRenewal || provenance.IsSigningKey(aws.ToString(tag.Key))
		})
	case *ec2.DeleteTagsInput:
		return all(in.Tags, func(tag types.Tag) bool {
			_, ok := provenance.ParseRecordKey(aws.ToString(tag.Key))
			return ok
		})
	}
	return false
}

func all(tags []types.Tag, is func(types.Tag) bool) bool {
	for _, tag := range tags {
		if !is(tag) {
			return false
		}
	}
	return len(tags) > 0
}
