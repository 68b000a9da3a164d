// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command words reports words of tools/words.txt in the text files that git knows.
// It looks at prose, at identifiers and at the names of files.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

const (
	wordFile      = "tools/words.txt"
	exceptionFile = "tools/words-exceptions.txt"
)

func main() {
	count := flag.Bool("count", false, "print the number of findings by folder and by word")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: words [-count] [path ...], in the top folder of the repository")
		flag.PrintDefaults()
	}
	flag.Parse()

	if err := run(os.Stdout, flag.Args(), *count); err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
}

// run prints the findings below the paths, or below the current folder. It fails if there are any.
func run(out io.Writer, paths []string, count bool) error {
	banned, exceptions, err := readLists(wordFile, exceptionFile)
	if err != nil {
		return err
	}

	files, err := trackedFiles(paths)
	if err != nil {
		return err
	}

	var findings []finding
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted in the work tree
		}
		if err != nil {
			return err
		}
		findings = append(findings, check(banned, exceptions, file, string(text))...)
	}

	if count {
		printCounts(out, findings)
	} else {
		for _, f := range findings {
			fmt.Fprintf(out, "%s:%d:%d: %q: %s\n", f.file, f.line, f.column, f.text, f.replacement)
		}
	}

	if len(findings) > 0 {
		return fmt.Errorf("%d findings: use the replacement, see %s", len(findings), wordFile)
	}
	if len(paths) == 0 {
		return unusedExceptions(exceptions)
	}
	return nil
}

// trackedFiles lists the text files that git knows and that are not generated.
func trackedFiles(paths []string) ([]string, error) {
	args := []string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	args = append(
		append(args, paths...),
		":(exclude,attr:linguist-generated)",
		":(exclude)"+wordFile,
		":(exclude)"+exceptionFile,
	)

	listed, err := exec.Command("git", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}

	files := strings.Split(strings.TrimRight(string(listed), "\x00"), "\x00")
	files = slices.DeleteFunc(files, func(file string) bool { return !isText(file) })
	slices.Sort(files)

	return slices.Compact(files), nil
}

// isText reports whether a file contains text of the project: code, prose, templates or scripts.
func isText(file string) bool {
	switch path.Ext(file) {
	case ".go",
		".md",
		".mdx",
		".hcl",
		".tf",
		".yml",
		".yaml",
		".mk",
		".sh",
		".py",
		".tmpl",
		".css",
		".svg",
		".txt",
		".mod":
		return true
	}
	return path.Base(file) == "GNUmakefile" || strings.HasPrefix(file, ".ci/")
}

// finding is a banned word in a file. line is 0 if the name of the file contains it.
type finding struct {
	file              string
	line, column      int
	text, replacement string
}

// check returns the findings in the name and in the text of a file.
func check(banned list, exceptions []*exception, file, text string) []finding {
	var findings []finding

	name := split(path.Base(file))
	for i := range name {
		if found := banned.find(
			name,
			i,
		); found != nil &&
			!isExcepted(exceptions, file, path.Base(file), name[i].start, name[i].end) {
			findings = append(
				findings,
				finding{file: file, text: strings.Join(found.words, " "), replacement: found.replacement},
			)
		}
	}

	words := split(text)
	line, lineStart := 1, 0
	for i := 0; i < len(words); i++ {
		found := banned.find(words, i)
		if found == nil {
			continue
		}

		first, last := words[i], words[i+len(found.words)-1]
		line += strings.Count(text[lineStart:first.start], "\n")
		lineStart += strings.LastIndexByte(text[lineStart:first.start], '\n') + 1
		i += len(found.words) - 1

		content, _, _ := strings.Cut(text[lineStart:], "\n")
		end := min(last.end-lineStart, len(content)) // a phrase may continue on the next line
		if isExcepted(exceptions, file, content, first.start-lineStart, end) {
			continue
		}

		findings = append(findings, finding{
			file:        file,
			line:        line,
			column:      first.start - lineStart + 1,
			text:        strings.Join(found.words, " "),
			replacement: found.replacement,
		})
	}

	return findings
}

// printCounts prints the findings by folder and by word, the most first.
func printCounts(out io.Writer, findings []finding) {
	folders, words := map[string]int{}, map[string]int{}
	for _, f := range findings {
		folders[path.Dir(f.file)]++
		words[f.text]++
	}

	for _, counts := range []map[string]int{folders, words} {
		keys := slices.Collect(maps.Keys(counts))
		slices.SortFunc(keys, func(a, b string) int {
			return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
		})

		for _, key := range keys {
			fmt.Fprintf(out, "%6d  %s\n", counts[key], key)
		}
		fmt.Fprintln(out)
	}
}

// unusedExceptions returns an error that names the exceptions that covered no finding.
func unusedExceptions(exceptions []*exception) error {
	var unused []string
	for _, e := range exceptions {
		if !e.used {
			unused = append(unused, e.file+" | "+e.text)
		}
	}

	if len(unused) > 0 {
		return fmt.Errorf("%s: nothing to except: %s", exceptionFile, strings.Join(unused, "; "))
	}
	return nil
}
