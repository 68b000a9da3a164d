// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Principal is who asks.
type Principal struct {
	ARN     string // of an account's root, a user or a session; or a service principal: "ec2.amazonaws.com"
	Account string // 12 digits; "" for a service
	Role    string // ARN of the role of a session, or of the user of a federated one; "" otherwise
	Member  Membership
}

// Membership is where in an organization an account is; zero: in none.
type Membership struct {
	Organization string // o-...
	Path         string // "o-.../r-.../ou-.../", as aws:PrincipalOrgPaths has it
	Management   bool   // it is the organization's management account
}

// Request asks for one action on one resource. An operation may need several.
type Request struct {
	Principal       Principal
	Action          string // "ec2:CopySnapshot"
	Resource        string // ARN; "*" where the action has no resource
	ResourceAccount string // its owner, 12 digits; "" is the caller's own account
	ResourceMember  Membership
	Context         Context // what does not follow from the other fields: it is filled in where it is not given
	Grant           *Grant  // what kms:CreateGrant is to make, or kms:RetireGrant to retire
}

// Policies are all that bear on a request.
type Policies struct {
	Identity        []*Document   // of the user and its groups, or of the role
	Boundary        *Document     // nil: none
	Session         []*Document   // inline and managed; nil: none was passed
	ServiceControl  [][]*Document // of the caller's account, per level from the root to the account; each has to allow
	ResourceControl [][]*Document // of the resource's account, likewise
	Resource        *Document     // key policy or trust policy; nil: resources of this type have none, as snapshots
	Grants          []Grant       // on the key
}

// What allows without being a policy.
const (
	ByGrant Kind = "grant"
	ByRoot  Kind = "root user" // of the resource's account, who needs no policy
)

// Decision says whether, and because of what.
type Decision struct {
	Allowed   bool
	By        Kind   // the policy that allowed, or that refused
	Explicit  bool   // refused by a Deny statement; otherwise for want of an Allow
	Statement string // Sid of the deciding statement, or "statement 2"; id of a grant; "" when none decided
	Action    string
}

// Text is the end of the sentence in which AWS refuses (IAM-UG:troubleshoot_access-denied, A.4.11); "" when allowed.
func (d Decision) Text() string {
	article := "a"
	switch d.By {
	case Identity:
		article = "an"
	case Trust:
		article = "the"
	}
	switch {
	case d.Allowed:
		return ""
	case d.Explicit:
		return fmt.Sprintf("with an explicit deny in %s %s", article, d.By)
	}
	return fmt.Sprintf("because no %s allows the %s action", d.By, d.Action)
}

// Evaluate decides a request. An error means that it cannot be told; it is no allow.
//
// An explicit deny anywhere wins. Organization policies only limit. Inside one account the resource's policy or the
// principal's own may allow, but a KMS key and a role to be assumed know nobody whom their own policy, or a grant,
// does not admit. Across accounts both sides have to allow (IAM-UG:reference_policies_evaluation-logic, 3.2.1, A.4.10).
func Evaluate(r Request, p Policies) (Decision, error) {
	e, err := newEvaluation(r, p)
	if err != nil {
		return Decision{}, err
	}
	d, err := e.decide(p)
	if err != nil {
		return Decision{}, fmt.Errorf("%s on %s: %w", r.Action, r.Resource, err)
	}
	d.Action = r.Action
	return d, nil
}

// evaluation is a request with its condition keys: by their names in lower case, and with those that follow from it.
type evaluation struct {
	Request
	context Context
	bounded bool // the principal has a permissions boundary
	foreign bool // the resource is of another account than the principal
}

