// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package report shows plans and results to people.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Plan is a plan as text: what becomes of each volume, what each destination gets, and the steps. A refused plan has its
// refusals in place of steps.
func Plan(p plan.Plan) string {
	var t text
	for _, image := range p.Images {
		t.image(image)
	}
	t.destinations(p.Destinations)
	t.ways(p.Ways)
	t.lost(p.Destinations)
	t.shares(p.Shares)
	if !p.Refused() { // by a dry run, where there are steps
		if len(p.Steps) > 0 {
			t.steps(p.Steps)
		}
		if e := p.Estimate; e.Copies > 0 {
			t.line("%s", estimateText(e))
		}
	}
	t.findings(p.Findings, nil)
	return t.text()
}

// Findings are findings as text, the graver first. "" for none.
func Findings(findings []distribution.Finding) string {
	var t text
	t.findings(findings, nil)
	return t.text()
}

// Each is every finding as a text of its own, the graver first.
func Each(findings []distribution.Finding) []string {
	var all []string
	for _, f := range bySeverity(findings) {
		all = append(all, Findings([]distribution.Finding{f}))
	}
	return all
}

func bySeverity(findings []distribution.Finding) []distribution.Finding {
	sorted := slices.Clone(findings)
	slices.SortStableFunc(
		sorted,
		func(a, b distribution.Finding) int { return cmp.Compare(gravity[a.Level], gravity[b.Level]) },
	)
	return sorted
}

// findings are sorted by gravity; a level may have another name.
func (t *text) findings(findings []distribution.Finding, names map[distribution.Level]string) {
	for _, f := range bySeverity(findings) {
		t.finding(cmp.Or(names[f.Level], string(f.Level)), f)
	}
}

var gravity = map[distribution.Level]int{distribution.Refused: 0, distribution.Warning: 1, distribution.Note: 2}

// Result is what came of a plan as text: the images that the targets own now, what failed and why, and what was left behind.
func Result(p plan.Plan, r distribution.Result) string {
	var t text
	for _, made := range r.Images {
		t.line("%s in %s: %s %q", made.At.Account, made.At.Region, made.ImageID, made.Name)
		for _, s := range made.Snapshots {
			t.line("  %s: %s, %d GiB, %s", clean(s.Device), s.SnapshotID, s.GiB, s.KeyARN)
		}
		for _, p := range made.Pointers {
			names := "does not name it"
			if p.Set {
				names = "names it"
			}
			t.line("  %s %s", p, names)
		}
	}
	for _, g := range r.Grants {
		t.line("%s in %s: %s may use %s by the %s", g.At.Account, g.At.Region, g.Grantee, g.KeyARN, g.Text())
	}
	for _, s := range r.Shares {
		t.line("%s in %s may be launched by %s", s.ImageID, s.At, clean(s.With.String()))
	}
	for _, s := range Unshared(p, r) {
		if !isShared(s, r) {
			t.line("%s in %s: could not be shared with %s", s.ImageID, s.At, clean(s.With.String()))
		}
		for _, g := range s.Grants {
			t.line(
				"%s in %s: %s may not use %s: the grant %q is missing",
				g.At.Account,
				g.At.Region,
				g.Grantee,
				g.KeyARN,
				g.Name,
			)
		}
	}
	for _, d := range Missing(p, r) {
		optional := ""
		if d.Optional {
			optional = ", which is not required"
		}
		lacks := "no image"
		if slices.ContainsFunc(r.Images, func(made distribution.CreatedImage) bool { return made.At == d.At }) {
			lacks = "not published"
		}
		t.line("%s in %s: %s (target %q%s)", d.At.Account, d.At.Region, lacks, d.Target, optional)
	}
	t.findings(r.Findings, map[distribution.Level]string{distribution.Refused: "failed"})
	t.left(r.Left)
	return t.text()
}

