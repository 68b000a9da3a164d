// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package recovery converts panics to errors. A panic in any goroutine would end the plugin, and Packer would delete
// the image.
package recovery

import (
	"fmt"
	"log"
	"runtime/debug"
)

// Do calls a function and returns its error, or its panic as an error. It logs the stack of a panic.
func Do(call func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			log.Printf("[ERROR] panic: %v\n%s", reason, debug.Stack())
			err = fmt.Errorf("the plugin failed, please report it: %v", reason)
		}
	}()
	return call()
}