func newEvaluation(r Request, p Policies) (*evaluation, error) {
	if r.Principal.ARN == "" || r.Action == "" || r.Resource == "" {
		return nil, errors.New("policy: a request has a principal, an action and a resource")
	}
	if r.ResourceAccount == "" {
		r.ResourceAccount = r.Principal.Account
	}
	e := &evaluation{Request: r, context: Context{}, bounded: p.Boundary != nil}
	e.foreign = !r.Principal.service() && r.ResourceAccount != r.Principal.Account
	for _, name := range slices.Sorted(maps.Keys(r.Context)) {
		key, err := findKey(name)
		if err != nil {
			return nil, fmt.Errorf("policy: context of %s: %w", r.Action, err)
		}
		e.context[key.name] = append(e.context[key.name], r.Context[name]...)
	}
	for name, values := range r.implied() {
		if name = strings.ToLower(name); e.context[name] == nil && !slices.Equal(values, []string{""}) {
			e.context[name] = values
		}
	}
	return e, nil
}

// layer is the policies of one kind that bear on a request: in levels, each of which has to allow.
type layer struct {
	kind   Kind
	levels [][]*Document
}

func (e *evaluation) decide(p Policies) (Decision, error) {
	limits, resource, own := e.limits(p), e.resource(p), e.own(p)
	for _, l := range slices.Concat(limits, []layer{resource}, own) {
		if name, err := e.denies(l); err != nil || name != "" {
			return Decision{By: l.kind, Explicit: true, Statement: name}, err
		}
	}
	for _, l := range limits {
		if name, err := e.allows(l); err != nil || name == "" {
			return Decision{By: l.kind}, err
		}
	}
	known, admitted, err := e.admit(resource, p.Grants)
	if err != nil {
		return Decision{}, err
	}
	refused := Decision{By: resource.kind}
	needed := closed(e.Action, e.Resource) || e.Principal.service() || e.foreign && p.Resource != nil
	switch {
	case known == inPerson && !e.foreign:
		return admitted, nil
	case known == stranger && needed && !e.foreign:
		return refused, nil
	}
	allowed := Decision{Allowed: true, By: ByRoot}
	for _, l := range own {
		if l.kind == Identity && known == inRole && !e.foreign {
			allowed = admitted
			continue
		}
		name, err := e.allows(l)
		if err != nil || name == "" {
			return Decision{By: l.kind}, err
		}
		allowed = Decision{Allowed: true, By: l.kind, Statement: name}
	}
	if known == stranger && needed {
		return refused, nil
	}
	return allowed, nil
}

// limits are the policies of the organizations. They bind neither service-linked roles nor the management account
// (ORG-UG:orgs_manage_policies_scps, orgs_manage_policies_rcps).
func (e *evaluation) limits(p Policies) []layer {
	var all []layer
	if len(p.ResourceControl) > 0 && !e.Principal.serviceLinked() && !e.ResourceMember.Management && resourceControlled(e.Action) {
		all = append(all, layer{ResourceControl, p.ResourceControl})
	}
	if len(p.ServiceControl) > 0 && !e.Principal.serviceLinked() && !e.Principal.Member.Management && !e.Principal.service() {
		all = append(all, layer{ServiceControl, p.ServiceControl})
	}
	return all
}

// resourceControlled reports whether resource control policies apply to an action: of the services that have them, those
// that this project meets (ORG-UG:orgs_manage_policies_rcps).
func resourceControlled(action string) bool {
	service, _, _ := strings.Cut(action, ":")
	return slices.Contains([]string{"autoscaling", "kms", "s3", "secretsmanager", "sqs", "sts"}, service) && action != "kms:RetireGrant"
}

// resource is the policy of the resource. A key policy has no say in RetireGrant (KMS-DG:grant-delete).
func (e *evaluation) resource(p Policies) layer {
	switch {
	case p.Resource == nil || e.Action == "kms:RetireGrant":
		return layer{kind: Resource}
	}
	return layer{p.Resource.kind, [][]*Document{{p.Resource}}}
}

// own are the policies of the principal, the narrowest first: where several refuse, AWS names the session policy
// (A.4.10: kms-cross-account/grant-of-owner-needs-identity-policy-too). A service has none; a root user needs none.
func (e *evaluation) own(p Policies) []layer {
	if e.Principal.service() {
		return nil
	}
	var all []layer
	if p.Session != nil {
		all = append(all, layer{Session, [][]*Document{p.Session}})
	}
	if p.Boundary != nil {
		all = append(all, layer{Boundary, [][]*Document{{p.Boundary}}})
	}
	if !e.Principal.root() {
		all = append(all, layer{Identity, [][]*Document{p.Identity}})
	}
	return all
}

