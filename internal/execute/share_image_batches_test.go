// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// A crashed run leaves the permissions of a whole batch on the staged image. The next run removes them before it shares
// the image with other accounts, because AWS allows at most 1,000.
func TestShareImageBatches_afterCrash(t *testing.T) {
	if !*whole {
		t.Skip("1,500 accounts take a minute: make crash")
	}
	synctest.Test(t, func(t *testing.T) {
		var targets []string
		for i := range 1500 {
			targets = append(targets, fmt.Sprintf("2%011d", i))
		}
		h := build(t, mixed[:1], targets, []string{home})
		h.with = func(req *distribution.Request) {
			req.TestCopy, req.Targets[0].Method = aws.Bool(false), distribution.ByImage
		}

		h.killed(h.request(), time.Second)
		time.Sleep(time.Hour)

		shared := 0
		for _, image := range h.ownImages(source, home) {
			if id := aws.ToString(image.ImageId); id != h.images[0].ImageID {
				shared += h.launchable(source, home, id).Size()
			}
		}
		if shared != 1000 {
			t.Fatalf("the run that died left %d permissions, want a batch", shared)
		}

		req := h.request()
		req.RunID = "run-2"
		_, result := h.run(t.Context(), req)
		h.complete(result)
		h.unshared()
	})
}
