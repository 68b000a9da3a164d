// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/transfer"
)

// Of two runs at once one sees first that its copy is complete, and the other's as well. With these seeds the other has not noticed yet.
func TestACopyOfAnotherRunStaysUntilThatRunGivesItUp(t *testing.T) {
	for _, seed := range []uint64{4, 11, 14} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, []volume{{8, "alias/aws/ebs"}}, []string{target}, []string{home}, awssim.WithSeed(seed))
			results := make(chan plan.Result, 2)
			for i := range 2 {
				req := h.request()
				req.Build.RunID = fmt.Sprint("run-", i)
				time.AfterFunc(time.Duration(i)*time.Second, func() {
					pool := h.pool(t.Context(), h.World)
					results <- transfer.Run(t.Context(), pool, h.decide(t.Context(), pool, req), options(req), func(plan.Event) {})
				})
			}
			for _, result := range []plan.Result{<-results, <-results} {
				h.complete(result)
			}
		})
	}
}
