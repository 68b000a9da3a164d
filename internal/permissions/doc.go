// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go run ./cmd/policies -out ../../docs/policies -templates ../../example/setup/cloudformation -users 888888888888

// Package rights writes the policies that a run takes: the rights of every step that a plan may have and of all that survey looks
// at, gathered by who needs them, under the conditions that make them least.
package permissions
