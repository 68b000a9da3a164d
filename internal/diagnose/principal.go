// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import "strings"

// arn holds the parts of an ARN.
type arn struct{ partition, service, region, account, resource string }

func parseARN(text string) (arn, bool) {
	parts := strings.SplitN(text, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return arn{}, false
	}
	return arn{parts[1], parts[2], parts[3], parts[4], parts[5]}, true
}

func (a arn) String() string {
	return strings.Join([]string{"arn", a.partition, a.service, a.region, a.account, a.resource}, ":")
}

// principal is a caller as policies name it.
type principal struct {
	arn       string // of a role, a user or an account's root
	account   string
	name      string // "role golden-image-target"; empty if only the account is known
	isSession bool   // the ARN was derived from a session's, so it lacks the path of the role
}

// caller returns the principal of the call, or the account of the call if the principal is unknown.
func (m match) caller() principal {
	if a, ok := parseARN(m.Principal); ok {
		return newPrincipal(a)
	}
	return accountPrincipal(arn{partition: m.partition(), account: m.At.Account})
}

func newPrincipal(a arn) principal {
	kind, rest, _ := strings.Cut(a.resource, "/")
	switch kind {
	case "assumed-role":
		name, _, _ := strings.Cut(rest, "/")
		return principal{
			arn:       arn{a.partition, "iam", "", a.account, "role/" + name}.String(),
			account:   a.account,
			name:      "role " + name,
			isSession: true,
		}
	case "role", "user":
		name := rest[strings.LastIndex(rest, "/")+1:]
		return principal{arn: a.String(), account: a.account, name: kind + " " + name}
	}
	account := accountPrincipal(a)
	if kind == "root" {
		account.name = "root user"
	}
	return account
}

func accountPrincipal(a arn) principal {
	return principal{arn: arn{a.partition, "iam", "", a.account, "root"}.String(), account: a.account}
}

// identityPolicy returns the name of the policy that can give a principal permissions. Empty if a user cannot edit any:
// the root user needs none, and AWS manages that of a service-linked role (8.1).
func (p principal) identityPolicy() string {
	switch {
	case p.name == "" || p.name == "root user" || p.isServiceLinkedRole():
		return ""
	case strings.Contains(p.name, " AWSReservedSSO_"):
		return "permission set of " + p.name + " in account " + p.account
	}
	return "identity policy of " + p.name + " in account " + p.account
}

func (p principal) isServiceLinkedRole() bool {
	return strings.HasPrefix(p.name, "role AWSServiceRoleFor")
}
