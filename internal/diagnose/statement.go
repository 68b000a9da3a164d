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

// arn is an ARN in its parts.
type arn struct{ partition, service, region, account, resource string }

func parse(text string) (arn, bool) {
	parts := strings.SplitN(text, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return arn{}, false
	}
	return arn{parts[1], parts[2], parts[3], parts[4], parts[5]}, true
}

func (a arn) String() string {
	return strings.Join([]string{"arn", a.partition, a.service, a.region, a.account, a.resource}, ":")
}

// party is a principal as policies name it.
type party struct {
	arn     string // of a role, a user, or an account's root
	account string
	name    string // "role golden-image-target"; "" where only the account is known
	session bool   // arn is made of a session's, which leaves out the path of its role
}

// who is the caller as policies name it; one that is not known is its account.
func (m match) who() party {
	if a, ok := parse(m.Principal); ok {
		return partyOf(a)
	}
	return accountOf(arn{partition: m.partition(), account: m.At.Account})
}

func partyOf(a arn) party {
	kind, rest, _ := strings.Cut(a.resource, "/")
	switch kind {
	case "assumed-role":
		name, _, _ := strings.Cut(rest, "/")
		return party{arn{a.partition, "iam", "", a.account, "role/" + name}.String(), a.account, "role " + name, true}
	case "role", "user":
		return party{a.String(), a.account, kind + " " + rest[strings.LastIndex(rest, "/")+1:], false}
	}
	all := accountOf(a)
	if kind == "root" {
		all.name = "root user"
	}
	return all
}

func accountOf(a arn) party {
	return party{arn: arn{a.partition, "iam", "", a.account, "root"}.String(), account: a.account}
}

// identity is the policy that gives a party its own rights; "" where it can have none: an account's root user needs none, and
// nobody can attach one to a service-linked role (8.1).
func (p party) identity() string {
	switch {
	case p.name == "" || p.name == "root user" || p.serviceLinked():
		return ""
	case strings.Contains(p.name, " AWSReservedSSO_"):
		return "permission set of " + p.name + " in account " + p.account
	}
	return "identity policy of " + p.name + " in account " + p.account
}

// serviceLinked reports a role that belongs to an AWS service.
func (p party) serviceLinked() bool { return strings.HasPrefix(p.name, "role AWSServiceRoleFor") }

// toIdentity is the refused action, for the identity policy of who was refused.
func toIdentity(m match) []distribution.Addition { return m.refused(m.who().identity()) }

// toBoundary is the refused action, for the permissions boundary of who was refused.
func toBoundary(m match) []distribution.Addition {
	return m.refused("permissions boundary of " + cmp.Or(m.who().name, "the caller") + " in account " + m.who().account)
}

// toSession is the refused action, for the policy that the session was made with.
func toSession(m match) []distribution.Addition {
	if m.At.Account != m.SourceAccount {
		return m.refused("session policy (policy or policy_arns of the target's assume_role)")
	}
	return m.refused("session policy that the source credentials were made with")
}

// toResource is the refused action, for the policy of the resource: a key's, or a role's trust policy.
func toResource(m match) []distribution.Addition {
	if strings.HasPrefix(m.action, "sts:") {
		return m.trust(m.action)
	}
	if m.key == "" {
		return nil
	}
	return m.keyPolicy(m.key, m.action)
}

// toCaller is the action that was called, for the caller's identity policy.
func toCaller(actions ...string) func(match) []distribution.Addition {
	return func(m match) []distribution.Addition {
		where := m.who().identity()
		if where == "" {
			return nil
		}
		return []distribution.Addition{{Policy: where, Statement: distribution.Statement{Sid: sid(actions[0]), Effect: "Allow", Action: actions, Resource: []string{"*"}}}}
	}
}

// toAssume is both sides of a role that was not assumed, because AWS does not tell which refused (5.6).
func toAssume(m match) []distribution.Addition {
	return append(m.trust(cmp.Or(m.action, "sts:AssumeRole")), toIdentity(m)...)
}

