// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Quotas of concurrent copies to an account and Region (rules 4.1.1 and 4.1.2). AWS does not document whether CopyImage
// counts against the quota of snapshot copies. Here it does not (rule 4.1.3, Q4).
const (
	defaultSnapshotCopyQuota = 20
	imageCopyQuota           = 300
)

// copyEndTimes holds the end times of copies in progress.
type copyEndTimes struct {
	snapshots, images []time.Time
}

func (w *World) copyEndTimesIn(loc location) *copyEndTimes {
	created, ok := w.copyQuotas[loc]
	if !ok {
		created = &copyEndTimes{}
		w.copyQuotas[loc] = created
	}
	return created
}

// countRunning removes past end times and returns the number of the others.
func countRunning(ends *[]time.Time, now time.Time) int {
	*ends = slices.DeleteFunc(*ends, func(end time.Time) bool { return !now.Before(end) })
	return len(*ends)
}

// SetSnapshotCopyQuota raises the quota of concurrent snapshot copies of an account, as AWS Support does (rule 4.1.1).
func (w *World) SetSnapshotCopyQuota(account string, limit int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshotCopyQuotas[account] = limit
}

// checkSnapshotCopyQuota refuses a copy above the quota (rules A.3.1 and A.3.2).
func (w *World) checkSnapshotCopyQuota(c *Call) error {
	limit, raised := w.snapshotCopyQuotas[c.location().account]
	if !raised {
		limit = defaultSnapshotCopyQuota
	}
	if w.violates(c, "4.1.1", countRunning(&w.copyEndTimesIn(c.location()).snapshots, c.At) >= limit) {
		return w.copyQuotaExceeded("snapshot", limit)
	}
	return nil
}

// checkImageCopyQuota refuses an image copy above the quota. AWS does not publish the message (Q7).
func (w *World) checkImageCopyQuota(c *Call) error {
	if w.violates(c, "4.1.2", countRunning(&w.copyEndTimesIn(c.location()).images, c.At) >= imageCopyQuota) {
		return w.copyQuotaExceeded("image", imageCopyQuota)
	}
	return nil
}

// copyQuotaExceeded returns the error for a copy above the quota. Users have reported the code and the message for
// snapshots (rule A.3.2). The HTTP status and the message for images are assumptions (open questions Q7 and Q10).
func (w *World) copyQuotaExceeded(kind string, limit int) *APIError {
	const code = "ResourceLimitExceeded"
	if w.chooses(OtherRefusals) {
		return newAPIError(http.StatusServiceUnavailable, code, "The number of concurrent copies is exceeded.")
	}
	return badRequest(
		code, "Too many %s copies in progress. The limit is %d for this destination region.", kind, limit,
	)
}

// tokenBucketKey identifies the token bucket of an action in an account and Region (rule 4.2).
type tokenBucketKey struct {
	location location
	action   string
}

// tokenBucket is a token bucket as a function of time.
type tokenBucket struct {
	tokens  float64
	updated time.Time
}

// rateLimit is the size of a token bucket and its refill per second.
type rateLimit struct{ size, refill float64 }

// Rate limits of rule 4.2 for EC2 and rule 3.2.9 for KMS.
var (
	namedRateLimits = map[string]rateLimit{
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
	mutatingRateLimit = rateLimit{50, 5}
	readRateLimit     = rateLimit{100, 20}
	listAllRateLimit  = rateLimit{50, 10} // describe calls without IDs, filters and pagination
)

// WithoutThrottling disables the token buckets.
func WithoutThrottling() Option { return func(w *World) { w.throttlingOff = true } }

// throttle takes a token for a call. Without a token it refuses the call (rule 4.2.1).
func (w *World) throttle(c *Call) error {
	limit, limited := rateLimitOf(c)
	if w.throttlingOff || !limited {
		return nil
	}

	key := tokenBucketKey{c.location(), c.Service + ":" + c.Operation}
	if limit == listAllRateLimit {
		key.action += " of all"
	}

	b, ok := w.tokenBuckets[key]
	if !ok {
		b = &tokenBucket{limit.size, c.At}
		w.tokenBuckets[key] = b
	}

	b.tokens = min(limit.size, b.tokens+limit.refill*c.At.Sub(b.updated).Seconds())
	b.updated = c.At
	if w.violates(c, "4.2.1", b.tokens < 1) {
		return throttlingError(c)
	}

	b.tokens--
	return nil
}

func rateLimitOf(c *Call) (rateLimit, bool) {
	if named, ok := namedRateLimits[c.Service+":"+c.Operation]; ok {
		return named, true
	}
	if c.Service != "ec2" {
		return rateLimit{}, false
	}

	switch {
	case strings.HasPrefix(c.Operation, "Describe") && describesAll(c.In):
		return listAllRateLimit, true
	case strings.HasPrefix(c.Operation, "Describe"), strings.HasPrefix(c.Operation, "Get"):
		return readRateLimit, true
	}

	return mutatingRateLimit, true
}

// describesAll reports whether a describe call has neither IDs, filters nor pagination.
func describesAll(in any) bool {
	value := reflect.ValueOf(in).Elem()
	if !value.FieldByName("MaxResults").IsValid() {
		return false
	}

	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		narrows := name == "Filters" || name == "MaxResults" || name == "NextToken" || strings.HasSuffix(name, "Ids") ||
			strings.HasSuffix(name, "Names")
		if narrows && !value.Field(i).IsZero() {
			return false
		}
	}

	return true
}
