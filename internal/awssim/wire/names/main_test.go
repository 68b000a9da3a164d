// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"os"
	"testing"
)

func TestNames_matchSDK(t *testing.T) {
	for _, service := range services {
		want, err := generate(service)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../" + service + ".names")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s.names does not fit the SDK in go.mod: run go generate ./internal/awssim/wire", service)
		}
	}
}
