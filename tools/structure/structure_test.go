// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"go/build"
	"go/importer"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testModule is the module of the packages in the tests.
const testModule = "example.com/plugin"

// testPackages are the packages that every test has.
var testPackages = []source{
	{distributionFolder, `package distribution
type Request struct{ Targets []string }
type Facts struct{}
`},
	{stepFolder, `package step
type ID string
type Step interface{ Start(); DryRuns() }
type CopySnapshot struct{ ID ID }
func (*CopySnapshot) Start()   {}
func (*CopySnapshot) DryRuns() {}
type Base struct{}
func (Base) Start()   {}
func (Base) DryRuns() {}
type ShareImage struct{ Base }
type Permission struct{ Action string }
func id(parts ...string) ID { return ID(parts[0]) }
var stage = id("stage", "x")
var share = ID("share/" + "x")
`},
}

// source is a package with one file.
type source struct{ folder, text string }

// standard imports the standard library, which takes a second for the first package. A binary that is built with
// -trimpath does not know where it is.
var standard = func() types.Importer {
	if root, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		build.Default.GOROOT = strings.TrimSpace(string(root))
	}
	return importer.ForCompiler(token.NewFileSet(), "source", nil)
}()

// ours finds packages of the test, and the standard library.
type ours struct{ c *code }

func (o ours) Import(path string) (*types.Package, error) {
	if folder := o.c.folder(path); folder != "" {
		return o.c.in(folder).types, nil
	}
	return standard.Import(path)
}

