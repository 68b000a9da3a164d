// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command policies renders the policies for an organization from templates that `make generate` writes. It compiles in
// seconds, because it needs only the standard library.
package main

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed templates/*.json
var templates embed.FS

// option is a flag, and the value that it replaces in the templates.
type option struct {
	flag, value, usage string
	format             *regexp.Regexp
	list               bool
}

var (
	account  = regexp.MustCompile(`^\d{12}$`)
	roleName = regexp.MustCompile(`^([\w+=,.@/-]+/)?[\w+=,.@-]{1,64}$`)
	options  = []option{
		{
			flag: "source-keys", list: true,
			value:  "arn:aws:kms:ap-northeast-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab",
			usage:  "ARNs of the source keys, one for each Region",
			format: regexp.MustCompile(`^arn:[\w-]+:kms:[\w-]+:\d{12}:key/[\w-]+$`),
		},
		{
			flag: "organization-paths", list: true,
			value:  "o-1234567890/r-ab12/ou-ab12-11111111/*",
			usage:  "organizational units whose accounts the policies allow (o-.../r-.../ou-.../*)",
			format: regexp.MustCompile(`^o-[a-z0-9]{10,32}/r-[a-z0-9]{4,32}/(ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}/)*\*$`),
		},
		{
			flag: "organization", value: "o-1234567890", usage: "organization whose accounts the policies allow",
			format: regexp.MustCompile(`^o-[a-z0-9]{10,32}$`),
		},
		{flag: "source-account", value: "111111111111", usage: "account of the build", format: account},
		{
			flag: "target-account", value: "999999999999", format: account,
			usage: "account of the key that target-key.json is for",
		},
		{
			flag: "build-role", value: "golden-image-build", format: roleName,
			usage: "name, with its path, of the role that runs Packer",
		},
		{
			flag: "target-role", value: "golden-image-target", format: roleName,
			usage: "name, with its path, of the role in the target accounts",
		},
		{
			flag: "target-key", value: "alias/golden-target", format: regexp.MustCompile(`^alias/[\w/-]+$`),
			usage: "alias of the target accounts' own keys",
		},
		{
			flag: "external-id", value: "golden-images", format: regexp.MustCompile(`^[\w+=,.@:/-]+$`),
			usage: "external ID that the target role requires",
		},
	}
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("policies", flag.ExitOnError)
	folder := flags.String("out", "my-policies", "folder to write the policies to")
	values := make([]*string, len(options))
	for i, o := range options {
		values[i] = flags.String(o.flag, o.value, o.usage)
	}
	if err := flags.Parse(args); err != nil { // ExitOnError has ended the program
		return err
	}

	var replacements []string
	for i, o := range options {
		elements := []string{*values[i]}
		if o.list {
			elements = strings.Split(*values[i], ",")
		}
		for _, element := range elements {
			if !o.format.MatchString(element) {
				return fmt.Errorf("-%s: %q does not have the form of %q", o.flag, element, o.value)
			}
		}
		replacements = append(replacements, o.value, strings.Join(elements, "\x00"))
	}
	partition := strings.SplitN(*values[0], ":", 3)[1]
	return write(*folder, strings.NewReplacer(append(replacements, "arn:aws:", "arn:"+partition+":")...))
}

// line matches a line of a list with several values.
var line = regexp.MustCompile(`(?m)^( *)"([^"\n]*\x00[^"\n]*)"(,?)$`)

func write(folder string, replacer *strings.Replacer) error {
	files, err := fs.Glob(templates, "templates/*.json")
	err = errors.Join(err, os.MkdirAll(folder, 0o755))
	for _, file := range files {
		text, readErr := templates.ReadFile(file)
		rendered := line.ReplaceAllStringFunc(replacer.Replace(string(text)), func(found string) string {
			parts := line.FindStringSubmatch(found)
			lines := strings.ReplaceAll(parts[2], "\x00", "\",\n"+parts[1]+`"`)
			return parts[1] + `"` + lines + `"` + parts[3]
		})
		path := filepath.Join(folder, filepath.Base(file))
		err = errors.Join(err, readErr, os.WriteFile(path, []byte(rendered), 0o644))
	}
	return err
}
