// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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
	Context         Context  // what does not follow from the other fields; those that do are filled in where not given
	Unsure          []string // condition keys, or families as aws:PrincipalTag/, of which it is not known whether they are there
	Grant           *Grant   // what kms:CreateGrant is to make, or kms:RetireGrant to retire
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
		return Decision{}, fmt.Errorf("policy: %s on %s: %w", r.Action, r.Resource, err)
	}
	d.Action = r.Action
	return d, nil
}

// evaluation is a request, complete.
type evaluation struct {
	Request
	action  string // in lower case
	bounded bool   // the principal has a permissions boundary
	foreign bool   // the resource is of another account than the principal
}

func newEvaluation(r Request, p Policies) (*evaluation, error) {
	if r.Principal.ARN == "" || r.Action == "" || r.Resource == "" {
		return nil, errors.New("policy: a request has a principal, an action and a resource")
	}
	if r.ResourceAccount == "" {
		r.ResourceAccount = r.Principal.Account
	}
	e := &evaluation{Request: r, action: strings.ToLower(r.Action), bounded: p.Boundary != nil}
	e.foreign = !r.Principal.service() && r.ResourceAccount != r.Principal.Account
	for name := range r.Context {
		if _, err := findKey(name); err != nil {
			return nil, fmt.Errorf("policy: context of %s: %w", r.Action, err)
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
	var doubt error
	for _, l := range slices.Concat(limits, []layer{resource}, own) {
		name, err := e.denies(l)
		if name != "" {
			return Decision{By: l.kind, Explicit: true, Statement: name}, nil
		}
		doubt = cmp.Or(doubt, err)
	}
	for _, l := range limits {
		if name, err := e.allows(l); name == "" {
			return Decision{By: l.kind}, err
		}
	}
	d, err := e.weigh(resource, p.Grants, own)
	if d.Allowed {
		return d, doubt
	}
	return d, err
}

// weigh decides where nothing denies, between the two sides. Its error is a doubt in a refusal: what could not be judged
// might allow.
func (e *evaluation) weigh(resource layer, grants []Grant, own []layer) (Decision, error) {
	known, direct, doubt := e.admit(resource, grants)
	near := !e.foreign || e.delegated(grants)
	d := Decision{Allowed: true, By: ByRoot} // the one principal without identity policies
	if near && known >= inRole {
		d = direct
	}
	for _, l := range own {
		if near && known.spares(l.kind) {
			continue
		}
		name, err := e.allows(l)
		if name == "" {
			return Decision{By: l.kind}, cmp.Or(err, doubt)
		}
		if l.kind == Identity {
			d = Decision{Allowed: true, By: Identity, Statement: name}
		}
	}
	if known == stranger && (e.closed() || e.Principal.service() || e.foreign && resource.levels != nil) {
		return Decision{By: resource.kind}, doubt
	}
	return d, nil
}

// delegated reports whether the principal's own account has passed on to it, by a grant, what another account lets it do
// with a key: then that account has spoken, and no identity policy is needed (8.3; unlike a grant of the key's owner, A.4.10).
func (e *evaluation) delegated(grants []Grant) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool {
		return party(g.IssuingAccount).standing(e.Principal) != stranger && g.standing(e) >= inRole
	})
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

// resource is the policy of the resource. A key policy has no say in kms:RetireGrant (KMS-DG:grant-delete).
func (e *evaluation) resource(p Policies) layer {
	if p.Resource == nil || e.Action == "kms:RetireGrant" {
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
func (e *evaluation) denies(l layer) (name string, doubt error) {
	for _, documents := range l.levels {
		name, err := e.find(documents, true)
		if name != "" {
			return name, nil
		}
		doubt = cmp.Or(doubt, err)
	}
	return "", doubt
}

// allows names the statement that allows at the last level; "" when one of the levels does not allow.
func (e *evaluation) allows(l layer) (name string, doubt error) {
	for _, documents := range l.levels {
		if name, doubt = e.find(documents, false); name == "" {
			break
		}
	}
	return name, doubt
}

// find names the first statement of an effect that applies. Without one, the error says which could not be judged.
func (e *evaluation) find(documents []*Document, deny bool) (name string, doubt error) {
	for _, d := range documents {
		for _, s := range d.statements {
			if s.deny != deny {
				continue
			}
			known, err := s.applies(e)
			if known != stranger {
				return s.name, nil
			}
			doubt = cmp.Or(doubt, err)
		}
	}
	return "", doubt
}

// admit tells how the resource's policy, or a grant, knows the principal at best, and the decision if that is enough.
func (e *evaluation) admit(resource layer, grants []Grant) (best standing, d Decision, doubt error) {
	if e.foreign && isKey(e.Resource) && !acrossAccounts(e.Action) {
		return stranger, d, nil
	}
	admits := func(known standing, by Kind, name string) {
		if known > best {
			best, d = known, Decision{Allowed: true, By: by, Statement: name}
		}
	}
	for _, documents := range resource.levels {
		for _, s := range documents[0].statements {
			if !s.deny {
				known, err := s.applies(e)
				admits(known, resource.kind, s.name)
				doubt = cmp.Or(doubt, err)
			}
		}
	}
	if e.Action == "kms:RetireGrant" {
		if e.Grant != nil {
			admits(e.Grant.retirement(e), ByGrant, e.Grant.ID)
		}
		return best, d, doubt
	}
	for _, g := range grants {
		admits(g.standing(e), ByGrant, g.ID)
	}
	return best, d, doubt
}

// applies tells how a statement knows the principal; stranger when it does not apply to the request.
func (s statement) applies(e *evaluation) (standing, error) {
	known := s.knows(e)
	if known == stranger || s.notActions == slices.ContainsFunc(s.actions, func(g glob) bool { return g.matches(e.action) }) {
		return stranger, nil
	}
	for _, key := range s.variables {
		if e.unsure(key) && e.values(key) == nil {
			return stranger, fmt.Errorf("cannot tell: %s: ${%s} is not known", s.name, key)
		}
	}
	if s.notResources == slices.ContainsFunc(s.resources, func(p pattern) bool { return p.matches(e.Resource, e) }) {
		return stranger, nil
	}
	var doubt error
	for _, c := range s.conditions {
		holds, err := c.holds(e)
		if err == nil && !holds {
			return stranger, nil
		}
		doubt = cmp.Or(doubt, err)
	}
	if doubt != nil {
		return stranger, fmt.Errorf("cannot tell: %s: %w", s.name, doubt)
	}
	return known, nil
}

func (s statement) knows(e *evaluation) standing {
	if s.parties == nil {
		return inPerson
	}
	if s.notParties {
		if excepts(s.parties, e.Principal, e.bounded) {
			return stranger
		}
		return inPerson
	}
	best := stranger
	for _, p := range s.parties {
		best = max(best, p.standing(e.Principal))
	}
	return best
}

// closed reports whether nobody is known but through the resource's own policy or a grant
// (IAM-UG:reference_policies_evaluation-logic_policy-eval-denyallow, "Resource-based policies").
func (e *evaluation) closed() bool {
	assumed := strings.HasPrefix(e.action, "sts:") && arnPart(e.Resource, 2) == "iam" && strings.HasPrefix(arnPart(e.Resource, 5), "role/")
	return assumed || isKey(e.Resource)
}

func isKey(resource string) bool {
	return arnPart(resource, 2) == "kms" && strings.HasPrefix(arnPart(resource, 5), "key/")
}

// acrossAccounts reports whether KMS lets other accounts do it at all (rule 3.2.2).
func acrossAccounts(action string) bool {
	operation := strings.TrimPrefix(action, "kms:")
	return slices.Contains(grantOperations, operation) || slices.Contains([]string{"GetKeyRotationStatus", "ListGrants", "RevokeGrant"}, operation)
}
