// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest

import (
	"fmt"
	"slices"
	"strings"
)

// explanation is an answer of AWS and what the plugin makes of it.
type explanation struct {
	call                 string // "ec2:CopySnapshot"
	message              string // of AWS; "" where it says nothing
	summary, cause, next string
	statements           bool // the plugin prints some to add
}

// Errors is the guide to AWS's messages, in Markdown, made of the golden file that explains each of them.
func Errors(findings string) (string, error) {
	var all []explanation
	for block := range strings.SplitSeq(strings.TrimSpace(findings), "\n\n") {
		if strings.HasPrefix(block, "# - ") { // an answer that no rule names: nobody can look it up
			continue
		}
		read, err := explained(block)
		if err != nil {
			return "", err
		}
		all = append(all, read)
	}
	slices.SortStableFunc(all, func(a, b explanation) int {
		return strings.Compare(a.call+"\n"+strings.ToLower(a.summary), b.call+"\n"+strings.ToLower(b.summary))
	})
	var out strings.Builder
	out.WriteString(introduction)
	call, last := "", explanation{}
	for i, e := range all {
		if e.call != call {
			call = e.call
			fmt.Fprintf(&out, "\n## %s\n", call)
		}
		same := e
		same.message = last.message
		if i > 0 && same == last {
			if e.message != last.message {
				fmt.Fprintf(&out, "\nThe same where AWS says\n\n    %s\n", e.message)
			}
			last = e
			continue
		}
		if e.summary != last.summary || e.call != last.call {
			fmt.Fprintf(&out, "\n### %s\n", prose(title(e.summary)))
		}
		if e.message != "" {
			fmt.Fprintf(&out, "\n    %s\n", e.message)
		}
		fmt.Fprintf(&out, "\n%s.\n\n**Next:** %s.", prose(title(e.cause)), prose(e.next))
		if e.statements {
			out.WriteString(" The run prints the statements.")
		}
		out.WriteString("\n")
		last = e
	}
	return out.String(), nil
}

const introduction = `<!-- Made from internal/diagnose/testdata/rules.golden by make generate; do not edit. -->

# Errors by message

What AWS says, what that means, and what to do. The plugin tells all of this itself, with your accounts, roles and keys; here they are an example's: source account 111111111111,
target account 999999999999, role ` + "`golden-image-target`" + `. Search for a part of the message that holds no id.
`

// explained reads one block of the golden file.
func explained(block string) (e explanation, err error) {
	for line := range strings.SplitSeq(block, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "error", "warning":
			parts := strings.Split(value, ": ") // what could not be done comes first
			e.summary = parts[len(parts)-1]
		case "because":
			e.cause = value
			if at := strings.LastIndex(value, " (AWS: "); at >= 0 {
				e.cause, e.message = value[:at], strings.TrimSuffix(value[at+len(" (AWS: "):], ")")
			}
		case "next":
			e.next = value
		case "call":
			e.call = value
		}
		e.statements = e.statements || strings.HasPrefix(line, "add to ")
	}
	if e.summary == "" || e.cause == "" || e.next == "" || e.call == "" {
		return e, fmt.Errorf("no explanation: %s", block)
	}
	return e, nil
}

// title begins with a capital, but for ids, ARNs and Regions, which are written as they are.
func title(text string) string {
	if first, _, _ := strings.Cut(text, " "); strings.ContainsAny(first, "0123456789:/_") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// prose keeps what is meant as it stands from being read as Markdown.
func prose(text string) string {
	return strings.NewReplacer("<", `\<`, "*", `\*`, "_", `\_`).Replace(text)
}