// denies names the statement that denies; "" when none does.
func (e *evaluation) denies(l layer) (string, error) {
	for _, documents := range l.levels {
		if name, err := e.find(documents, true); err != nil || name != "" {
			return name, err
		}
	}
	return "", nil
}

// allows names the statement that allows at the last level; "" when one of the levels does not allow.
func (e *evaluation) allows(l layer) (name string, err error) {
	for _, documents := range l.levels {
		if name, err = e.find(documents, false); err != nil || name == "" {
			return "", err
		}
	}
	return name, nil
}

// find names the first statement of an effect that applies.
func (e *evaluation) find(documents []*Document, deny bool) (string, error) {
	for _, d := range documents {
		for _, s := range d.statements {
			if s.deny != deny {
				continue
			}
			if known, err := s.applies(e); err != nil || known != stranger {
				return s.name, err
			}
		}
	}
	return "", nil
}

// admit tells how the resource's policy, or a grant, knows the principal at best, and which of them.
func (e *evaluation) admit(resource layer, grants []Grant) (standing, Decision, error) {
	best, by := stranger, Decision{Allowed: true}
	if e.foreign && isKey(e.Resource) && !acrossAccounts(e.Action) {
		return stranger, by, nil
	}
	for _, documents := range resource.levels {
		for _, s := range documents[0].statements {
			if s.deny {
				continue
			}
			known, err := s.applies(e)
			if err != nil {
				return stranger, by, err
			}
			if known > best {
				best, by.By, by.Statement = known, resource.kind, s.name
			}
		}
	}
	if e.Action == "kms:RetireGrant" {
		grants = nil
		if e.Grant != nil {
			grants = []Grant{*e.Grant}
		}
	}
	for _, g := range grants {
		if known := g.standing(e); known > best {
			best, by.By, by.Statement = known, ByGrant, g.ID
		}
	}
	return best, by, nil
}

// applies tells how a statement knows the principal; stranger when it does not apply to the request.
func (s statement) applies(e *evaluation) (standing, error) {
	known := inPerson
	switch {
	case s.notParties && excepts(s.parties, e.Principal, e.bounded):
		return stranger, nil
	case s.parties != nil && !s.notParties:
		known = stranger
		for _, p := range s.parties {
			known = max(known, p.standing(e.Principal))
		}
	}
	if known == stranger || !s.covers(e) {
		return stranger, nil
	}
	for _, c := range s.conditions {
		if holds, err := c.holds(e.context); err != nil || !holds {
			return stranger, err
		}
	}
	return known, nil
}

// covers reports whether a statement is about the action and the resource. Whatever has neither is about nothing.
func (s statement) covers(e *evaluation) bool {
	action := strings.ToLower(e.Action)
	isAction := slices.ContainsFunc(s.actions, func(g glob) bool { return g.matches(action) })
	isResource := slices.ContainsFunc(s.resources, func(t template) bool {
		g, ok := t.glob(e.context)
		return ok && g.ofARN().matches(e.Resource)
	})
	return s.actions != nil && s.resources != nil && isAction != s.notActions && isResource != s.notResources
}

// closed reports whether nobody is known but through the resource's own policy or a grant
// (IAM-UG:reference_policies_evaluation-logic_policy-eval-denyallow, "Resource-based policies").
func closed(action, resource string) bool {
	parts := strings.SplitN(resource, ":", 6)
	return isKey(resource) || strings.HasPrefix(action, "sts:") && len(parts) == 6 && parts[2] == "iam" && strings.HasPrefix(parts[5], "role/")
}

func isKey(resource string) bool {
	parts := strings.SplitN(resource, ":", 6)
	return len(parts) == 6 && parts[2] == "kms" && strings.HasPrefix(parts[5], "key/")
}

// acrossAccounts reports whether KMS lets other accounts do it at all (rule 3.2.2).
func acrossAccounts(action string) bool {
	operation := strings.TrimPrefix(action, "kms:")
	return slices.Contains(GrantOperations, operation) || slices.Contains([]string{"GetKeyRotationStatus", "ListGrants", "RevokeGrant"}, operation)
}

