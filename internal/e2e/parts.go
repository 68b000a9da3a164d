// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Parts are the programs of an end-to-end run, as absolute paths. The Makefile builds them.
type Parts struct {
	Packer       string // E2E_PACKER
	AmazonPlugin string // E2E_AMAZON_PLUGIN
	Plugin       string // E2E_PLUGIN
	Awssim       string // E2E_AWSSIM
}

// ErrUnset reports that the environment names no path for a part.
var ErrUnset = errors.New("is not set: make test and make demo build all parts and name them")

// FindParts reads the paths from the environment variables that the fields of Parts name. The error names the first
// variable that is not set (ErrUnset) or whose file does not exist.
func FindParts() (Parts, error) {
	var p Parts
	for _, part := range []struct {
		name string
		path *string
	}{
		{"E2E_PACKER", &p.Packer},
		{"E2E_AMAZON_PLUGIN", &p.AmazonPlugin},
		{"E2E_PLUGIN", &p.Plugin},
		{"E2E_AWSSIM", &p.Awssim},
	} {
		*part.path = os.Getenv(part.name)
		if *part.path == "" {
			return Parts{}, fmt.Errorf("%s %w", part.name, ErrUnset)
		}
		if _, err := os.Stat(*part.path); err != nil {
			return Parts{}, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return p, nil
}

// Install installs both plugins into a folder with packer. It creates the folder.
func (p Parts) Install(ctx context.Context, plugins string) error {
	for _, plugin := range []struct{ path, source string }{
		{p.AmazonPlugin, "github.com/hashicorp/amazon"},
		{p.Plugin, "github.com/encrypted-ami/encrypted-ami"},
	} {
		command := exec.CommandContext(ctx, p.Packer, "plugins", "install", "--path", plugin.path, plugin.source)
		command.Env = environment(filepath.Dir(plugins), plugins)
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("packer plugins install %s: %w\n%s", plugin.source, err, output)
		}
	}
	return nil
}

// Host is a machine that builds images: a user's credentials, a folder with a template, installed plugins and a
// simulated AWS.
type Host struct {
	Parts
	World   *World
	User    AccessKey // who runs packer
	Folder  string    // where packer runs and what it writes
	Plugins string    // a folder that Install filled
	Env     []string  // more variables, "NAME=value"
}

// Command returns a packer command in the host's folder. When ctx ends, packer and its plugins get SIGTERM.
func (h Host) Command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, h.Packer, arguments...)
	command.Dir = h.Folder
	command.Env = append(environment(h.Folder, h.Plugins),
		"AWS_ENDPOINT_URL="+h.World.Endpoint,
		"AWS_ACCESS_KEY_ID="+h.User.ID,
		"AWS_SECRET_ACCESS_KEY="+h.User.Secret,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_POLL_DELAY_SECONDS=1", // of the amazon builder's waiters
	)
	command.Env = append(command.Env, h.Env...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = time.Minute
	return command
}

// Run runs a packer command. output is stdout and stderr in the order in which they came. code is the exit code, or -1
// if a signal ended packer. The error is set if packer could not be started.
func (h Host) Run(ctx context.Context, arguments ...string) (output string, code int, err error) {
	var both bytes.Buffer
	command := h.Command(ctx, arguments...)
	command.Stdout, command.Stderr = &both, &both
	err = command.Run()
	if command.ProcessState == nil {
		return both.String(), -1, err
	}
	return both.String(), command.ProcessState.ExitCode(), nil
}

// environment returns the environment variables for packer, without the user's own settings, credentials and plugins.
func environment(home, plugins string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"TMPDIR=" + os.TempDir(),
		"PACKER_CONFIG_DIR=" + home,
		"PACKER_PLUGIN_PATH=" + plugins,
		"PACKER_NO_COLOR=1",
		"CHECKPOINT_DISABLE=1",
	}
}
