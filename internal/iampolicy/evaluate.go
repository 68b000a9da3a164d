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

// Principal is the caller of a request.
type Principal struct {
	ARN     string // of an account's root, a user or a session; or a service principal: "ec2.amazonaws.com"
	Account string // 12 digits; empty for a service
	Role    string // ARN of a session's role, or of the user of a federated session; otherwise empty
	Member  Membership
}

// Membership is the position of an account in an organization. Zero if it is in none.
type Membership struct {
	Organization string // o-...
	Path         string // "o-.../r-.../ou-.../", as in aws:PrincipalOrgPaths
	Management   bool   // it is the organization's management account
}

// Request is one action on one resource. An operation may need several.
type Request struct {
	Principal       Principal
	Action          string // "ec2:CopySnapshot"
	Resource        string // ARN, or "*" if the action has no resource
	ResourceAccount string // its owner, 12 digits; empty for the caller's own account
	ResourceMember  Membership
	Context         Context  // condition keys; the keys that follow from the other fields may be left out
	Unsure          []string // condition keys, or families such as aws:PrincipalTag/, that the request may or may not have
	Grant           *Grant   // the grant that kms:CreateGrant creates or kms:RetireGrant retires
}

// Policies are all policies and grants that apply to a request.
type Policies struct {
	Identity        []*Document   // of the user and its groups, or of the role
	Boundary        *Document     // nil if there is none
	Session         []*Document   // inline and managed; nil if none was passed
	ServiceControl  [][]*Document // of the caller's account, by level from the root to the account; each level must allow
	ResourceControl [][]*Document // of the resource's account, by level in the same way
	Resource        *Document     // key policy or trust policy; nil if the type of resource has none, as snapshots
	Grants          []Grant       // on the key
}

// Kinds of a Decision that are not policies.
const (
	ByGrant Kind = "grant"
	ByRoot  Kind = "root user" // of the resource's account, which needs no policy
)

// Decision is the result of an evaluation, with its reason.
type Decision struct {
	Allowed   bool
	By        Kind   // the policy that allowed or refused
	Explicit  bool   // refused by a Deny statement; otherwise because no statement allows
	Statement string // Sid of the deciding statement, or "statement 2"; id of a grant; empty if none decided
	Action    string
}

// Text returns the end of AWS's error message (IAM-UG:troubleshoot_access-denied, A.4.11). Empty if allowed.
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

// Evaluate decides a request. An error means that the answer is unknown. An error never allows.
//
// An explicit deny in any policy wins. Organization policies only limit. In one account, the resource's policy or the
// principal's own may allow. A KMS key and a role are an exception: their own policy or a grant must allow. Across
// accounts both sides must allow (IAM-UG:reference_policies_evaluation-logic, 3.2.1, A.4.10).
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

// evaluation is a request with defaults and derived values.
type evaluation struct {
	Request
	action       string // in lower case
	bounded      bool   // the principal has a permissions boundary
	crossAccount bool   // the resource belongs to another account than the principal
}

func newEvaluation(r Request, p Policies) (*evaluation, error) {
	if r.Principal.ARN == "" || r.Action == "" || r.Resource == "" {
		return nil, errors.New("policy: a request has a principal, an action and a resource")
	}
	if r.ResourceAccount == "" {
		r.ResourceAccount = r.Principal.Account
	}

	for name := range r.Context {
		if _, err := findKey(name); err != nil {
			return nil, fmt.Errorf("policy: context of %s: %w", r.Action, err)
		}
	}

	return &evaluation{
		Request:      r,
		action:       strings.ToLower(r.Action),
		bounded:      p.Boundary != nil,
		crossAccount: !r.Principal.isService() && r.ResourceAccount != r.Principal.Account,
	}, nil
}

// layer is the policies of one kind that apply to a request, grouped in levels. Each level must allow.
type layer struct {
	kind   Kind
	levels [][]*Document
}

func (e *evaluation) decide(p Policies) (Decision, error) {
	organization, resource, own := e.organizationLayers(p), e.resourceLayer(p), e.principalLayers(p)

	var undecided error
	for _, l := range slices.Concat(organization, []layer{resource}, own) {
		name, err := e.findDeny(l)
		if name != "" {
			return Decision{By: l.kind, Explicit: true, Statement: name}, nil
		}
		undecided = cmp.Or(undecided, err)
	}

	for _, l := range organization {
		if name, err := e.findAllow(l); name == "" {
			return Decision{By: l.kind}, err
		}
	}

	d, err := e.decideAllow(resource, p.Grants, own)
	if d.Allowed {
		return d, undecided
	}
	return d, err
}

