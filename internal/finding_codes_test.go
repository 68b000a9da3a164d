// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sources calls a function with each Go file of the plugin that is no test.
func sources(t *testing.T, visit func(path string, file *ast.File, set *token.FileSet)) {
	t.Helper()
	for _, root := range []string{".", "../post-processor", "../datasource"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			isSource := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go")
			isTestHelper := strings.Contains(path, "reporttest/") || strings.Contains(path, "testutil/")
			if err != nil || !isSource || isTestHelper {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err == nil {
				visit(path, file, set)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// isFinding reports whether an expression is the type distribution.Finding, or a slice of it.
func isFinding(e ast.Expr) (finding, slice bool) {
	if array, ok := e.(*ast.ArrayType); ok {
		element, _ := isFinding(array.Elt)
		return false, element
	}
	selector, ok := e.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != "Finding" {
		return false, false
	}
	from, ok := selector.X.(*ast.Ident)
	return ok && from.Name == "distribution", false
}

// A finding without a code cannot be looked up, and a program cannot distinguish it from another.
func TestFindings_haveCodes(t *testing.T) {
	findings := 0
	check := func(set *token.FileSet, literal *ast.CompositeLit) {
		if len(literal.Elts) == 0 { // the zero value means that there is no finding
			return
		}
		findings++
		for _, element := range literal.Elts {
			field, ok := element.(*ast.KeyValueExpr)
			if !ok || field.Key.(*ast.Ident).Name != "Code" {
				continue
			}
			if text, ok := field.Value.(*ast.BasicLit); ok {
				t.Errorf("%s: the code %s is not a constant of package distribution", set.Position(literal.Pos()), text.Value)
			}
			return
		}
		t.Errorf("%s: the finding has no code", set.Position(literal.Pos()))
	}
	sources(t, func(_ string, file *ast.File, set *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			finding, slice := isFinding(literal.Type)
			if finding {
				check(set, literal)
			}
			if slice {
				for _, element := range literal.Elts {
					if inner, ok := element.(*ast.CompositeLit); ok && inner.Type == nil {
						check(set, inner)
					}
				}
			}
			return true
		})
	})
	if findings < 50 {
		t.Errorf("got %d findings, want 50 or more", findings)
	}
}

var ruleCode = regexp.MustCompile(`(?m)^\s*(?:code:|const createGrantDenied =)\s*"(\w+)"`)

// addRuleCodes adds the codes of the rules in a file of package diagnose.
func addRuleCodes(t *testing.T, path string, codes map[string]string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range ruleCode.FindAllStringSubmatch(string(text), -1) {
		if codes[found[1]] == "" {
			codes[found[1]] = "a rule"
		}
	}
}

// declaredCode returns the code of a constant such as CodeKeyUnusable or codeParameterExists.
func declaredCode(n *ast.ValueSpec) (code string, ok bool) {
	if !codeName.MatchString(n.Names[0].Name) || len(n.Values) != 1 {
		return "", false
	}
	text, ok := n.Values[0].(*ast.BasicLit)
	if !ok || text.Kind != token.STRING {
		return "", false
	}
	code, err := strconv.Unquote(text.Value)
	return code, err == nil
}

var codeName = regexp.MustCompile(`^[cC]ode[A-Z]`)

// The guide explains each code under a heading, so that a link from a report leads somewhere.
func TestFindings_codesAreDocumented(t *testing.T) {
	guide, err := os.ReadFile("../docs/guides/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]int{} // how often each identifier occurs
	codes := map[string]string{}
	sources(t, func(path string, file *ast.File, _ *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if code, ok := declaredCode(n); ok {
					codes[code] = n.Names[0].Name
				}
			case *ast.Ident:
				named[n.Name]++
			}
			return true
		})
		if filepath.Base(filepath.Dir(path)) == "diagnose" {
			addRuleCodes(t, path, codes)
		}
	})
	if len(codes) < 150 {
		t.Errorf("got %d codes, want 150 or more", len(codes))
	}
	for code, name := range codes {
		if n := strings.Count(string(guide), "\n### "+code+"\n"); n != 1 {
			t.Errorf("docs/guides/errors.md has %d headings for %s, want 1", n, code)
		}
		if name != "a rule" && named[name] < 2 {
			t.Errorf("no finding has the code %s", name)
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(guide), -1) {
		if codes[heading[1]] == "" {
			t.Errorf("docs/guides/errors.md explains %s, which no finding has", heading[1])
		}
	}
}
