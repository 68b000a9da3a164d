// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// workflows returns the workflows of the repository by path.
func workflows(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, path := range must(filepath.Glob(root + "/.github/workflows/*"))(t) {
		found[filepath.ToSlash(must(filepath.Rel(root, path))(t))] = read(t, path)
	}
	if len(found) == 0 {
		t.Fatal("there is no workflow")
	}
	return found
}

var (
	uses   = regexp.MustCompile(`(?m)^[ -]*uses: *(.*)$`)
	pinned = regexp.MustCompile(`^[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
)

// A tag can be moved to other code, but a commit cannot. An action that a step checks out has its commit in that step.
func TestWorkflows_actionsPinnedByCommit(t *testing.T) {
	actions := 0
	for path, text := range workflows(t) {
		for _, step := range uses.FindAllStringSubmatch(text, -1) {
			actions++
			if !strings.HasPrefix(step[1], "./") && !pinned.MatchString(step[1]) {
				t.Errorf("%s: %s", path, step[1])
			}
		}
	}
	if actions < 5 {
		t.Errorf("%d actions were looked at", actions)
	}
}

var (
	targets = regexp.MustCompile(`(?m)^([a-z-]+):.*## `)
	comment = regexp.MustCompile(`(?m)^ *#.*$`)
	madeBy  = regexp.MustCompile(`\bmake((?: [a-z][a-z-]*)+)`)
	inTurn  = regexp.MustCompile(`(?m)^targets="(.*)"$`)
)

func TestWorkflows_makeTargetsExist(t *testing.T) {
	exist := map[string]bool{}
	for _, found := range targets.FindAllStringSubmatch(read(t, root+"/GNUmakefile"), -1) {
		exist[found[1]] = true
	}
	named := workflows(t)
	named[".goreleaser.yml"], named[".ci/run"] = read(
		t,
		root+"/.goreleaser.yml",
	), inTurn.ReplaceAllString(
		read(t, root+"/.ci/run"),
		"make $1",
	)
	for path, text := range named {
		named[path] = comment.ReplaceAllString(text, "")
	}
	for path, text := range pages(t) {
		named[path] = commandsOf(text)
	}
	missed := maps.Clone(exist)
	for path, text := range named {
		for _, line := range madeBy.FindAllStringSubmatch(text, -1) {
			for name := range strings.FieldsSeq(line[1]) {
				delete(missed, name)
				if !exist[name] {
					t.Errorf("%s: make %s: there is no such target", path, name)
				}
			}
		}
	}
	if len(missed) > len(exist)/2 {
		t.Errorf("only the targets but these were found: %v", missed)
	}
}

// commandsOf returns the code of a page, in blocks and in sentences, without comments.
func commandsOf(page string) string {
	var code []string
	parsed := parseMarkdown(page)
	for _, block := range parsed.codeBlocks() {
		for line := range strings.Lines(block.Text) {
			command, _, _ := strings.Cut(line, " #")
			code = append(code, command)
		}
	}
	return strings.Join(append(code, parsed.codeSpans()...), "\n")
}

func TestRelease_everyVariable(t *testing.T) {
	asked := regexp.MustCompile(`\.Env\.(\w+)`).FindAllStringSubmatch(read(t, root+"/.goreleaser.yml"), -1)
	if len(asked) == 0 {
		t.Fatal("nothing is asked for")
	}
	makefile := read(t, root+"/GNUmakefile")
	_, check, _ := strings.Cut(makefile, "\nrelease-check:")
	check, _, _ = strings.Cut(check, "\n\n")
	_, release, _ := strings.Cut(makefile, "\nrelease:")
	release, _, _ = strings.Cut(release, "\n\n")
	release += read(t, root+"/.github/workflows/release.yml")
	for name, text := range map[string]string{"release-check": check, "release": release} {
		for _, variable := range asked {
			if of := variable[1]; of != "HOME" && of != "PATH" && !regexp.MustCompile(`\b`+of+`[=:]`).MatchString(text) {
				t.Errorf("make %s is not given %s", name, of)
			}
		}
	}
}

var (
	tool     = regexp.MustCompile(`(?m)^(?:tool |\t)([^\s(]+)(?: // .*)?$`)
	required = regexp.MustCompile(`(?m)^(?:require |\t)(\S+) v`)
)

// Go lists a tool's own module as indirect, and Dependabot updates indirect modules only if they are named.
func TestDependabot_everyTool(t *testing.T) {
	config := read(t, root+"/.github/dependabot.yml")
	if !strings.Contains(config, `directories: ["/tools/*"]`) {
		t.Error("Dependabot does not look at tools/")
	}
	for _, path := range must(filepath.Glob(root + "/tools/*/go.mod"))(t) {
		text, found := read(t, path), 0
		for _, name := range tool.FindAllStringSubmatch(text, -1) {
			for _, module := range required.FindAllStringSubmatch(text, -1) {
				if !strings.HasPrefix(name[1]+"/", module[1]+"/") {
					continue
				}
				found++
				if !strings.Contains(config, "{dependency-name: "+module[1]+", dependency-type: all}") {
					t.Errorf("%s: Dependabot leaves %s alone", path, module[1])
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: there is no tool", path)
		}
	}
}
