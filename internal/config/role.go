// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// AssumeRole holds the options of a block `assume_role` or `organizations_role`.
type AssumeRole struct {
	// The ARN of the role. For many accounts: `arn:{{ .Partition }}:iam::{{ .AccountId }}:role/golden-image-target`.
	// The last role of a chain must be in the target account.
	RoleARN string `mapstructure:"role_arn"`
	// The name of a role in the target account, with its path if it has one. It is short for `arn:{{ .Partition
	// }}:iam::{{ .AccountId }}:role/NAME`. Only in `target` and `share`. One of `role_arn` and `role_name` is
	// required.
	RoleName string `mapstructure:"role_name"`
	// The name of the session in CloudTrail: 2 to 64 letters, digits and `_+=,.@-`. Default: `encrypted-ami`.
	SessionName string `mapstructure:"session_name"`
	// The external ID that the trust policy of the role requires. It is never printed.
	ExternalID string `mapstructure:"external_id"`
	// The duration of a session, 900 to 43200 seconds and at most what the role allows. Sessions are renewed.
	// Default: 3600, the maximum for a role that another role assumes.
	DurationSeconds int `mapstructure:"duration_seconds"`
	// A session policy in JSON, at most 2048 characters.
	Policy string `mapstructure:"policy"`
	// ARNs of up to ten managed policies that restrict the session.
	PolicyARNs []string `mapstructure:"policy_arns"`
	// Session tags, at most 50.
	Tags map[string]string `mapstructure:"tags"`
	// Keys of `tags` that the sessions of later roles inherit.
	TransitiveTagKeys []string `mapstructure:"transitive_tag_keys"`
	// The source identity of the session, which later roles inherit: 2 to 64 letters, digits and `_+=,.@-`.
	SourceIdentity string `mapstructure:"source_identity"`
}

func (a *AssumeRole) role() distribution.Role {
	return distribution.Role{
		RoleARN:           distribution.Text(a.RoleARN),
		RoleName:          distribution.Text(a.RoleName),
		SessionName:       distribution.Text(a.SessionName),
		ExternalID:        distribution.Secret(a.ExternalID),
		SourceIdentity:    distribution.Text(a.SourceIdentity),
		Duration:          time.Duration(a.DurationSeconds) * time.Second,
		Policy:            a.Policy,
		PolicyARNs:        slices.Sorted(slices.Values(a.PolicyARNs)),
		Tags:              a.Tags,
		TransitiveTagKeys: slices.Sorted(slices.Values(a.TransitiveTagKeys)),
	}
}

// checkTopLevel checks a role outside of target and share, which has one account and no destination.
func (a *AssumeRole) checkTopLevel(p *diagnostics) {
	if a.RoleName != "" {
		p.add("role_name", "%q has no account here; write its ARN in role_arn", a.RoleName)
		return
	}
	if a.RoleARN == "" {
		p.add("role_arn", "missing; write an ARN such as arn:aws:iam::123456789012:role/builder")
	}
	a.check(p, false)
}

// checkInDestination checks a role of a target or share. chained is true if it is assumed with the session of another
// role.
func (a *AssumeRole) checkInDestination(p *diagnostics, chained bool) {
	switch {
	case a.RoleARN == "" && a.RoleName == "":
		p.add("role_name", "missing, and role_arn as well; give one of them")
	case a.RoleARN != "" && a.RoleName != "":
		p.add("role_name", "no effect beside role_arn; give one of them")
	case strings.HasPrefix(a.RoleName, "arn:"):
		p.add("role_name", "%s is the ARN of a role; write it in role_arn", abridged(a.RoleName))
	case literal(a.RoleName):
		p.roleName("role_name", a.RoleName)
	}
	p.text("role_arn", a.RoleARN)
	p.text("role_name", a.RoleName)
	p.template("session_name", a.SessionName, distribution.SessionVars)
	if distribution.Text(a.ExternalID).Check(distribution.DestinationVars) != nil { // this error could show the secret
		p.add("external_id", "the template cannot be rendered; see the template variables in the documentation")
	}
	p.text("source_identity", a.SourceIdentity)
	a.check(p, chained)
}

// check checks a role. chained is true if it is assumed with the session of another role.
func (a *AssumeRole) check(p *diagnostics, chained bool) {
	a.checkARN(p)
	p.limit("session_name", awslimits.RoleSessionName, a.SessionName)
	p.secret("external_id", awslimits.ExternalID, a.ExternalID)
	p.limit("source_identity", awslimits.SourceIdentity, a.SourceIdentity)
	p.numberLimit("duration_seconds", awslimits.SessionDuration, a.DurationSeconds)
	if chained {
		p.numberLimit("duration_seconds", awslimits.ChainedSessionDuration, a.DurationSeconds)
	}
	a.checkPolicies(p)
	p.sessionTags(a.Tags, a.TransitiveTagKeys)
}

// checkARN checks the ARN of the role, and the path and the name in it.
func (a *AssumeRole) checkARN(p *diagnostics) {
	if !p.limit("role_arn", awslimits.RoleARN, a.RoleARN) || !literal(a.RoleARN) {
		return
	}
	p.partition("role_arn", awslimits.Match(awslimits.RoleARN, a.RoleARN)[1])
	_, name, _ := strings.Cut(a.RoleARN, ":role/")
	p.roleName("role_arn", name)
}

// roleName checks the name of a role, with its path if it has one.
func (p *diagnostics) roleName(field, text string) {
	text = strings.TrimPrefix(text, "/")
	path, name := "/", text
	if i := strings.LastIndex(text, "/"); i >= 0 {
		path, name = "/"+text[:i+1], text[i+1:]
	}
	if err := awslimits.Check(awslimits.RolePath, path); err != nil {
		p.add(field, "the path of the role, %s, %w", abridged(path), err)
		return
	}
	if err := awslimits.Check(awslimits.RoleName, name); err != nil {
		p.add(field, "the name of the role, %s, %w", abridged(name), err)
	}
}

func (a *AssumeRole) checkPolicies(p *diagnostics) {
	if literal(a.Policy) {
		if err := awslimits.CheckJSON(a.Policy); err != nil {
			p.add("policy", "%w", err)
		}
		p.secret("policy", awslimits.SessionPolicy, a.Policy)
	}
	p.countLimit("policy_arns", awslimits.SessionPolicyARNs, len(a.PolicyARNs))
	for i, arn := range a.PolicyARNs {
		p.limit(index("policy_arns", i), awslimits.SessionPolicyARN, arn)
	}
	if len(a.PolicyARNs) == 0 || !literal(strings.Join(a.PolicyARNs, "")) || a.Policy != "" && !literal(a.Policy) {
		return
	}
	if err := awslimits.CheckSessionPolicies(a.Policy, a.PolicyARNs); err != nil {
		p.add("policy_arns", "%w", err)
	}
}
