// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package version is the version that the plugin tells Packer.
package version

import "github.com/hashicorp/packer-plugin-sdk/version"

// Set at link time: -X .../version.VersionPrerelease=dev is a development build, and releases set Version from their tag.
// Packer installs releases and the prerelease "dev", nothing else.
var (
	Version           = "0.1.0"
	VersionPrerelease = ""
	VersionMetadata   = ""
	PluginVersion     = version.NewPluginVersion(Version, VersionPrerelease, VersionMetadata)
)
