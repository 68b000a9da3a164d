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

// A plan warns of a shared image that the Allowed AMIs setting of an account hides, and of no other.
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

				run := w.Run(w.Template(
					fixture.WithTargets([]string{fixture.Prod}, fixture.Home),
					fixture.WithShare(fixture.Stage), fixture.WithShareGrant(), fixture.WithPlan(),
				))
				if got := strings.Contains(run.Text(), hidden); got != c.isHidden {
					w.Errorf("the plan says %t that the account %s, want %t: %s", got, hidden, c.isHidden, run.Text())
				}
			})
		})
	}
}
