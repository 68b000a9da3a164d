// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sample is a block of HCL in a page, or a template of an example.
type sample struct{ name, text string } // name: page and line, or folder

var fenced = regexp.MustCompile("(?ms)^```hcl\n(.*?)^```")

// samples are those of all pages of the repository, and the examples.
func samples(t *testing.T) (all []sample) {
	t.Helper()
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() {
			if strings.HasPrefix(name, ".") && path != root || name == "testdata" {
				return fs.SkipDir
			}
			return nil
		} else if ext := filepath.Ext(name); ext != ".md" && ext != ".mdx" && ext != ".hcl" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(page, "example") && strings.HasSuffix(page, ".pkr.hcl") {
			all = append(all, sample{strings.ReplaceAll(filepath.Dir(page), string(filepath.Separator), "-"), string(text)})
			return nil
		}
		for _, at := range fenced.FindAllSubmatchIndex(text, -1) {
			line := strings.Count(string(text[:at[0]]), "\n") + 2
			name := fmt.Sprintf("%s-line-%d", strings.ReplaceAll(strings.TrimSuffix(page, filepath.Ext(page)), string(filepath.Separator), "-"), line)
			all = append(all, sample{name, string(text[at[2]:at[3]])})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// variables are those that samples name without declaring them.
var variables = map[string]string{
	"account_ids": `["999999999999"]`,
	"accounts":    `{ prod = "999999999999" }`,
	"external_id": `"golden-images"`,
	"plan_only":   `false`,
	"source_amis": `{}`,
}

var (
	opening  = regexp.MustCompile(`(?m)^([a-z][\w-]*)[^=\n]*\{`) // a block of the top level
	named    = regexp.MustCompile(`\bvar\.(\w+)`)
	declared = regexp.MustCompile(`(?m)^variable "(\w+)"`)
)

// kinds are the blocks that a sample has at its top level.
func (s sample) kinds() map[string]bool {
	found := map[string]bool{}
	for _, match := range opening.FindAllStringSubmatch(s.text, -1) {
		found[match[1]] = true
	}
	return found
}

// whole reports whether the sample stands at the top level of a template.
func (s sample) whole() bool {
	kinds := s.kinds()
	return kinds["packer"] || kinds["build"] || kinds["source"] || kinds["data"] || kinds["locals"] || kinds["variable"]
}

// required is what templates begin with.
var required, _, _ = strings.Cut(template("", ""), "source \"amazon")

const golden = `
source "amazon-ebs" "golden" {
  region        = "ap-northeast-1"
  instance_type = "t3.micro"
  ami_name      = "golden"
  communicator  = "none"
  source_ami    = "ami-0123456789abcdef0"
}
`

const existingImage = `
source "null" "image" {
  communicator = "none"
}
`

// completed is a sample with what it names and does not have.
func (s sample) completed() string {
	text := s.text
	if !s.kinds()["packer"] {
		text = required + text
	}
	if !s.kinds()["build"] {
		text += "\nbuild {\n  sources = [\"source.amazon-ebs.golden\"]\n}\n"
	}
	if strings.Contains(text, "source.amazon-ebs.golden") && !strings.Contains(text, `source "amazon-ebs" "golden"`) {
		text += golden
	}
	return text + missing(text)
}

// missing declares the variables that a text names and does not declare.
func missing(text string) (declarations string) {
	names := map[string]bool{}
	for _, match := range named.FindAllStringSubmatch(text, -1) {
		names[match[1]] = true
	}
	for _, match := range declared.FindAllStringSubmatch(text, -1) {
		delete(names, match[1])
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		declarations += fmt.Sprintf("\nvariable %q {\n  default = %s\n}\n", name, variables[name])
	}
	return declarations
}

// builds wraps a part of a template into a build of its own.
func (s sample) builds(t *testing.T) string {
	body := s.text
	kinds := s.kinds()
	switch {
	case kinds["post-processor"], kinds["post-processors"]:
	case kinds["target"], kinds["share"]:
		body = "post-processor \"encrypted-ami-share\" {\nregion = \"ap-northeast-1\"\nkms_key_id = \"alias/golden-source\"\n" + body + "}\n"
	default:
		t.Fatalf("%s: no rule says where %v belong", s.name, slices.Sorted(maps.Keys(kinds)))
	}
	from := "amazon-ebs.golden"
	if strings.Contains(body, "source_amis") {
		from = "null.image"
	}
	return fmt.Sprintf("build {\nname = %q\nsources = [\"source.%s\"]\n%s}\n", s.name, from, body)
}

// Parts of templates are builds of one template, because a packer takes a second to start.
func TestEveryTemplateOfDocumentationAndExamplesIsFormattedAndValid(t *testing.T) {
	h := newHost(t, template("", ""))
	raw, parts := t.TempDir(), required+golden+existingImage
	folders := map[string]string{}
	for _, s := range samples(t) {
		if err := os.WriteFile(filepath.Join(raw, s.name+".pkr.hcl"), []byte(s.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s.whole() {
			folders[s.name] = s.completed()
		} else {
			parts += s.builds(t)
		}
	}
	folders["parts"] = parts + missing(parts)
	if len(folders) < 5 {
		t.Errorf("only %d templates", len(folders))
	}
	h.packer(t, 0, "fmt", "-check", "-diff", raw)
	for name, text := range folders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name+".pkr.hcl")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			arguments := []string{"validate"}
			if strings.Contains(text, "variable \"external_id\" {\n  type") {
				arguments = append(arguments, "-var", "external_id=golden-images")
			}
			h.packer(t, 0, append(arguments, path)...)
		})
	}
}
