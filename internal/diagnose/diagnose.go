// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package diagnose explains errors of AWS. Its rules map an error and the failed step to a finding with the cause, the
// principal, the resource and the next step. If a permission is missing, the finding also has the policy statement to
// add, and names the policy.
package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Case is an error of AWS with what is known about the failed call.
type Case struct {
	// Refusal is the error as AWS returned it. For a resource that failed later, it has the operation that created it.
	// A snapshot's StateMessage (ec2:CopySnapshot) and an image's StateReason (ec2:CopyImage) have no code.
	// An instance's StateReason (ec2:RunInstances) has its own code.
	Refusal distribution.APIError

	Step          step.Step             // nil if the call was a lookup
	At            distribution.Location // of the call; that of the step if zero
	Principal     string                // ARN of the caller; a principal that the error names takes precedence
	Resource      string                // what the call is about: an id, an ARN, or a key as the call named it
	SourceAccount string                // account of the source image
	Dry           bool                  // the error is that of the step's dry run
	ExternalID    bool                  // the role was to be assumed with an external id, which is a secret
	WorkedIn      string                // another account of the block, in which the same external id worked
}

// Explain returns the finding for an error. An error that no rule matches is shown without a cause.
func Explain(c Case) distribution.Finding {
	m := newMatch(c)
	f := m.finding(m.rule())
	if m.isInconclusive() {
		f.Level = distribution.Warning
		f.Remediation += " " + mayBeAllowed
	}
	return f
}

// ExplainKeyPolicy returns the finding for a key whose policy does not allow the caller, as the run has read it. If
// several policies lack a statement, the message of AWS names only one, and that may be another policy.
func ExplainKeyPolicy(c Case) distribution.Finding {
	f := newMatch(c).finding(&keyPolicyMissing)
	f.AWSCode, f.AWSMessage = "", ""
	return f
}

// finding returns the finding of a rule.
func (m match) finding(r *rule) distribution.Finding {
	f := distribution.Finding{
		Level:      distribution.Refused,
		Code:       m.findingCode(r),
		AWSCode:    m.Refusal.Code,
		AWSMessage: m.awsMessage(),
		Reference:  r.reference(),
		Location:   m.At,
		Operation:  m.Refusal.Operation,
		Principal:  m.Principal,
		Resource:   m.Resource,
		Summary:    m.fillPlaceholders(r.summary),
		Detail:     m.fillPlaceholders(r.detail),
	}
	if r.aboutKey && m.key != "" {
		f.Resource = m.key
	}
	if r.statements != nil {
		f.PolicyStatements = r.statements(m)
	}

	instructions := []string{m.statementInstruction(f.PolicyStatements), m.fillPlaceholders(r.remediation)}
	f.Remediation = strings.Join(withoutEmpty(instructions), " ")
	if f.Remediation == "" { // the values of the documented condition are unknown
		f.Remediation = m.fillPlaceholders("Allow {who} to {action} under the conditions of the documented policies: " +
			policiesURL + ".")
	}
	return f
}

// taggingOperations create resources with tags of the template.
const taggingOperations = copyOperations + " ec2:RegisterImage ec2:RunInstances ec2:CreateSnapshot ec2:CreateVolume"

// tagAdvice returns how to satisfy a policy that denies creating a resource without tags. Empty for other operations.
func (m match) tagAdvice() string {
	if !isListed(m.Refusal.Operation, taggingOperations) {
		return ""
	}
	return "If the deny is for missing tags, set them in run_tags, tags and snapshot_tags, and change no policy. "
}

// mayBeAllowed ends the advice for a denied call of KMS, because the call that EC2 makes may be allowed.
const mayBeAllowed = "This may be a false alarm: if a policy allows the call only through EC2, AWS returns the " +
	"same error."

// IsEventualConsistency reports whether a retry may succeed because AWS may not have seen yet what the call depends on:
// a share, a completed snapshot, a policy or a grant (4.4.4).
func IsEventualConsistency(e distribution.APIError) bool {
	return newMatch(Case{Refusal: e}).rule().eventual
}

// findingCode returns the code of a finding. Missing kms:CreateGrant has its own code, because it is the most common
// cause.
func (m match) findingCode(r *rule) string {
	if r.code == "access_denied" && m.action == "kms:CreateGrant" {
		return createGrantDenied
	}
	return r.code
}

