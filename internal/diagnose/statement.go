// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"cmp"
	"regexp"
	"strings"
	"unicode"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// allowInIdentityPolicy allows the denied action in the caller's identity policy.
func allowInIdentityPolicy(m match) []distribution.Addition {
	return m.allowDeniedAction(m.caller().identityPolicy())
}

// allowInBoundary allows the denied action in the caller's permissions boundary.
func allowInBoundary(m match) []distribution.Addition {
	caller := m.caller()
	return m.allowDeniedAction(
		"permissions boundary of " + cmp.Or(caller.name, "the caller") + " in account " + caller.account)
}

// allowInSessionPolicy allows the denied action in the policy of the caller's session.
func allowInSessionPolicy(m match) []distribution.Addition {
	if m.At.Account != m.SourceAccount {
		return m.allowDeniedAction("session policy (policy or policy_arns of the target's assume_role)")
	}
	return m.allowDeniedAction("session policy that the source credentials were made with")
}

// allowInResourcePolicy allows the denied action in the key policy. It returns nothing for the trust policy of a role,
// because either a statement or only the external ID may be wrong (rule 5.6).
func allowInResourcePolicy(m match) []distribution.Addition {
	if m.key == "" || strings.HasPrefix(m.action, "sts:") {
		return nil
	}
	return m.allowInKeyPolicy(m.key, m.action)
}

// allowForCaller allows actions on every resource in the caller's identity policy.
func allowForCaller(actions ...string) func(match) []distribution.Addition {
	return func(m match) []distribution.Addition {
		policy := m.caller().identityPolicy()
		if policy == "" {
			return nil
		}
		statement := distribution.Statement{
			Sid:      statementID(actions[0]),
			Effect:   "Allow",
			Action:   actions,
			Resource: []string{"*"},
		}
		return []distribution.Addition{{Policy: policy, Statement: statement}}
	}
}

// allowOnKey allows actions on the key of the case, which encrypts the copy or volume.
func allowOnKey(actions ...string) func(match) []distribution.Addition {
	return func(m match) []distribution.Addition { return m.allowOnKey(m.key, actions...) }
}

// allowParameterKey allows the action that SSM needs to encrypt a parameter: the action that the step names, or the
// action of the standard tier (rule 7.9).
func allowParameterKey(m match) []distribution.Addition {
	action := "kms:Encrypt"
	if m.Step != nil {
		for _, permission := range m.Step.Permissions() {
			if permission.Action == "kms:GenerateDataKey" {
				action = permission.Action
			}
		}
	}
	return m.allowOnKey(m.key, action)
}

// allowOperationOnKey allows the failed operation of KMS on the key of the call.
func allowOperationOnKey(m match) []distribution.Addition {
	return m.allowOnKey(m.key, m.Refusal.Operation)
}

// allowOnCopyKeys allows the actions that a copy was observed to use on both of its keys (rule 3.1.8).
func allowOnCopyKeys(m match) []distribution.Addition {
	onCopyKey := m.allowOnKey(m.key, "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant")
	return append(onCopyKey, m.allowOnKey(m.sourceKey, "kms:CreateGrant")...)
}

var (
	// launchActions are the KMS actions that a caller must be allowed to launch an instance with encrypted volumes
	// (3.1.5).
	launchActions = []string{
		"kms:Decrypt",
		"kms:DescribeKey",
		"kms:GenerateDataKeyWithoutPlaintext",
		"kms:ReEncrypt*",
		"kms:CreateGrant",
	}
	// serviceLinkedRoleActions are the KMS actions that a service-linked role needs for such a launch (8.2).
	serviceLinkedRoleActions = []string{
		"kms:Decrypt",
		"kms:DescribeKey",
		"kms:Encrypt",
		"kms:GenerateDataKey*",
		"kms:ReEncrypt*",
		"kms:CreateGrant",
	}
)

// allowLaunch allows a launch to use the key of a volume. For a key of another account, a service-linked role needs a
// grant that its own account creates. The key policy must then allow that account to create the grant (rule 8.3).
func allowLaunch(m match) []distribution.Addition {
	caller := m.caller()
	switch {
	case !caller.isServiceLinkedRole():
		return m.allowOnKey(m.key, launchActions...)
	case m.key == "" || m.keyARN(m.key).account == caller.account:
		return m.allowOnKey(m.key, serviceLinkedRoleActions...)
	}

	account := accountPrincipal(arn{partition: m.partition(), account: caller.account})
	return []distribution.Addition{{
		Policy: "key policy of " + m.key + ", which " + m.keyOwner(m.key) + " can change",
		Statement: distribution.Statement{
			Sid:       statementID("kms:CreateGrant", account.arn),
			Effect:    "Allow",
			Principal: distribution.Principals{account.arn},
			Action:    []string{"kms:CreateGrant"},
			Resource:  []string{"*"},
			Condition: oneGrant(caller.arn, distribution.LaunchOperations),
		},
	}}
}

// allowDeniedAction allows the denied action on the resource that the message names, in a policy without principals.
func (m match) allowDeniedAction(policy string) []distribution.Addition {
	if m.action == "" || policy == "" {
		return nil
	}
	condition, known := m.actionCondition(m.action)
	if !known || m.Resource == "" && !isRead(m.action) {
		return nil
	}
	resource := cmp.Or(buildIDPattern.ReplaceAllString(m.Resource, "/*"), "*")
	id := statementID(m.action, resource)
	if strings.HasPrefix(m.action, "kms:") {
		id = statementID(m.action, m.keyARN(m.key).String())
		var ofKey distribution.Condition
		resource, ofKey = m.keyResource(m.key)
		condition = condition.And(ofKey)
	}

	statement := distribution.Statement{
		Sid:       id,
		Effect:    "Allow",
		Action:    []string{m.action},
		Resource:  []string{resource},
		Condition: condition,
	}
	return []distribution.Addition{{Policy: policy, Statement: statement}}
}

