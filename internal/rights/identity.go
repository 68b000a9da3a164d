// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package rights

import (
	"maps"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/survey"
)

// holder is who has rights: the build role, or the role in a target account.
type holder struct {
	Setup
	target bool
	needs  map[string][]string // action -> resources, as a plan asks for them
}

func (s Setup) build() holder {
	h := holder{Setup: s, needs: map[string][]string{}}
	source, _ := survey.Rights()
	h.gather(source, everyStep(s), func(at plan.Place) bool { return at.Account == s.SourceAccount })
	for _, target := range s.Targets {
		h.need("sts:AssumeRole", s.roleARN(target, s.TargetRole))
	}
	return h
}

func (s Setup) target() holder {
	h := holder{Setup: s, target: true, needs: map[string][]string{}}
	_, target := survey.Rights()
	h.gather(target, everyStep(s), func(at plan.Place) bool { return at.Account != s.SourceAccount })
	return h
}

func (h holder) gather(looks []plan.Right, steps []plan.Step, at func(plan.Place) bool) {
	for _, right := range looks {
		h.need(right.Action, right.Resource)
	}
	for _, step := range steps {
		if !at(step.Base().At) {
			continue
		}
		for _, right := range step.Rights() {
			h.need(right.Action, right.Resource)
		}
	}
}

func (h holder) need(action, resource string) {
	if !slices.Contains(h.needs[action], resource) {
		h.needs[action] = append(h.needs[action], resource)
	}
}

// actions are those of one or more services, sorted.
func (h holder) actions(wanted func(string) bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(h.needs)), func(action string) bool { return !wanted(action) })
}

// policy is the identity policy of a holder.
func (h holder) policy() Document {
	var all []Statement
	for _, term := range h.terms() {
		var actions, resources []string
		for _, action := range h.actions(term.covers) {
			if named := h.resources(term, action); len(named) > 0 {
				actions, resources = append(actions, action), append(resources, named...)
			}
		}
		if slices.Sort(resources); len(actions) > 0 {
			all = append(all, Statement{Sid: term.name, Effect: "Allow", Action: actions, Resource: slices.Compact(resources), Condition: term.when})
		}
	}
	return document(all...)
}

// term is a condition under which actions are allowed on some of the resources that they are needed on.
type term struct {
	name   string
	covers func(action string) bool
	on     func(resource string) string // as the policy names it; "" for one that the term is not about
	when   Condition
}

func (h holder) resources(t term, action string) []string {
	var all []string
	for _, resource := range h.needs[action] {
		if named := t.on(resource); named != "" && !slices.Contains(all, named) {
			all = append(all, named)
		}
	}
	slices.Sort(all)
	return all
}

// terms are the only conditions under which a holder's rights are given, each action under at least one.
func (h holder) terms() []term {
	makers := h.actions(func(action string) bool {
		call, ec2 := strings.CutPrefix(action, "ec2:")
		return ec2 && call != "CreateTags" && slices.ContainsFunc([]string{"Copy", "Create", "Register", "Run"}, func(verb string) bool { return strings.HasPrefix(call, verb) })
	})
	for i, maker := range makers {
		makers[i] = strings.TrimPrefix(maker, "ec2:")
	}
	tags := []term{{"TagAsOurs", is("ec2:CreateTags", "ec2:DeleteTags"), anywhere, tagged(origin.Prefix + "*")}} // what is staged has no other tags
	if h.target {
		tags = []term{
			{"TagWhatIsMade", is("ec2:CreateTags"), anywhere, Condition{"StringEquals": {"ec2:CreateAction": makers}}},
			{"SealWhatIsMade", is("ec2:CreateTags"), anywhere, tagged(origin.SealedID)},
		}
	}
	ours := Condition{"Null": {"aws:ResourceTag/" + origin.Source: {"false"}}}
	share := Condition{"ForAllValues:StringEquals": {"ec2:Add/userId": h.Targets}, "Null": {"ec2:Add/userId": {"false"}, "ec2:Add/group": {"true"}}}
	terms := []term{
		{"Look", has("ec2:Describe", "ec2:Get"), anything, nil},
		{"AssumeTargetRole", is("sts:AssumeRole"), whole, nil},
		{"Make", has("ec2:Copy", "ec2:CreateSnapshot", "ec2:CreateVolume", "ec2:Register", "ec2:EnableImageDeregistrationProtection"), anywhere, nil},
		{"Share", is("ec2:ModifySnapshotAttribute"), anywhere, share},
		{"Withdraw", is("ec2:ModifySnapshotAttribute"), anywhere, Condition{"Null": {"ec2:Add/userId": {"true"}, "ec2:Add/group": {"true"}}}},
		{"RemoveWhatIsOurs", is("ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DeregisterImage", "ec2:TerminateInstances"), anywhere, ours},
		{"LiftOurProtection", is("ec2:DisableImageDeregistrationProtection"), anywhere, Condition{"Null": {"aws:ResourceTag/" + origin.Protected: {"false"}}}},
	}
	return slices.Concat(terms, tags, h.keyTerms())
}