// decideAllow decides a request that no statement denies. It combines the resource's policies and the principal's
// policies. The error of a refusal names a statement that might allow but could not be evaluated.
func (e *evaluation) decideAllow(resource layer, grants []Grant, own []layer) (Decision, error) {
	best, byResource, undecided := e.matchResource(resource, grants)
	sameSide := !e.crossAccount || e.isDelegated(grants)

	d := Decision{Allowed: true, By: ByRoot} // the only principal without identity policies
	if sameSide && best >= matchesRole {
		d = byResource
	}

	for _, l := range own {
		if sameSide && best.overrides(l.kind) {
			continue
		}
		name, err := e.findAllow(l)
		if name == "" {
			return Decision{By: l.kind}, cmp.Or(err, undecided)
		}
		if l.kind == Identity {
			d = Decision{Allowed: true, By: Identity, Statement: name}
		}
	}

	if best == noMatch && e.resourceMustAllow(resource) {
		return Decision{By: resource.kind}, undecided
	}
	return d, nil
}

// isDelegated reports whether the principal's own account created the grant on another account's key. Then no identity
// policy is needed (rule 8.3). With a grant of the key's account, one is needed (rule A.4.10).
func (e *evaluation) isDelegated(grants []Grant) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool {
		return principalElement(g.IssuingAccount).match(e.Principal) != noMatch && g.match(e) >= matchesRole
	})
}

// resourceMustAllow reports whether the principal's own policies are not enough.
func (e *evaluation) resourceMustAllow(resource layer) bool {
	return e.needsResourcePolicy() || e.Principal.isService() || e.crossAccount && resource.levels != nil
}

// organizationLayers returns the policies of the organizations. They apply neither to service-linked roles nor to the
// management account (ORG-UG:orgs_manage_policies_scps, orgs_manage_policies_rcps).
func (e *evaluation) organizationLayers(p Policies) []layer {
	if e.Principal.isServiceLinked() {
		return nil
	}

	var all []layer
	if len(p.ResourceControl) > 0 && !e.ResourceMember.Management && hasResourceControl(e.Action) {
		all = append(all, layer{ResourceControl, p.ResourceControl})
	}
	if len(p.ServiceControl) > 0 && !e.Principal.Member.Management && !e.Principal.isService() {
		all = append(all, layer{ServiceControl, p.ServiceControl})
	}
	return all
}

// resourceControlled are the services of the plugin that support resource control policies
// (ORG-UG:orgs_manage_policies_rcps).
var resourceControlled = []string{"autoscaling", "kms", "s3", "secretsmanager", "sqs", "sts"}

// hasResourceControl reports whether resource control policies apply to an action.
func hasResourceControl(action string) bool {
	service, _, _ := strings.Cut(action, ":")
	return slices.Contains(resourceControlled, service) && action != "kms:RetireGrant"
}

// resourceLayer returns the policy of the resource. kms:RetireGrant ignores the key policy (KMS-DG:grant-delete).
func (e *evaluation) resourceLayer(p Policies) layer {
	if p.Resource == nil || e.Action == "kms:RetireGrant" {
		return layer{kind: Resource}
	}
	return layer{p.Resource.kind, [][]*Document{{p.Resource}}}
}

// principalLayers returns the policies of the principal, the narrowest first. If several refuse, AWS names the session
// policy (A.4.10: kms-cross-account/grant-of-owner-needs-identity-policy-too). A service has no policies, and a root
// user needs none.
func (e *evaluation) principalLayers(p Policies) []layer {
	if e.Principal.isService() {
		return nil
	}

	var all []layer
	if p.Session != nil {
		all = append(all, layer{Session, [][]*Document{p.Session}})
	}
	if p.Boundary != nil {
		all = append(all, layer{Boundary, [][]*Document{{p.Boundary}}})
	}
	if !e.Principal.isRoot() {
		all = append(all, layer{Identity, [][]*Document{p.Identity}})
	}
	return all
}

// findDeny returns the name of the statement that denies. Empty if there is none.
func (e *evaluation) findDeny(l layer) (name string, undecided error) {
	for _, documents := range l.levels {
		name, err := e.findStatement(documents, true)
		if name != "" {
			return name, nil
		}
		undecided = cmp.Or(undecided, err)
	}
	return "", undecided
}

