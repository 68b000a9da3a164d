// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// check executes a run with mode = "verify". It compares the destinations with the template, and changes nothing.
func (r *run) check(ctx context.Context, request distribution.Request) error {
	if !r.userSupplied {
		return errors.New("mode: \"verify\" has no effect on the image of a build, which no target has yet; name the image " +
			"that they have in existing_amis")
	}
	facts, err := r.look(ctx, request)
	if err != nil {
		return err
	}
	p := plan.Assess(request, facts).Verify()
	p.Findings = diagnose.ExplainFindings(p.Findings, facts)
	r.trackPlan(p)
	for i, standing := range p.Destinations {
		d := &r.result.Destinations[i]
		d.State, d.ImageID = distribution.DestinationFailed, standing.Stands
		if standing.Sound {
			d.State = distribution.DestinationSucceeded
		}
	}
	r.printFindings(p.Findings, distribution.Refused, distribution.Warning, distribution.Note)
	all := distribution.Count(len(p.Destinations), "destination", "destinations")
	changed := unfinished(r.result)
	if p.Refused() {
		return &outcomeError{fmt.Sprintf("%d of %s changed", max(len(changed), 1), all)}
	}
	r.ui.Say(unchangedText(len(p.Destinations)-len(changed), len(p.Destinations)))
	return nil
}

// unchangedText returns the number of destinations that did not change since the last run, as text.
func unchangedText(unchanged, all int) string {
	are := "are"
	if all == 1 {
		are = "is"
	}
	return fmt.Sprintf("%d of %s %s unchanged", unchanged, distribution.Count(all, "destination", "destinations"), are)
}
