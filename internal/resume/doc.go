// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package resume writes the template that resumes a run. The template holds the options of the run and no secrets.
package resume