// keyTerms are those of keys. The grants of a copy are made by AWS for the caller (3.2.3).
func (h holder) keyTerms() []term {
	use := func(action string) bool { return strings.HasPrefix(action, "kms:") && action != "kms:CreateGrant" }
	source := func(resource string) string {
		if slices.Contains(h.SourceKeyARNs, resource) {
			return resource
		}
		return ""
	}
	var others []string // actions that are needed on keys of the own account that nobody can name beforehand
	for action, resources := range h.needs {
		if slices.ContainsFunc(resources, func(resource string) bool { return keyARN.MatchString(resource) && source(resource) == "" }) {
			others = append(others, action)
		}
	}
	if h.target { // one policy for every target account
		own := func(resource string) string {
			if !keyARN.MatchString(resource) || source(resource) != "" {
				return ""
			}
			return "arn:" + h.partition() + ":kms:*:*:key/*"
		}
		alias := h.ownAlias()
		return []term{
			{"UseSourceKey", use, source, nil},
			{"LetAWSUseSourceKey", is("kms:CreateGrant"), source, forAWS},
			{"UseOwnKey", use, own, alias},
			{"LetAWSUseOwnKey", is("kms:CreateGrant"), own, both(forAWS, alias)},
		}
	}
	own := func(resource string) string {
		if !keyARN.MatchString(resource) {
			return ""
		}
		return "arn:" + h.partition() + ":kms:*:" + h.SourceAccount + ":key/*"
	}
	return []term{
		{"UseSourceKey", func(action string) bool { return use(action) && !slices.Contains(others, action) }, source, nil},
		{"CopyFromOwnKeys", func(action string) bool { return use(action) && slices.Contains(others, action) }, own, nil},
		{"LetAWSUseOwnKeys", is("kms:CreateGrant"), own, forAWS},
	}
}

// ownAlias is the key that bears the alias in the account of whoever has the policy; an alias cannot be the resource itself (3.3.3).
func (s Setup) ownAlias() Condition {
	return Condition{"StringEquals": {"aws:ResourceAccount": {"${aws:PrincipalAccount}"}}, "ForAnyValue:StringEquals": {"kms:ResourceAliases": {s.TargetAlias}}}
}

// tagged allows tags of some keys and no others.
func tagged(keys ...string) Condition {
	return Condition{"ForAllValues:StringLike": {"aws:TagKeys": keys}, "Null": {"aws:TagKeys": {"false"}}}
}

var forAWS = Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}}

// both is two conditions as one; they have no operator in common.
func both(a, b Condition) Condition {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func is(actions ...string) func(string) bool {
	return func(action string) bool { return slices.Contains(actions, action) }
}

func has(prefixes ...string) func(string) bool {
	return func(action string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(action, prefix) })
	}
}

func whole(resource string) string { return resource }

// anything is what actions ask for that know no resources, most of those that look.
func anything(string) string { return "*" }

// anywhere is every resource of a kind, in every Region: their ids are not known before.
func anywhere(resource string) string {
	parts := strings.SplitN(resource, ":", 6)
	if len(parts) < 6 {
		return resource
	}
	kind, _, _ := strings.Cut(parts[5], "/")
	parts[3], parts[5] = "*", kind+"/*"
	return strings.Join(parts, ":")
}
