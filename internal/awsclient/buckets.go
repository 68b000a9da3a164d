// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"strings"

	"golang.org/x/time/rate"
)

// bucket is how many calls of an operation AWS lets an account make in a Region: at once, and a second (4.2).
type bucket struct {
	size   int
	refill rate.Limit
}

// bucketOf is the bucket of an operation of EC2; each has one of its own.
func bucketOf(operation string) bucket {
	switch operation {
	case "CopyImage":
		return bucket{100, 1}
	case "CreateSnapshot", "DeleteSnapshot", "ModifyImageAttribute", "ModifySnapshotAttribute", "DeregisterImage":
		return bucket{100, 5}
	case "RunInstances":
		return bucket{5, 2}
	case "CreateTags":
		return bucket{100, 10}
	}
	if strings.HasPrefix(operation, "Describe") || strings.HasPrefix(operation, "Get") {
		return bucket{100, 20}
	}
	return bucket{50, 5}
}
