// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package step holds the kinds of steps of a plan. Each file has one kind, named after its AWS operation.
package step
