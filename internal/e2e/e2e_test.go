// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

const (
	source = "111111111111"
	target = "999999999999"
	region = "ap-northeast-1"
)

// installed is the folder of the installed plugins, which all tests share. Empty if the programs are not built.
var installed string

func TestMain(m *testing.M) {
	awsenv.Clear()
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait most of the time: the amazon builder looks at images every 15 s
	os.Exit(withPlugins(m.Run))
}

func withPlugins(run func() int) int {
	parts, err := FindParts()
	if errors.Is(err, ErrUnset) {
		return run()
	}
	if err != nil { // a part is named but missing, so the tests must not be skipped
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	folder, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	installed = filepath.Join(folder, "plugins")
	if err := parts.Install(context.Background(), installed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// newHost returns a host for one test, with a template and the world "demo" in its own process. It has the credentials
// of the source account's user "builder".
func newHost(t *testing.T, template string, world ...string) Host {
	t.Helper()
	h := hostOf(t, template)
	var err error
	if h.World, err = h.Parts.StartWorld(append([]string{"-world", "demo", "-speed", "600"}, world...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.World.Stop(); err != nil {
			t.Error(err)
		}
	})
	h.User = must(h.World.AccessKey(t.Context(), source, "builder"))(t)
	return h
}

// newHostInside is like newHost, with the simulated AWS in the process of the test. There a test can act as a
// service-linked role and read the calls.
func newHostInside(t *testing.T, template string) (Host, *awssim.World) {
	t.Helper()
	h := hostOf(t, template)
	const speed = 600
	clock := awssim.StartClock(speed)
	inside := awssim.New(
		awssim.WithClock(clock.Now),
		awssim.WithClientTime(clock.RealTime),
		awssim.WithoutLatency(),
		awssim.WithSlowClients(speed*50*time.Millisecond),
		awssim.WithSeed(1),
	)
	if err := inside.BuildNamed("demo"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(inside)
	t.Cleanup(server.Close)
	h.World = &World{Endpoint: server.URL}
	h.User = must(h.World.AccessKey(t.Context(), source, "builder"))(t)
	return h, inside
}

// hostOf returns a host with a template, without a simulated AWS.
func hostOf(t *testing.T, template string) Host {
	t.Helper()
	t.Parallel()
	parts, err := FindParts()
	if err != nil {
		t.Skip(err)
	}
	h := Host{Parts: parts, Folder: t.TempDir(), Plugins: installed}
	h.writeTemplate(t, template)
	return h
}

func (h Host) writeTemplate(t *testing.T, template string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.Folder, "template.pkr.hcl"), []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
}

// packer runs a packer command that must end with an exit code. It returns the output.
func (h Host) packer(t *testing.T, code int, arguments ...string) string {
	t.Helper()
	output, got, err := h.Run(t.Context(), arguments...)
	if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Fatalf("packer %s: exit code %d, want %d\n%s", strings.Join(arguments, " "), got, code, output)
	}
	return output
}
