// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package execute runs the steps of a plan against AWS. It waits for copies, removes what failed, and returns the
// result of the run.
package execute
