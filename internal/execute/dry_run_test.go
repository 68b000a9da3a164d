// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
)

// The test removes each permission that any option needs from the target role. Before it creates anything, the run
// reports the permission as missing. If a policy depends on properties that only the real call has, the run reports
// that a dry run cannot prove it.
func TestDryRun_everyMissingPermissionReported(t *testing.T) {
	for method, actions := range map[distribution.Method][]string{
		distribution.BySnapshot: {"ec2:CopySnapshot", "ec2:RegisterImage"},
		distribution.ByImage: {
			"ec2:CopyImage", "ec2:DeregisterImage", "ec2:EnableImageDeprecation",
			"ec2:EnableImageDeregistrationProtection", "ec2:EnableFastLaunch", "ec2:ModifyImageAttribute",
			"ec2:RunInstances", "ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := everything(t, method)
			pool := h.pool(t.Context(), h.World)
			p := h.decide(t.Context(), pool, h.request())
			begun := len(h.Records())
			if found := execute.DryRun(t.Context(), pool, p, 0); len(found) > 0 {
				t.Errorf("nothing is missing, and it reports %+v", found)
			}
			for _, action := range actions {
				h.forbid(target, action)
				found := slices.DeleteFunc(
					execute.DryRun(t.Context(), pool, p, 0),
					func(f distribution.Finding) bool { return f.Operation != action },
				)
				if len(found) != 1 || found[0].Level == distribution.Note || found[0].Location.Account != target ||
					found[0].Remediation == "" {
					t.Errorf("%s is missing, and it reports %+v", action, found)
				}
				h.forgive(target)
			}
			for _, account := range []string{target, friend} { // the target on its own key, the friend on the source's
				h.forbid(account, "kms:CreateGrant")
				found := execute.DryRun(t.Context(), pool, p, 0)
				if !slices.ContainsFunc(found, func(f distribution.Finding) bool {
					return f.Level == distribution.Refused && f.Operation == "kms:CreateGrant" && f.Location.Account == account
				}) {
					t.Errorf("%s may make no grant, and it reports %+v", account, found)
				}
				h.forgive(account)
			}
			for _, r := range h.Records()[begun:] {
				if len(r.Changed) > 0 && r.DryRun {
					t.Errorf("%s made %v", r.Action, r.Changed)
				}
			}
		})
	}
}