// newCode returns the packages of all tests and one more, in the folder.
func newCode(t *testing.T, folder, text string) *code {
	t.Helper()

	c := &code{
		module: testModule,
		fset:   token.NewFileSet(),
		root:   "/",
		linked: map[string]bool{folder: true},
	}
	imported := ours{c}

	for _, s := range append(slices.Clone(testPackages), source{folder, text}) {
		file := "/" + s.folder + "/file.go"
		if err := c.add(testModule+"/"+s.folder, map[string]any{file: s.text}, imported); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// lines returns the lines of the findings in file.go of the folder.
func lines(m measurement, folder string) string {
	var found []string
	for _, where := range m.where {
		if line, ok := strings.CutPrefix(where, folder+"/file.go:"); ok {
			found = append(found, line)
		}
	}
	return strings.Join(found, " ")
}

func TestStepKindAssertions(t *testing.T) {
	c := newCode(t, "internal/execute", `package execute
import "example.com/plugin/internal/step"
func find[T step.Step](s []step.Step) {}
func f(s step.Step, v any) {
	_, _ = s.(*step.CopySnapshot)
	switch s.(type) {
	case nil, *step.ShareImage:
	}
	switch v.(type) {
	case step.Permission, error:
	}
	_ = v.(step.Step)
	find[*step.CopySnapshot](nil)
	_ = map[string]*step.CopySnapshot{}
}
`)

	m := stepKindAssertions(c)
	if got := lines(m, "internal/execute"); got != "5 6 13" || m.value != 3 {
		t.Errorf("got lines %q of %v, want 5 6 13", got, m.where)
	}
}

func TestStepKindAssertions_absent(t *testing.T) {
	m := stepKindAssertions(&code{module: testModule, fset: token.NewFileSet()})
	if m.absent == "" || m.exceeded() {
		t.Errorf("got %+v, want absent", m)
	}
}

func TestStepIDParsers(t *testing.T) {
	c := newCode(t, "internal/report", `package report
import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"example.com/plugin/internal/step"
)
var pattern = regexp.MustCompile("x")
func f(id step.ID, text string, ids []step.ID) {
	_ = strings.HasPrefix(string(id), "x")
	_, _, _ = strings.Cut(string(id), "/")
	_ = pattern.MatchString(string(id))
	_ = path.Base(string(id))
	_ = id[:3]
	_ = strings.HasPrefix(text, "stage/")
	_ = strings.TrimPrefix(text, "share/")
	_ = strings.HasPrefix(text, "arn:/")
	_ = strings.Join([]string{string(id)}, "/")
	_ = fmt.Sprint(id, ids[0])
	_ = id == "stage/x"
}
`)

	m := stepIDParsers(c)
	if got := lines(m, "internal/report"); got != "11 12 13 14 15 16 17" || m.value != 7 {
		t.Errorf("got lines %q of %v, want 11 to 17", got, m.where)
	}
}

func TestStepCallsWithinPlan(t *testing.T) {
	c := newCode(t, planFolder, `package plan
import "example.com/plugin/internal/step"
type timer struct{}
func (timer) Start() {}
func f(s step.Step, c *step.CopySnapshot) {
	s.Start()
	c.DryRuns()
	timer{}.Start()
}
`)

	m := stepCallsWithinPlan(c)
	if got := lines(m, planFolder); got != "6 7" {
		t.Errorf("got lines %q, want 6 7", got)
	}
}

func TestRequestAndFacts(t *testing.T) {
	c := newCode(t, planFolder, `package plan
import "example.com/plugin/internal/distribution"
func a(r distribution.Request, f *distribution.Facts) {}
func b(r distribution.Request) {}
type planner distribution.Facts
func (p planner) c(r distribution.Request) {}
var d = func(f distribution.Facts, r *distribution.Request) {}
type builder struct { request distribution.Request; facts *distribution.Facts }
`)

	m := requestAndFacts(c)
	if got := lines(m, planFolder); got != "3 7 8" {
		t.Errorf("got lines %q, want 3 7 8", got)
	}
}

func TestImportDirections(t *testing.T) {
	c := newCode(t, "internal/awsclient", `package awsclient
import (
	_ "fmt"
	_ "example.com/plugin/internal/distribution"
	_ "example.com/plugin/internal/step"
)
`)

	m := importDirections(c)
	if got := lines(m, "internal/awsclient"); got != "5 imports internal/step" || m.value != 1 {
		t.Errorf("got %v, want the import of internal/step", m.where)
	}
}

func TestImportDirections_unknownFolder(t *testing.T) {
	m := importDirections(newCode(t, "internal/unknown", "package unknown\n"))
	if !slices.Equal(m.where, []string{"internal/unknown is not in the layout"}) {
		t.Errorf("got %v, want internal/unknown", m.where)
	}
}

func TestFilesOf(t *testing.T) {
	for text, want := range map[string]int{
		"package config\ntype Target struct{ LicenseConfigurationARNs []string }\n":       1,
		"package config\n// license\nfunc f() { license := `license`; _ = license }\n":    0,
		"package config\nvar option = \"license_configuration_arns\"\n":                   1,
		"// Code generated by x; DO NOT EDIT.\n\npackage config\ntype License struct{}\n": 0,
	} {
		m := filesOf(newCode(t, "internal/config", text), targetOption, "target option", maxTargetOptionFiles)
		if m.value != want {
			t.Errorf("%q: got %v, want %d files", text, m.where, want)
		}
	}
}

func TestPages(t *testing.T) {
	c := newCode(t, "internal/config", "package config\ntype Target struct{ LicenseConfigurationARNs []string }\n")
	c.root = t.TempDir()
	if m := pages(c); m.absent == "" {
		t.Errorf("without pages: got %+v, want absent", m)
	}

	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(c.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("docs/architecture.md", "`internal/config`, `internal/gone` and `internal/distribution`\n")
	write("internal/config/x", "")
	write("internal/distribution/x", "")
	write("CONTRIBUTING.md", "#### A target option\n\n| `internal/old.go` | x |\n\n#### A publish target\n")

	file := c.file(c.in("internal/config").files[0].Pos())
	want := []string{
		"docs/architecture.md lists internal/gone, which does not exist",
		"docs/architecture.md does not list internal/step",
		"CONTRIBUTING.md does not list " + file + " under #### A target option",
		"CONTRIBUTING.md lists internal/old.go under #### A target option, which does not name license_configuration_arns",
	}
	if got := pages(c).where; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestComplexity(t *testing.T) {
	c := newCode(t, planFolder, `package plan
func f(a, b bool, c chan int, list []int) {
	if a && b || a {
	}
	for range list {
	}
	for a {
	}
	switch {
	case a, b:
	case b:
	default:
	}
	select {
	case <-c:
	default:
	}
	func() {
		if a {
		}
	}()
}
`)

	m := highestComplexity(c)
	if m.value != 10 || m.exceeded() {
		t.Errorf("got %d, want 10", m.value)
	}
	if got := longestFunction(c); got.value != 21 || got.what != "f, "+planFolder+"/file.go:2" {
		t.Errorf("got %d %s, want 21 lines of f", got.value, got.what)
	}
}

func TestLargestFolder(t *testing.T) {
	c := newCode(t, planFolder, "package plan\n")
	for i := range maxFiles {
		c.in(planFolder).files = append(c.in(planFolder).files, c.in(planFolder).files[0])
		if m := largestFolder(c); m.exceeded() != (i == maxFiles-1) || m.value != i+2 {
			t.Fatalf("%d files: got %+v", i+2, m)
		}
	}
}

func TestPrintAll(t *testing.T) {
	for want, m := range map[string]measurement{
		"3  at most 3            in x":            {value: 3, limit: 3, what: "in x", where: []string{"x:1"}},
		"3  at most 2, EXCEEDED":                  {value: 3, limit: 2, where: []string{"x:1"}},
		"-  at most 2            absent: package": {value: 3, limit: 2, absent: "package"},
		"30                       longest":        {value: 30, limit: -1, what: "longest"},
	} {
		var out strings.Builder
		holds := printAll(&out, []measurement{m})

		if !strings.Contains(out.String(), want) || holds == m.exceeded() ||
			m.exceeded() != strings.Contains(out.String(), "x:1") {
			t.Errorf("got %v %s, want %s", holds, out.String(), want)
		}
	}
}
