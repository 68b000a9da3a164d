// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/suggest"
)

// Text is a template. Expand renders it for each destination.
type Text string

// Vars are the variables of a Text.
type Vars struct {
	AccountId     string //nolint:revive,staticcheck // the name in templates
	Region        string // of the destination
	Partition     string // aws, aws-us-gov, aws-cn
	Target        string // name of the target block
	AMI           string // image that is distributed
	AMIName       string
	SourceAMI     string // image that the build started from, as in amazon-ebs. Empty if unknown
	PackerRunUUID string
}

// Names of the variables that a Text may contain.
var (
	// DestinationVars have the same values in every run of one image.
	DestinationVars = []string{"AMI", "AMIName", "AccountId", "Partition", "Region", "SourceAMI", "Target"}

	// SessionVars are the variables for role sessions. They may change from run to run, because no later run must find a
	// session again.
	SessionVars = append(slices.Clone(DestinationVars), "PackerRunUUID")
)

// TemplateFunctions holds the results of Packer's template functions.
type TemplateFunctions struct {
	BuildName     string
	UserVariables map[string]string        `json:"-"` // of a legacy JSON template
	Getenv        func(name string) string `json:"-"`
	Created       time.Time                // creation date of the image, for timestamp and isotime
}

// names of the template functions, as error messages list them.
var functionNames = []string{"build_name", "clean_resource_name", "env", "isotime", "timestamp", "user"}

// errUUID explains why the function uuid cannot be used.
var errUUID = errors.New(
	"uuid differs in every run, so that a resumed run would not find what it created; use {{ .AMI }}",
)

// functions returns the implementation of the template functions.
func (f TemplateFunctions) functions() template.FuncMap {
	return template.FuncMap{
		"build_name":          func() string { return f.BuildName },
		"clean_resource_name": cleanResourceName,
		"timestamp":           func() string { return strconv.FormatInt(f.Created.Unix(), 10) },
		"uuid":                func() (string, error) { return "", errUUID },
		"isotime": func(layout ...string) (string, error) {
			switch len(layout) {
			case 0:
				return f.Created.UTC().Format(time.RFC3339), nil
			case 1:
				return f.Created.UTC().Format(layout[0]), nil
			}
			return "", errors.New("isotime takes at most one layout, such as \"2006-01-02\"")
		},
		"env": func(name string) string {
			if f.Getenv == nil {
				return ""
			}
			return f.Getenv(name)
		},
		"user": func(name string) (string, error) {
			value, found := f.UserVariables[name]
			if !found {
				return "", fmt.Errorf("there is no user variable %q; in an HCL2 template write ${var.%s}", name, name)
			}
			return value, nil
		},
	}
}

// refusedInNames matches the characters that EC2 does not allow in the name of an image.
var refusedInNames = regexp.MustCompile(`[^a-zA-Z0-9()\[\] ./'@_-]`)

// cleanResourceName replaces what EC2 does not allow in the name of an image, as amazon-ebs does.
func cleanResourceName(name string) string { return refusedInNames.ReplaceAllString(name, "-") }

// Check returns an error for a template that cannot be parsed, or that contains another variable than those allowed.
// The functions env and user are not called, so the error does not depend on where the template is checked.
func (t Text) Check(allowed []string) error {
	parsed, err := t.parse(TemplateFunctions{}.functions())
	if parsed == nil || err != nil {
		return err
	}
	if err := checkNodes(parsed.Root, allowed); err != nil {
		return err
	}
	functions := TemplateFunctions{}.functions()
	functions["user"] = func(string) string { return "" }
	return unwrapTemplateError(parsed.Funcs(functions).Execute(new(strings.Builder), Vars{}))
}

// Render returns the text with the values of the variables.
func (t Text) Render(vars Vars, functions TemplateFunctions) (string, error) {
	parsed, err := t.parse(functions.functions())
	if parsed == nil || err != nil {
		return string(t), err
	}
	var out strings.Builder
	err = parsed.Execute(&out, vars)
	return out.String(), unwrapTemplateError(err)
}

