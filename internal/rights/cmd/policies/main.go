// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command policies writes the IAM and key policies that the plugin takes, for given accounts, roles and keys.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/rights"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	s := rights.Example()
	folder := flag.String("out", "docs/policies", "folder to write the policies to")
	flag.StringVar(&s.SourceAccount, "source-account", s.SourceAccount, "account of the build")
	flag.StringVar(&s.BuildRole, "build-role", s.BuildRole, "name, with its path, of the role that runs Packer")
	list(&s.SourceKeyARNs, "source-keys", "ARNs of the keys of what is shared, one for each Region")
	list(&s.Targets, "target-accounts", "accounts that shall own copies")
	flag.StringVar(&s.TargetRole, "target-role", s.TargetRole, "name, with its path, of the role in the target accounts")
	flag.StringVar(&s.TargetAlias, "target-key", s.TargetAlias, "alias of the target accounts' own keys")
	flag.StringVar(&s.ExternalID, "external-id", s.ExternalID, "external id that the target role demands; empty for none")
	flag.StringVar(&s.Organization, "organization", s.Organization, "organization whose accounts are all admitted, o-...")
	flag.Parse()
	if err := s.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		return err
	}
	for name, policy := range s.Policies() {
		if err := os.WriteFile(filepath.Join(*folder, name), policy.Text(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// list is a flag of several values, with commas between them.
func list(values *[]string, name, usage string) {
	flag.Func(name, usage+" (default "+strings.Join(*values, ",")+")", func(text string) error {
		*values = strings.Split(text, ",")
		return nil
	})
}
