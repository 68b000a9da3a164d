// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pkg is a package of this module with its types, without tests.
type pkg struct {
	folder string // in the repository
	files  []*ast.File
	info   *types.Info
	types  *types.Package
}

// code is what the measurements read.
type code struct {
	module   string
	packages []*pkg // in the order of go list
	linked   map[string]bool
	fset     *token.FileSet
	root     string
}

// listed is the output of go list for a package.
type listed struct {
	ImportPath string
	Dir        string
	Export     string
	GoFiles    []string
	Module     *struct{ Path, Dir string }
}

// load reads the packages of the module in the current folder. The types of dependencies come from the build cache.
func load() (*code, error) {
	all, err := list("-deps", "-export", "./...")
	if err != nil {
		return nil, err
	}
	plugin, err := list("-deps", ".")
	if err != nil {
		return nil, err
	}

	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	c := &code{fset: token.NewFileSet(), root: root, linked: map[string]bool{}}

	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Dir == root {
			c.module = p.Module.Path
		}
	}
	for _, p := range plugin {
		c.linked[c.folder(p.ImportPath)] = true
	}

	imported := importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	})

	for _, p := range all {
		if p.Module == nil || p.Module.Dir != root || len(p.GoFiles) == 0 {
			continue
		}
		sources := map[string]any{}
		for _, name := range p.GoFiles {
			sources[filepath.Join(p.Dir, name)] = nil
		}
		if err := c.add(p.ImportPath, sources, imported); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// list runs go list with the arguments.
func list(args ...string) ([]listed, error) {
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Export,GoFiles,Module"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}

	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, err
		}
		packages = append(packages, p)
	}
}

// add parses and checks a package. The source of a file is nil if it is on disk.
func (c *code) add(path string, sources map[string]any, imported types.Importer) error {
	p := &pkg{
		folder: c.folder(path),
		info: &types.Info{
			Types:     map[ast.Expr]types.TypeAndValue{},
			Defs:      map[*ast.Ident]types.Object{},
			Uses:      map[*ast.Ident]types.Object{},
			Instances: map[*ast.Ident]types.Instance{},
		},
	}

	for name, source := range sources {
		file, err := parser.ParseFile(c.fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p.files = append(p.files, file)
	}

	config := types.Config{Importer: imported}
	checked, err := config.Check(path, c.fset, p.files, p.info)
	if err != nil {
		return err
	}
	p.types = checked
	c.packages = append(c.packages, p)
	return nil
}

// folder returns the folder of a package of this module, "." for the top one. Empty for other modules.
func (c *code) folder(importPath string) string {
	if importPath == c.module {
		return "."
	}
	folder, ours := strings.CutPrefix(importPath, c.module+"/")
	if !ours {
		return ""
	}
	return folder
}

// in returns the package in a folder. Nil if there is none.
func (c *code) in(folder string) *pkg {
	for _, p := range c.packages {
		if p.folder == folder {
			return p
		}
	}
	return nil
}

// at returns a position as file and line, relative to the top folder.
func (c *code) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", c.file(pos), c.fset.Position(pos).Line)
}

// file returns the name of a position's file, relative to the top folder.
func (c *code) file(pos token.Pos) string {
	name := c.fset.Position(pos).Filename
	if relative, err := filepath.Rel(c.root, name); err == nil {
		return filepath.ToSlash(relative)
	}
	return name
}

// inspect calls visit for every node of every file of a package.
func (p *pkg) inspect(visit func(ast.Node)) {
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				visit(n)
			}
			return true
		})
	}
}

// isNamed reports whether a type, or the type that it points to, has one of the names and is declared in the folder.
func (c *code) isNamed(t types.Type, folder string, names ...string) bool {
	name, declared := c.name(t)
	if declared != folder {
		return false
	}
	for _, candidate := range names {
		if name == candidate {
			return true
		}
	}
	return false
}

// name returns the name of a type of this module, or of the type that it points to, and the folder that declares it.
func (c *code) name(t types.Type) (name, folder string) {
	if pointer, ok := types.Unalias(t).(*types.Pointer); ok {
		t = pointer.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return "", ""
	}
	return named.Obj().Name(), c.folder(named.Obj().Pkg().Path())
}
