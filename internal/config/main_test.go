// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

// now is the time at which the tests check templates, so that their dates stay in the future.
var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// awsConfig has the profiles that templates of the tests name.
const awsConfig = "[profile golden]\n[profile golden-image-target]\n[profile fleet]\n"

func TestMain(m *testing.M) {
	config.SetClock(now)
	awsenv.Clear()
	folder, err := os.MkdirTemp("", "config")
	if err == nil {
		path := filepath.Join(folder, "config")
		_ = os.Setenv("AWS_CONFIG_FILE", path)
		err = os.WriteFile(path, []byte(awsConfig), 0o600)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}
