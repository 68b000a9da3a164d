// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awsenv prepares the process of a test. It clears the environment variables of AWS, so that they do not change
// the result, and lets the heap grow, so that the tests run faster.
package awsenv

import (
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// Main runs the tests of a package in a cleared environment, and exits.
func Main(m *testing.M) {
	Clear()
	GrowHeap()
	os.Exit(m.Run())
}

// GrowHeap lets the heap grow to five times the memory in use before it is collected. Tests build simulated worlds by
// the thousand, and at Go's default a quarter of their processor time is garbage collection. The plugin sets its own
// limit of memory only if there is none, and a world of a thousand accounts exceeds that limit.
func GrowHeap() {
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(4 << 30)
}

// ShrinkHeap sets Go's defaults again, for a test that measures memory or processor time.
func ShrinkHeap() {
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)
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
