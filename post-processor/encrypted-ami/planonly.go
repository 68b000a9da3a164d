// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// show is the whole of a run with plan_only: it looks, decides and shows.
func (r *run) show(ctx context.Context, request distribution.Request) error {
	p, facts, err := r.decide(ctx, request)
	if err != nil {
		return err
	}
	r.ui.Say(report.Forecast(p, plan.Alternatives(request, facts)))
	return nil
}

// onlyShown reports whether an error is shown and no failure: with plan_only the image of a build is not protected, and Packer would
// destroy it.
func (r *run) onlyShown() bool { return r.config.PlanOnly && !r.userSupplied }
