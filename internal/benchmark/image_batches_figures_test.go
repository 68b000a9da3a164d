// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package benchmark

import "fmt"

// batches returns the figures of an image that is copied by more accounts than AWS allows launch permissions for.
func batches(results map[scenario]series) []figure {
	all, name := results[byImage(batchedTargets)], fmt.Sprintf("%d targets by `copy_method = \"image\"`", batchedTargets)
	return []figure{
		{
			Name:  fmt.Sprintf("image_entities_%d", batchedTargets),
			Value: all.worst(func(s sample) float64 { return float64(s.Entities) }),
			Limit: entitiesAtOnce,
			Means: "most accounts that an image is shared with at once: " + name,
		},
		{
			Name:  fmt.Sprintf("image_unserved_%d", batchedTargets),
			Value: all.worst(func(s sample) float64 { return float64(s.Found.Unserved) }),
			Exact: true,
			Means: "those targets that have no image at the end",
		},
		{
			Name: fmt.Sprintf("image_left_%d", batchedTargets),
			Value: all.worst(func(s sample) float64 {
				return float64(s.Found.Images + s.Found.Snapshots + s.Found.Shared)
			}),
			Exact: true,
			Means: "staged images, staged snapshots and launch permissions that are left in the source account",
		},
	}
}
