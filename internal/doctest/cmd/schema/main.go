// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command schema writes the JSON Schema of the manifest: schema FILE.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/doctest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("usage: schema FILE")
	}
	schema, err := doctest.ManifestSchema()
	if err != nil {
		return err
	}
	return os.WriteFile(arguments[0], schema, 0o644)
}