// implied are the condition keys that follow from a request (IAM-UG:reference_policies_condition-keys).
func (r Request) implied() Context {
	who := r.Principal
	c := Context{
		"aws:PrincipalAccount":      {who.Account},
		"aws:PrincipalIsAWSService": {strconv.FormatBool(who.service())},
		"aws:PrincipalOrgID":        {who.Member.Organization},
		"aws:PrincipalOrgPaths":     {who.Member.Path},
		"aws:ResourceAccount":       {r.ResourceAccount},
		"aws:ResourceOrgID":         {r.ResourceMember.Organization},
		"aws:ResourceOrgPaths":      {r.ResourceMember.Path},
		"aws:TagKeys":               r.Context.members("aws:RequestTag/"),
		"aws:ViaAWSService":         {"false"},
	}
	_, kind, _ := strings.Cut(strings.TrimPrefix(who.ARN, "arn:"), "::")
	switch _, kind, _ = strings.Cut(kind, ":"); {
	case who.service():
		c["aws:PrincipalServiceName"] = []string{who.ARN}
	case who.root():
		c["aws:PrincipalArn"], c["aws:PrincipalType"], c["aws:userid"] = []string{who.ARN}, []string{"Account"}, []string{who.Account}
	case strings.HasPrefix(kind, "user/"):
		c["aws:PrincipalArn"], c["aws:PrincipalType"] = []string{who.ARN}, []string{"User"}
		c["aws:username"] = []string{kind[strings.LastIndex(kind, "/")+1:]}
	case strings.HasPrefix(kind, "assumed-role/"):
		c["aws:PrincipalArn"], c["aws:PrincipalType"] = []string{who.Role}, []string{"AssumedRole"}
	case strings.HasPrefix(kind, "federated-user/"):
		c["aws:PrincipalArn"], c["aws:PrincipalType"] = []string{who.ARN}, []string{"FederatedUser"}
	}
	if strings.HasPrefix(r.Action, "kms:") {
		c["kms:CallerAccount"] = []string{who.Account}
		c["kms:EncryptionContextKeys"] = r.Context.members("kms:EncryptionContext:")
	}
	if r.Action == "kms:CreateGrant" && r.Grant != nil {
		maps.Copy(c, r.Grant.implied())
	}
	return c
}

// members are the names in a family of keys that a context has, sorted: the tags in aws:RequestTag/.
func (c Context) members(family string) []string {
	var names []string
	for name := range c {
		if len(name) > len(family) && strings.EqualFold(name[:len(family)], family) {
			names = append(names, name[len(family):])
		}
	}
	slices.Sort(names)
	return names
}

// encryptionContext are the pairs in kms:EncryptionContext: as the request has them: their case counts.
func (e *evaluation) encryptionContext() map[string]string {
	pairs := map[string]string{}
	const family = "kms:EncryptionContext:"
	for name, values := range e.Context {
		if len(name) > len(family) && strings.EqualFold(name[:len(family)], family) && len(values) > 0 {
			pairs[name[len(family):]] = values[0]
		}
	}
	return pairs
}

// byService reports whether an AWS service asks, for itself or for the principal.
func (e *evaluation) byService() bool {
	return e.Principal.service() || e.context["kms:viaservice"] != nil || slices.Equal(e.context["aws:viaawsservice"], []string{"true"})
}

func (p Principal) service() bool { return p.Account == "" }

func (p Principal) root() bool { return p.Account != "" && p.ARN == p.accountARN() }

// serviceLinked reports whether it is a role that belongs to a service (ORG-UG, rule 8.1).
func (p Principal) serviceLinked() bool {
	return strings.Contains(p.Role, ":role/aws-service-role/")
}

// accountARN is the ARN that stands for the principal's account, in its partition.
func (p Principal) accountARN() string {
	partition := "aws"
	if parts := strings.SplitN(p.ARN, ":", 3); len(parts) == 3 && parts[0] == "arn" {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::" + p.Account + ":root"
}
