// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awslimits holds the limits that AWS sets on what this plugin sends: lengths, characters, formats, counts,
// ranges and combinations, each with its source.
//
// Literal values of a template are checked when the template is validated. Rendered values, and tags that are copied
// from the source image, are checked when a run is planned.
//
// AWS refuses such a value in the call that takes it, which is often the last call of a run.
package awslimits
