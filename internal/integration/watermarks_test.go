// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
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

// A copy keeps the watermarks of the source image and has those of its target. A repeated run changes nothing.
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
		for _, call := range repeated.Calls() {
			if call.Mutating() {
				w.Errorf("the repeated run called %s", call.Action)
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

// A nightly run with mode = "verify" finds each setting that somebody has removed from a copy or from the source image,
// and changes nothing.
func TestVerify_removedSettings(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		changes := []fixture.Change{
			fixture.WithTargetKey(fixture.TargetKey),
			fixture.WithWatermarks("golden"),
			fixture.WithTargetWatermarks("approved"),
			fixture.WithLaunchPermission(fixture.Friend),
			fixture.WithTargetOption("deregistration_protection", map[string]any{}),
		}
		w.RequireSuccess(w.Run(w.Template(changes...)))
		verify := w.Template(append(changes, fixture.WithVerify())...)
		w.RequireSuccess(w.Resume(verify))

		id, client := w.RequireImage(fixture.Prod, fixture.Home).ImageId, w.EC2(fixture.Prod, fixture.Home)
		for removed, remove := range map[string]func() error{
			*id + " does not have the watermark " + fixture.Prod + ":approved": func() error {
				return detachWatermark(w, fixture.Prod, *id, "approved")
			},
			w.ImageID + " does not have the watermark " + fixture.Source + ":golden": func() error {
				return detachWatermark(w, fixture.Source, w.ImageID, "golden")
			},
			*id + " does not have a launch permission for " + fixture.Friend: func() error {
				_, err := client.ModifyImageAttribute(w.Context(), &ec2.ModifyImageAttributeInput{
					ImageId: id,
					LaunchPermission: &ec2types.LaunchPermissionModifications{
						Remove: []ec2types.LaunchPermission{{UserId: aws.String(fixture.Friend)}},
					},
				})
				return err
			},
			*id + " does not have deregistration protection": func() error {
				_, err := client.DisableImageDeregistrationProtection(
					w.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: id},
				)
				return err
			},
		} {
			if err := remove(); err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Hour)
			run := w.Resume(verify)
			w.RequireFailure(run)
			if text := run.Text(); !strings.Contains(text, removed) {
				w.Errorf("the run does not say that %s:\n%s", removed, text)
			}
			for _, call := range run.Calls() {
				if call.Mutating() {
					w.Errorf("the run called %s", call.Action)
				}
			}
		}
	})
}

// detachWatermark removes a watermark of an account from one of its images.
func detachWatermark(w *fixture.World, account, image, name string) error {
	_, err := w.EC2(account, fixture.Home).DetachImageWatermark(w.Context(), &ec2.DetachImageWatermarkInput{
		ImageId: &image, WatermarkKey: aws.String(account + ":" + name),
	})
	return err
}
