// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Plan returns a plan as text: the volumes, the destinations, what the copies will lose, the time and the cost.
func Plan(p plan.Plan) string {
	t := planText{Labels: NewLabels(p)}
	t.line("Plan:")
	t.subject(p)
	t.attributes(p.Destinations, distribution.Lost)
	t.estimate(p)
	return t.text.text()
}

// Forecast returns the text of a plan that is not executed. It has the text of Plan, the steps, all attributes, the
// calls and the alternatives.
func Forecast(p plan.Plan, alternatives []plan.Alternative) string {
	t := planText{Labels: NewLabels(p)}
	t.line("Plan:")
	t.subject(p)
	t.steps(p)
	t.attributes(p.Destinations, distribution.Kept)
	t.attributes(p.Destinations, distribution.Lost)
	if calls := p.Estimate.Calls; len(calls) > 0 {
		t.line("  Calls: %s", callsText(calls))
	}
	if p.Estimate.Copies == 0 && len(p.Destinations) > 0 {
		t.line("  No copies, about %s, no further cost", minutes(p.Estimate.Takes))
	}
	t.estimate(p)
	if p.Estimate.Copies > 0 { // otherwise nothing can be saved
		for _, a := range alternatives {
			t.alternative(p, a)
		}
	}
	return t.text.text()
}

// planText writes a plan.
type planText struct {
	text
	Labels
}

// subject writes what is copied or shared, and with which accounts.
func (t *planText) subject(p plan.Plan) {
	for _, image := range p.Images {
		t.volumes(p.Steps, image, len(p.Images) > 1)
	}
	t.destinations(p)
	t.moves(p)
	t.routes(p.Routes)
	t.shares(p.Shares)
}

// mostMoves is the number of references that are listed one by one.
const mostMoves = 50

// moves writes what each reference names now, and what it will name after a promotion or a rollback.
func (t *planText) moves(p plan.Plan) {
	if p.Move == "" {
		return
	}
	var lines []string
	for _, d := range p.Destinations {
		for _, pointer := range d.Pointers {
			change := "names " + cmp.Or(pointer.Names, "no AMI") + ", will name " + pointer.Image
			if pointer.Set {
				change = "stays " + pointer.Names
			}
			lines = append(lines, fmt.Sprintf("%s in %s: %s", clean(pointer.String()), t.Location(d.At), change))
		}
	}
	t.lines("  Parameters and launch templates:", "    ", lines)
}

// lines writes a heading and the first lines of a list.
func (t *planText) lines(heading, indent string, all []string) {
	if len(all) == 0 {
		return
	}
	t.line("%s", heading)
	for _, line := range all[:min(len(all), mostMoves)] {
		t.line("%s%s", indent, line)
	}
	if more := len(all) - mostMoves; more > 0 {
		t.line("%sand %d more, see the manifest", indent, more)
	}
}

// Moved returns a line for each reference of a promotion or a rollback, with the AMI that it names now and the one that
// it named before.
func (l Labels) Moved(images []distribution.CreatedImage) []string {
	var lines []string
	for _, image := range images {
		for _, p := range image.Pointers {
			line := clean(p.String()) + " in " + l.Location(image.At)
			switch before := cmp.Or(p.Names, "no AMI"); {
			case !p.Set:
				line += " still names " + before
			case p.Names == p.Image:
				line += " names " + before + ", as before"
			default:
				line += " names " + p.Image + " now, before: " + before
			}
			lines = append(lines, line)
		}
	}
	if more := len(lines) - mostMoves; more > 0 {
		lines = append(lines[:mostMoves], fmt.Sprintf("and %d more, see the manifest", more))
	}
	return lines
}

