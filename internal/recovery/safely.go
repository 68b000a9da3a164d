// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package safely makes errors of panics: one in any goroutine would end the plugin, and Packer would destroy the image.
package recovery

import (
	"fmt"
	"log"
	"runtime/debug"
)

// Do calls a function. The error is the function's, or its panic; the log has where that was.
func Do(act func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			log.Printf("[ERROR] panic: %v\n%s", reason, debug.Stack())
			err = fmt.Errorf("the plugin failed, please report it: %v", reason)
		}
	}()
	return act()
}
