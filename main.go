// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command packer-plugin-encrypted-ami is the plugin: the post-processor encrypted-ami and its data source.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/datasource/preflight"
	encryptedami "github.com/encrypted-ami/packer-plugin-encrypted-ami/post-processor/encrypted-ami"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

func main() {
	set := plugin.NewSet()
	set.RegisterPostProcessor(plugin.DEFAULT_NAME, new(encryptedami.PostProcessor)) // encrypted-ami
	set.RegisterDatasource("preflight", new(preflight.Datasource))                  // encrypted-ami-preflight
	set.SetVersion(version.PluginVersion)
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