// toKey is rights on the key that encrypts.
func toKey(actions ...string) func(match) []distribution.Addition {
	return func(m match) []distribution.Addition { return m.onKey(m.key, actions...) }
}

// toCalled is the call of KMS itself, on the key that it was about.
func toCalled(m match) []distribution.Addition { return m.onKey(m.key, m.Refusal.Operation) }

// toKeys is what a copy was observed to need on both of its keys (3.1.8).
func toKeys(m match) []distribution.Addition {
	return append(m.onKey(m.key, "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"), m.onKey(m.sourceKey, "kms:CreateGrant")...)
}

// What a launch takes on the keys of its volumes: of who launches (3.1.5), and of a service-linked role (8.2).
var (
	launchRights = []string{"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*", "kms:CreateGrant"}
	linkedRights = []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*", "kms:CreateGrant"}
)

// toLaunch is what a launch takes on the key of a volume. On another account's key a service-linked role has no rights but by a
// grant, which its account makes, so that account has to be admitted (8.3).
func toLaunch(m match) []distribution.Addition {
	who := m.who()
	if !who.serviceLinked() {
		return m.onKey(m.key, launchRights...)
	}
	if m.key != "" && m.keyARN(m.key).account != who.account {
		m.Principal, m.Refusal.Operation = accountOf(arn{partition: m.partition(), account: who.account}).arn, "kms:CreateGrant"
	}
	return m.onKey(m.key, linkedRights...)
}

// refused is the action that AWS refused on the resource that it named, for a policy without principals.
func (m match) refused(where string) []distribution.Addition {
	if m.action == "" || where == "" {
		return nil
	}
	resource, when := cmp.Or(ownID.ReplaceAllString(m.Resource, "/*"), "*"), distribution.Condition(nil)
	name := sid(m.action, resource)
	if strings.HasPrefix(m.action, "kms:") {
		name = sid(m.action, m.keyARN(m.key).String())
		resource, when = m.keyResource(m.key)
	}
	call, byEC2 := strings.CutPrefix(m.Refusal.Operation, "ec2:")
	switch {
	case m.action == "ec2:CreateTags" && byEC2 && call != "CreateTags": // only while making something (6.5)
		when = distribution.Condition{"StringEquals": {"ec2:CreateAction": {call}}}
	case m.action == "kms:CreateGrant" && m.Refusal.Operation != m.action:
		when = distribution.ForAWS().And(when)
	}
	return []distribution.Addition{{Policy: where, Statement: distribution.Statement{Sid: name, Effect: "Allow", Action: []string{m.action}, Resource: []string{resource}, Condition: when}}}
}

// ownID is the end of an ARN that is another one with every build.
var ownID = regexp.MustCompile(`/(snap|ami)-[0-9a-f]+$`)

// trust is a statement for the trust policy of the role that was to be assumed.
func (m match) trust(actions ...string) []distribution.Addition {
	role, ok := parse(m.Resource)
	if !ok {
		return nil
	}
	who := m.who()
	statement := distribution.Statement{Sid: sid(actions[0], who.arn), Effect: "Allow", Principal: distribution.Principals{who.arn}, Action: actions}
	if m.ExternalID || m.Step != nil { // a step does not tell; a statement without the condition would open the role to whoever it names
		statement.Condition = distribution.Condition{"StringEquals": {"sts:ExternalId": {"<external_id>"}}}
	}
	return []distribution.Addition{{Policy: "trust policy of " + partyOf(role).name + " in account " + role.account, Statement: statement}}
}

