// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// The plan reports what a launch check lacks before the run copies anything.
func TestLaunchCheck_refusedBeforeCopies(t *testing.T) {
	const noSubnet = "subnet-0123456789abcdef0"
	for name, c := range map[string]struct {
		instanceType, subnet string
		withoutVPC           bool
		want                 string
	}{
		"no default VPC":  {instanceType: "t4g.micro", withoutVPC: true, want: "no subnet for the launch check"},
		"no such subnet":  {instanceType: "t4g.micro", subnet: noSubnet, want: noSubnet + " does not exist"},
		"architecture":    {instanceType: "t3.micro", want: "t3.micro cannot run the AMI"},
		"no such type":    {instanceType: "t9.micro", want: `instance type "t9.micro" does not exist`},
		"paravirtual ENA": {instanceType: "m1.small", want: "m1.small cannot run the AMI"},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{}, func(w *fixture.World) {
				if c.withoutVPC {
					w.RemoveDefaultVPC(fixture.Prod, fixture.Home)
				}
				run := w.Run(w.Template(fixture.WithLaunchCheckOf(c.instanceType, c.subnet)))
				w.RequireFailure(run)
				if !strings.Contains(run.Text(), c.want) {
					w.Errorf("got\n%s\nwant %q", run.Text(), c.want)
				}
				for _, call := range run.Calls() {
					if call.Creates() {
						w.Errorf("%s was called before", call.Action)
					}
				}
			})
		})
	}
}

// A policy may require a tag on everything that a call creates. With run_tags the run succeeds. Without, it is refused
// before the copies.
func TestRunTags_meetTagPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		tags  map[string]any
		fails bool
	}{
		"run_tags":    {tags: map[string]any{"team": "web"}},
		"no run_tags": {fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{}, func(w *fixture.World) {
				w.RequireTag(fixture.Prod, "team")
				run := w.Run(w.Template(
					fixture.WithLaunchCheck(), fixture.WithTestCopy(true), fixture.WithRunTags(c.tags)))
				if c.fails {
					w.RequireFailure(run)
				} else {
					w.RequireSuccess(run)
				}
				for _, call := range run.Calls() {
					isDelivery := strings.HasPrefix(call.Params.Get("Description"), "/dev/")
					switch {
					case c.fails:
						if call.Creates() {
							w.Errorf("%s was called before the refusal", call.Action)
						}
					case call.Action == "ec2:CopySnapshot" && !isDelivery && call.Tags()["team"] != "web",
						call.Action == "ec2:RunInstances" && !call.DryRun() && call.Tags()["team"] != "web":
						w.Errorf("%s without run_tags: %v", call.Action, call.Tags())
					}
				}
			})
		})
	}
}
