// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"flag"
	"testing"
	"time"
)

var (
	fa = flag.Int("accounts", 10, "")
	fr = flag.Int("regions", 1, "")
	fv = flag.Int("volumes", 4, "")
	fg = flag.Int("gib", 0, "")
	ft = flag.Float64("throttled", 0, "")
	fo = flag.Bool("own", false, "")
	fs = flag.Int("seeds", 1, "")
)

func TestTry(t *testing.T) {
	worst, calls := 0.0, 0
	for seed := range *fs {
		begun := time.Now()
		c := run(t, scenario{accounts: *fa, regions: *fr, volumes: *fv, gib: int32(*fg), own: *fo, throttled: *ft}, uint64(seed+1))
		ratio := float64(c.took) / float64(bound(c.copies))
		worst = max(worst, ratio)
		n := 0
		for _, k := range c.calls {
			n += k
		}
		calls = max(calls, n)
		t.Logf("%.4f %v %d %d %v %v", ratio, c.took, c.calls["ec2:DescribeSnapshots"], n, c.refused, time.Since(begun).Round(time.Millisecond))
	}
	t.Logf("worst %.4f calls %d", worst, calls)
}