// onKey is rights on a key, for both policies that bear on it. In the key's own account one of them is enough; across accounts
// both have to allow (3.2.1).
func (m match) onKey(key string, actions ...string) []distribution.Addition {
	if key == "" {
		return nil
	}
	who, resource := m.who(), m.keyARN(key)
	foreign := resource.account != who.account
	var all []distribution.Addition
	if where := who.identity(); where != "" {
		if !foreign {
			where += ", which is enough where the key policy admits the account"
		}
		name, when := m.keyResource(key)
		for _, s := range m.split(actions) {
			s.Sid, s.Resource, s.Condition = sid(s.Action[0], resource.String()), []string{name}, s.Condition.And(when)
			all = append(all, distribution.Addition{Policy: where, Statement: s})
		}
	}
	return append(all, m.keyPolicy(key, actions...)...)
}

// keyPolicy is rights on a key, for its own policy.
func (m match) keyPolicy(key string, actions ...string) []distribution.Addition {
	who := m.who()
	var all []distribution.Addition
	for _, s := range m.split(actions) {
		s.Sid, s.Principal, s.Resource = sid(s.Action[0], who.arn), distribution.Principals{who.arn}, []string{"*"}
		all = append(all, distribution.Addition{Policy: "key policy of " + key + ", " + m.whose(key), Statement: s})
	}
	return all
}

// whose says who can change the policy of a key.
func (m match) whose(key string) string {
	switch owner := m.keyARN(key).account; owner {
	case m.who().account:
		return "a key of the caller's own account " + owner
	case m.SourceAccount:
		return "a key of the source account " + owner
	default:
		return "a key of the third account " + owner + ", where alone its policy can be changed"
	}
}

// split sets kms:CreateGrant apart: unless it is called directly, AWS makes the grants (3.2.3).
func (m match) split(actions []string) []distribution.Statement {
	var plain []string
	var all []distribution.Statement
	for _, action := range actions {
		if action == "kms:CreateGrant" && m.Refusal.Operation != action {
			all = append(all, distribution.Statement{Effect: "Allow", Action: []string{action}, Condition: distribution.ForAWS()})
			continue
		}
		plain = append(plain, action)
	}
	if plain != nil {
		all = append([]distribution.Statement{{Effect: "Allow", Action: plain}}, all...)
	}
	return all
}

// keyARN is where a key is: as its ARN says, or with the caller (1.7.6).
func (m match) keyARN(key string) arn {
	if a, ok := parse(key); ok {
		return a
	}
	if !strings.HasPrefix(key, "alias/") {
		key = "key/" + key
	}
	return arn{m.partition(), "kms", m.At.Region, m.At.Account, key}
}

// keyResource is a key as the resource of an identity policy, which an alias cannot be (3.3.3).
func (m match) keyResource(key string) (resource string, when distribution.Condition) {
	a := m.keyARN(key)
	if alias := a.resource; strings.HasPrefix(alias, "alias/") {
		a.resource, when = "key/*", distribution.Condition{"ForAnyValue:StringEquals": {"kms:ResourceAliases": {alias}}}
	}
	return a.String(), when
}

// partition is the partition of the call: of what it is about, or of any right of its step.
func (m match) partition() string {
	known := []string{m.Principal, m.Resource}
	if m.Step != nil {
		for _, right := range m.Step.Permissions() {
			known = append(known, right.Resource)
		}
	}
	for _, text := range known {
		if a, ok := parse(text); ok {
			return a.partition
		}
	}
	return "aws"
}

// sid is a name for a statement, made of what it is about, so that it stands once in its policy: letters and digits only.
func sid(action string, about ...string) string {
	_, name, _ := strings.Cut(action, ":")
	for _, text := range about {
		if a, ok := parse(text); ok {
			text = cmp.Or(a.region, a.account) + "/" + a.resource
		}
		name += camel(text)
	}
	return "EncryptedAMI" + camel(name)
}

func camel(text string) string {
	var out strings.Builder
	begin := true
	for _, r := range text {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			begin = true
			continue
		}
		if begin {
			r = unicode.ToUpper(r)
		}
		out.WriteRune(r)
		begin = false
	}
	return out.String()
}
