// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
)

// Each of ten volumes needs about 450 MiB a second. AWS copies four of them at once within their time (rule 4.8.2).
// More would be slower, or refused.
func TestTimeBasedCopy_quota(t *testing.T) {
	for _, region := range []string{home, away} {
		synctest.Test(t, func(t *testing.T) {
			var copies []awssim.CopySchedule
			volumes := slices.Repeat(sized(400), 10)
			h := build(
				t,
				volumes,
				[]string{target},
				[]string{region},
				awssim.WithCopyScheduleFunc(func(c awssim.CopySchedule) { copies = append(copies, c) }),
			)
			h.with = withTimeBasedCopies
			begun := time.Now()
			p, result := h.run(t.Context(), h.request())
			h.complete(result)
			if refused := len(h.Records().Calls("ec2:CopySnapshot")) - len(volumes); refused != 0 {
				t.Errorf("%s: %d calls too many", region, refused)
			}
			h.promises(copies, target)
			if usd := p.Estimate.USDTimed; math.Abs(usd-4000*0.020) > 0.01 {
				t.Errorf("%s: the time costs $%.2f", region, usd)
			}
			if took := time.Since(begun); p.Estimate.Takes < 30*time.Minute || took > 3*15*time.Minute+5*time.Minute {
				t.Errorf("%s: expected were %v, it took %v", region, p.Estimate.Takes, took)
			}
		})
	}
}

// A duration that is too short for a volume is reported once for its target, with the shortest possible one.
func TestTimeBasedCopy_tooShortReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(
			t,
			[]volume{{8, sourceAlias}, {500, sourceAlias}},
			[]string{"222222222222", "333333333333"},
			[]string{home},
		)
		for minutes, next := range map[int]string{15: "set 30", 30: ""} {
			req := h.request()
			req.Targets[0].CopyMinutes = minutes
			p := h.decide(t.Context(), h.pool(t.Context(), h.World), req)
			found := slices.DeleteFunc(p.Findings, func(f distribution.Finding) bool { return f.Reference != "4.8.2" })
			if reported := len(found) == 1; reported != (next != "") ||
				reported && (found[0].Remediation != next || !strings.Contains(found[0].Detail, "18 minutes")) {
				t.Errorf("%d minutes: %+v", minutes, found)
			}
		}
	})
}

// hurry is the shortest duration that AWS offers for a time-based copy.
const hurry = 15 * time.Minute

// withTimeBasedCopies requests time-based copies for the first target.
func withTimeBasedCopies(req *distribution.Request) {
	req.Targets[0].CopyMinutes = int(hurry / time.Minute)
}

// sized returns volumes that need no staged copy.
func sized(gib ...int32) (all []volume) {
	for _, size := range gib {
		all = append(all, volume{size, sourceAlias})
	}
	return all
}

// refusedCopies counts the copies that AWS refused an account.
func (h *testWorld) refusedCopies(account string) (n int) {
	for _, r := range h.Records().Calls("ec2:Copy*").ByAccount(account) {
		if r.Error != "" && !r.DryRun && r.Fault == "" {
			n++
		}
	}
	return n
}

// promises checks that AWS refused no copy of an account, that the run never requested more throughput than the quota
// (rule 4.8.2), and that each copy completed in time.
func (h *testWorld) promises(copies []awssim.CopySchedule, account string) {
	h.t.Helper()
	if n := h.refusedCopies(account); n > 0 {
		h.t.Errorf("%d copies were refused", n)
	}
	for _, one := range copies {
		if one.Account != account {
			continue
		}
		if took := one.Ends.Sub(one.Requested); took > hurry {
			h.t.Errorf("%d GiB took %s", one.GiB, took)
		}
		all := 0.0
		for _, other := range copies {
			if other.Account == account && other.Region == one.Region && !other.Requested.After(one.Requested) &&
				other.Ends.After(one.Requested) {
				all += float64(other.GiB) * 1024 / hurry.Seconds()
			}
		}
		if all > 2000 {
			h.t.Errorf("at %s the copies ask for %.0f MiB a second", one.Requested, all)
		}
	}
}

// Copies that together exceed the throughput run one after another. All end at the time that the plan gives (rule
// 4.8.2).
func TestTimeBasedCopy_differentSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var copies []awssim.CopySchedule
		h := build(
			t,
			sized(430, 300, 430, 20, 430, 200, 430, 430, 8, 100, 430, 430),
			[]string{"222222222222", "333333333333"},
			[]string{home},
			awssim.WithCopyScheduleFunc(func(c awssim.CopySchedule) { copies = append(copies, c) }),
		)
		h.with = withTimeBasedCopies
		p, result := h.run(t.Context(), h.request())
		h.complete(result)
		for _, account := range h.targets {
			h.promises(copies, account)
		}
		if took, planned := result.Ended.Sub(result.Begun), p.Estimate.Takes; planned < 2*hurry || took > planned*21/20 {
			t.Errorf("the run took %s, planned were %s", took, planned)
		}
	})
}

