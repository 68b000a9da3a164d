// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package plan decides what a run does. It returns a Plan, with steps and findings, from a Request (the options) and
// Facts (the results of lookups). It is pure: it has no client, no clock and no Packer.
package plan
