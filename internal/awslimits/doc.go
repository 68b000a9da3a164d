// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awslimits holds the limits that AWS sets on what this plugin sends: lengths, characters, formats, counts,
// ranges and combinations, each with its source.
//
// Values of a template are checked when the template is validated, rendered and carried values when a run is planned.
// AWS refuses such a value in the call that takes it, which is often the last call of a run.
package awslimits
