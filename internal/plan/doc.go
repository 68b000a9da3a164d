// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package plan owns the nouns of the product and decides: from a Request (what was asked) and Facts (what was
// seen) it makes a Plan (typed steps, and findings). It is pure: no client, no clock, no Packer.
package plan