// parse returns the parsed template. Nil for a text without template variables.
func (t Text) parse(functions template.FuncMap) (*template.Template, error) {
	if !strings.Contains(string(t), "{{") {
		return nil, nil
	}
	parsed, err := template.New("").Funcs(functions).Parse(string(t))
	if err != nil {
		return nil, unwrapTemplateError(err)
	}
	return parsed, nil
}

// undefinedFunction matches the error of package text/template for an unknown function.
var undefinedFunction = regexp.MustCompile(`function "([^"]+)" not defined`)

// unwrapTemplateError removes the position that package text/template adds, because a template has one line.
func unwrapTemplateError(err error) error {
	if err == nil {
		return nil
	}
	if found := undefinedFunction.FindStringSubmatch(err.Error()); found != nil {
		return fmt.Errorf("there is no function %q; known are %s%s",
			found[1], strings.Join(functionNames, ", "), didYouMean(found[1], functionNames, "%q"))
	}
	if found := undefinedVariable.FindStringSubmatch(err.Error()); found != nil {
		return fmt.Errorf("there is no variable {{ .%s }}", found[1])
	}
	return errors.New(positions.ReplaceAllString(err.Error(), ""))
}

// undefinedVariable matches the error of package text/template for an unknown variable.
var undefinedVariable = regexp.MustCompile(`can't evaluate field (\w+) in type distribution\.Vars`)

// positions matches where in the template an error is: "template: :1:16: executing "" at <.AMI.Name>: ".
var positions = regexp.MustCompile(`^template: :\d+(:\d+)?: (executing "" at <.*?>: )?(error calling \w+: )?`)

// didYouMean returns a "did you mean" question with the most similar known name. Empty if none is similar.
func didYouMean(name string, known []string, format string) string {
	closest := suggest.Closest(name, known)
	if closest == "" {
		return ""
	}
	return fmt.Sprintf(". Did you mean "+format+"?", closest)
}

// checkNodes returns an error for a variable that is not allowed, and for uuid.
func checkNodes(node parse.Node, allowed []string) error {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		return firstError(n.Nodes, allowed)
	case *parse.ActionNode:
		return checkNodes(n.Pipe, allowed)
	case *parse.IfNode:
		return firstError([]parse.Node{n.Pipe, n.List, n.ElseList}, allowed)
	case *parse.WithNode:
		return firstError([]parse.Node{n.Pipe, n.List, n.ElseList}, allowed)
	case *parse.RangeNode:
		return firstError([]parse.Node{n.Pipe, n.List, n.ElseList}, allowed)
	case *parse.PipeNode:
		if n == nil {
			return nil
		}
		for _, command := range n.Cmds {
			if err := firstError(command.Args, allowed); err != nil {
				return err
			}
		}
	case *parse.IdentifierNode:
		if n.Ident == "uuid" {
			return errUUID
		}
	case *parse.FieldNode:
		return checkVariable(n.Ident[0], allowed)
	}
	return nil
}

func firstError(nodes []parse.Node, allowed []string) error {
	for _, node := range nodes {
		if err := checkNodes(node, allowed); err != nil {
			return err
		}
	}
	return nil
}

// checkVariable returns an error for a variable that is not allowed.
func checkVariable(name string, allowed []string) error {
	if slices.Contains(allowed, name) {
		return nil
	}
	list := "." + strings.Join(allowed, ", .")
	if name == "PackerRunUUID" {
		return fmt.Errorf(
			"{{ .PackerRunUUID }} differs in every run, so that a resumed run would not find what it created; known are %s",
			list,
		)
	}
	return fmt.Errorf(
		"there is no variable {{ .%s }} here; known are %s%s",
		name,
		list,
		didYouMean(name, allowed, "{{ .%s }}"),
	)
}
