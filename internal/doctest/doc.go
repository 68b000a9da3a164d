// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package doctest writes the generated parts of the documentation. Its tests check the other parts: links, commands,
// HCL samples, the targets of make, and the workflows. It is a module of its own, so that the plugin does not depend on
// goldmark and jsonschema-go.
package doctest

//go:generate go run ./cmd/errors ../diagnose/testdata/rules.golden ../../docs/guides/errors.md
//go:generate go run ./cmd/schema ../../docs/manifest.schema.json
