// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package e2e runs the real packer with the real amazon plugin and this plugin, installed as users install them,
// against a simulated AWS in its own process. The tests are the end-to-end tests. The demo uses the package too.
package e2e
