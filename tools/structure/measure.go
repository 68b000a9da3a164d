// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// measurement is a number about the code and its limit.
type measurement struct {
	subject string
	absent  string   // the package that is not there yet; then there is no value
	value   int      // compared with the limit
	limit   int      // negative if there is none
	what    string   // what was measured
	where   []string // the findings behind the value
	list    bool     // print where even if the limit holds
}

// exceeded reports whether the value is over the limit.
func (m measurement) exceeded() bool {
	return m.absent == "" && m.limit >= 0 && m.value > m.limit
}

// measure takes all measurements.
func measure(c *code) []measurement {
	return []measurement{
		largestFolder(c),
		stepKindAssertions(c),
		stepIDParsers(c),
		stepCallsWithinPlan(c),
		requestAndFacts(c),
		longestFunction(c),
		highestComplexity(c),
		importDirections(c),
		filesOf(c, targetOption, "target option", maxTargetOptionFiles),
		filesOf(c, publishTarget, "publish target", maxPublishTargetFiles),
		pages(c),
	}
}

// largestFolder finds the folder with the most files.
// The simulator is exempt: its state is behind one lock, so it stays in one package.
func largestFolder(c *code) measurement {
	m := measurement{subject: "files in the largest folder", limit: maxFiles}

	for _, p := range c.packages {
		if p.folder == simulatorFolder {
			continue
		}
		if len(p.files) > m.value {
			m.value, m.what = len(p.files), p.folder
		}
		if len(p.files) > maxFiles {
			m.where = append(m.where, fmt.Sprintf("%s: %d files", p.folder, len(p.files)))
		}
	}

	return m
}

// stepKindAssertions finds code outside package step that depends on the kind of a step.
// With such code, a new kind of step changes more files than its own.
func stepKindAssertions(c *code) measurement {
	m := measurement{subject: "type switches and assertions over kinds of steps", limit: maxStepKindAssertions}

	kinds := stepKinds(c)
	if len(kinds) == 0 {
		m.absent = stepFolder + ", or an interface Step with implementations in it"
		return m
	}

	for _, p := range c.packages {
		if p.folder == stepFolder {
			continue
		}

		isKind := func(e ast.Expr) bool {
			if e == nil {
				return false
			}
			name, folder := c.name(p.info.TypeOf(e))
			return folder == stepFolder && kinds[name]
		}

		p.inspect(func(n ast.Node) {
			found := false
			switch n := n.(type) {
			case *ast.TypeAssertExpr:
				found = isKind(n.Type)
			case *ast.TypeSwitchStmt:
				for _, clause := range n.Body.List {
					found = found || slices.ContainsFunc(clause.(*ast.CaseClause).List, isKind)
				}
			case *ast.IndexExpr: // find[*step.CopySnapshot](steps) asserts for its caller
				found = p.info.Types[n.Index].IsType() && isKind(n.Index) && isGenericFunction(p, n.X)
			}
			if found {
				m.where = append(m.where, c.at(n.Pos()))
			}
		})
	}

	m.value = len(m.where)
	return m
}

// isGenericFunction reports whether the expression names a function with type parameters.
func isGenericFunction(p *pkg, e ast.Expr) bool {
	_, ok := p.info.TypeOf(e).(*types.Signature)
	return ok
}

// stepKinds returns the exported structs of package step that implement its interface Step.
func stepKinds(c *code) map[string]bool {
	p := c.in(stepFolder)
	if p == nil {
		return nil
	}
	object := p.types.Scope().Lookup("Step")
	if object == nil {
		return nil
	}
	contract, ok := object.Type().Underlying().(*types.Interface)
	if !ok {
		return nil
	}

	kinds := map[string]bool{}
	for _, name := range p.types.Scope().Names() {
		object, ok := p.types.Scope().Lookup(name).(*types.TypeName)
		if !ok || !object.Exported() {
			continue
		}
		_, isStruct := object.Type().Underlying().(*types.Struct)
		if isStruct && types.Implements(types.NewPointer(object.Type()), contract) {
			kinds[name] = true
		}
	}
	return kinds
}

