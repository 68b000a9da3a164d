// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

func newUsage(releases []distribution.ReleaseUsage) []ReleaseUsage {
	all := make([]ReleaseUsage, len(releases))
	for i, r := range releases {
		all[i] = ReleaseUsage{
			SourceAMIID: r.SourceID,
			ReleasedAt:  Time{r.Release},
			Target:      r.Target,
			AccountID:   r.At.Account,
			Region:      r.At.Region,
			AMIID:       r.ImageID,
			AMIName:     r.Name,
			State:       r.State,
			Complete:    !r.Unknown,
			Uses:        make([]Use, len(r.Uses)),
		}
		for j, use := range r.Uses {
			all[i].Uses[j] = Use{Kind: use.Kind, ResourceID: use.Resource, Detail: OptionalString(use.Detail)}
		}
	}
	return all
}

// useKind returns a kind of use by its name. An unknown kind, of a later version, gets its name as text.
func useKind(name string) distribution.UseKind {
	i := slices.IndexFunc(distribution.UseKinds, func(k distribution.UseKind) bool { return k.Name == name })
	if i < 0 {
		return distribution.UseKind{Name: name, Singular: name, Plural: name}
	}
	return distribution.UseKinds[i]
}

// Summary returns the number of uses of each kind: "2 instances, 1 launch template".
func (r ReleaseUsage) Summary() string {
	var counts []string
	for i := 0; i < len(r.Uses); {
		kind, n := r.Uses[i].Kind, 0
		for ; i < len(r.Uses) && r.Uses[i].Kind == kind; i++ {
			n++
		}
		names := useKind(kind)
		counts = append(counts, distribution.Count(n, names.Singular, names.Plural))
	}

	switch text := strings.Join(counts, ", "); {
	case r.Complete && text == "":
		return "not used"
	case r.Complete:
		return text
	case text == "":
		return "unknown"
	default:
		return text + ", further ones unknown"
	}
}

// uses returns the uses as a list: "instance i-1: running".
func (r ReleaseUsage) uses() []string {
	all := make([]string, len(r.Uses))
	for i, use := range r.Uses {
		all[i] = useKind(use.Kind).Singular + " " + use.ResourceID
		if use.Detail != "" {
			all[i] += ": " + string(use.Detail)
		}
	}
	return all
}

// released returns the day of the release.
func (r ReleaseUsage) released() string { return r.ReleasedAt.UTC().Format("2006-01-02") }

func (t *text) usageTable(all []ReleaseUsage) {
	if len(all) == 0 {
		return
	}
	t.line("## Usage of the releases\n")
	t.collapse(len(all), "releases by account", func() {
		t.line("| Release | Of | Account | Region | AMI | Used by |\n|---|---|---|---|---|---|")
		for _, r := range all {
			used := words(r.Summary())
			for _, use := range r.uses() {
				used += "<br>" + words(use)
			}
			t.line("| %s | %s | %s | %s | %s | %s |", code(r.SourceAMIID), r.released(),
				code(r.AccountID), code(r.Region), code(r.AMIID), used)
		}
	})
}
