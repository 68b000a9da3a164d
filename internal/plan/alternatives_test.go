// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

func TestAlternatives_golden(t *testing.T) {
	var out strings.Builder
	for _, c := range []struct {
		name   string
		change func(*distribution.Request, *distribution.Facts)
	}{
		{"staged in both Regions", func(*distribution.Request, *distribution.Facts) {}},
		{"straight into the other Region", func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[distribution.Location{
				Account: source,
				Region:  oregon,
			}] = map[string]distribution.Key{"alias/golden-source": {}}
		}},
		{"optimized for time", func(r *distribution.Request, _ *distribution.Facts) { r.OptimizeForTime = true }},
		{"nothing is staged", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Regions = nil
			for id, s := range f.Images[tokyo].Snapshots {
				f.Images[tokyo].Snapshots[id] = snapshot(id, *s.VolumeSize, keyARN(source, tokyo, "cust"))
			}
		}},
		{"refused", func(r *distribution.Request, _ *distribution.Facts) { r.Targets = nil }},
	} {
		req, facts := world()
		c.change(&req, &facts)
		fmt.Fprintf(&out, "# %s\n%s\n", c.name, estimate(plan.Assess(req, facts).Decide().Estimate))
		for _, choice := range plan.Assess(req, facts).Alternatives() {
			fmt.Fprintf(
				&out,
				"where %s:\n  %s\n  %s\n",
				choice.What,
				estimate(choice.Estimate),
				strings.Join(choice.How, "\n  "),
			)
		}
	}
	golden.Equal(t, "testdata/otherwise.golden", out.String())
}

func estimate(e plan.Estimate) string {
	return fmt.Sprintf("%d copies, %d GiB stored, %d of them staged, %d between Regions, %s, $%.2f a month, $%.2f "+
		"once, %v",
		e.Copies, e.GiBStored, e.GiBStaged, e.GiBTransferred, e.Takes, e.USDPerMonth(), e.USDOnce(), e.Calls)
}
