// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// AssumeRole is one role to assume. At the top level it gives the source credentials; in a `target` it may be repeated, and
// each role is assumed with the session of the one before. There, all but `policy`, `policy_arns`, `tags` and
// `transitive_tag_keys` may name [template variables](#template-variables).
type AssumeRole struct {
	// The ARN of the role. In a `target` one text can serve many accounts:
	// `arn:{{ .Partition }}:iam::{{ .AccountId }}:role/golden-image-target`. The last role has to be the target account's own.
	RoleARN string `mapstructure:"role_arn" required:"true"`
	// The name of the session, as CloudTrail shows it: 2 to 64 letters, digits and `_+=,.@-`. Default: `encrypted-ami`.
	SessionName string `mapstructure:"session_name"`
	// The external id that the role's trust policy asks for. It is never printed.
	ExternalID string `mapstructure:"external_id"`
	// How long a session lasts before it is renewed, 900 to 43200 seconds and no more than the role allows. Default: 3600, the most
	// that AWS allows where a role's session assumes the next role.
	DurationSeconds int `mapstructure:"duration_seconds"`
	// A policy in JSON, at most 2048 characters, that narrows what the session may do.
	Policy string `mapstructure:"policy"`
	// ARNs of up to ten managed policies that narrow what the session may do.
	PolicyARNs []string `mapstructure:"policy_arns"`
	// Session tags, at most 50.
	Tags map[string]string `mapstructure:"tags"`
	// Keys of `tags` that the sessions of further roles inherit.
	TransitiveTagKeys []string `mapstructure:"transitive_tag_keys"`
	// The source identity of the session, which all further roles inherit: 2 to 64 letters, digits and `_+=,.@-`.
	SourceIdentity string `mapstructure:"source_identity"`
}

// Limits of sessions (rules 5.1, 5.2).
const (
	minSession        = 15 * time.Minute
	maxSession        = 12 * time.Hour
	maxChainedSession = time.Hour
)

func (a *AssumeRole) role() distribution.Role {
	return distribution.Role{
		RoleARN:           distribution.Text(a.RoleARN),
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

// Forms of STS (rule 5.5) and IAM.
var (
	sessionNames = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalIDs  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
	roleARNs     = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::(\d{12}):role/(?:[!-~]+/)?[\w+=,.@-]{1,64}$`)
	policyARNs   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(?:\d{12}|aws):policy/[!-~]+$`)
)

// check judges a role whose sessions may last so long.
func (a *AssumeRole) check(p *diagnostics, longest time.Duration) {
	if a.RoleARN == "" {
		p.add("role_arn", "missing")
	} else if literal(a.RoleARN) {
		if arn := roleARNs.FindStringSubmatch(a.RoleARN); arn == nil {
			p.add("role_arn", "%q is no ARN of a role, such as arn:aws:iam::123456789012:role/golden-image-target", a.RoleARN)
		} else {
			p.partition("role_arn", arn[1])
		}
	}
	if literal(a.SessionName) && !sessionNames.MatchString(a.SessionName) {
		p.add("session_name", "%q is not 2 to 64 letters, digits and _+=,.@-", a.SessionName)
	}
	if literal(a.ExternalID) && (!externalIDs.MatchString(a.ExternalID) || len(a.ExternalID) > 1224) { // a secret: never shown
		p.add("external_id", "not 2 to 1224 letters, digits and _+=,.@:/-")
	}
	if literal(a.SourceIdentity) && (!sessionNames.MatchString(a.SourceIdentity) || strings.HasPrefix(a.SourceIdentity, "aws:")) {
		p.add("source_identity", "%q is not 2 to 64 letters, digits and _+=,.@-", a.SourceIdentity)
	}
	if d := time.Duration(a.DurationSeconds) * time.Second; d != 0 && (d < minSession || d > maxSession) {
		p.add("duration_seconds", "%d is not between 900 and 43200", a.DurationSeconds)
	} else if d > longest {
		p.add("duration_seconds", "%d is more than 3600, the most that AWS allows where a role's session assumes the next role", a.DurationSeconds)
	}
	if literal(a.Policy) {
		if !json.Valid([]byte(a.Policy)) {
			p.add("policy", "not JSON")
		}
		if n := utf8.RuneCountInString(a.Policy); n > 2048 {
			p.add("policy", "%d characters, AWS allows 2048", n)
		}
	}
	if n := len(a.PolicyARNs); n > 10 {
		p.add("policy_arns", "%d ARNs, AWS allows 10", n)
	}
	for i, arn := range a.PolicyARNs {
		if literal(arn) && !policyARNs.MatchString(arn) {
			p.add(index("policy_arns", i), "%q is no ARN of a managed policy", arn)
		}
	}
	p.tags("tags", a.Tags)
	for i, key := range a.TransitiveTagKeys {
		if _, tagged := a.Tags[key]; literal(key) && len(a.Tags) > 0 && !tagged {
			p.add(index("transitive_tag_keys", i), "%q is no key of tags", key)
		}
	}
}
