// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awsclient creates the clients of AWS. It loads the source credentials, assumes the roles of targets, and
// checks that the credentials of every client belong to the client's account. It retries calls without creating a
// resource twice, keeps to AWS's rate limits, and enforces a Guard for every call. Its predicates classify errors.
package awsclient
