// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go run . -licenses ../../docs/licenses.md

// Command bill says what the plugin is made of: -licenses writes the licences of its modules as Markdown, -sbom writes the modules of a
// built plugin as a bill of materials (CycloneDX 1.6).
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	licenses := flag.String("licenses", "", "file to write the licences to")
	sbom := flag.String("sbom", "", "file to write the bill of materials of the binary that is the argument to")
	flag.Parse()
	var err error
	switch {
	case *licenses != "" && flag.NArg() == 0:
		err = writeLicenses(*licenses)
	case *sbom != "" && flag.NArg() == 1:
		err = writeBill(*sbom, flag.Arg(0))
	default:
		err = errors.New("usage: bill -licenses FILE | bill -sbom FILE BINARY")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// module that the plugin is built from.
type module struct{ path, version, folder string }

const plugin = "github.com/encrypted-ami/packer-plugin-encrypted-ami"

// systems are those that releases are for: some modules are for one of them only.
var systems = []string{"linux", "darwin", "windows", "freebsd"}

func writeLicenses(path string) error {
	modules := map[string]module{}
	for _, system := range systems {
		list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}", plugin)
		list.Env = append(os.Environ(), "GOOS="+system)
		list.Stderr = os.Stderr
		text, err := list.Output()
		if err != nil {
			return fmt.Errorf("go list for %s: %w", system, err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 3 {
				modules[fields[0]] = module{fields[0], fields[1], fields[2]}
			}
		}
	}
	var out bytes.Buffer
	out.WriteString("# Licences of the modules in the plugin\n\nWritten by `make generate`. The plugin itself is under the [MPL-2.0](../LICENSE).\n\n| Module | Version | Licence |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		found, err := license(m.folder)
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", m.path, m.version, found)
	}
	return os.WriteFile(path, out.Bytes(), 0o666)
}

// known are words of each licence that no other has.
var known = []struct {
	name  string
	words *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`(?i)apache license,?\s+version 2\.0`)},
	{"BSD-2-Clause", regexp.MustCompile(`(?i)redistribution and use in source and binary forms`)},
	{"BSD-3-Clause", regexp.MustCompile(`(?i)neither the names? `)},
	{"ISC", regexp.MustCompile(`(?i)permission to use, copy, modify, and(/or)? distribute`)},
	{"MIT", regexp.MustCompile(`(?i)permission is hereby granted, free of charge`)},
	{"MPL-2.0", regexp.MustCompile(`(?i)mozilla public license,?\s+(version|v\.)\s*2\.0`)},
}

// license names the licences of a module by their words. One that it does not know is an error: somebody has to look.
func license(folder string) (string, error) {
	var files []string
	for _, pattern := range []string{"LICENSE*", "LICENCE*", "License*", "COPYING*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		plain := strings.Join(strings.Fields(string(text)), " ")
		for _, l := range known {
			if l.words.MatchString(plain) && !slices.Contains(names, l.name) {
				names = append(names, l.name)
			}
		}
	}
	if slices.Contains(names, "BSD-3-Clause") {
		names = slices.DeleteFunc(names, func(name string) bool { return name == "BSD-2-Clause" })
	}
	if len(names) == 0 {
		return "", fmt.Errorf("no licence that is known among %q", files)
	}
	return strings.Join(names, ", "), nil
}

type bill struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// writeBill writes what Go has put into a binary about its modules.
func writeBill(path, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	b := bill{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{component{Type: "application", Name: filepath.Base(binary), Version: info.Main.Version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}}}
	b.Components = append(b.Components, component{Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Components = append(b.Components, component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version,
			Properties: []property{{"go.sum", m.Sum}}})
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}
