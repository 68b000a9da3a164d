// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package e2e runs the real packer, with the real amazon plugin and this one installed as users install them, against a
// simulated AWS in a process of its own. Its tests are the end-to-end tests; the demo uses it, too.
package e2e
