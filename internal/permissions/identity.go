// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"maps"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// holder is a role with permissions: the build role, or the role in a target account.
type holder struct {
	Setup
	target bool
	needs  map[string][]string           // action -> resources, as a plan asks for them
	grants []distribution.KeyGrantResult // grants that the holder itself creates
}

func (s Setup) build() *holder {
	h := &holder{Setup: s, needs: map[string][]string{}}
	source, _ := discover.RequiredPermissions(requests(s)...)
	for _, key := range s.SourceKeyARNs { // the plan reads and evaluates the key policies (3.2.2)
		h.need("kms:GetKeyPolicy", key)
	}
	for _, region := range s.regions() { // the records of runs, and the signing key
		image := distribution.Location{Account: s.SourceAccount, Region: region}.ImageARN("")
		h.need("ec2:CreateTags", image)
		h.need("ec2:DeleteTags", image)
	}
	h.gather(source, everyStep(s), func(at distribution.Location) bool { return at.Account == s.SourceAccount })
	assumed := s.Targets
	if s.with("share") {
		assumed = distinct(slices.Concat(s.Targets, s.Users))
	}
	if s.Organization != "" {
		assumed = []string{"*"} // the condition names the organization
	}
	for _, account := range assumed {
		h.need("sts:AssumeRole", s.roleARN(account, s.TargetRole))
	}
	return h
}

func (s Setup) target() *holder {
	h := &holder{Setup: s, target: true, needs: map[string][]string{}}
	_, target := discover.RequiredPermissions(requests(s)...)
	h.gather(target, everyStep(s), func(at distribution.Location) bool { return slices.Contains(s.Targets, at.Account) })
	if s.with("mode = usage") {
		h.need("ec2:DescribeInstances", "*")
		h.need("ec2:DescribeImageReferences", "*")
		for _, action := range step.ReferencePermissions {
			h.need(action, "*")
		}
	}
	if s.with("mode = rollback") && s.with("ssm_parameter") {
		for _, parameter := range h.needs["ssm:GetParameter"] {
			h.need("ssm:GetParameterHistory", parameter)
		}
	}
	return h
}

func (h *holder) gather(looks []step.Permission, steps []step.Step, at func(distribution.Location) bool) {
	for _, permission := range looks {
		h.need(permission.Action, permission.Resource)
	}
	for _, newStep := range steps {
		if !at(newStep.Meta().Location) {
			continue
		}
		if granting, is := newStep.(step.Granting); is {
			h.grants = append(h.grants, granting.Granted())
			continue
		}
		for _, permission := range newStep.Permissions() {
			h.need(permission.Action, permission.Resource)
		}
	}
}

func (h *holder) need(action, resource string) {
	if !slices.Contains(h.needs[action], resource) {
		h.needs[action] = append(h.needs[action], resource)
	}
}

// actions returns the matching actions of a holder's permissions, sorted.
func (h *holder) actions(wanted func(string) bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(h.needs)), func(action string) bool { return !wanted(action) })
}

// policy returns the identity policy of the role.
func (h *holder) policy() Document {
	var all []distribution.Statement
	if len(h.grants) > 0 {
		all = append(all, h.makesGrants())
	}
	for _, term := range h.terms() {
		var actions, resources []string
		for _, action := range h.actions(term.covers) {
			if named := h.resources(term, action); len(named) > 0 {
				actions, resources = append(actions, action), append(resources, named...)
			}
		}
		if slices.Sort(resources); len(actions) > 0 {
			all = append(
				all,
				distribution.Statement{
					Sid:       term.name,
					Effect:    "Allow",
					Action:    actions,
					Resource:  slices.Compact(resources),
					Condition: term.when,
				},
			)
		}
	}
	return document(all...)
}

// ofAKey reports whether a resource is a key, or the pattern of all resources.
func ofAKey(resource string) bool { return resource == "*" || keyARN.MatchString(resource) }

