// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command policies writes the IAM and key policies that the plugin needs, for given accounts, roles and keys.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/permissions"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes the policies, and warns about those that exceed a quota of AWS.
func run(args []string, warn io.Writer) error {
	flags := flag.NewFlagSet("policies", flag.ExitOnError)
	s := permissions.Example()
	s.Users = nil // other accounts may launch only if they are named
	folder := flags.String("out", "docs/policies", "folder to write the policies to")
	templates := flags.String("templates", "", "folder to write the CloudFormation templates to")
	flags.StringVar(&s.SourceAccount, "source-account", s.SourceAccount, "account of the build")
	flags.StringVar(&s.BuildRole, "build-role", s.BuildRole, "name, with its path, of the role that runs Packer")
	list(flags, &s.SourceKeyARNs, "source-keys", "ARNs of the source keys, one for each Region")
	list(flags, &s.Targets, "target-accounts", "accounts that get their own copies")
	flags.StringVar(&s.TargetRole, "target-role", s.TargetRole, "name, with its path, of the role in the target accounts")
	flags.StringVar(&s.TargetAlias, "target-key", s.TargetAlias, "alias of the target accounts' own keys")
	list(flags, &s.Users, "users", "accounts of ami_users and share blocks; without them no policy allows other "+
		"accounts to launch")
	flags.StringVar(&s.Parameter, "parameter", s.Parameter, "name of the SSM parameter that names the AMIs; an "+
		"encrypted one ends with \"-secret\"")
	flags.Func("options", fmt.Sprintf("options of the template that need additional permissions (default %q; only if "+
		"named: %q)", permissions.Options, permissions.OnRequest), func(text string) error {
		s.Options = strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
		return nil
	})
	flags.StringVar(&s.ExternalID, "external-id", s.ExternalID, "external ID that the target role requires; empty for "+
		"none")
	flags.StringVar(&s.Organization, "organization", s.Organization, "organization (o-...) whose accounts the policies "+
		"allow, instead of a list of accounts")
	list(flags, &s.Paths, "organization-paths", "organizational units of it whose accounts the policies allow "+
		"(o-.../r-.../ou-.../*)")
	split := flags.Bool("split", false, "write a policy that is too large for a managed policy as several: "+
		"build-role-1.json, build-role-2.json, ...")
	if err := flags.Parse(args); err != nil { // ExitOnError has ended the program
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	policies, files := s.Policies(), map[string][]byte{}
	for name, policy := range policies {
		maps.Copy(files, texts(name, policy, *split))
	}
	for _, text := range s.TooLarge(policies) {
		fmt.Fprintln(warn, text)
	}
	if *templates == "" {
		return write(*folder, files)
	}
	return errors.Join(write(*folder, files), write(*templates, permissions.Templates()))
}

// texts returns the text of a policy by the name of its file, or those of its parts.
func texts(name string, policy permissions.Document, split bool) map[string][]byte {
	isIdentityPolicy := strings.HasSuffix(name, "role.json")
	if parts := policy.Split(); split && isIdentityPolicy && len(parts) > 1 {
		files := map[string][]byte{}
		for i, part := range parts {
			files[fmt.Sprintf("%s-%d.json", strings.TrimSuffix(name, ".json"), i+1)] = part.Text()
		}
		return files
	}
	return map[string][]byte{name: policy.Text()}
}

func write(folder string, files map[string][]byte) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// list defines a flag with several values, separated by commas.
func list(flags *flag.FlagSet, values *[]string, name, usage string) {
	if len(*values) > 0 {
		usage += " (default " + strings.Join(*values, ",") + ")"
	}
	flags.Func(name, usage, func(text string) error {
		*values = strings.Split(text, ",")
		return nil
	})
}
