// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Headline returns the outcome of the run in one line.
func (m Manifest) Headline() string {
	all := distribution.Count(len(m.Destinations), "destination", "destinations")
	if len(m.Destinations) == 0 {
		return m.headlineWithoutDestinations()
	}
	switch {
	case m.Mode == Usage && m.Status == Succeeded:
		return "Usage in " + all
	case m.Status == Planned && m.Summary.Skipped+m.Summary.Failed > 0:
		return fmt.Sprintf("Planned for %d of %s", m.Summary.Pending, all)
	case m.Status == Planned:
		return "Planned for " + all
	case m.Status == Running:
		return fmt.Sprintf("In progress: %d of %s succeeded", m.Summary.Succeeded, all)
	case m.Summary.Pending == len(m.Destinations):
		return "Nothing was started for " + all
	}
	return fmt.Sprintf("%d of %s succeeded", m.Summary.Succeeded, all)
}

func (m Manifest) headlineWithoutDestinations() string {
	switch {
	case m.Status == Failed, m.Status == Canceled:
		return "The run failed"
	case m.Status == Running:
		return "In progress"
	case m.Status == Planned:
		return "Planned"
	case len(m.Shares) > 0:
		return "Shared in " + distribution.Count(len(m.Shares), "Region", "Regions")
	}
	return "Clean-up finished"
}

// end returns the end of the run. For a run in progress, it returns the time of the manifest.
func (m Manifest) end() time.Time {
	if m.Run.EndedAt.IsZero() {
		return m.Run.UpdatedAt.Time
	}
	return m.Run.EndedAt.Time
}

// causes returns the errors of a failed run. The reports show them before other findings.
func (m Manifest) causes() []Finding {
	if m.Status != Failed {
		return nil
	}
	return m.findings(func(f Finding) bool { return f.Severity == SeverityError })
}

// remarks returns the findings that are not causes. Every run with the documented policies has a note about the use of
// keys, so only the report of a plan shows it.
func (m Manifest) remarks() []Finding {
	return m.findings(func(f Finding) bool {
		isCause := m.Status == Failed && f.Severity == SeverityError
		isUsual := m.Mode != PlanOnly && f.Code == distribution.CodeKeyUseUnchecked
		return !isCause && !isUsual
	})
}

func (m Manifest) findings(match func(Finding) bool) []Finding {
	return slices.DeleteFunc(slices.Clone(m.Findings), func(f Finding) bool { return !match(f) })
}

// hits returns where a finding applies: its account and Region, or the number of destinations that it affects.
func (m Manifest) hits(f Finding) string {
	n := 0
	for _, d := range m.Destinations {
		if slices.Contains(d.FindingIDs, f.ID) {
			n++
		}
	}
	switch {
	case n > 1:
		return distribution.Count(n, "destination", "destinations")
	case f.AccountID == "":
		return ""
	}
	return string(f.AccountID) + " " + string(f.Region)
}

// states counts the destinations by state, in the order of the filter of the page.
func (m Manifest) states() []stateCount {
	var all []stateCount
	for _, one := range []stateCount{
		{Failed, m.Summary.Failed},
		{Skipped, m.Summary.Skipped},
		{InProgress, m.Summary.InProgress},
		{Pending, m.Summary.Pending},
		{Succeeded, m.Summary.Succeeded},
	} {
		if one.Count > 0 {
			all = append(all, one)
		}
	}
	return all
}

type stateCount struct {
	Status Status
	Count  int
}

// reasons returns a function that returns why a destination has no image: the summary of its most severe finding.
func (m Manifest) reasons() func(Destination) string {
	summaries := map[string]string{}
	for _, f := range m.Findings {
		if f.Severity != SeverityNote {
			summaries[f.ID] = f.Summary
		}
	}
	return func(d Destination) string {
		hasFailed := d.Status == Failed || d.Status == Skipped
		if hasFailed && d.AMIID == "" && len(d.FindingIDs) > 0 {
			return summaries[d.FindingIDs[0]]
		}
		return ""
	}
}

// hasReasons reports whether a destination has no image for a reason that a finding names.
func (m Manifest) hasReasons() bool {
	reason := m.reasons()
	return slices.ContainsFunc(m.Destinations, func(d Destination) bool { return reason(d) != "" })
}

