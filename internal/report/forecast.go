// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Forecast is all that is known of a plan that nobody carries out yet: Plan, what becomes of every attribute, calls, cost, and what the
// other choices would cost.
func Forecast(p plan.Plan, choices []plan.Alternative) string {
	var t text
	t.WriteString(Plan(p) + "\n")
	t.carried(p.Destinations)
	if calls := p.Estimate.Calls; len(calls) > 0 {
		t.line("Calls that make or change something: %s", callsText(calls))
	}
	t.line("Cost: %s", costText(p.Estimate))
	if len(choices) > 0 {
		t.line("Otherwise:")
	}
	for _, c := range choices {
		t.line("  where %s: %s; %s", c.What, estimateText(c.Estimate), costText(c.Estimate))
		for _, how := range c.How {
			t.line("    %s", clean(how))
		}
	}
	return t.text()
}

// carried names, once for all destinations, the attributes that a target's image will have.
func (t *text) carried(all []plan.DestinationPlan) {
	for _, kind := range []struct {
		how  distribution.AttributeHandling
		text string
	}{{distribution.Kept, "Carried over"}, {distribution.Set, "Set for each target"}} {
		var names []string
		for _, d := range all {
			for _, c := range d.Carried {
				if c.How == kind.how && !slices.Contains(names, c.Attribute) {
					names = append(names, c.Attribute)
				}
			}
		}
		if len(names) > 0 {
			slices.Sort(names)
			t.line("%s: %s", kind.text, strings.Join(names, ", "))
		}
	}
}

func callsText(calls map[string]int) string {
	var parts []string
	for _, action := range slices.Sorted(maps.Keys(calls)) {
		parts = append(parts, fmt.Sprintf("%d %s", calls[action], action))
	}
	return strings.Join(parts, ", ")
}

func estimateText(e plan.Estimate) string {
	before := ""
	if e.BuilderCopies > 0 {
		before = distribution.Count(e.BuilderCopies, "full copy", "full copies") + " by amazon-ebs, then "
	}
	return fmt.Sprintf(
		"%s%s, %d GiB stored, %d GiB between Regions, about %s",
		before,
		distribution.Count(e.Copies, "copy", "copies"),
		e.GiBStored,
		e.GiBTransferred,
		Duration(e.Takes),
	)
}

// costText returns the cost of a plan.
func costText(e plan.Estimate) string { return priceText(e.USDPerMonth(), e.USDOnce(), e.USDTimed) }

// priceText returns a cost at most, at the list prices that package plan names.
func priceText(perMonth, once, timeBased float64) string {
	timed := ""
	if timeBased > 0 {
		timed = fmt.Sprintf(", $%.2f once for the promised time", timeBased)
	}
	return fmt.Sprintf(
		"up to $%.2f a month for the copies that stay, $%.2f once between Regions%s (list prices of us-east-1)",
		perMonth,
		once,
		timed,
	)
}
