// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// watermarks returns the keys of an image's watermarks, sorted.
func watermarks(image ec2types.Image) []string {
	var keys []string
	for _, watermark := range image.ImageWatermarks {
		keys = append(keys, aws.ToString(watermark.WatermarkKey))
	}
	slices.Sort(keys)
	return keys
}

// A copy keeps the watermarks of the source image and has those of its target. A repeated run attaches none.
func TestWatermarks_ofSourceAndTarget(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		template := w.Template(fixture.WithWatermarks("golden"), fixture.WithTargetWatermarks("approved"))
		w.RequireSuccess(w.Run(template))
		copied := w.RequireImage(fixture.Prod, fixture.Home)
		want := []string{fixture.Source + ":golden", fixture.Prod + ":approved"}
		slices.Sort(want)
		if got := watermarks(copied); !slices.Equal(got, want) {
			w.Errorf("the copy has the watermarks %v, want %v", got, want)
		}

		repeated := w.Resume(template)
		w.RequireSuccess(repeated)
		if again := w.RequireImage(fixture.Prod, fixture.Home); *again.ImageId != *copied.ImageId {
			w.Errorf("the repeated run copied %s", *again.ImageId)
		}
		for _, call := range repeated.CallsOf("ec2:AttachImageWatermark") {
			if !call.DryRun() {
				w.Errorf("the repeated run attached %v", call.Params)
			}
		}
	})
}

// A copy would have six watermarks: two of its source and four of its target. That is an error before anything is
// created.
func TestWatermarks_tooManyForCopy(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		run := w.Run(w.Template(
			fixture.WithWatermarks("golden", "hardened"), fixture.WithTargetWatermarks("abc", "def", "ghi", "jkl"),
		))
		w.RequireFailure(run)
		if got := w.Images(fixture.Prod, fixture.Home); len(got) > 0 {
			w.Errorf("%d images were created", len(got))
		}
	})
}
