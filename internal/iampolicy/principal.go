// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// principalElement is one entry of a Principal element: an account, an ARN, a service principal or "*".
type principalElement string

const everyone principalElement = "*"

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	serviceForm = regexp.MustCompile(`^[a-z0-9.-]+\.(amazonaws\.com|amazonaws\.com\.cn|aws\.internal)$`)

	// deletedForm is the unique id of a deleted user or role. It matches no principal.
	deletedForm = regexp.MustCompile(`^A[A-Z0-9]{15,}$`)

	principalForm = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/[^*?]+)|` +
		`sts::[0-9]{12}:(assumed-role|federated-user)/[^*?]+)$`)
)

// parsePrincipals parses a Principal element (IAM-UG:reference_policies_elements_principal).
func (r rules) parsePrincipals(v any) ([]principalElement, error) {
	if v == "*" {
		return []principalElement{everyone}, nil
	}
	types, ok := v.(object)
	if !ok || len(types) == 0 {
		return nil, errors.New("neither * nor an object")
	}
	if r.onlyEveryone {
		return nil, errors.New("only *")
	}

	var all []principalElement
	for _, t := range types {
		elements, err := parseAll(t.value, func(text string) (principalElement, error) {
			if !r.isPrincipal(t.name, text) {
				return "", fmt.Errorf("unknown principal %s %q", t.name, text)
			}
			return principalElement(text), nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, elements...)
	}
	return all, nil
}

// isPrincipal reports whether a text names a principal of a type.
func (r rules) isPrincipal(kind, text string) bool {
	switch kind {
	case "AWS":
		return text == "*" || accountForm.MatchString(text) || principalForm.MatchString(text) ||
			deletedForm.MatchString(text)
	case "Service":
		return serviceForm.MatchString(text)
	case "Federated":
		return r.federated && !strings.ContainsAny(text, "*?")
	}
	return false
}

// match says how a resource's policy or a grant matches a principal. It decides which of the principal's own policies
// can still restrict the principal within one account
// (IAM-UG:reference_policies_evaluation-logic_policy-eval-denyallow).
type match int

const (
	noMatch          match = iota
	matchesAccount         // by its account, which must allow by an identity policy
	matchesRole            // by its role: boundary and session policies still limit
	matchesPrincipal       // by its own ARN, or as everyone
)

// overrides reports whether, in one account, a policy of the principal need not allow.
func (m match) overrides(k Kind) bool {
	return m == matchesPrincipal || m == matchesRole && k == Identity
}

// match returns how the element matches a principal.
func (p principalElement) match(who Principal) match {
	switch {
	case p == everyone || p == principalElement(who.ARN):
		return matchesPrincipal
	case who.Role != "" && p == principalElement(who.Role):
		return matchesRole
	case who.Account == "" || !p.isAccount(who):
		return noMatch
	case who.isRoot():
		return matchesPrincipal
	}
	return matchesAccount
}

// isAccount reports whether the element names the account of a principal.
func (p principalElement) isAccount(who Principal) bool {
	return p == principalElement(who.Account) || p == principalElement(who.accountARN())
}

// isExcepted reports whether a NotPrincipal element excepts a principal. AWS looks for the account and for the user or
// role. A principal with a boundary is never excepted (IAM-UG:reference_policies_elements_notprincipal).
func isExcepted(elements []principalElement, who Principal, bounded bool) bool {
	account, self := who.isService(), who.isRoot()

	for _, p := range elements {
		switch {
		case p == everyone:
			return true
		case p.isAccount(who):
			account = true
		case p == principalElement(who.Role) || who.Role == "" && p == principalElement(who.ARN):
			self = true
		}
	}

	return account && self && !bounded
}

// isService reports whether the principal is an AWS service or an identity provider, which has no account.
func (p Principal) isService() bool { return p.Account == "" }

func (p Principal) isRoot() bool { return p.Account != "" && p.ARN == p.accountARN() }

// isServiceLinked reports whether the principal is a service-linked role (ORG-UG, rule 8.1).
func (p Principal) isServiceLinked() bool {
	return strings.Contains(p.Role, ":role/aws-service-role/")
}

// accountARN returns the ARN of the principal's account, in its partition.
func (p Principal) accountARN() string {
	return "arn:" + arnPart(p.ARN, 1) + ":iam::" + p.Account + ":root"
}

// arnPart returns one of the six parts of an ARN: arn, partition, service, Region, account, resource.
// Empty if the text is not an ARN.
func arnPart(arn string, i int) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[i]
}
