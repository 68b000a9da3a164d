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
	"slices"
	"strings"
)

//go:embed templates/*.json
var templates embed.FS

// option is a flag, and the example in the templates that its value replaces. Flags have no defaults: a policy with
// the organization or the key of the example would deny every call.
type option struct {
	flag, example, usage string
	format               *regexp.Regexp
	list, optional       bool
}

// unitsExample is the organizational unit in the templates.
const unitsExample = "o-1234567890/r-ab12/ou-ab12-11111111/*"

var (
	account  = regexp.MustCompile(`^\d{12}$`)
	roleName = regexp.MustCompile(`^([\w+=,.@/-]+/)?[\w+=,.@-]{1,64}$`)
	options  = []option{
		{
			flag: "source-keys", list: true,
			example: "arn:aws:kms:ap-northeast-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab",
			usage:   "ARNs of the source keys, one for each Region",
			format:  regexp.MustCompile(`^arn:[\w-]+:kms:[\w-]+:\d{12}:key/[\w-]+$`),
		},
		{
			flag: "organization-paths", list: true, optional: true,
			example: unitsExample,
			usage:   "organizational units whose accounts the policies allow (o-.../r-.../ou-.../*); without it, all accounts",
			format:  regexp.MustCompile(`^o-[a-z0-9]{10,32}/r-[a-z0-9]{4,32}/(ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}/)*\*$`),
		},
		{
			flag: "organization", example: "o-1234567890", usage: "organization whose accounts the policies allow",
			format: regexp.MustCompile(`^o-[a-z0-9]{10,32}$`),
		},
		{flag: "source-account", example: "111111111111", usage: "account of the build", format: account},
		{
			flag: "target-account", example: "999999999999", format: account, optional: true,
			usage: "account of the key that target-key.json is for; without it, that file is not written",
		},
		{
			flag: "build-role", example: "golden-image-build", format: roleName,
			usage: "name, with its path, of the role that runs Packer",
		},
		{
			flag: "target-role", example: "golden-image-target", format: roleName,
			usage: "name, with its path, of the role in the target accounts",
		},
		{
			flag: "target-key", example: "alias/golden-target", format: regexp.MustCompile(`^alias/[\w/-]+$`),
			usage: "alias of the target accounts' own keys",
		},
		{
			flag: "external-id", example: "golden-images", format: regexp.MustCompile(`^[\w+=,.@:/-]+$`),
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
		values[i] = flags.String(o.flag, "", o.usage)
	}
	if err := flags.Parse(args); err != nil { // ExitOnError has ended the program
		return err
	}

	var replacements, examples, missing []string
	for i, o := range options {
		switch {
		case *values[i] != "":
			value, err := o.parse(*values[i])
			if err != nil {
				return err
			}
			replacements = append(replacements, o.example, value)
		case o.optional:
			examples = append(examples, o.example)
		default:
			missing = append(missing, "-"+o.flag)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s", strings.Join(missing, ", "))
	}
	partition := strings.SplitN(*values[0], ":", 3)[1]
	return write(*folder, examples, strings.NewReplacer(append(replacements, "arn:aws:", "arn:"+partition+":")...))
}

// parse returns the value as it replaces the example, with the elements of a list separated by NUL.
func (o option) parse(text string) (string, error) {
	elements := []string{text}
	if o.list {
		elements = strings.Split(text, ",")
	}
	for _, element := range elements {
		if !o.format.MatchString(element) {
			return "", fmt.Errorf("-%s: %q does not have the form of %q", o.flag, element, o.example)
		}
	}
	return strings.Join(elements, "\x00"), nil
}

var (
	// line matches a line of a list with several values.
	line = regexp.MustCompile(`(?m)^( *)"([^"\n]*\x00[^"\n]*)"(,?)$`)
	// units matches the condition that only -organization-paths needs.
	units = regexp.MustCompile(`(?m)^ *"ForAnyValue:StringLike": \{\n *"aws:\w+OrgPaths": \[\n[^]]*\]\n *\},\n`)
)

// write writes the policies, but not those that still have one of the examples.
func write(folder string, examples []string, replacer *strings.Replacer) error {
	files, err := fs.Glob(templates, "templates/*.json")
	err = errors.Join(err, os.MkdirAll(folder, 0o755))
	for _, file := range files {
		content, readErr := templates.ReadFile(file)
		text := string(content)
		if slices.Contains(examples, unitsExample) {
			text = units.ReplaceAllString(text, "")
		}
		hasExample := func(example string) bool { return strings.Contains(text, example) }
		if slices.ContainsFunc(examples, hasExample) {
			continue
		}
		rendered := line.ReplaceAllStringFunc(replacer.Replace(text), func(found string) string {
			parts := line.FindStringSubmatch(found)
			lines := strings.ReplaceAll(parts[2], "\x00", "\",\n"+parts[1]+`"`)
			return parts[1] + `"` + lines + `"` + parts[3]
		})
		path := filepath.Join(folder, filepath.Base(file))
		err = errors.Join(err, readErr, os.WriteFile(path, []byte(rendered), 0o644))
	}
	return err
}
