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

// showUsage executes a run with mode = "usage". It reads what uses the releases, and changes nothing.
func (r *run) showUsage(ctx context.Context, request distribution.Request) error {
	if !r.userSupplied {
		return &configurationError{errors.New(
			"mode: \"usage\" has no effect on the AMI of a build, which no target owns yet; name an AMI in existing_amis")}
	}
	facts, err := r.look(ctx, request)
	if err != nil {
		return err
	}

	p, usage := plan.Assess(request, facts).Usage()
	p.Findings = diagnose.ExplainFindings(p.Findings, facts)
	r.trackPlan(p)
	r.result.Usage = usage
	for i, d := range p.Destinations {
		r.result.Destinations[i].State = distribution.DestinationFailed
		if d.Passed {
			r.result.Destinations[i].State = distribution.DestinationSucceeded
		}
	}

	r.printUsage(r.manifest().Usage)
	r.printFindings(p.Findings, distribution.Refused, distribution.Warning)
	if p.Refused() {
		return &outcomeError{fmt.Sprintf("the usage of %d of %s is not known", len(unfinished(r.result)),
			distribution.Count(len(p.Destinations), "destination", "destinations"))}
	}
	return nil
}

// printUsage prints a line for each release at each destination, and each use in machine-readable form.
func (r *run) printUsage(all []report.ReleaseUsage) {
	if len(all) == 0 {
		r.ui.Say("No target has a release.")
	}
	release := ""
	for _, u := range all {
		if u.SourceAMIID != release {
			release = u.SourceAMIID
			r.ui.Say(fmt.Sprintf("Release %s of %s:", release, u.ReleasedAt.UTC().Format("2006-01-02")))
		}
		r.ui.Say(fmt.Sprintf("  %s %s %s: %s", u.AccountID, u.Region, u.AMIID, u.Summary()))
		r.ui.Machine(machineType, "release", u.SourceAMIID, u.AccountID, u.Region, u.AMIID, u.Summary())
		for _, use := range u.Uses {
			r.ui.Machine(machineType, "use", u.SourceAMIID, u.AccountID, u.Region, u.AMIID,
				use.Kind, use.ResourceID, string(use.Detail))
		}
	}
}