// makesGrants lets a holder create only the requested grants, for these principals and with these operations.
func (h *holder) makesGrants() distribution.Statement {
	var keys, grantees, operations []string
	for _, grant := range h.grants {
		grantee := grant.Grantee
		if h.target { // one policy for every target account
			grantee = strings.Replace(grantee, "::"+grant.At.Account+":", "::${aws:PrincipalAccount}:", 1)
		} else {
			keys = append(keys, grant.KeyARN)
			grantee = h.inAnyAccount(grantee, grant)
		}
		grantees, operations = append(grantees, grantee), append(operations, grant.Operations...)
	}
	s := distribution.Statement{
		Sid:      "GrantUseOfKey",
		Effect:   "Allow",
		Action:   []string{"kms:CreateGrant"},
		Resource: distinct(keys),
		Condition: distribution.Condition{
			"StringLike": {
				"kms:GranteePrincipal": distinct(grantees),
			},
			"ForAllValues:StringEquals": {"kms:GrantOperations": distinct(operations)},
		},
	}
	if h.target {
		s.Resource, s.Condition = []string{h.ownKeys()}, s.Condition.And(h.ownAlias())
	}
	return s
}

func distinct(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// term is a condition under which actions are allowed on some of their resources.
type term struct {
	name   string
	covers func(action string) bool
	on     func(resource string) string // a resource as the policy names it; empty if the term does not apply to it
	when   distribution.Condition
}

func (h *holder) resources(t term, action string) []string {
	var all []string
	for _, resource := range h.needs[action] {
		if named := t.on(resource); named != "" && !slices.Contains(all, named) {
			all = append(all, named)
		}
	}
	slices.Sort(all)
	return all
}

// isCreation reports whether an EC2 action creates a resource, which it can tag.
func isCreation(action string) bool {
	call, isEC2 := strings.CutPrefix(action, "ec2:")
	if !isEC2 || call == "CreateTags" || call == "CreateImageUsageReport" {
		return false
	}
	return slices.ContainsFunc(
		[]string{"Copy", "Create", "Register", "Run"},
		func(verb string) bool { return strings.HasPrefix(call, verb) },
	)
}

// mayShareWith returns the accounts that a holder may share with.
func (h *holder) mayShareWith() (accounts []string) {
	option := "ami_users"
	if !h.target {
		option, accounts = "share", h.Targets
	}
	if h.with(option) {
		accounts = slices.Concat(accounts, h.Users)
	}
	return accounts
}

// terms returns the conditions of a holder's permissions. Each action has at least one.
func (h *holder) terms() []term {
	makers := h.actions(func(action string) bool { return isCreation(action) && h.tags(action) })
	for i, maker := range makers {
		makers[i] = strings.TrimPrefix(maker, "ec2:")
	}
	ours := distribution.Condition{"Null": {"aws:ResourceTag/" + provenance.TagSource: {"false"}}}
	withdraw := distribution.Condition{
		"Null": {"ec2:Remove/userId": {"false"}, "ec2:Add/userId": {"true"}, "ec2:Add/group": {"true"}},
	}
	share := distribution.Condition{
		"ForAllValues:StringEquals": {"ec2:Add/userId": distinct(h.mayShareWith())},
		"Null":                      {"ec2:Add/userId": {"false"}, "ec2:Add/group": {"true"}},
	}
	if !h.target && h.Organization != "" {
		share = sharedInOrganization()
	}
	terms := []term{
		{"Describe", has("ec2:Describe", "ec2:Get"), anything, nil},
		{"AssumeTargetRole", is("sts:AssumeRole"), whole, h.resourceInOrganization()},
		{"Create", has(
			"ebs:", "ec2:AttachImage", "ec2:Copy", "ec2:Register", "ec2:EnableImage", "ec2:EnableFastLaunch",
		), anywhere, nil},
		{"Share", is("ec2:ModifySnapshotAttribute"), anywhere, share},
		{"ShareImage", is("ec2:ModifyImageAttribute"), anywhere, share},
		{"Unshare", is("ec2:ModifySnapshotAttribute"), anywhere, withdraw},
		{"DeleteOwnResources", is(
			"ec2:DeleteSnapshot", "ec2:DeregisterImage", "ec2:DisableImage", "ec2:TerminateInstances",
		), anywhere, ours},
		{"Launch", is("ec2:RunInstances"), anywhere, nil},
		{
			"Publish",
			is("ssm:PutParameter", "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:AddTagsToResource"),
			here,
			nil,
		},
		{
			"LetAWSFindImageReferences",
			is(
				"imagebuilder:GetContainerRecipe",
				"imagebuilder:ListContainerRecipes",
				"imagebuilder:ListImageRecipes",
				"ssm:DescribeParameters",
				"ssm:GetParameters",
			),
			notRetired,
			distribution.Condition{"ForAnyValue:StringEquals": {"aws:CalledVia": {"ec2-images.amazonaws.com"}}},
		},
		{"ListLicenses", is("license-manager:ListLicenseSpecificationsForResource"), whole, nil},
		{"AssociateLicenses", is("license-manager:UpdateLicenseSpecificationsForResource"), everywhere, nil},
		{"AddTemplateVersion", is("ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"), here, nil},
		{"DisableProtection", is("ec2:DisableImageDeregistrationProtection"), anywhere, nil},
	}
	if h.target && h.with("force_deregister") { // IAM has no condition on the name of an image
		terms = append(terms, term{"DeregisterImagesByName", is("ec2:DeregisterImage"), anywhere, nil})
	}
	if h.target && h.with("force_delete_snapshot") {
		terms = append(terms, term{"DeleteTheirSnapshots", is("ec2:DeleteSnapshot"), anywhere, nil})
	}
	if h.target {
		terms = append(
			terms,
			term{
				"TagCreatedResources",
				is("ec2:CreateTags"),
				anywhere,
				distribution.Condition{"StringEquals": {"ec2:CreateAction": makers}},
			},
			term{"SignCreatedResources", is("ec2:CreateTags"), anywhere, tagged(provenance.TagPrefix + "*").And(ours)},
		)
	} else {
		if h.with("run_tags") {
			creating := distribution.Condition{"StringEquals": {"ec2:CreateAction": makers}}
			terms = append(terms, term{"TagStagedCopies", is("ec2:CreateTags"), anywhere, creating})
		}
		terms = append(terms,
			term{"UnshareImage", is("ec2:ModifyImageAttribute"), anywhere, withdraw},
			term{"WritePluginTags", is("ec2:CreateTags", "ec2:DeleteTags"), anywhere, tagged(provenance.TagPrefix + "*")})
	}
	return slices.Concat(terms, h.retirementTerms(), h.keyTerms())
}

// retirementTerms returns the terms for deregistering source images. There is no condition on their snapshots, because
// the snapshots of a build have no common tag.
func (h *holder) retirementTerms() []term {
	if h.target || !h.with("source_retention") {
		return nil
	}
	family := distribution.Condition{"Null": {"aws:ResourceTag/" + provenance.TagImageFamily: {"false"}}}
	return []term{
		{"RetireSourceImages", is("ec2:DeregisterImage", "ec2:DisableImage"), anywhere, family},
		{"DeleteSourceSnapshots", is("ec2:DeleteSnapshot"), anywhere, nil},
		{"RequestUsageReport", is("ec2:CreateImageUsageReport"), anywhere, nil},
		{"ReadSigningKeys", is("ssm:GetParameters"), retired, nil},
	}
}

// tags reports whether the resources of an action get tags.
func (h *holder) tags(action string) bool {
	return slices.ContainsFunc(h.needs[action], func(resource string) bool {
		return slices.ContainsFunc(
			h.needs["ec2:CreateTags"],
			func(tagged string) bool { return anywhere(tagged) == anywhere(resource) },
		)
	})
}

// keyTerms returns the terms for actions on keys. AWS creates the grants of a copy for the caller (rule 3.2.3).
func (h *holder) keyTerms() []term {
	use := func(action string) bool { return strings.HasPrefix(action, "kms:") && action != "kms:CreateGrant" }
	source := func(resource string) string {
		if slices.Contains(h.SourceKeyARNs, resource) {
			return resource
		}
		return ""
	}
	var others []string // actions on keys of the holder's account that are unknown when the policies are written
	for action, resources := range h.needs {
		if strings.HasPrefix(action, "kms:") &&
			slices.ContainsFunc(resources, func(resource string) bool { return ofAKey(resource) && source(resource) == "" }) {
			others = append(others, action)
		}
	}
	if h.target { // one policy for every target account
		own := func(resource string) string {
			if !keyARN.MatchString(resource) || source(resource) != "" {
				return ""
			}
			return h.ownKeys()
		}
		alias := h.ownAlias()
		return []term{
			{"UseSourceKey", use, source, nil},
			{"LetAWSUseSourceKey", is("kms:CreateGrant"), source, distribution.ForAWS()},
			{"UseOwnKey", use, own, alias},
			{"LetAWSUseOwnKey", is("kms:CreateGrant"), own, distribution.ForAWS().And(alias)},
		}
	}
	own := func(resource string) string {
		if !ofAKey(resource) {
			return ""
		}
		return "arn:" + h.partition() + ":kms:*:" + h.SourceAccount + ":key/*"
	}
	return []term{
		{"UseSourceKey", func(action string) bool { return use(action) && !slices.Contains(others, action) }, source, nil},
		{"CopyFromOwnKeys", func(action string) bool { return use(action) && slices.Contains(others, action) }, own, nil},
		{"LetAWSUseOwnKeys", is("kms:CreateGrant"), own, distribution.ForAWS()},
	}
}

// ownKeys returns the ARN pattern of all keys. The condition of ownAlias restricts it to the holder's own key.
func (s Setup) ownKeys() string { return "arn:" + s.partition() + ":kms:*:*:key/*" }

// ownAlias restricts a statement to the key with the alias in the holder's account. An alias itself cannot be a
// resource (rule 3.3.3).
func (s Setup) ownAlias() distribution.Condition {
	return distribution.Condition{
		"StringEquals":             {"aws:ResourceAccount": {"${aws:PrincipalAccount}"}},
		"ForAnyValue:StringEquals": {"kms:ResourceAliases": {s.TargetAlias}},
	}
}

// tagged allows only tags with some keys.
func tagged(keys ...string) distribution.Condition {
	return distribution.Condition{"ForAllValues:StringLike": {"aws:TagKeys": keys}, "Null": {"aws:TagKeys": {"false"}}}
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

// notRetired returns a resource unchanged. Empty for the parameters of retired source images.
func notRetired(resource string) string {
	if strings.Contains(resource, provenance.RetiredSourcePath) {
		return ""
	}
	return resource
}

// retired returns the ARN pattern of a parameter of retired source images. Empty for other resources.
func retired(resource string) string {
	if notRetired(resource) == "" {
		return here(resource)
	}
	return ""
}

// anything returns the resource of actions without resource types, such as most reading actions.
func anything(string) string { return "*" }

// here returns the ARN pattern of a resource with a known name, in every Region of the caller's account.
func here(resource string) string {
	parts := strings.SplitN(resource, ":", 6)
	parts[3], parts[4] = "*", "*"
	return strings.Join(parts, ":")
}

// everywhere returns the ARN pattern of all license configurations of the caller's account, or shared with it. Their
// IDs differ by Region.
func everywhere(resource string) string {
	parts := strings.SplitN(resource, ":", 7)
	parts[3], parts[4], parts[6] = "*", "*", "*"
	return strings.Join(parts, ":")
}

// anywhere returns the ARN pattern of every resource of a kind, in every Region. Their IDs are not known in advance.
func anywhere(resource string) string {
	parts := strings.SplitN(resource, ":", 6)
	if len(parts) < 6 {
		return resource
	}
	kind, _, _ := strings.Cut(parts[5], "/")
	if parts[3], parts[5] = "*", kind+"/*"; parts[4] != "" {
		parts[4] = "*"
	}
	return strings.Join(parts, ":")
}
