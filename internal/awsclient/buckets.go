// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"strings"

	"golang.org/x/time/rate"
)

// bucket is how many calls of an operation AWS lets an account make in a Region: at once, and a second (4.2, 3.2.9). The zero bucket has no end.
type bucket struct {
	size   int
	refill rate.Limit
}

// bucketOf says which bucket each operation of a service has. No two share one.
type bucketOf func(operation string) bucket

// ofEC2 are the buckets of rule 4.2. A look that names a template and its versions has neither filter nor page, as a look at everything.
func ofEC2(operation string) bucket {
	switch operation {
	case "CopyImage":
		return bucket{100, 1}
	case "CreateSnapshot", "DeleteSnapshot", "ModifyImageAttribute", "ModifySnapshotAttribute", "DeregisterImage":
		return bucket{100, 5}
	case "RunInstances":
		return bucket{5, 2}
	case "CreateTags":
		return bucket{100, 10}
	case "DescribeLaunchTemplateVersions":
		return bucket{50, 10}
	}
	if strings.HasPrefix(operation, "Describe") || strings.HasPrefix(operation, "Get") {
		return bucket{100, 20}
	}
	return bucket{50, 5}
}

// ofKMS are the rates of rule 3.2.9, of a second each. The plugin encrypts and decrypts nothing.
func ofKMS(operation string) bucket {
	switch operation {
	case "CreateGrant", "RetireGrant", "RevokeGrant":
		return bucket{50, 50}
	case "ListGrants":
		return bucket{100, 100}
	case "GetKeyPolicy":
		return bucket{1000, 1000}
	case "DescribeKey":
		return bucket{2000, 2000}
	}
	return bucket{}
}