// findAllow returns the name of the statement that allows at the last level. Empty if any level does not allow.
func (e *evaluation) findAllow(l layer) (name string, undecided error) {
	for _, documents := range l.levels {
		if name, undecided = e.findStatement(documents, false); name == "" {
			break
		}
	}
	return name, undecided
}

// findStatement returns the name of the first statement with an effect that applies.
// If there is none, the error names a statement that could not be evaluated.
func (e *evaluation) findStatement(documents []*Document, deny bool) (name string, undecided error) {
	for _, d := range documents {
		for _, s := range d.statements {
			if s.deny != deny {
				continue
			}
			found, err := s.match(e)
			if found != noMatch {
				return s.name, nil
			}
			undecided = cmp.Or(undecided, err)
		}
	}
	return "", undecided
}

// matchResource returns the best match of the principal in the resource's policy and in the grants, with the decision
// if that match is enough.
func (e *evaluation) matchResource(resource layer, grants []Grant) (best match, d Decision, undecided error) {
	if e.crossAccount && isKey(e.Resource) && !isCrossAccountAction(e.Action) {
		return noMatch, d, nil
	}

	consider := func(found match, by Kind, name string) {
		if found > best {
			best, d = found, Decision{Allowed: true, By: by, Statement: name}
		}
	}

	for _, documents := range resource.levels {
		for _, s := range documents[0].statements {
			if !s.deny {
				found, err := s.match(e)
				consider(found, resource.kind, s.name)
				undecided = cmp.Or(undecided, err)
			}
		}
	}

	if e.Action == "kms:RetireGrant" {
		if e.Grant != nil {
			consider(e.Grant.matchRetiring(e), ByGrant, e.Grant.ID)
		}
		return best, d, undecided
	}

	for _, g := range grants {
		consider(g.match(e), ByGrant, g.ID)
	}
	return best, d, undecided
}

// match returns how the statement matches the principal of a request. It returns noMatch if the statement does not
// apply, and an error if it could not be evaluated.
func (s statement) match(e *evaluation) (match, error) {
	found := s.matchPrincipal(e)
	matchesAction := slices.ContainsFunc(s.actions, func(g glob) bool { return g.matches(e.action) })
	if found == noMatch || s.notActions == matchesAction {
		return noMatch, nil
	}

	for _, key := range s.variables {
		if e.isUnsure(key) && e.values(key) == nil {
			return noMatch, fmt.Errorf("cannot evaluate %s: ${%s} is not known", s.name, key)
		}
	}
	matchesResource := slices.ContainsFunc(s.resources, func(p pattern) bool { return p.matches(e.Resource, e) })
	if s.notResources == matchesResource {
		return noMatch, nil
	}

	var undecided error
	for _, c := range s.conditions {
		holds, err := c.holds(e)
		if err == nil && !holds {
			return noMatch, nil
		}
		undecided = cmp.Or(undecided, err)
	}
	if undecided != nil {
		return noMatch, fmt.Errorf("cannot evaluate %s: %w", s.name, undecided)
	}
	return found, nil
}

// matchPrincipal returns how the Principal element of a statement matches the principal of a request.
func (s statement) matchPrincipal(e *evaluation) match {
	if s.principals == nil {
		return matchesPrincipal
	}
	if s.notPrincipals {
		if isExcepted(s.principals, e.Principal, e.bounded) {
			return noMatch
		}
		return matchesPrincipal
	}

	best := noMatch
	for _, p := range s.principals {
		best = max(best, p.match(e.Principal))
	}
	return best
}

// needsResourcePolicy reports whether only the resource's own policy or a grant gives access to the resource
// (IAM-UG:reference_policies_evaluation-logic_policy-eval-denyallow, "Resource-based policies").
func (e *evaluation) needsResourcePolicy() bool {
	isRole := arnPart(e.Resource, 2) == "iam" && strings.HasPrefix(arnPart(e.Resource, 5), "role/")
	return strings.HasPrefix(e.action, "sts:") && isRole || isKey(e.Resource)
}

func isKey(resource string) bool {
	return arnPart(resource, 2) == "kms" && strings.HasPrefix(arnPart(resource, 5), "key/")
}

// isCrossAccountAction reports whether KMS lets other accounts use the operation (rule 3.2.2).
func isCrossAccountAction(action string) bool {
	operation := strings.TrimPrefix(action, "kms:")
	return slices.Contains(grantOperations, operation) ||
		slices.Contains([]string{"GetKeyRotationStatus", "ListGrants", "RevokeGrant"}, operation)
}
