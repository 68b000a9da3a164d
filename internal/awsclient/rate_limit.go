// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"strings"

	"golang.org/x/time/rate"
)

// rateLimit is the token bucket of an operation, which AWS keeps for an account in a Region (4.2, 3.2.9). The zero
// value is no limit.
type rateLimit struct {
	burst     int
	perSecond rate.Limit
}

// rateLimits returns the limit of an operation of one service. Each operation has its own token bucket.
type rateLimits func(operation string) rateLimit

// ec2RateLimit returns the limits of rule 4.2. DescribeLaunchTemplateVersions has the lower limit of calls without
// filters and pages, because it names a launch template and its versions.
func ec2RateLimit(operation string) rateLimit {
	switch operation {
	case "CopyImage":
		return rateLimit{100, 1}
	case "CreateSnapshot", "DeleteSnapshot", "ModifyImageAttribute", "ModifySnapshotAttribute", "DeregisterImage":
		return rateLimit{100, 5}
	case "RunInstances":
		return rateLimit{5, 2}
	case "CreateTags":
		return rateLimit{100, 10}
	case "DescribeLaunchTemplateVersions":
		return rateLimit{50, 10}
	}
	if strings.HasPrefix(operation, "Describe") || strings.HasPrefix(operation, "Get") {
		return rateLimit{100, 20}
	}
	return rateLimit{50, 5}
}

// kmsRateLimit returns the limits of rule 3.2.9. The plugin calls no cryptographic operation, so those have none here.
func kmsRateLimit(operation string) rateLimit {
	switch operation {
	case "CreateGrant", "RetireGrant", "RevokeGrant":
		return rateLimit{50, 50}
	case "ListGrants":
		return rateLimit{100, 100}
	case "GetKeyPolicy":
		return rateLimit{1000, 1000}
	case "DescribeKey":
		return rateLimit{2000, 2000}
	}
	return rateLimit{}
}
