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
	for i, planned := range p.Destinations {
		d := &r.result.Destinations[i]
		d.State, d.ImageID = distribution.DestinationFailed, planned.ExistingImageID
		if planned.Passed {
			d.State = distribution.DestinationSucceeded
		}
	}
	r.printFindings(p.Findings, distribution.Refused, distribution.Warning, distribution.Note)
	changed := unfinished(r.result)
	if p.Refused() {
		return &outcomeError{changedText(changed, len(p.Destinations))}
	}
	r.ui.Say(unchangedText(len(p.Destinations)-len(changed), len(p.Destinations)))
	return nil
}

// changedText returns how many destinations lack their AMI or differ from what the last run left, as text.
func changedText(changed []distribution.DestinationResult, all int) string {
	missing := 0
	for _, d := range changed {
		if d.ImageID == "" {
			missing++
		}
	}
	of := " of " + distribution.Count(all, "destination", "destinations")
	switch differing := len(changed) - missing; {
	case missing == 0:
		return fmt.Sprintf("%d%s changed", max(differing, 1), of)
	case differing == 0:
		return fmt.Sprintf("%d%s %s no AMI", missing, of, has(missing))
	default:
		return fmt.Sprintf("%d%s changed, and %d %s no AMI", differing, of, missing, has(missing))
	}
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// unchangedText returns the number of destinations that did not change since the last run, as text.
func unchangedText(unchanged, all int) string {
	are := "are"
	if all == 1 {
		are = "is"
	}
	return fmt.Sprintf("%d of %s %s unchanged", unchanged, distribution.Count(all, "destination", "destinations"), are)
}
