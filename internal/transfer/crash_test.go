// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/survey"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/transfer"
)

// attempt is a run that may die at any call.
func (h *house) attempt(ctx context.Context, client *awssim.Line, id string) (plan.Result, error) {
	pool := h.pool(ctx, client)
	say := func(plan.Event) {}
	transfer.Seal(ctx, pool, source, h.sealKey, h.images, say)
	req := h.request()
	req.Build.RunID = id
	facts, err := survey.Look(ctx, pool, req)
	if err != nil {
		return plan.Result{}, err
	}
	p := plan.Decide(req, facts)
	if p.Refused() {
		return plan.Result{}, fmt.Errorf("refused: %+v", p.Findings)
	}
	return transfer.Run(ctx, pool, p, options(req), say), nil
}

// A run that dies after any call, or before the answer to any call, is taken up by the next one: same end, nothing twice.
func TestARunThatDiesAnywhereIsTakenUp(t *testing.T) {
	volumes, targets, regions := mixed[:2], []string{"222222222222"}, []string{home}
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		h := build(t, volumes, targets, regions)
		line := h.Line(0, false, nil)
		if _, err := h.attempt(t.Context(), line, "run-1"); err != nil {
			t.Fatal(err)
		}
		calls = line.Calls()
	})
	for call := 1; call <= calls; call++ {
		for _, lost := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, volumes, targets, regions)
				ctx, die := context.WithCancelCause(t.Context())
				_, _ = h.attempt(ctx, h.Line(call, lost, die), "run-1")
				result, err := h.attempt(t.Context(), h.Line(0, false, nil), "run-2")
				if err != nil {
					t.Error(err)
				}
				h.complete(result)
				h.unshared()
				if t.Failed() {
					t.Errorf("dies at call %d of %d, its answer lost: %v", call, calls, lost)
				}
				time.Sleep(10 * time.Minute) // what the dead run had under way ends
			})
			if t.Failed() {
				return
			}
		}
	}
}
