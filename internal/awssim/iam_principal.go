// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// iamPrincipal holds what a user and a role have in common.
type iamPrincipal struct {
	account             *account
	path                string
	name                string
	id                  string // unique ID, AIDA... or AROA...
	arn                 string
	created             time.Time
	tags                map[string]string
	inlinePolicies      orderedMap[*policyDocument]
	attachedPolicies    []*managedPolicy
	permissionsBoundary *managedPolicy
}

type user struct {
	iamPrincipal
	accessKeys []iamtypes.AccessKeyMetadata
}

type role struct {
	iamPrincipal
	trustPolicy        *policyDocument
	description        *string
	maxSessionDuration time.Duration // maximum duration of a session
	service            string        // of a service-linked role, such as "autoscaling.amazonaws.com"
}

// iamKey returns the key of a name in IAM. Names that differ only in case are the same name.
func iamKey(name string) string { return strings.ToLower(name) }

// isServiceLinked reports whether the role is a service-linked role. No policy can be attached to it, and policies of
// an organization do not apply to it.
func (r *role) isServiceLinked() bool { return r.service != "" }

// managedPolicy is a customer managed policy.
type managedPolicy struct {
	iamtypes.Policy
	*policyDocument
}

type instanceProfile struct {
	iamtypes.InstanceProfile
	role *role
}

// policyDocument is a policy as text and parsed.
type policyDocument struct {
	name   string // of an inline policy
	text   string
	parsed *iampolicy.Document
}

func parsePolicy(text string, kind iampolicy.Kind) (*policyDocument, error) {
	parsed, err := iampolicy.Parse([]byte(text), kind)
	if err != nil {
		return nil, err
	}
	return &policyDocument{text: text, parsed: parsed}, nil
}

// mustParsePolicy parses a policy of the simulator itself.
func mustParsePolicy(text string, kind iampolicy.Kind) *policyDocument {
	created, err := parsePolicy(text, kind)
	if err != nil {
		panic(err)
	}
	return created
}

// addPolicies adds the policies of a user or role to the policies of a caller.
func (h *iamPrincipal) addPolicies(to *iampolicy.Policies) {
	for _, inline := range h.inlinePolicies.all {
		to.Identity = append(to.Identity, inline.parsed)
	}
	for _, attached := range h.attachedPolicies {
		to.Identity = append(to.Identity, attached.parsed)
	}
	if h.permissionsBoundary != nil {
		to.Boundary = h.permissionsBoundary.parsed
	}
}

// findRole returns a role by ARN.
func (w *World) findRole(arn string) (*role, bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return nil, false
	}
	account, ok := w.accounts.get(parts[4])
	if !ok {
		return nil, false
	}
	found, ok := account.roles.get(iamKey(arn[strings.LastIndex(arn, "/")+1:]))
	return found, ok && found.arn == arn
}

// principalExists reports whether a principal in a policy or grant exists. Accounts always exist.
func (w *World) principalExists(name string) bool {
	if name == "*" || accountNumber.MatchString(name) {
		return true
	}

	parts := strings.SplitN(name, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || !accountNumber.MatchString(parts[4]) {
		return false
	}

	service, resource := parts[2], parts[5]
	if service == "iam" && resource == "root" {
		return true
	}

	account, ok := w.accounts.get(parts[4])
	return ok && account.hasPrincipal(name, service, resource)
}

// hasPrincipal reports whether the account has the role, user or role session of an ARN.
func (a *account) hasPrincipal(arn, service, resource string) bool {
	kind, rest, _ := strings.Cut(resource, "/")
	last := rest[strings.LastIndex(rest, "/")+1:]
	switch service + ":" + kind {
	case "iam:role":
		role, ok := a.roles.get(iamKey(last))
		return ok && role.arn == arn
	case "iam:user":
		user, ok := a.users.get(iamKey(last))
		return ok && user.arn == arn
	case "sts:assumed-role":
		role, _, _ := strings.Cut(rest, "/")
		_, ok := a.roles.get(iamKey(role))
		return ok
	}

	return false
}

// listPrincipals returns the AWS principals in a policy.
func listPrincipals(text string) (names []string) {
	mapPrincipals(text, func(name string) string { names = append(names, name); return name })
	return names
}

// mapPrincipals returns the policy with every AWS principal replaced by change(principal).
func mapPrincipals(text string, change func(string) string) string {
	var whole map[string]any
	if json.Unmarshal([]byte(text), &whole) != nil {
		return text
	}

	before := true
	each := func(name any) any {
		old, _ := name.(string)
		fresh := change(old)
		before = before && fresh == old
		return fresh
	}

	for _, statement := range asList(whole["Statement"]) {
		for _, element := range []string{"Principal", "NotPrincipal"} {
			parties, _ := statement.(map[string]any)[element].(map[string]any)
			switch named := parties["AWS"].(type) {
			case string:
				parties["AWS"] = each(named)
			case []any:
				for i := range named {
					named[i] = each(named[i])
				}
			}
		}
	}

	if before {
		return text
	}

	changed, err := json.Marshal(whole)
	if err != nil {
		panic(err) // the document came from JSON
	}

	return string(changed)
}

func asList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

// replaceARNsByID replaces the ARN of a deleted principal by its unique ID in all policies and grants. A new principal
// with the same name gets no access from them (rule 8.3).
func (w *World) replaceARNsByID(h *iamPrincipal) {
	rename := func(name string) string {
		if name == h.arn {
			return h.id
		}
		return name
	}

	again := func(d **policyDocument, kind iampolicy.Kind) {
		if text := mapPrincipals((*d).text, rename); text != (*d).text {
			*d = mustParsePolicy(text, kind)
		}
	}

	for _, account := range w.accounts.all {
		for _, role := range account.roles.all {
			again(&role.trustPolicy, iampolicy.Trust)
		}
	}

	for _, key := range w.keys.all {
		again(&key.policy, iampolicy.Resource)
		for _, grant := range key.grants.all {
			grant.Grantee, grant.Retiring = rename(grant.Grantee), rename(grant.Retiring)
		}
	}

	h.arn = h.id
}

// parseTags returns a list of tags as a map.
func parseTags[T any](tags []T, read func(T) (key, value string)) map[string]string {
	created := map[string]string{}
	for _, tag := range tags {
		key, value := read(tag)
		created[key] = value
	}
	return created
}

// sortedKeys returns the keys of a map in order, so that no output depends on the order of a map.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
