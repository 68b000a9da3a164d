// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package distribution holds the nouns that the other packages share: what a run was asked for (Request), what lookups
// found in AWS (Facts), what a user should know about it (Finding), and what a run did (Event, Result).
package distribution
