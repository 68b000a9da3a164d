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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// check is the whole of a run with verify_only: it looks whether all still stands, and changes nothing.
func (r *run) check(ctx context.Context, request distribution.Request) error {
	if !r.userSupplied {
		return errors.New("verify_only: no effect on the image of a build, which no target has yet; name the image that they have in source_amis")
	}
	facts, err := r.look(ctx, request)
	if err != nil {
		return err
	}
	p := plan.Check(request, facts)
	p.Findings = diagnose.ExplainFindings(p.Findings, facts)
	r.trackPlan(p)
	for i, standing := range p.Destinations {
		d := &r.result.Destinations[i]
		d.State, d.ImageID = distribution.DestinationFailed, standing.Stands
		if standing.Sound {
			d.State = distribution.DestinationSucceeded
		}
	}
	if p.Refused() {
		return fmt.Errorf("not all stands as it was left:\n%s", report.Findings(p.Findings))
	}
	if len(p.Findings) > 0 {
		r.ui.Say(report.Findings(p.Findings))
	}
	r.ui.Say(fmt.Sprintf("Of %d destinations, every required one has its image, sealed, under a key that can be used, and named as asked.", len(p.Destinations)))
	return nil
}
