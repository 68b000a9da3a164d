// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Labels names accounts, Regions and keys in the output of a run.
type Labels struct {
	plan    plan.Plan
	targets map[distribution.Location]string
}

// NewLabels returns the labels of a plan.
func NewLabels(p plan.Plan) Labels {
	l := Labels{plan: p, targets: map[distribution.Location]string{}}
	for _, d := range p.Destinations {
		if !strings.HasPrefix(d.Target, "target[") { // the default name of a target block
			l.targets[d.At] = clean(d.Target)
		}
	}
	return l
}

// Account returns an account with the name of its target: "999999999999 (prod)".
func (l Labels) Account(at distribution.Location) string {
	if target := l.targets[at]; target != "" {
		return at.Account + " (" + target + ")"
	}
	return at.Account
}

// Location returns an account and Region: "999999999999 (prod) in eu-west-1".
func (l Labels) Location(at distribution.Location) string { return l.Account(at) + " in " + at.Region }

// Key returns the alias of a key, or the beginning of its id.
func (l Labels) Key(arn string) string { return clean(l.plan.KeyName(arn)) }

// Accounts returns accounts, each with the name of its target in a Region.
func (l Labels) Accounts(ids []string, region string) string {
	const shown = 5
	if len(ids) > shown {
		return distribution.Count(len(ids), "account", "accounts")
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = l.Account(distribution.Location{Account: id, Region: region})
	}
	return list(names)
}

// list joins texts: "a", "a and b", "a, b and c".
func list(all []string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// accountsOf returns the accounts of locations, sorted and each once.
func accountsOf(locations []distribution.Location) []string {
	var all []string
	for _, at := range locations {
		all = append(all, at.Account)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// summary returns the summary of a finding with the aliases of its keys.
func (l Labels) summary(f distribution.Finding) string { return l.WithAliases(withoutRepetition(f)) }

// withoutRepetition returns the summary of a finding without an account or key that its location or its cause names
// too.
func withoutRepetition(f distribution.Finding) string {
	subject, cause, hasCause := strings.Cut(f.Summary, " cannot be used: ")
	key, isKey := strings.CutPrefix(subject, "the key ")
	isRepeated := subject == "account "+f.Location.Account || isKey && strings.Contains(cause, key)
	if hasCause && isRepeated {
		return cause
	}
	return f.Summary
}

// WithAliases returns a text with the aliases of keys in place of their ARNs. Keys with the same alias get their
// accounts.
func (l Labels) WithAliases(text string) string {
	var named []string
	uses := map[string]int{}
	for arn, alias := range l.plan.KeyAliases {
		if strings.Contains(text, arn) {
			named = append(named, arn)
			uses[alias]++
		}
	}
	for _, arn := range named {
		alias := l.plan.KeyAliases[arn]
		if uses[alias] > 1 {
			alias += " of " + distribution.ARNAccount(arn)
		}
		text = strings.ReplaceAll(text, arn, alias)
	}
	return clean(text)
}

// Summary returns where a finding is and what it is about, in one line.
func (l Labels) Summary(f distribution.Finding) string {
	if where := l.Where(f); where != "" {
		return where + ": " + l.summary(f)
	}
	return l.summary(f)
}
