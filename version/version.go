// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package version holds the version that the plugin reports to Packer.
package version

import "github.com/hashicorp/packer-plugin-sdk/version"

// The linker sets these with -X: Version to the tag of a release, VersionPrerelease to "dev" in a development build.
// Packer refuses every other prerelease.
var (
	Version           = "0.1.0"
	VersionPrerelease = ""
	VersionMetadata   = ""
	PluginVersion     = version.NewPluginVersion(Version, VersionPrerelease, VersionMetadata)
)
