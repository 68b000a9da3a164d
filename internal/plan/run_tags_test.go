// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// A policy may require tags in each creating call. Temporary resources get run_tags, and the resources of targets do
// not.
func TestDecide_runTags(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		req, facts := world()
		req.RunTags = map[string]distribution.Text{"purpose": "{{ .AMI }} in {{ .AccountId }}"}
		req.Targets[0].Method = method
		req.Targets[0].LaunchCheck = &distribution.LaunchCheck{InstanceType: "t4g.micro"}
		seen := map[string]int{}
		check := func(kind string, s step.Step, tags map[string]string, isTemporary bool) {
			seen[kind]++
			want := ""
			if isTemporary {
				want = "ami-0aaaaaaaaaaaaaaaa in " + s.Meta().Location.Account
			}
			if tags["purpose"] != want {
				t.Errorf("%s, %s: got the tag %q, want %q", method, s.Meta().ID, tags["purpose"], want)
			}
		}
		for _, s := range plan.Assess(req, facts).Decide().Steps {
			isStaged := s.Meta().Location.Account == source
			switch s := s.(type) {
			case *step.CreateEmptySnapshot:
				check("empty snapshot", s, s.Tags, false)
			case *step.CopySnapshot:
				check("snapshot", s, s.Tags, s.Trial || isStaged)
			case *step.CopyImage:
				check("image", s, s.Tags, isStaged)
				check("snapshots of image", s, s.SnapshotTags, isStaged)
			case *step.RunInstance:
				check("instance", s, s.Tags, true)
				check("volumes and network interfaces", s, s.PartTags, true)
			}
		}
		if seen["empty snapshot"] == 0 || seen["snapshot"] == 0 || seen["instance"] == 0 ||
			method == distribution.ByImage && seen["image"] == 0 {
			t.Errorf("%s: got the steps %v", method, seen)
		}
	}
}