func (t *planText) volumes(steps []step.Step, image plan.ImagePlan, severalImages bool) {
	if len(image.Devices) == 0 {
		return
	}
	of, why := "", ""
	if severalImages {
		of = fmt.Sprintf(" of %s in %s", image.ImageID, image.Region)
	}
	if len(image.Causes) > 0 {
		why = " (encrypted because " + clean(strings.Join(image.Causes, ", or because ")) + ")"
	}
	t.line("  Source volumes%s%s:", of, why)
	device, gib := 0, 0
	for _, d := range image.Devices {
		device = max(device, len(clean(d.Device)))
		gib = max(gib, len(fmt.Sprint(d.GiB)))
	}
	for _, d := range image.Devices {
		t.line("    %-*s  %*d GiB  %s", device, clean(d.Device), gib, d.GiB, t.decision(steps, image, d))
	}
}

// decision returns how a volume is encrypted, and whether it is staged or shared.
func (t *planText) decision(steps []step.Step, image plan.ImagePlan, d plan.DevicePlan) string {
	key := "not encrypted"
	if d.Encrypted {
		key = t.Key(d.KeyARN)
	}
	if why := clean(d.Why.Text()); why != "" && why != key {
		key += ", " + why
	}
	staging := stagingStep(steps, image, d)
	switch {
	case staging == nil || d.StageKeyARN == "":
		return key
	case staging.Meta().ResumeID != "":
		return key + ": copied with " + t.Key(d.StageKeyARN) + " by an earlier run"
	}
	return key + ": will be copied with " + t.Key(d.StageKeyARN) + " first"
}

// stagingStep returns the step that copies a volume, or its whole AMI, within the source account. Nil if there is none.
func stagingStep(steps []step.Step, image plan.ImagePlan, d plan.DevicePlan) step.Step {
	for _, s := range steps {
		copying, ok := s.(step.Copying)
		if !ok || !d.Staged || s.Role().IsTest() || s.Meta().Destination != (distribution.Location{}) {
			continue
		}
		if source := copying.Copies().Source.Known; source == d.SnapshotID || source == image.ImageID {
			return s
		}
	}
	return nil
}

// mostDestinations is the number of destinations that are listed one by one.
const mostDestinations = 20

func (t *planText) destinations(p plan.Plan) {
	all, existing := p.Destinations, existingImages(p.Steps)
	if len(all) == 0 {
		return
	}
	shown := all[:min(len(all), mostDestinations)]
	account, region := 0, 0
	for _, d := range shown {
		account, region = max(account, len(t.Account(d.At))), max(region, len(d.At.Region))
	}
	t.line("  Destinations:")
	for _, d := range shown {
		key := "a key that is not known yet"
		if d.KeyARN != "" {
			key = t.Key(d.KeyARN)
		}
		from := ""
		if d.FromRegion != d.At.Region {
			from = ", copied from " + d.FromRegion
		}
		if d.MethodWhy != "" {
			from += ", with CopyImage: " + clean(d.MethodWhy)
		}
		if id := existing[d.At]; id != "" && p.Move == "" {
			from += ", exists: " + id
		}
		if d.LeftOut {
			from += ", skipped"
		}
		t.line("    %-*s  %-*s  %q, %s%s", account, t.Account(d.At), region, d.At.Region, d.Name, key, from)
	}
	if more := len(all) - len(shown); more > 0 {
		t.line("    and %d more", more)
	}
}

// existingImages returns the images that an earlier run has delivered and that this run only verifies.
func existingImages(steps []step.Step) map[distribution.Location]string {
	all := map[distribution.Location]string{}
	for _, s := range steps {
		if s.Role() == step.VerifiesImage && s.Subject().Known != "" {
			all[s.Meta().Destination] = s.Subject().Known
		}
	}
	return all
}

// routes writes the route to each Region that has no source image.
func (t *planText) routes(all []plan.RegionRoute) {
	for _, r := range all {
		route := "one staged copy for all accounts"
		if r.From != r.Region {
			route = "copied from " + r.From + " by each account"
		}
		t.line("  To %s: %s, %d GiB between Regions", r.Region, route, r.GiBTransferred)
	}
}

func (t *planText) shares(all []plan.SharePlan) {
	for _, s := range all {
		what := s.ImageID + " itself"
		if s.Staged {
			what = "a copy of " + s.ImageID + " that stays in the source account"
		}
		t.line("  Shared: %s, in %s, with %s "+
			"(%s)", what, s.At.Region, clean(s.With.String()), clean(list(s.Names)))
		for _, p := range s.Pointers {
			t.line("    Named by the %s in %s", clean(p.String()), s.At.Account)
		}
		for _, g := range s.Grants {
			t.line("    %s creates a grant on %s for %s", g.At.Account, t.Key(g.KeyARN), g.Grantee)
		}
	}
}

