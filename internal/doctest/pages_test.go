// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the folder of the repository.
const root = "../.."

// pages returns the Markdown files of the repository by their paths, with the partials that they include.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != root && isSkipped(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(path); ext == ".md" || ext == ".mdx" {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found[filepath.ToSlash(relative)] = include(t, read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// isSkipped reports whether a folder has no pages of its own: it has parts of pages, or generated pages.
func isSkipped(folder string) bool {
	if strings.HasPrefix(folder, ".") {
		return folder != ".github"
	}
	return slices.Contains([]string{"testdata", "docs-partials", "bin", "dist"}, folder)
}

// include replaces the lines `@include 'path'` by the partials, as packer-sdc does.
func include(t *testing.T, page string) string {
	t.Helper()
	lines := strings.SplitAfter(page, "\n")
	for i, line := range lines {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "@include '"); ok {
			lines[i] = read(t, filepath.Join(root, "docs-partials", strings.TrimSuffix(name, "'"))) + "\n"
		}
	}
	return strings.Join(lines, "")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
