// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// What the instance of a launch check needs is known before anything is copied.
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
