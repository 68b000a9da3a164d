// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package resume

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// externalID is an option whose value is never written to the file.
const externalID = "external_id"

var credentialOptions = []string{"access_key", "secret_key", "token"}

func isSecret(option string) bool {
	return option == externalID || slices.Contains(credentialOptions, option)
}

// Variable is a variable of the file that replaces a secret.
type Variable struct {
	Name string
	// FromEnvironment is true if the environment of this run has the value in PKR_VAR_NAME.
	FromEnvironment bool
	// Optional is true for credentials. Without a value, the resumed run uses the credentials of its environment.
	Optional bool

	description string
	blocks      []string // that use it: `target "prod"`
	value       string   // never written
}

// write declares the variable.
func (v Variable) write(body *hclwrite.Body) {
	declared := body.AppendNewBlock("variable", []string{v.Name}).Body()
	declared.SetAttributeRaw("type", hclwrite.TokensForIdentifier("string"))
	declared.SetAttributeValue("sensitive", cty.True)
	if v.Optional {
		declared.SetAttributeValue("default", cty.StringVal(""))
	}
	declared.SetAttributeValue("description", cty.StringVal(v.description))
	body.AppendNewline()
}

// Command returns the command that resumes a run, with a flag for each variable that needs a value. Packer takes flags
// only before the template.
func Command(path string, variables []Variable) string { return command(path, "", variables) }

// CleanupCommand returns the command that gives a run up and cleans up.
func CleanupCommand(path string, variables []Variable) string {
	return command(path, " -var mode=cleanup", variables)
}

// Flag returns the flag of a variable, with a placeholder for its value.
func (v Variable) Flag() string { return "-var " + v.Name + "=" + strings.ToUpper(v.Name) }

func command(path, flags string, variables []Variable) string {
	for _, v := range variables {
		if !v.FromEnvironment && !v.Optional {
			flags += " " + v.Flag()
		}
	}
	if strings.ContainsAny(path, " '\"$&;()") {
		path = `"` + path + `"`
	}
	return "packer build" + flags + " " + path
}

// UsedEnvironment names the variables of the environment that a resumed run uses. Empty if it uses none.
func UsedEnvironment(variables []Variable) string {
	var names []string
	for _, v := range variables {
		if v.FromEnvironment {
			names = append(names, "PKR_VAR_"+v.Name)
		}
	}
	return joined(names)
}

// ExternalIDOf returns the variable for the external ID of a block, such as `target "prod"`. False if it has none.
func ExternalIDOf(block string, variables []Variable) (Variable, bool) {
	for _, v := range variables {
		if !v.Optional && slices.Contains(v.blocks, block) {
			return v, true
		}
	}
	return Variable{}, false
}

// variables returns a variable for each distinct external ID, and for each credential that is set.
func (f File) variables(options map[string]any) []Variable {
	var all []Variable
	for _, option := range credentialOptions {
		if value, ok := options[option].(string); ok && value != "" {
			all = append(
				all,
				Variable{Name: option, Optional: true, description: option + " of the source account", value: value},
			)
		}
	}
	locations, values := externalIDs(options)
	for _, value := range values {
		v := Variable{description: externalID + " of " + joined(locations[value]), blocks: locations[value], value: value}
		v.Name, v.FromEnvironment = f.nameOf(value, all)
		all = append(all, v)
	}
	return all
}

// externalIDs returns where each external ID is used, and the ids in the order of their first use.
func externalIDs(options map[string]any) (locations map[string][]string, values []string) {
	locations = map[string][]string{}
	add := func(location string, block map[string]any) {
		for _, role := range slices.Concat(blocksOf(block["assume_role"]), blocksOf(block["organizations_role"])) {
			value, _ := role[externalID].(string)
			if value == "" {
				continue
			}
			if locations[value] == nil {
				values = append(values, value)
			}
			if !slices.Contains(locations[value], location) {
				locations[value] = append(locations[value], location)
			}
		}
	}
	add("the source account", options)
	for _, kind := range []string{"target", "share"} {
		for i, block := range blocksOf(options[kind]) {
			name, _ := block["name"].(string)
			location := kind + " " + strconv.Quote(name)
			if name == "" {
				location = fmt.Sprintf("%s[%d]", kind, i)
			}
			add(location, block)
		}
	}
	for _, block := range blocksOf(options["organizations"]) {
		add("the organization", block)
	}
	return locations, values
}

func joined(locations []string) string { return strings.Join(locations, " and ") }

// nameOf returns the name of a variable. If a sensitive variable of the template has the same value in the environment,
// it returns the name of that variable, so that the secret of a CI system can be used unchanged.
func (f File) nameOf(value string, used []Variable) (name string, fromEnvironment bool) {
	taken := map[string]bool{"mode": true}
	for _, option := range credentialOptions {
		taken[option] = true
	}
	for _, v := range used {
		taken[v.Name] = true
	}
	for _, name := range slices.Sorted(slices.Values(f.SensitiveVariables)) {
		if !taken[name] && f.Getenv != nil && f.Getenv("PKR_VAR_"+name) == value {
			return name, true
		}
	}
	name = externalID
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", externalID, i)
	}
	return name, false
}

// variableOf returns the variable that replaces a secret. Empty for an empty value.
func (w writer) variableOf(option string, value any) string {
	text, _ := value.(string)
	for _, v := range w.variables {
		isCredential := v.Optional && v.Name == option
		isExternalID := !v.Optional && option == externalID && v.value == text
		if text != "" && (isCredential || isExternalID) {
			return v.Name
		}
	}
	return ""
}
