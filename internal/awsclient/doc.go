// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awsclient reaches AWS: the source credentials, sessions in target accounts, one client per place whose account is proved,
// repeats that make nothing twice, and predicates on error codes.
package awsclient