// parsers are functions that split or search a text.
var parsers = []string{
	"Contains",
	"Count",
	"Cut",
	"EqualFold",
	"Fields",
	"Find",
	"HasPrefix",
	"HasSuffix",
	"Index",
	"LastIndex",
	"Match",
	"Replace",
	"Split",
	"Trim",
	"Sscan",
	"Base",
	"Dir",
}

// stepIDParsers finds code that parses the ID of a step. An ID may only be compared and printed.
func stepIDParsers(c *code) measurement {
	m := measurement{subject: "code that parses a step's id", limit: maxStepIDParsers}
	if c.in(stepFolder) == nil {
		m.absent = stepFolder
		return m
	}

	prefixes := stepIDPrefixes(c)
	for _, p := range c.packages {
		p.inspect(func(n ast.Node) {
			var found bool
			switch n := n.(type) {
			case *ast.CallExpr:
				found = isParser(p, n) && slices.ContainsFunc(n.Args, func(arg ast.Expr) bool {
					return isStepID(c, p, arg) || prefixes[literal(arg)]
				})
			case *ast.IndexExpr:
				found = isStepID(c, p, n.X)
			case *ast.SliceExpr:
				found = isStepID(c, p, n.X)
			}
			if found {
				m.where = append(m.where, c.at(n.Pos()))
			}
		})
	}

	m.value = len(m.where)
	return m
}

// isParser reports whether a call splits or searches a text: a call of strings, path or fmt, or of a regular
// expression.
func isParser(p *pkg, call *ast.CallExpr) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	function, ok := p.info.Uses[selector.Sel].(*types.Func)
	if !ok || function.Pkg() == nil {
		return false
	}

	switch function.Pkg().Path() {
	case "strings", "regexp", "path", "path/filepath", "fmt", "bytes":
		return slices.ContainsFunc(parsers, func(parser string) bool { return strings.HasPrefix(function.Name(), parser) })
	}
	return false
}

// isStepID reports whether an expression is a step's id, or its text.
func isStepID(c *code, p *pkg, e ast.Expr) bool {
	e = ast.Unparen(e)
	if t := p.info.TypeOf(
		e,
	); t != nil &&
		(c.isNamed(t, stepFolder, "ID", "StepID") || c.isNamed(t, distributionFolder, "StepID")) {
		return true
	}

	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	if len(call.Args) == 1 && p.info.Types[call.Fun].IsType() { // string(id)
		return isStepID(c, p, call.Args[0])
	}
	method, ok := call.Fun.(*ast.SelectorExpr) // id.String()
	return ok && method.Sel.Name == "String" && isStepID(c, p, method.X)
}

// stepIDPrefixes returns the prefixes, with their slash, of all IDs that are created.
func stepIDPrefixes(c *code) map[string]bool {
	prefixes := map[string]bool{}

	for _, p := range c.packages {
		p.inspect(func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 || !isStepIDType(c, p.info.TypeOf(call)) {
				return
			}

			first := call.Args[0]
			for {
				sum, ok := ast.Unparen(first).(*ast.BinaryExpr)
				if !ok {
					break
				}
				first = sum.X
			}
			kind, _, _ := strings.Cut(literal(first), "/")
			if kind != "" {
				prefixes[kind+"/"] = true
			}
		})
	}

	return prefixes
}

// isStepIDType reports whether a type is that of steps' ids.
func isStepIDType(c *code, t types.Type) bool {
	return t != nil && (c.isNamed(t, stepFolder, "ID", "StepID") || c.isNamed(t, distributionFolder, "StepID"))
}

// literal returns the value of a string literal. Empty for other expressions.
func literal(e ast.Expr) string {
	basic, ok := ast.Unparen(e).(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return ""
	}
	value, err := strconv.Unquote(basic.Value)
	if err != nil {
		return ""
	}
	return value
}

// stepCallsWithinPlan finds calls with which package plan would execute a step instead of adding it.
func stepCallsWithinPlan(c *code) measurement {
	m := measurement{subject: "calls of Start and DryRuns in " + planFolder, limit: maxStepCallsWithinPlan}

	p := c.in(planFolder)
	if p == nil || c.in(stepFolder) == nil {
		m.absent = planFolder + " or " + stepFolder
		return m
	}

	p.inspect(func(n ast.Node) {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != "Start" && selector.Sel.Name != "DryRuns" {
			return
		}
		if _, folder := c.name(p.info.TypeOf(selector.X)); folder == stepFolder {
			m.where = append(m.where, c.at(n.Pos()))
		}
	})

	m.value = len(m.where)
	return m
}

