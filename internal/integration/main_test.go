// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package integration_test runs the post-processor as Packer does, against the simulated AWS, and judges it by what the
// accounts hold afterwards and by the files it wrote. It uses nothing of the plugin but Configure and PostProcess.
package integration_test

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
	encryptedami "github.com/encrypted-ami/packer-plugin-encrypted-ami/post-processor/encrypted-ami"
)

var whole = flag.Bool("whole", false, "try every case of the generated tests, not only a sample")

func TestMain(m *testing.M) {
	flag.Parse()
	awsenv.Clear()
	awsenv.GrowHeap()
	log.SetOutput(io.Discard) // what the plugin logs for Packer's developers
	os.Exit(m.Run())
}

func newPostProcessor(client aws.HTTPClient, seed uint64) packersdk.PostProcessor {
	return encryptedami.Through(client, seed)
}

// test runs a test in a World of its own.
func test(t *testing.T, setup fixture.Setup, check func(w *fixture.World)) {
	t.Helper()
	setup.PostProcessor = newPostProcessor
	verdict(t, fixture.Failures(t, setup, check))
}

// testEach runs a test in a World for each of the cases. It is one test: a fault may show in any of them.
func testEach[C any](t *testing.T, setup fixture.Setup, cases []C, check func(w *fixture.World, c C)) {
	t.Helper()
	setup.PostProcessor = newPostProcessor
	var failures []string
	for _, c := range cases {
		for _, failure := range fixture.Failures(t, setup, func(w *fixture.World) { check(w, c) }) {
			failures = append(failures, fmt.Sprintf("%v: %s", c, failure))
		}
	}
	verdict(t, failures)
}

func verdict(t *testing.T, failures []string) {
	t.Helper()
	for _, failure := range failures {
		t.Error(failure)
	}
}
