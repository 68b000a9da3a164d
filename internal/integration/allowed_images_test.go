// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// A plan warns of a shared image that the Allowed AMIs setting of an account hides, and of no other. After the run, AWS
// hides the images that the plan warned of.
func TestAllowedImages_hideSharedImage(t *testing.T) {
	const hidden = "will not see the shared AMI"
	for name, c := range map[string]struct {
		criterion ec2types.ImageCriterionRequest
		state     ec2types.AllowedImagesSettingsEnabledState
		isHidden  bool
	}{
		"another provider": {
			ec2types.ImageCriterionRequest{ImageProviders: []string{"amazon"}},
			ec2types.AllowedImagesSettingsEnabledStateEnabled, true,
		},
		"another name": {
			ec2types.ImageCriterionRequest{ImageProviders: []string{fixture.Source}, ImageNames: []string{"base-*"}},
			ec2types.AllowedImagesSettingsEnabledStateEnabled, true,
		},
		"the source account": {
			ec2types.ImageCriterionRequest{ImageProviders: []string{fixture.Source}, ImageNames: []string{"golden*"}},
			ec2types.AllowedImagesSettingsEnabledStateEnabled, false,
		},
		"another watermark": {
			ec2types.ImageCriterionRequest{
				ImageProviders:  []string{fixture.Source},
				ImageWatermarks: watermarkFilters(fixture.Source + ":approved"),
			},
			ec2types.AllowedImagesSettingsEnabledStateEnabled, true,
		},
		"a watermark that the run attaches": {
			ec2types.ImageCriterionRequest{
				ImageWatermarks: watermarkFilters(fixture.Source+":approved", fixture.Source+":gold*"),
			},
			ec2types.AllowedImagesSettingsEnabledStateEnabled, false,
		},
		"no provider": {
			ec2types.ImageCriterionRequest{ImageProviders: []string{"none"}},
			ec2types.AllowedImagesSettingsEnabledStateEnabled, true,
		},
		"audit mode": {
			ec2types.ImageCriterionRequest{ImageProviders: []string{"amazon"}},
			ec2types.AllowedImagesSettingsEnabledStateAuditMode, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			setup := fixture.Setup{
				Targets: []string{fixture.Prod, fixture.Stage},
				Volumes: []fixture.Volume{{GiB: 8, Key: fixture.SourceKey}},
			}
			test(t, setup, func(w *fixture.World) {
				account := w.EC2(fixture.Stage, fixture.Home)
				_, err := account.ReplaceImageCriteriaInAllowedImagesSettings(
					w.Context(),
					&ec2.ReplaceImageCriteriaInAllowedImagesSettingsInput{
						ImageCriteria: []ec2types.ImageCriterionRequest{c.criterion},
					},
				)
				if err != nil {
					w.Fatal(err)
				}
				_, err = account.EnableAllowedImagesSettings(
					w.Context(), &ec2.EnableAllowedImagesSettingsInput{AllowedImagesSettingsState: c.state},
				)
				if err != nil {
					w.Fatal(err)
				}

				changes := []fixture.Change{
					fixture.WithTargets([]string{fixture.Prod}, fixture.Home), fixture.WithWatermarks("golden"),
					fixture.WithShare(fixture.Stage), fixture.WithShareGrant(),
				}
				run := w.Run(w.Template(append(changes, fixture.WithPlan())...))
				if got := strings.Contains(run.Text(), hidden); got != c.isHidden {
					w.Errorf("the plan says %t that the account %s, want %t: %s", got, hidden, c.isHidden, run.Text())
				}
				if filters := c.criterion.ImageWatermarks; c.isHidden && len(filters) > 0 {
					contains(w, "the plan", run.Text(), "requires the watermark "+*filters[0].WatermarkKey, fixture.Source+":golden")
				}

				w.RequireSuccess(w.Resume(w.Template(changes...)))
				seen, err := account.DescribeImages(w.Context(), &ec2.DescribeImagesInput{Owners: []string{fixture.Source}})
				if err != nil || (len(seen.Images) == 0) != c.isHidden {
					w.Errorf("the account sees %d images (%v), want that they are hidden: %t", len(seen.Images), err, c.isHidden)
				}
			})
		})
	}
}

// watermarkFilters returns filters of a criterion by the keys of watermarks.
func watermarkFilters(keys ...string) (filters []ec2types.ImageWatermarkFilterRequest) {
	for _, key := range keys {
		filters = append(filters, ec2types.ImageWatermarkFilterRequest{WatermarkKey: &key})
	}
	return filters
}
