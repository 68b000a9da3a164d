// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// function is a function with its size.
type function struct {
	name              string
	at                string
	lines, complexity int
}

// functions lists the functions outside generated files.
func functions(c *code) []function {
	var all []function

	for _, p := range c.packages {
		for _, file := range p.files {
			if ast.IsGenerated(file) {
				continue
			}
			for _, declared := range file.Decls {
				f, ok := declared.(*ast.FuncDecl)
				if !ok || f.Body == nil {
					continue
				}
				all = append(all, function{
					name:       f.Name.Name,
					at:         c.at(f.Pos()),
					lines:      c.fset.Position(f.End()).Line - c.fset.Position(f.Pos()).Line + 1,
					complexity: complexity(f),
				})
			}
		}
	}

	return all
}

// complexity returns the cyclomatic complexity of a function, as gocyclo counts it.
func complexity(f *ast.FuncDecl) int {
	branches := 1

	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			branches++
		case *ast.CaseClause:
			if n.List != nil {
				branches++
			}
		case *ast.CommClause:
			if n.Comm != nil {
				branches++
			}
		case *ast.BinaryExpr:
			if n.Op == token.LAND || n.Op == token.LOR {
				branches++
			}
		}
		return true
	})

	return branches
}

// longestFunction finds the function with the most lines. It has no limit.
func longestFunction(c *code) measurement {
	m := measurement{subject: "lines of the longest function", limit: -1}
	for _, f := range functions(c) {
		if f.lines > m.value {
			m.value, m.what = f.lines, f.name+", "+f.at
		}
	}
	return m
}

// highestComplexity finds the function with the highest cyclomatic complexity.
func highestComplexity(c *code) measurement {
	m := measurement{subject: "highest cyclomatic complexity", limit: maxComplexity}

	all := functions(c)
	slices.SortStableFunc(all, func(a, b function) int { return cmp.Compare(b.complexity, a.complexity) })
	for _, f := range all {
		if f.complexity > m.value {
			m.value, m.what = f.complexity, f.name+", "+f.at
		}
		if f.complexity > maxComplexity {
			m.where = append(m.where, fmt.Sprintf("%s: %s has %d", f.at, f.name, f.complexity))
		}
	}

	return m
}
