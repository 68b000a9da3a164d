// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"strings"

	"golang.org/x/time/rate"
)

// bucket is how many calls of a kind AWS lets an account make in a Region: at once, and a second (4.2).
type bucket struct {
	name   string
	size   int
	refill rate.Limit
}

// bucketOf finds the bucket that a call of EC2 is counted in.
func bucketOf(operation string) bucket {
	switch operation {
	case "CopyImage":
		return bucket{"CopyImage", 100, 1}
	case "CreateSnapshot", "DeleteSnapshot", "ModifyImageAttribute", "ModifySnapshotAttribute", "DeregisterImage":
		return bucket{operation, 100, 5}
	case "CreateTags":
		return bucket{operation, 100, 10}
	}
	if strings.HasPrefix(operation, "Describe") || strings.HasPrefix(operation, "Get") {
		return bucket{"reading", 100, 20}
	}
	return bucket{"changing", 50, 5}
}