// attributes writes which attributes the copies will keep or lose, once for all destinations.
func (t *planText) attributes(all []plan.DestinationPlan, how distribution.AttributeHandling) {
	var names []string
	for _, d := range all {
		for _, c := range d.Carried {
			if c.How == how && !slices.Contains(names, c.Attribute) {
				names = append(names, c.Attribute)
			}
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
	case how == distribution.Lost:
		t.line("  Attributes that will be lost: %s", strings.Join(names, ", "))
	default:
		t.line("  Attributes that will be kept: %s", strings.Join(names, ", "))
	}
}

func (t *planText) estimate(p plan.Plan) {
	e := p.Estimate
	if e.Copies == 0 {
		return
	}
	t.line("  %s", copiesText(e))
	t.line("  Cost: %s", costText(e))
}

// alternative writes a cheaper or faster option, and the changes that it needs.
func (t *planText) alternative(p plan.Plan, a plan.Alternative) {
	advantage := "Instead"
	if faster := p.Estimate.Takes - a.Estimate.Takes; faster > 0 {
		advantage = "Faster"
	} else if a.Estimate.USDOnce() < p.Estimate.USDOnce() {
		advantage = "Cheaper"
	}
	where := ""
	if a.Builder {
		where = `. Add to source "amazon-ebs"`
	}
	t.line("  %s: %s: %s, %s%s:", advantage, a.What, copiesText(a.Estimate), costText(a.Estimate), where)
	for _, how := range a.How {
		t.line("    %s", clean(how))
	}
}

// copiesText returns the size and the duration of a plan: "6 snapshot copies, 28 GiB between Regions, about 9 minutes".
func copiesText(e plan.Estimate) string {
	var parts []string
	if e.BuilderCopies > 0 {
		parts = append(parts, distribution.Count(e.BuilderCopies, "copy", "copies")+" by amazon-ebs")
	}
	parts = append(parts, distribution.Count(e.Copies, "copy", "copies"))
	if e.GiBTransferred > 0 {
		parts = append(parts, fmt.Sprintf("%d GiB between Regions", e.GiBTransferred))
	}
	return strings.Join(append(parts, "about "+minutes(e.Takes)), ", ")
}

// costText returns the cost of a plan, at the list prices that package distribution names.
func costText(e plan.Estimate) string {
	return priceText(e.USDPerMonth(), e.GiBStored-e.GiBStaged, e.USDOnce(), e.USDTimed)
}

func priceText(perMonth float64, gib int64, once, timeBased float64) string {
	parts := []string{fmt.Sprintf("$%.2f a month for %d GiB of snapshots", perMonth, gib)}
	if once > 0 {
		parts = append(parts, fmt.Sprintf("$%.2f once for transfer", once))
	}
	if timeBased > 0 {
		parts = append(parts, fmt.Sprintf("$%.2f once for time-based copies", timeBased))
	}
	return strings.Join(parts, ", ") + " (list prices, us-east-1)"
}

func callsText(calls map[string]int) string {
	var parts []string
	for _, action := range slices.Sorted(maps.Keys(calls)) {
		parts = append(parts, fmt.Sprintf("%d %s", calls[action], action))
	}
	return strings.Join(parts, ", ")
}

// steps writes the steps of a plan, with one line for each destination.
func (t *planText) steps(p plan.Plan) {
	if len(p.Steps) == 0 {
		return
	}
	s := newStepSummary(p, t.Labels)
	t.line("  Steps:")
	for _, line := range s.lines() {
		t.line("    %s", clean(line))
	}
}

// sentence returns parts as a sentence without its period: "Copy 2 snapshots, register, compare".
func sentence(parts []string) string {
	text := strings.Join(parts, ", ")
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// keysInOrder returns the keys of counts in the order of their first use.
