// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go run ./cmd/policies -out ../../docs/policies -templates ../../example/setup/cloudformation -users 888888888888
//go:generate go run ./cmd/policies -out ../../tools/policies/templates -organization o-1234567890 -organization-paths o-1234567890/r-ab12/ou-ab12-11111111/*

// Package permissions writes the policies that a run needs: the permissions of every step that a plan may have and of
// all lookups, grouped by role, with the narrowest conditions.
package permissions
