// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command errors writes the guide to AWS's messages: errors FINDINGS GUIDE.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/doctest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "errors:", err)
		os.Exit(1)
	}
}

func run(paths []string) error {
	if len(paths) != 2 {
		return errors.New("give the findings and the guide")
	}
	findings, err := os.ReadFile(paths[0])
	if err != nil {
		return err
	}
	guide, err := doctest.Errors(string(findings))
	if err != nil {
		return err
	}
	return os.WriteFile(paths[1], []byte(guide), 0o644)
}
