// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// explanation is an error of AWS and what the plugin says about it.
type explanation struct {
	code                 string // of the finding
	call                 string // "ec2:CopySnapshot"
	message              string // of AWS. Empty without one
	summary, cause, next string
	statements           bool // the plugin prints statements to add
}

// missingCredentials is the beginning of the titles of errors that occur before any call.
const missingCredentials = "missing credentials"

// service returns the section of an explanation: "EC2".
func (e explanation) service() string {
	if e.call == missingCredentials {
		return "Credentials"
	}
	service, _, _ := strings.Cut(e.call, ":")
	return cmp.Or(map[string]string{
		"license-manager": "License Manager",
		"autoscaling":     "Auto Scaling",
		"organizations":   "Organizations",
	}[service], strings.ToUpper(service))
}

// planFindings explains the findings that do not come from an error of AWS.
//
//go:embed findings.md
var planFindings string

// Errors returns the guide to errors in Markdown, with one heading for each code of a finding. It is made of
// planFindings and of the golden file that explains every error of AWS.
func Errors(findings string) (string, error) {
	byCode, codes := map[string][]explanation{}, []string{}
	for block := range strings.SplitSeq(strings.TrimSpace(findings), "\n\n") {
		isUnnamed := strings.HasPrefix(block, "# - ") && !strings.HasPrefix(block, "# - "+missingCredentials)
		if isUnnamed { // an error that no rule names
			continue
		}
		e, err := readExplanation(block)
		if err != nil {
			return "", err
		}
		if byCode[e.code] == nil {
			codes = append(codes, e.code)
		}
		byCode[e.code] = append(byCode[e.code], e)
	}
	slices.SortFunc(codes, func(a, b string) int {
		return cmp.Or(strings.Compare(byCode[a][0].service(), byCode[b][0].service()), strings.Compare(a, b))
	})

	var out strings.Builder
	out.WriteString(introduction + "\n" + planFindings)
	service := ""
	for _, code := range codes {
		if s := byCode[code][0].service(); s != service {
			service = s
			fmt.Fprintf(&out, "\n## %s\n", service)
		}
		fmt.Fprintf(&out, "\n### %s\n", code)
		writeExplanations(&out, byCode[code])
	}
	return out.String(), nil
}

// writeExplanations writes the errors of one code. Errors with the same explanation differ only in their messages. If
// the next step of an error differs by caller, the guide has the first.
func writeExplanations(out *strings.Builder, all []explanation) {
	for len(all) > 0 {
		first := all[0]
		isSame := func(e explanation) bool {
			isAlike := e.summary == first.summary && e.cause == first.cause
			return isAlike && (e.next == first.next || e.message == first.message)
		}
		var calls, messages []string
		for _, e := range all {
			if isSame(e) {
				calls = appendNew(calls, "`"+e.call+"`")
				messages = appendNew(messages, e.message)
			}
		}
		all = slices.DeleteFunc(slices.Clone(all), isSame)

		fmt.Fprintf(out, "\n**%s** (%s)\n", prose(title(first.summary)), strings.Join(calls, ", "))
		for _, message := range messages {
			fmt.Fprintf(out, "\n    %s\n", message)
		}
		if first.cause != "" {
			fmt.Fprintf(out, "\n%s\n", prose(first.cause))
		}
		next := first.next
		if first.statements {
			next = introduceStatements(next)
		}
		fmt.Fprintf(out, "\nNext step: %s\n", prose(next))
	}
}

// introduceStatements says in a next step that the run prints the statements to add, which the guide does not have.
func introduceStatements(next string) string {
	for begin, inGuide := range map[string]string{
		"Add the statement to the":                        "The run prints a statement. Add it to the",
		"Add each statement to the policy named above it": "The run prints statements. Add each to the policy named above it",
	} {
		if rest, ok := strings.CutPrefix(next, begin); ok {
			return inGuide + rest
		}
	}
	return "The run prints statements. " + next
}

// appendNew appends a text that a list lacks.
func appendNew(list []string, text string) []string {
	if text == "" || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

const introduction = "<!-- Made from internal/doctest/findings.md and internal/diagnose/testdata/rules.golden " +
	"by make generate; do not edit. -->" + `

# Errors by code

Each finding of a run has a code: in the report, in ` + "`manifest.json`" + ` and in machine-readable output.
This page has a heading for each code: first for the plugin's own checks, then for AWS's errors with their messages.
To find a message, search for a part of it that has no ID. The accounts, roles and keys are examples: source account
111111111111, target account 999999999999, role ` + "`golden-image-target`" + `.

If a copy fails and the dry run of ` + "`kms:CreateGrant`" + ` was denied, the code is
[kms_create_grant_denied](#kms_create_grant_denied). AWS does not say which key it refused, so the message has both: the
key of the copy and the key of the source: "role golden-image-target may not kms:CreateGrant on alias/golden-target or
alias/golden-source".
`

// readExplanation reads one block of the golden file.
func readExplanation(block string) (e explanation, err error) {
	if strings.HasPrefix(block, "# - "+missingCredentials) {
		e.call = missingCredentials
	}
	for line := range strings.SplitSeq(block, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "error", "warning":
			e.summary = value
		case "code":
			e.code = value
		case "because":
			e.cause = value
		case "AWS":
			e.message = value
		case "next":
			e.next = value
		case "call":
			e.call = value
		}
		e.statements = e.statements || strings.HasPrefix(line, "add to ")
	}
	if e.summary == "" || e.code == "" || e.next == "" || e.call == "" {
		return e, fmt.Errorf("no explanation: %s", block)
	}
	return e, nil
}

// title returns a text with a capital letter. Ids, ARNs and Regions stay as they are.
func title(text string) string {
	if first, _, _ := strings.Cut(text, " "); strings.ContainsAny(first, "0123456789:/_") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// prose escapes what Markdown would read as markup.
func prose(text string) string {
	return strings.NewReplacer("<", `\<`, "*", `\*`, "_", `\_`).Replace(text)
}
