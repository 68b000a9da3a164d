// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package docs makes what is generated of the documentation, and its tests hold the rest to what is so: links lead somewhere, commands work,
// make has the targets that are named, workflows take pinned actions.
package doctest

//go:generate go run ./cmd/errors ../diagnose/testdata/catalogue.golden ../../docs/guides/errors.md
