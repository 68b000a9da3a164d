// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import "time"

// SetClock sets the time at which templates are checked.
func SetClock(now time.Time) { clock = func() time.Time { return now } }