// Missing are the destinations that have no image, or one that not everything names that was to.
func Missing(p plan.Plan, r distribution.Result) []plan.DestinationPlan {
	return slices.DeleteFunc(slices.Clone(p.Destinations), func(d plan.DestinationPlan) bool {
		return slices.ContainsFunc(
			r.Images,
			func(made distribution.CreatedImage) bool { return made.At == d.At && made.Published() },
		)
	})
}

// Unshared are the images that share blocks name people for who cannot launch them, each with the grants that are missing.
func Unshared(p plan.Plan, r distribution.Result) []plan.SharePlan {
	var all []plan.SharePlan
	for _, s := range p.Shares {
		s.Grants = slices.DeleteFunc(slices.Clone(s.Grants), func(g distribution.KeyGrantResult) bool {
			return slices.ContainsFunc(r.Grants, func(o distribution.KeyGrantResult) bool {
				return o.At == g.At && o.KeyARN == g.KeyARN && o.Name == g.Name
			})
		})
		if len(s.Grants) > 0 || !isShared(s, r) {
			all = append(all, s)
		}
	}
	return all
}

func isShared(s plan.SharePlan, r distribution.Result) bool {
	return slices.ContainsFunc(r.Shares, func(shared distribution.Shared) bool { return shared.At == s.At })
}

