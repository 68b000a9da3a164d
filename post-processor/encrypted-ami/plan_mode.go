// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// show makes and prints the plan, and changes nothing in AWS.
func (r *run) show(ctx context.Context, request distribution.Request) error {
	p, _, err := r.decide(ctx, request)
	if failure, ok := errors.AsType[*outcomeError](err); err != nil && !ok {
		return err
	} else if ok {
		failure.outcome = "the plan has errors"
	}
	r.ui.Say(planOutcome(p))
	return err
}

// planOutcome returns the number of findings of a plan as text, and whether its run would succeed.
func planOutcome(p plan.Plan) string {
	counts, failing := map[distribution.Level]int{}, map[distribution.Location]bool{}
	for _, f := range p.FailUnanswered() {
		counts[f.Level]++
		if f.Level == distribution.Refused {
			failing[f.Location] = true
			for _, failure := range f.Also {
				failing[failure.At] = true
			}
		}
	}
	text := distribution.Count(counts[distribution.Refused], "error", "errors") + ", " +
		distribution.Count(counts[distribution.Warning], "warning", "warnings")
	all := len(p.Destinations)
	switch at := destinationsAt(p, failing); {
	case counts[distribution.Refused] == 0:
		return text + ": this run would succeed" + unknownKeyUse(p)
	case at == 0 || at == all:
		return text + ": this run would create nothing"
	default:
		return fmt.Sprintf("%s: this run would fail in %d of %d destinations", text, at, all)
	}
}

// unknownKeyUse says what the dry runs of a plan cannot show: whether EC2 may use the keys. Empty if they have shown
// it.
func unknownKeyUse(p plan.Plan) string {
	condition := " if EC2 may use the keys"
	switch {
	case slices.ContainsFunc(p.Findings, execute.IsKeyDenied):
		condition += " despite the explicit deny"
	case !slices.ContainsFunc(p.Findings, isKeyUseUnchecked):
		return ""
	}
	isTest := func(s step.Step) bool { return s.Role() == step.CopiesTest }
	if slices.ContainsFunc(p.Steps, isTest) {
		return condition + ", which only the test copies show"
	}
	return condition + ", which only a copy shows"
}

// isKeyUseUnchecked reports whether a finding is about keys that the dry runs cannot check. With the documented
// policies every run has this finding, so it is not printed. Only the last line of a plan mentions it.
func isKeyUseUnchecked(f distribution.Finding) bool {
	return f.Code == distribution.CodeKeyUseUnchecked
}

// destinationsAt counts the destinations at locations.
func destinationsAt(p plan.Plan, locations map[distribution.Location]bool) (n int) {
	for _, d := range p.Destinations {
		if locations[d.At] {
			n++
		}
	}
	return n
}

// onlyShown reports whether an error is printed without failing the build. A plan does not protect the AMI of a build,
// so Packer would deregister it.
func (r *run) onlyShown() bool { return r.config.Mode == config.ModePlan && !r.userSupplied }