const createGrantDenied = "kms_create_grant_denied"

// isInconclusive reports whether KMS denied a lookup to this caller that EC2 may still be allowed to make. A key policy
// can allow calls through EC2 only (3.2.4, 6.8). A denied lookup of an alias is conclusive, because a copy needs the
// ARN of the key.
func (m match) isInconclusive() bool {
	isDeniedLookup := m.Step == nil && m.Refusal.Code == "AccessDeniedException" && !m.isExplicitDeny()
	return isDeniedLookup && strings.HasPrefix(m.Refusal.Operation, "kms:") &&
		!strings.HasPrefix(m.requestedResource, "alias/")
}

// isExplicitDeny reports whether a statement denies the call. No other statement can allow it then.
func (m match) isExplicitDeny() bool { return strings.Contains(m.Refusal.Message, "explicit deny") }

// statementInstruction returns what to do with the statements of a finding. The ARN of a session lacks the path of its
// role, so a statement with a principal may need it.
func (m match) statementInstruction(additions []distribution.Addition) string {
	text := StatementInstruction(additions, "")
	hasPrincipal := func(a distribution.Addition) bool { return a.Statement.Principal != nil }
	if m.caller().isSession && slices.ContainsFunc(additions, hasPrincipal) {
		text += " If the role has a path, write it in the principal: role/PATH/NAME."
	}
	return text
}

// StatementInstruction returns what to do with policy statements: "Add the 2 statements printed above to the key policy
// of ...". Empty for none.
func StatementInstruction(additions []distribution.Addition, where string) string {
	if len(additions) == 0 {
		return ""
	}
	isOther := func(a distribution.Addition) bool { return a.Policy != additions[0].Policy }
	switch {
	case slices.ContainsFunc(additions, isOther):
		return "Add each statement" + where + " to the policy named above it."
	case len(additions) == 1:
		return "Add the statement" + where + " to the " + additions[0].Policy + "."
	}
	return fmt.Sprintf("Add the %d statements%s to the %s.", len(additions), where, additions[0].Policy)
}

func withoutEmpty(texts []string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

// externalIDProblem returns what may be wrong with the external ID. Only the case of a failed lookup says whether the
// role was assumed with one.
func (m match) externalIDProblem() string {
	switch {
	case m.ExternalID:
		return "does not match"
	case m.Step == nil:
		return "is missing"
	}
	return "is missing or does not match"
}

// withExternalID returns a text that says whether the role was assumed with an external ID.
func (m match) withExternalID() string {
	if !m.ExternalID && m.Step == nil {
		return "without an external ID"
	}
	return "with this external ID"
}

// keyCheck returns the next step for a key that does not exist.
func (m match) keyCheck() string {
	if strings.Contains(m.requestedResource, "alias/") {
		return "Check the spelling of the alias, its account and its Region."
	}
	return "Check the ID, the account and the Region."
}

// profile returns the profile whose credentials are missing.
func (m match) profile() string {
	if m.Refusal.Profile == "" {
		return "default"
	}
	return m.Refusal.Profile
}

// fillPlaceholders returns the text of a rule with the values of this error.
func (m match) fillPlaceholders(text string) string {
	return strings.NewReplacer(
		"{profile}", m.profile(),
		"{message}", strings.TrimSuffix(m.Refusal.Message, "."),
		"{tags}", m.tagAdvice(),
		"{who}", cmp.Or(m.caller().name, "the caller"),
		"{action}", cmp.Or(m.action, m.Refusal.Operation),
		"{operation}", m.Refusal.Operation,
		"{code}", m.Refusal.Code,
		"{external_id}", m.externalIDProblem(),
		"{with_external_id}", m.withExternalID(),
		"{worked_in}", m.WorkedIn,
		"{check_key}", m.keyCheck(),
		"{on}", cmp.Or(m.Resource, "the resource"),
		"{key}", cmp.Or(m.key, "the key"),
		"{account}", cmp.Or(m.At.Account, "of the caller"),
		"{whose}", cmp.Or(m.caller().account, "of the caller"),
		"{region}", cmp.Or(m.At.Region, "the Region"),
		"{limit}", cmp.Or(m.quota(), "a limited number of"),
	).Replace(text)
}
