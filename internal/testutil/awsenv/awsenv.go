// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awsenv clears the environment variables of AWS, so that they do not change the result of a test.
package awsenv

import (
	"os"
	"strings"
	"testing"
)

// Main runs the tests of a package in a cleared environment, and exits.
func Main(m *testing.M) {
	Clear()
	os.Exit(m.Run())
}

// Clear removes the AWS settings, files and instance roles of the machine from the environment of the process.
func Clear() {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	for _, file := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		_ = os.Setenv(file, os.DevNull)
	}
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}
