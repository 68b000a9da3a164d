// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Pages for contributors that repeat what is measured.
const (
	architecturePage = "docs/architecture.md"
	contributingPage = "CONTRIBUTING.md"
)

var (
	folderOnPage = regexp.MustCompile("`((?:internal|post-processor|datasource)/[a-z0-9/-]+)`")
	fileOnPage   = regexp.MustCompile("(?m)^\\| `([a-z0-9/_-]+\\.go)`")
)

// pages finds where the pages for contributors differ from the code: folders of the layout, and the files of the worked
// examples.
func pages(c *code) measurement {
	m := measurement{subject: "folders and files that pages list otherwise", limit: maxPageDifferences}

	architecture, err := os.ReadFile(filepath.Join(c.root, architecturePage))
	contributing, otherErr := os.ReadFile(filepath.Join(c.root, contributingPage))
	if err := cmp.Or(err, otherErr); err != nil {
		m.absent = err.Error()
		return m
	}

	m.where = slices.Concat(
		checkFolderList(c, string(architecture)),
		checkFileTable(c, string(contributing), "#### A target option", targetOption),
		checkFileTable(c, string(contributing), "#### A publish target", publishTarget),
	)
	m.value = len(m.where)
	return m
}

// checkFolderList returns a problem for each package that the page does not list, and for each listed folder that does
// not exist. A listed folder covers those below it.
func checkFolderList(c *code, page string) []string {
	var found, listed []string
	for _, match := range folderOnPage.FindAllStringSubmatch(page, -1) {
		listed = append(listed, match[1])
		if _, err := os.Stat(filepath.Join(c.root, match[1])); err != nil {
			found = append(found, architecturePage+" lists "+match[1]+", which does not exist")
		}
	}

	for _, p := range c.packages {
		isListed := func(folder string) bool { return p.folder == folder || strings.HasPrefix(p.folder, folder+"/") }
		if strings.Contains(p.folder, "/") && !strings.HasPrefix(p.folder, "tools/") &&
			!slices.ContainsFunc(listed, isListed) {
			found = append(found, architecturePage+" does not list "+p.folder)
		}
	}

	return found
}

// checkFileTable compares the table of files in a section of the page with the files that name a representative option.
// It returns a problem for each file that is missing in the table, and for each listed file that does not name it.
func checkFileTable(c *code, page, heading string, r representative) []string {
	_, section, _ := strings.Cut(page, heading+"\n")
	section, _, _ = strings.Cut(section, "\n#")

	var found, listed []string
	for _, match := range fileOnPage.FindAllStringSubmatch(section, -1) {
		listed = append(listed, match[1])
	}

	files := filesOf(c, r, "", 0).where
	for _, file := range files {
		if !slices.Contains(listed, file) {
			found = append(found, contributingPage+" does not list "+file+" under "+heading)
		}
	}
	for _, file := range listed {
		if !slices.Contains(files, file) {
			found = append(found, contributingPage+" lists "+file+" under "+heading+", which does not name "+r.option)
		}
	}

	return found
}
