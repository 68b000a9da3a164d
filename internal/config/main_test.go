// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
)

// now is the time at which the tests check templates: dates in them stay in the future.
var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	config.SetClock(now)
	os.Exit(m.Run())
}
