// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// only returns options with mode = "plan".
func (s *stage) only(accounts ...string) map[string]any {
	options := s.options(accounts...)
	options["mode"] = "plan"
	return options
}

// untouched fails the test if a call has changed anything.
func (s *stage) untouched() {
	s.Helper()
	for _, call := range s.world.Records()[s.begun:].Mutating() {
		s.Errorf("%s by %s made or changed %v", call.Action, call.Principal, call.Changed)
	}
	if protected, _ := s.protected(); protected {
		s.Error("the image is protected")
	}
}

func TestPlanMode_changesNothing(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), s.only(prod, other))
		if err != nil {
			s.Fatal(err)
		}
		s.untouched()
		if id := tokyo + ":" + s.image; output.Id() != id || !s.forced {
			s.Errorf("the artifact is %s, want %s; kept by force: %v", output.Id(), id, s.forced)
		}
	})
}

func TestPlanMode_callsMatchRun(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.only(prod, other)); err != nil {
			s.Fatal(err)
		}
		shown := s.screen.String()
		if _, err := s.run(s.Context(), s.options(prod, other)); err != nil {
			s.Fatal(err)
		}
		made := map[string]int{}
		for _, call := range s.world.Records()[s.begun:].Mutating() {
			if !slices.Contains(call.Changed, s.image) { // protecting the source image and writing its signing key are no steps
				made[call.Action]++
			}
		}
		for action, n := range made {
			if !strings.Contains(shown, fmt.Sprintf(" %d %s", n, action)) {
				s.Errorf("%d calls of %s, the plan shows others:\n%s", n, action, shown)
			}
		}
	})
}

// With mode = "plan" the image of a build is not protected, and Packer would destroy it after an error.
func TestPlanMode_keepsImageOfBuild(t *testing.T) {
	onStage(t, func(s *stage) {
		options := s.only(prod)
		options["kms_key_id"] = "alias/missing"
		if _, err := s.run(s.Context(), options); err != nil || !s.forced {
			s.Errorf("after a build: %v, kept by force: %v", err, s.forced)
		}
		if !s.mentions("alias/missing does not exist", nil) {
			s.Errorf("the refusal is not shown:\n%s", s.screen.String())
		}
		options["existing_amis"] = map[string]any{tokyo: s.image}
		if _, err := s.after(
			s.Context(),
			nullBuilder,
			options,
		); err == nil || !strings.Contains(err.Error(), "alias/missing does not exist") {
			s.Errorf("with an image of the caller's: %v", err)
		}
		s.untouched()
	})
}

func TestDryRun_missingPermission(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(prod, `["ec2:CopySnapshot","ec2:CreateTags","ec2:Describe*","ec2:Get*","kms:*"]`)
		_, err := s.run(s.Context(), s.options(prod, other))
		if err == nil || !strings.Contains(err.Error(), "nothing was created") ||
			!strings.Contains(err.Error(), "ec2:RegisterImage") || len(s.made()) > 0 {
			s.Errorf("%d resources were created: %v", len(s.made()), err)
		}
		options := s.options(prod, other)
		options["max_failed_destinations"] = 1
		if _, err := s.run(s.Context(), options); err != nil {
			s.Errorf("where one may fail: %v", err)
		}
		options = s.options(prod, other)
		options["target"].([]any)[0].(map[string]any)["required"] = false
		if _, err := s.run(s.Context(), options); err != nil || !s.mentions("ec2:RegisterImage", nil) {
			s.Errorf("where it is not required: %v", err)
		}
	})
}

// Each permission is checked once per account and Region, whatever the number of volumes.
func TestDryRun_oncePerPermission(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.only(prod, other)); err != nil {
			s.Fatal(err)
		}
		tried := map[string]int{}
		for _, call := range s.world.Records()[s.begun:] {
			if call.DryRun {
				tried[call.Action]++
			}
		}
		// The source account stages and shares copies under its own key. Each target copies and registers them under its own
		// key.
		want := map[string]int{
			"ec2:CopySnapshot":            3,
			"ec2:ModifySnapshotAttribute": 1,
			"ec2:RegisterImage":           2,
			"kms:CreateGrant":             6,
		}
		if diff := cmp.Diff(want, tried); diff != "" {
			s.Error(diff)
		}
	})
}