// hasTimes reports whether a destination has started and ended.
func (m Manifest) hasTimes() bool {
	return slices.ContainsFunc(m.Destinations, func(d Destination) bool {
		return !d.StartedAt.IsZero() && !d.EndedAt.IsZero()
	})
}

// copies returns the copies that have started: the staged ones first, then by account, Region and device.
func (m Manifest) copies() []Step {
	started := slices.DeleteFunc(slices.Clone(m.Steps), func(s Step) bool { return !s.isCopy() || s.StartedAt.IsZero() })
	slices.SortStableFunc(started, func(a, b Step) int {
		return cmp.Or(-compareBool(a.Staged, b.Staged), cmp.Compare(a.AccountID, b.AccountID),
			cmp.Compare(a.Region, b.Region), cmp.Compare(a.DeviceName, b.DeviceName))
	})
	return started
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// copyCounts holds the numbers of copies of a run, without those that it reuses from an earlier run.
type copyCounts struct {
	Planned, Succeeded, Failed, InProgress, Reused int
}

// copyCounts counts the copies of the plan. A copy of an image counts as one.
func (m Manifest) copyCounts() (n copyCounts) {
	for _, s := range m.Steps {
		switch {
		case !s.isCopy():
			continue
		case s.Reused:
			n.Reused++
			continue
		case s.Status == Succeeded:
			n.Succeeded++
		case s.Status == Failed:
			n.Failed++
		case !s.StartedAt.IsZero() && s.EndedAt.IsZero():
			n.InProgress++
		}
		n.Planned++
	}
	return n
}

// Text returns the text after the number of succeeded copies: "succeeded, 2 failed".
func (n copyCounts) Text() string {
	text := "succeeded"
	for _, part := range []struct {
		count int
		state string
	}{{n.Failed, "failed"}, {n.InProgress, "in progress"}, {n.Reused, "reused from an earlier run"}} {
		if part.count > 0 {
			text += fmt.Sprintf(", %d %s", part.count, part.state)
		}
	}
	return text
}

// storedGiB returns the full size of the snapshots of all destinations, and of the copies that share blocks share.
func (m Manifest) storedGiB() (gib int64) {
	for _, d := range m.Destinations {
		for _, s := range d.Snapshots {
			gib += s.SizeGiB
		}
	}
	for _, s := range m.Shares {
		gib += m.sharedCopyGiB(s)
	}
	return gib
}

// sharedCopyGiB returns the full size of the staged copy that a share block shares. Zero if it shares the source AMI.
func (m Manifest) sharedCopyGiB(s Share) (gib int64) {
	for _, image := range m.SourceAMIs {
		if s.Status != Succeeded || image.Region != s.Region || string(s.AMIID) == image.AMIID {
			continue
		}
		for _, v := range image.Volumes {
			gib += v.SizeGiB
		}
	}
	return gib
}

// retained holds the resources that a run did not delete, those for a resumed run apart from the others.
type retained struct {
	ForResume, Left retainedResources
}

type retainedResources []RetainedResource

// retained returns the resources that the run did not delete.
func (m Manifest) retained() (r retained) {
	for _, l := range m.LeftBehind {
		if l.KeptForResume {
			r.ForResume = append(r.ForResume, l)
			continue
		}
		r.Left = append(r.Left, l)
	}
	return r
}

// GiB returns the full size of resources.
func (all retainedResources) GiB() (gib int64) {
	for _, l := range all {
		gib += int64(l.SizeGiB)
	}
	return gib
}

// cost returns what resources cost. Empty if they store nothing.
func (all retainedResources) cost() string {
	return monthlyCost(float64(all.GiB()) * distribution.USDPerGiBMonth)
}

// Shown returns the resources as the page shows them.
func (all retainedResources) Shown() collapsible[RetainedResource] { return collapse(all) }

// attributes returns the attributes of all images by their outcome, each with a reason once.
func (m Manifest) attributes() map[string][]Attribute {
	found := map[string][]Attribute{}
	for _, d := range m.Destinations {
		for _, a := range d.Attributes {
			if !slices.Contains(found[a.Outcome], a) {
				found[a.Outcome] = append(found[a.Outcome], a)
			}
		}
	}
	return found
}

// policyLack holds the statements to add to one policy.
type policyLack struct {
	AttachTo   string
	Statements []string
}

// lacks groups the statements of a finding by their policy.
func (f Finding) lacks() []policyLack {
	var all []policyLack
	for _, s := range f.PolicyStatements {
		if len(all) == 0 || all[len(all)-1].AttachTo != s.AttachTo {
			all = append(all, policyLack{AttachTo: s.AttachTo})
		}
		last := &all[len(all)-1]
		last.Statements = append(last.Statements, clean(statementText(s.Statement)))
	}
	return all
}

// statementText returns a statement in one line. In the file it is indented.
func statementText(statement json.RawMessage) string {
	var line bytes.Buffer
	if err := json.Compact(&line, statement); err != nil {
		return string(statement)
	}
	return line.String()
}

// audience returns the accounts that a share is for.
func (s Share) audience() string {
	return distribution.LaunchPermissions{
		Accounts:      s.AccountIDs,
		Organizations: s.OrganizationARNs,
		Units:         s.OrganizationalUnitARNs,
	}.String()
}

// permanentGrants returns the grants that stay after the run.
func (m Manifest) permanentGrants() []KMSGrant {
	return slices.DeleteFunc(slices.Clone(m.KMSGrants), func(g KMSGrant) bool { return g.Temporary })
}

// purpose returns what a grant allows: launches, or its operations.
func (g KMSGrant) purpose() string {
	return distribution.KeyGrantResult{Operations: g.Operations}.For()
}

// Held returns lines that say that publish = "hold" keeps AMIs unpublished, and how to publish them. Empty if nothing
// is held.
func (m Manifest) Held() []string {
	held := 0
	for _, d := range m.Destinations {
		for _, p := range d.Published {
			if p.Status == Held {
				held++
			}
		}
	}
	if held == 0 {
		return nil
	}
	return []string{
		fmt.Sprintf(`Not published (publish = "hold"): %s %s not changed. To publish, with the variables mode and `+
			"existing_amis in the template:", distribution.Count(held, distribution.Published, distribution.PublishedPlural),
			isOrAre(held)),
		m.promoteCommand(),
	}
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// promoteCommand returns the command that publishes the copies of the source AMIs.
func (m Manifest) promoteCommand() string {
	var pairs []string
	for _, image := range m.SourceAMIs {
		pairs = append(pairs, fmt.Sprintf("%q=%q", image.Region, image.AMIID))
	}
	return "packer build -var mode=promote -var 'existing_amis={" + strings.Join(pairs, ",") + "}' ."
}

// hasPublications reports whether a destination publishes its AMI.
func (m Manifest) hasPublications() bool {
	return slices.ContainsFunc(m.Destinations, func(d Destination) bool { return len(d.Published) > 0 })
}

// hasSharePublications reports whether something names the AMI of a share block.
func (m Manifest) hasSharePublications() bool {
	return slices.ContainsFunc(m.Shares, func(s Share) bool { return len(s.Published) > 0 })
}

// text returns the publication with its state: "SSM parameter /golden/ami (before: ami-0a)".
func (p Publication) text() string {
	switch {
	case p.Status == Held:
		return p.label() + " (on hold, not published)"
	case p.Status != Succeeded:
		return p.label() + " (not yet)"
	case p.PreviousAMIID != "" && p.PreviousAMIID != p.AMIID:
		return p.label() + " (before: " + string(p.PreviousAMIID) + ")"
	}
	return p.label()
}

// label returns the publication as words: "SSM parameter /golden/ami".
func (p Publication) label() string {
	kind := strings.ReplaceAll(p.Kind, "_", " ")
	if rest, ok := strings.CutPrefix(kind, "ssm "); ok {
		kind = "SSM " + rest
	}
	return kind + " " + p.Name
}

// reason returns why the volume is staged, or why it is shared as it is.
func (v Volume) reason() string { return plan.StagingReason(v.StagingReason).Text() }

// costText returns the cost of the plan, at the list prices that package distribution has.
func (e Estimate) costText() string {
	return priceText(e.USDPerMonth, e.StoredGiB, e.USDOnce, e.USDTimeBasedCopy)
}

func (e Estimate) duration() time.Duration { return time.Duration(e.DurationSeconds) * time.Second }
