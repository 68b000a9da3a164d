// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package runrecord keeps the records of runs. A record on the source image says until when a run owns what it created.
// There is no lock: each record has one writer, and what a run owns is its own until the run ends or its record lapses.
package runrecord
