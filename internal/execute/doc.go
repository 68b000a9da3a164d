// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package transfer does: it runs a plan's steps, waits for what AWS works on, takes back what failed, and says what came of it.
package execute