// A time-based copy of an image uses the throughput of all its snapshots at once (rule 4.8.2).
func TestTimeBasedCopy_image(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var copies []awssim.CopySchedule
		h := build(
			t,
			sized(430, 430, 430, 430),
			[]string{"222222222222"},
			[]string{home},
			awssim.WithCopyScheduleFunc(func(c awssim.CopySchedule) { copies = append(copies, c) }),
		)
		h.with = func(req *distribution.Request) {
			withTimeBasedCopies(req)
			req.Targets[0].Method = distribution.ByImage
		}
		p, result := h.run(t.Context(), h.request())
		h.complete(result)
		h.promises(copies, "222222222222")
		if took, planned := result.Ended.Sub(result.Begun), p.Estimate.Takes; took > planned*21/20 {
			t.Errorf("the run took %s, planned were %s", took, planned)
		}
	})
}

// When a copy ends early, the next one starts at once. The run therefore polls every copy, not only the one that is
// expected to end last.
func TestTimeBasedCopy_earlyEndFreesThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := ""
		h := build(
			t,
			slices.Repeat(sized(430), 10),
			[]string{"222222222222"},
			[]string{home},
			awssim.WithSnapshotDuration(func(job awssim.SnapshotJob) time.Duration {
				if job.Account != source && slow == "" {
					slow = job.SnapshotID // the first copy
				}
				if job.SnapshotID == slow {
					return hurry
				}
				return hurry / 3
			}),
		)
		h.with = withTimeBasedCopies
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
		if took := result.Ended.Sub(result.Begun); took > hurry+time.Minute {
			t.Errorf("the run took %s", took)
		}
	})
}

// An account that copies one snapshot to two Regions copies it first to one and then to the other. The plan accounts
// for that (rule 4.8.3).
func TestTimeBasedCopy_twoRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(
			t,
			sized(100),
			[]string{"222222222222"},
			[]string{away, "eu-west-1"},
			awssim.WithSnapshotDuration(func(awssim.SnapshotJob) time.Duration { return 2 * hurry }), // so none ends early
		)
		h.with = func(req *distribution.Request) {
			withTimeBasedCopies(req)
			// without a key for the other Regions, the targets copy from the home Region
			req.KMSKeyID, req.RegionKMSKeyIDs = "", map[string]string{home: sourceAlias}
		}
		p, result := h.run(t.Context(), h.request())
		h.complete(result)
		if took, planned := result.Ended.Sub(result.Begun), p.Estimate.Takes; planned < 2*hurry || took < planned ||
			took > planned*21/20 {
			t.Errorf("the run took %s, planned were %s", took, planned)
		}
	})
}

// If other users have used up the throughput of an account, the copy waits, as for every quota (rule 4.1.5).
func TestTimeBasedCopy_throughputUsedByOthers(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, sized(100, 200), []string{"222222222222"}, []string{home})
				h.with = func(req *distribution.Request) {
					withTimeBasedCopies(req)
					req.Targets[0].Method = method
				}
				pool := h.pool(t.Context(), h.World)
				p := h.decide(t.Context(), pool, h.request())
				h.uses("222222222222", 440, 440, 440, 440)
				result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
				if n := h.refusedCopies("222222222222"); len(result.Images) != 1 || len(result.Findings) > 0 || n == 0 {
					t.Errorf("%d images, findings %+v, %d refused copies", len(result.Images), result.Findings, n)
				}
			})
		})
	}
}

// uses starts time-based copies of other users in an account.
func (h *testWorld) uses(account string, gib ...int32) {
	h.t.Helper()
	client := h.ec2(account, home)
	var sources []string
	for _, size := range gib {
		sources = append(sources, h.snapshot(account, home, size))
	}
	time.Sleep(2 * time.Hour)
	for _, id := range sources {
		_, err := client.CopySnapshot(
			h.t.Context(),
			&ec2.CopySnapshotInput{
				SourceRegion:              aws.String(home),
				SourceSnapshotId:          &id,
				CompletionDurationMinutes: aws.Int32(int32(hurry / time.Minute)),
			},
		)
		h.must(err)
	}
}

// A resumed run starts no new time-based copy while the resumed ones use up the throughput.
func TestTimeBasedCopy_resumedCopiesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var copies []awssim.CopySchedule
		h := build(
			t,
			slices.Repeat(sized(240), 8),
			[]string{"222222222222"},
			[]string{home},
			awssim.WithCopyScheduleFunc(func(c awssim.CopySchedule) { copies = append(copies, c) }),
		)
		h.with = withTimeBasedCopies
		// the run looks for the snapshot for five minutes before it calls again
		h.Inject(awssim.FaultRule{Fault: awssim.Unavailable, Account: "222222222222", Action: "ec2:CopySnapshot", Nth: 1})
		ctx, cancel := context.WithCancelCause(t.Context())
		pool := h.pool(ctx, h.World)
		p := h.decide(ctx, pool, h.request())
		time.AfterFunc(3*time.Minute, func() { cancel(errors.New("stopped")) })
		execute.Run(ctx, pool, p, options(h.request()), func(distribution.Event) {})
		if len(copies) != 7 { // each uses 273 MiB a second
			t.Fatalf("%d copies are in progress", len(copies))
		}
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
		h.promises(copies, "222222222222")
	})
}
