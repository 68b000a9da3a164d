// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Of two concurrent runs, one sees that both copies are complete. With these seeds, the other run does not see that
// until later.
func TestDuplicates_otherRunUnaware(t *testing.T) {
	for _, seed := range []uint64{4, 11, 14} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, []volume{{8, "alias/aws/ebs"}}, []string{target}, []string{home}, awssim.WithSeed(seed))
			results := make(chan distribution.Result, 2)
			for i := range 2 {
				req := h.request()
				req.RunID = fmt.Sprint("run-", i)
				time.AfterFunc(time.Duration(i)*time.Second, func() {
					result, _ := h.attemptOf(t.Context(), h.World, req)
					results <- result
				})
			}
			for _, result := range []distribution.Result{<-results, <-results} {
				h.complete(result)
			}
		})
	}
}

// Two templates copy one image to one destination at once, each by another method. One run creates the image, and the
// other uses it.
func TestDuplicates_differentMethods(t *testing.T) {
	for _, methods := range [][]distribution.Method{
		{distribution.BySnapshot, distribution.ByImage},
		{distribution.ByImage, distribution.BySnapshot},
	} {
		for _, lag := range []time.Duration{
			0,
			time.Second,
			10 * time.Second,
			30 * time.Second,
			time.Minute,
			80 * time.Second,
			100 * time.Second,
			3 * time.Minute,
		} {
			t.Run(fmt.Sprintf("%s %v before %s", methods[0], lag, methods[1]), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed, []string{target}, []string{home})
					results := make(chan distribution.Result, 2)
					for i, method := range methods {
						req := h.request()
						req.RunID, req.Targets[0].Method = fmt.Sprint("run-", i), method
						time.AfterFunc(time.Duration(i)*lag, func() {
							result, _ := h.attemptOf(t.Context(), h.World, req)
							results <- result
						})
					}
					for _, result := range []distribution.Result{<-results, <-results} {
						h.complete(result)
					}
				})
			})
		}
	}
}
