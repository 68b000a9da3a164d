// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package browsertest tests the HTML report in Chromium. It is a module of its own, so that the plugin does not depend
// on chromedp.
package browsertest
