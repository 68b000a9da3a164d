// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package diagnose explains AWS's refusals: an AWS error and the step that met it become a finding with cause, place, principal,
// resource, next step and, where a right is missing, the statement to add and the policy that it belongs in.
package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Case is a refusal, and what is known of the call that met it.
type Case struct {
	// Refusal as AWS gave it. What fails after its call was accepted comes under the operation of that call: a snapshot's
	// StateMessage (ec2:CopySnapshot) and an image's StateReason (ec2:CopyImage) with the Code "", an instance's StateReason
	// (ec2:RunInstances) with its own code.
	Refusal       distribution.APIError
	Step          step.Step             // nil: a look, not a step of a plan
	At            distribution.Location // account and Region of the call; zero: the step's
	Principal     string                // ARN of the caller; what the refusal itself tells goes before it
	Resource      string                // what the call is about: an id, an ARN, a key as it was asked for
	SourceAccount string                // account of the source image: tells whose a key is
	Dry           bool                  // the step was not begun: a dry run was refused
	ExternalID    bool                  // the role was to be assumed with one, which is a secret
}

// Explain makes a finding of a refusal. What is not in the catalogue is told as it is, without a cause.
func Explain(c Case) distribution.Finding {
	m := read(c)
	e := m.entry()
	f := distribution.Finding{
		Level:     distribution.Refused,
		Reference: e.rule(),
		Location:  m.At,
		Operation: m.Refusal.Operation,
		Principal: m.Principal,
		Resource:  m.Resource,
		Summary:   m.what() + m.fill(e.says),
		Detail:    m.because(e),
	}
	if e.onKey && m.key != "" {
		f.Resource = m.key
	}
	if e.add != nil {
		f.PolicyStatements = e.add(m)
	}
	f.Remediation = strings.Join(nonempty(m.instruction(f.PolicyStatements), m.fill(e.next)), "; ")
	if m.unproven() {
		f.Level = distribution.Warning
		f.Remediation += "; EC2 may be let through all the same, where the key policy admits calls through it alone: the copy will show"
	}
	return f
}

// Premature reports a failure that may come of AWS not having seen yet what the call depends on, as a share, a completion, a policy or
// a grant: soon after that, the call deserves to be made again (4.4.4).
func IsEventualConsistency(r distribution.APIError) bool {
	return read(Case{Refusal: r}).entry().premature
}

// what is the act that was refused, as the beginning of a sentence.
func (m match) what() string {
	switch {
	case m.Step != nil:
		if m.Dry {
			return "cannot " + m.Step.String() + ": "
		}
		return "could not " + m.Step.String() + ": "
	case m.Refusal.Operation != "":
		return m.Refusal.Operation + ": "
	}
	return ""
}

// because is the cause as we know it, and AWS's own words, which others have searched for before.
func (m match) because(e *rule) string {
	cause, said := m.fill(e.because), m.said()
	if cause == "" || said == "" {
		return cause + said
	}
	return cause + " (AWS: " + said + ")"
}

// unproven reports a question that KMS refused to us, and perhaps not to EC2: a key policy may admit calls through EC2 only (3.2.4, 6.8).
// A key that is known by an alias alone stays unknown to EC2 as well: a copy is asked for with the key's ARN.
func (m match) unproven() bool {
	return m.Step == nil && m.Refusal.Code == "AccessDeniedException" && strings.HasPrefix(m.Refusal.Operation, "kms:") && !strings.HasPrefix(m.asked, "alias/")
}

// instruction says what to do with the statements of a finding. A session does not show the path of its role, which a principal needs.
func (m match) instruction(additions []distribution.Addition) string {
	text := ""
	switch len(additions) {
	case 0:
		return ""
	case 1:
		text = "add the statement to the " + additions[0].Policy
	default:
		text = "add the statements, each to the policy that it is for"
	}
	if m.who().session && slices.ContainsFunc(additions, func(a distribution.Addition) bool { return a.Statement.Principal != nil }) {
		text += ", with the role's path in the principal if it has one"
	}
	return text
}

func nonempty(texts ...string) []string {
	var kept []string
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}

// fill puts what is known into a text of the catalogue.
func (m match) fill(text string) string {
	return strings.NewReplacer(
		"{who}", cmp.Or(m.who().name, "the caller"),
		"{action}", cmp.Or(m.action, m.Refusal.Operation),
		"{operation}", m.Refusal.Operation,
		"{code}", m.Refusal.Code,
		"{on}", cmp.Or(m.Resource, "what it asks for"),
		"{key}", cmp.Or(m.key, "the key"),
		"{account}", cmp.Or(m.At.Account, "of the caller"),
		"{whose}", cmp.Or(m.who().account, "of the caller"),
		"{region}", cmp.Or(m.At.Region, "the Region"),
		"{limit}", cmp.Or(m.limit(), "only so many"),
	).Replace(text)
}