// isRead reports whether an action changes nothing. Most of these have no resource.
func isRead(action string) bool {
	_, name, _ := strings.Cut(action, ":")
	return strings.HasPrefix(name, "Describe") || strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List")
}

// buildIDPattern matches the ID of an image or snapshot in an ARN. It differs with every build, so a policy statement
// must not name it.
var buildIDPattern = regexp.MustCompile(`/(snap|ami)-[0-9a-f]+$`)

// allowOnKey allows actions on a key, in the identity policy and in the key policy. Within the key's account one of
// them is enough. Across accounts both must allow (3.2.1).
func (m match) allowOnKey(key string, actions ...string) []distribution.Addition {
	if key == "" {
		return nil
	}
	caller, keyARN := m.caller(), m.keyARN(key)
	var additions []distribution.Addition
	if policy := caller.identityPolicy(); policy != "" {
		if keyARN.account == caller.account {
			policy += ", which is enough where the key policy allows the account"
		}
		resource, condition := m.keyResource(key)
		for _, s := range m.splitGrantAction(actions) {
			s.Sid = statementID(s.Action[0], keyARN.String())
			s.Resource = []string{resource}
			s.Condition = s.Condition.And(condition)
			additions = append(additions, distribution.Addition{Policy: policy, Statement: s})
		}
	}
	return append(additions, m.allowInKeyPolicy(key, actions...)...)
}

// allowInKeyPolicy allows actions on a key in its own policy. For an unknown caller of another account it returns
// nothing, because the statement would allow every role of that account.
func (m match) allowInKeyPolicy(key string, actions ...string) []distribution.Addition {
	caller := m.caller()
	if caller.name == "" && caller.account != m.keyARN(key).account {
		return nil
	}
	policy := "key policy of " + key + ", which " + m.keyOwner(key) + " can change"
	var additions []distribution.Addition
	for _, s := range m.splitGrantAction(actions) {
		s.Sid = statementID(s.Action[0], caller.arn)
		s.Principal = distribution.Principals{caller.arn}
		s.Resource = []string{"*"}
		additions = append(additions, distribution.Addition{Policy: policy, Statement: s})
	}
	return additions
}

// keyOwner returns a text that names the account that can change the key policy. No other account can.
func (m match) keyOwner(key string) string {
	switch owner := m.keyARN(key).account; owner {
	case m.caller().account:
		return "the caller's own account " + owner
	case m.SourceAccount:
		return "the source account " + owner
	default:
		return "only account " + owner
	}
}

// splitGrantAction returns kms:CreateGrant in a statement of its own, with the condition on the grants that may be
// created (3.2.3).
func (m match) splitGrantAction(actions []string) []distribution.Statement {
	var unconditional []string
	var statements []distribution.Statement
	for _, action := range actions {
		if action != "kms:CreateGrant" {
			unconditional = append(unconditional, action)
			continue
		}
		statements = append(statements, distribution.Statement{
			Effect:    "Allow",
			Action:    []string{action},
			Condition: m.grantCondition(),
		})
	}
	if unconditional != nil {
		first := distribution.Statement{Effect: "Allow", Action: unconditional}
		statements = append([]distribution.Statement{first}, statements...)
	}
	return statements
}

// keyARN returns the ARN of a key. An ID or alias belongs to the caller's account and Region (rule 1.7.6).
func (m match) keyARN(key string) arn {
	if a, ok := parseARN(key); ok {
		return a
	}
	if !strings.HasPrefix(key, "alias/") {
		key = "key/" + key
	}
	return arn{m.partition(), "kms", m.At.Region, m.At.Account, key}
}

// keyResource returns a key as the resource of an identity policy. An alias cannot be one, so it becomes a condition
// (3.3.3).
func (m match) keyResource(key string) (resource string, condition distribution.Condition) {
	a := m.keyARN(key)
	if alias := a.resource; strings.HasPrefix(alias, "alias/") {
		a.resource = "key/*"
		condition = distribution.Condition{"ForAnyValue:StringEquals": {"kms:ResourceAliases": {alias}}}
	}
	return a.String(), condition
}

// partition returns the partition of the principal, of the resource or of a permission of the step, "aws" by default.
func (m match) partition() string {
	candidates := []string{m.Principal, m.Resource}
	if m.Step != nil {
		for _, permission := range m.Step.Permissions() {
			candidates = append(candidates, permission.Resource)
		}
	}
	for _, text := range candidates {
		if a, ok := parseARN(text); ok {
			return a.partition
		}
	}
	return "aws"
}

// statementID returns the Sid of a statement, derived from its action and resources so that it is unique in its policy.
// A Sid consists of letters and digits.
func statementID(action string, resources ...string) string {
	_, name, _ := strings.Cut(action, ":")
	for _, text := range resources {
		if a, ok := parseARN(text); ok {
			text = cmp.Or(a.region, a.account) + "/" + a.resource
		}
		name += toCamelCase(text)
	}
	return "EncryptedAMI" + toCamelCase(name)
}

func toCamelCase(text string) string {
	var out strings.Builder
	startsWord := true
	for _, r := range text {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			startsWord = true
			continue
		}
		if startsWord {
			r = unicode.ToUpper(r)
		}
		out.WriteRune(r)
		startsWord = false
	}
	return out.String()
}
