// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package distribution holds the types that the other packages share: the request for a run (Request), the facts that
// lookups found in AWS (Facts), messages for users (Finding), and the course of a run (Event, Result).
package distribution
