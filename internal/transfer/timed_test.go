// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Ten volumes that take some 450 MiB a second each: AWS moves four of them at once within their time. More would be slower, or refused.
func TestTimeBasedCopiesKeepTheirTimeAndTheQuota_4_8_2(t *testing.T) {
	for _, region := range []string{home, away} {
		synctest.Test(t, func(t *testing.T) {
			var copies []awssim.Copied
			volumes := slices.Repeat([]volume{{400, sourceAlias}}, 10)
			h := build(t, volumes, []string{target}, []string{region}, awssim.WithCopyTimes(func(c awssim.Copied) { copies = append(copies, c) }))
			req := h.request()
			req.Targets[0].CopyMinutes = 15
			begun := time.Now()
			p, result := h.run(t.Context(), req)
			h.complete(result)
			if refused := len(h.Records().Calls("ec2:CopySnapshot")) - len(volumes); refused != 0 {
				t.Errorf("%s: %d calls too many", region, refused)
			}
			for _, c := range copies {
				if took := c.Ends.Sub(c.Begun); c.Account == target && took > 15*time.Minute {
					t.Errorf("%s: a copy took %v", region, took)
				}
			}
			if p.Estimate.GiBTimed != 4000 {
				t.Errorf("%s: %d GiB are paid for", region, p.Estimate.GiBTimed)
			}
			if took := time.Since(begun); p.Estimate.Takes < 30*time.Minute || took > 3*15*time.Minute+5*time.Minute {
				t.Errorf("%s: expected were %v, it took %v", region, p.Estimate.Takes, took)
			}
		})
	}
}

// A time that is too short for a volume is told once for its target, with the one that is not.
func TestATimeThatIsTooShortIsToldOnce_4_8_2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, []volume{{8, sourceAlias}, {500, sourceAlias}}, []string{"222222222222", "333333333333"}, []string{home})
		for minutes, next := range map[int]string{15: "set 30", 30: ""} {
			req := h.request()
			req.Targets[0].CopyMinutes = minutes
			p := h.decide(t.Context(), h.pool(t.Context(), h.World), req)
			found := slices.DeleteFunc(p.Findings, func(f plan.Finding) bool { return f.Rule != "4.8.2" })
			if told := len(found) == 1; told != (next != "") || told && (found[0].Next != next || !strings.Contains(found[0].Because, "18 minutes")) {
				t.Errorf("%d minutes: %+v", minutes, found)
			}
		}
	})
}