// Duration is a time for people: to the minute, below a minute to the second.
func Duration(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// text is what is being written.
type text struct{ strings.Builder }

// text is what has been written, without the last end of line.
func (t *text) text() string { return strings.TrimSuffix(t.String(), "\n") }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

func (t *text) image(image plan.ImagePlan) {
	t.line("%s in %s:", image.ImageID, image.Region)
	for _, d := range image.Devices {
		encrypted := "not encrypted"
		if d.Encrypted {
			encrypted = d.KeyARN
		}
		t.line("  %s: %s, %d GiB, %s", clean(d.Device), d.SnapshotID, d.GiB, encrypted)
		switch {
		case d.Staged:
			t.line("    %s: copied in the source account first, under %s", d.Why, d.StageKeyARN)
		case d.Why != "":
			t.line("    %s: used as it is", d.Why)
		}
	}
	if len(image.Causes) == 1 {
		t.line("  encrypted because %s", clean(image.Causes[0]))
	}
	if len(image.Causes) > 1 {
		t.line("  encrypted; it cannot be told which of these is the cause:")
		for _, cause := range image.Causes {
			t.line("    %s", clean(cause))
		}
	}
}

// destinations are listed by target, in the order of the template.
func (t *text) destinations(all []plan.DestinationPlan) {
	target := ""
	for i, d := range all {
		if i == 0 || d.Target != target {
			target = d.Target
			t.line("Target %q:", target)
		}
		from := ""
		if d.FromRegion != d.At.Region {
			from = ", from " + d.FromRegion
		}
		t.line(
			"  %s in %s: %q under %s%s",
			d.At.Account,
			d.At.Region,
			d.Name,
			cmp.Or(d.KeyARN, "a key that is not known"),
			from,
		)
		if d.MethodWhy != "" {
			t.line("    by a copy of the image: %s", clean(d.MethodWhy))
		}
	}
}

// shares are whom share blocks let launch what.
func (t *text) shares(all []plan.SharePlan) {
	for _, s := range all {
		what := s.ImageID
		if s.Staged {
			what = "a copy of " + s.ImageID + " that stays"
		}
		t.line("Share %s in %s: %s, to be launched by %s", quoted(s.Names), s.At.Region, what, clean(s.With.String()))
		for _, g := range s.Grants {
			t.line("  %s lets %s use %s by the %s", g.At.Account, g.Grantee, g.KeyARN, g.Text())
		}
	}
}

// quoted are names, `"ours", "theirs"`.
func quoted(names []string) string {
	quotes := make([]string, len(names))
	for i, name := range names {
		quotes[i] = strconv.Quote(name)
	}
	return strings.Join(quotes, ", ")
}

// ways tell what is moved to Regions that have no image, and what it would be the other way.
func (t *text) ways(ways []plan.RegionRoute) {
	for _, w := range ways {
		other := "; the source account has no key to stage it there"
		switch {
		case w.Otherwise != nil:
			other = fmt.Sprintf("; %s it would be %s", routeText(w.Region, *w.Otherwise), movedText(*w.Otherwise))
		case w.From == w.Region:
			other = "; straight there is no way, for want of a key of the source account"
		}
		t.line("To %s: %s, %s%s", w.Region, routeText(w.Region, w.Route), movedText(w.Route), other)
	}
}

func routeText(to string, r plan.Route) string {
	if r.From == to {
		return "staged there once"
	}
	return "straight from " + r.From
}

func movedText(r plan.Route) string {
	return fmt.Sprintf("%d GiB between Regions and %d GiB copied", r.GiBTransferred, r.GiBCopied)
}

// lost names, once for all destinations, what a target's image will not have.
func (t *text) lost(all []plan.DestinationPlan) {
	var told []distribution.AttributeOutcome
	for _, d := range all {
		for _, c := range d.Carried {
			if c.How == distribution.Lost && !slices.Contains(told, c) {
				told = append(told, c)
			}
		}
	}
	if len(told) > 0 {
		t.line("Not carried over:")
	}
	for _, c := range told {
		t.line("  %s: %s", c.Attribute, c.Why)
	}
}

// mostSteps is how many steps are told one by one.
const mostSteps = 100

func (t *text) steps(steps []step.Step) {
	if len(steps) > mostSteps {
		t.line("Steps: %s", kinds(steps))
		return
	}
	t.line("Steps:")
	for _, step := range steps {
		t.line("  %s", step)
	}
}

// kinds counts steps by what they do, which is the first part of their ids.
func kinds(steps []step.Step) string {
	var order []string
	counts := map[string]int{}
	for _, step := range steps {
		kind, _, _ := strings.Cut(string(step.Meta().ID), "/")
		if counts[kind] == 0 {
			order = append(order, kind)
		}
		counts[kind]++
	}
	for i, kind := range order {
		order[i] = fmt.Sprintf("%d %s", counts[kind], kind)
	}
	return strings.Join(order, ", ")
}

func (t *text) finding(level string, f distribution.Finding) {
	head := []string{level}
	if f.Field != "" {
		head = append(head, f.Field)
	}
	if f.Location != (distribution.Location{}) {
		head = append(head, f.Location.String())
	}
	t.line("%s: %s", strings.Join(head, ": "), clean(f.Summary))
	if f.Detail != "" {
		t.line("  because: %s", clean(f.Detail))
	}
	if f.Remediation != "" {
		t.line("  next: %s", clean(f.Remediation))
	}
	t.statements(f)
}

// statements prints the statements that policies lack.
func (t *text) statements(f distribution.Finding) {
	for _, lack := range newFinding("", f, true).lacks() {
		t.line("  add to the %s:", clean(lack.AttachTo))
		for _, statement := range lack.Statements {
			t.line("    %s", statement)
		}
	}
}

// left is the last of a result: that nothing was left behind, or what was.
func (t *text) left(left []distribution.RetainedResource) {
	if len(left) == 0 {
		t.line("left behind: 0 shares, 0 grants, 0 staged GiB")
		return
	}
	t.line("left behind%s:", monthlyCost(distribution.USDPerMonth(left)))
	for _, l := range left {
		size := ""
		if l.GiB > 0 {
			size = fmt.Sprintf(", %d GiB", l.GiB)
		}
		t.line("  %s %s in %s%s: %s", l.Kind, l.Resource, l.At, size, clean(l.Why))
	}
}

// monthlyCost returns what resources cost a month, at the list price that package plan names. Empty if nothing is known.
func monthlyCost(usd float64) string {
	if usd > 0 {
		return fmt.Sprintf(", up to $%.2f a month (list price of us-east-1)", usd)
	}
	return ""
}

// clean shows foreign text on a terminal: what is not printable is escaped, so that nothing in it acts.
func clean(foreign string) string {
	if strings.IndexFunc(foreign, unprintable) < 0 {
		return foreign
	}
	var out strings.Builder
	for _, r := range foreign {
		if unprintable(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