// requestAndFacts finds functions that take both a Request and Facts, and structs that hold both. Only the top
// functions may: they derive once what all others need.
func requestAndFacts(c *code) measurement {
	m := measurement{subject: "functions and structs with both a Request and Facts", limit: maxRequestAndFacts, list: true}
	if c.in(distributionFolder) == nil {
		m.absent = distributionFolder
		return m
	}

	for _, p := range c.packages {
		p.inspect(func(n ast.Node) {
			var fields []*ast.Field
			switch n := n.(type) {
			case *ast.FuncDecl:
				fields = n.Type.Params.List
				if n.Recv != nil {
					fields = slices.Concat(n.Recv.List, fields)
				}
			case *ast.FuncLit:
				fields = n.Type.Params.List
			case *ast.StructType:
				fields = n.Fields.List
			}

			takes := func(name string) bool {
				return slices.ContainsFunc(
					fields,
					func(f *ast.Field) bool { return c.isNamed(p.info.TypeOf(f.Type), distributionFolder, name) },
				)
			}
			if takes("Request") && takes("Facts") {
				m.where = append(m.where, c.at(n.Pos()))
			}
		})
	}

	m.value = len(m.where)
	return m
}

// importDirections finds imports that the layout does not allow.
func importDirections(c *code) measurement {
	m := measurement{subject: "imports against the layout", limit: maxImportsOutsideOfTable}

	for _, p := range c.packages {
		allowed, known := layout[p.folder]
		if !known {
			m.where = append(m.where, p.folder+" is not in the layout")
			continue
		}

		for _, file := range p.files {
			for _, spec := range file.Imports {
				path := literal(spec.Path)
				if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
					continue // the standard library
				}

				folder := c.folder(path)
				ok := folder != "" && (slices.Contains(leaves, folder) || slices.Contains(allowed.ours, folder)) ||
					folder == "" &&
						slices.ContainsFunc(allowed.others, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
				if !ok {
					m.where = append(m.where, c.at(spec.Pos())+" imports "+cmp.Or(folder, path))
				}
			}
		}
	}

	m.value = len(m.where)
	return m
}

// filesOf lists the files of the plugin that mention a representative option, because the next option of this kind
// changes the same files. It does not count tests, generated files and packages outside the plugin. It also ignores
// explanations of AWS errors, which are optional.
func filesOf(c *code, r representative, kind string, limit int) measurement {
	m := measurement{subject: "files of a " + kind + " (" + r.option + ")", limit: limit, list: true}

	files := map[string]bool{}
	for _, p := range c.packages {
		if !c.linked[p.folder] || p.folder == explanationFolder {
			continue
		}
		for _, pos := range mentions(c, p, r) {
			if file := c.file(pos); file != r.ignored {
				files[file] = true
			}
		}
	}

	m.where = slices.Sorted(maps.Keys(files))
	m.value = len(files)
	return m
}

// mentions returns where the written files of a package name a representative option.
func mentions(c *code, p *pkg, r representative) []token.Pos {
	var found []token.Pos

	for _, file := range p.files {
		if ast.IsGenerated(file) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if r.identifier.MatchString(n.Name) && c.isOurs(p, n) {
					found = append(found, n.Pos())
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING && r.literal.MatchString(n.Value) {
					found = append(found, n.Pos())
				}
			}
			return true
		})
	}

	return found
}

// isOurs reports whether an identifier belongs to this module and is not a local variable, whose name is arbitrary.
func (c *code) isOurs(p *pkg, ident *ast.Ident) bool {
	object := p.info.Defs[ident]
	if object == nil {
		object = p.info.Uses[ident]
	}
	return object != nil && object.Pkg() != nil && c.folder(object.Pkg().Path()) != "" && !isLocal(object)
}

// isLocal reports whether an object is a variable or a parameter of a function, whose name is arbitrary.
func isLocal(object types.Object) bool {
	variable, ok := object.(*types.Var)
	return ok && !variable.IsField() && object.Parent() != object.Pkg().Scope()
}
