// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// rateOfCopy is the maximum MiB/s of one time-based copy of a snapshot (4.8.2).
const rateOfCopy = 500

// mib returns how much a copy of a volume copies: the blocks that were ever written, if AWS reports them, else the
// whole volume (EBS User Guide, time-based copies).
func (v volume) mib() int64 {
	if bytes := aws.ToInt64(v.snapshot.FullSnapshotSizeInBytes); bytes > 0 {
		return divideRoundingUp(bytes, 1<<20)
	}
	return v.gib() << 10
}

func divideRoundingUp(n, by int64) int64 { return (n + by - 1) / by }

// rate returns the MiB/s of its queue that a snapshot copy uses to complete in some minutes. 0 without time-based
// copy.
func rate(mib int64, minutes int) int {
	if minutes == 0 {
		return 0
	}
	return int(min(divideRoundingUp(mib, int64(minutes)*60), rateOfCopy))
}

// copyTime returns the expected duration of a copy. For a time-based copy it is the completion duration (4.8).
// Otherwise AWS guarantees nothing (4.6.4), and it is an estimate for the order of steps and the user.
func copyTime(v volume, minutes int) time.Duration {
	if minutes == 0 {
		return time.Minute + time.Duration(v.gib())*8*time.Second
	}
	return max(time.Duration(minutes)*time.Minute, leastTime(v.mib(), rateOfCopy))
}

// leastTime returns how long a copy takes at a rate in MiB/s.
func leastTime(mib, rate int64) time.Duration {
	return time.Duration(divideRoundingUp(mib, rate)) * time.Second
}

// usdPerGiBTimed returns the price of a GiB of a time-based copy (4.8.3; EBS User Guide, time-based copies, for no
// Region in particular).
func usdPerGiBTimed(minutes int) float64 {
	switch hours := minutes / 60; {
	case minutes == 0:
		return 0
	case hours >= 16:
		return 0.005
	case hours >= 8:
		return 0.010
	case hours >= 4:
		return 0.012
	case hours >= 2:
		return 0.014
	case hours >= 1:
		return 0.016
	case minutes >= 30:
		return 0.018
	}
	return 0.020
}

// original is the source of an account's time-based copies.
type original struct {
	account string
	source  step.Ref
}

// originalOf returns the source of a time-based copy that has not begun. False if the step is not one.
func originalOf(s step.Step) (original, bool) {
	if c, isCopy := s.(step.Copying); isCopy && c.Copies().Minutes > 0 && s.Meta().ResumeID == "" {
		return original{s.Meta().Location.Account, c.Copies().Source}, true
	}
	return original{}, false
}

// queueFindings returns a note about several time-based copies of a snapshot or image. The duration of the second
// begins when the first has ended (4.8.3). AWS documents that for one account; the estimate assumes that accounts do
// not wait for each other.
func queueFindings(steps []step.Step) []distribution.Finding {
	copies, total, most := map[step.Ref]int{}, map[step.Ref]time.Duration{}, step.Ref{}
	for _, s := range steps {
		if of, isTimed := originalOf(s); isTimed {
			copies[of.source]++
			total[of.source] += s.Meta().ExpectedDuration
			if copies[of.source] > 1 && total[of.source] > total[most] {
				most = of.source
			}
		}
	}

	if copies[most] < 2 {
		return nil
	}

	return []distribution.Finding{{
		Level:     distribution.Note,
		Code:      distribution.CodeTimeBasedCopiesQueue,
		Reference: "4.8.3",
		Field:     "snapshot_copy_duration_minutes",
		Resource:  most.Known,
		Summary:   fmt.Sprintf("%d copies of the same snapshot may wait for each other", copies[most]),
		Detail: fmt.Sprintf("AWS begins the time of a second one when the first has ended, and does not say "+
			"whether that holds between accounts; if so, all take %d minutes", int(total[most].Minutes())),
		Remediation: "leave it out where many accounts copy: only time-based copies wait so",
	}}
}

// validateDurations returns warnings about completion durations that AWS cannot meet, one for each target and source
// Region.
func validateDurations(facts distribution.Facts, destinations []distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	validated := map[[2]string]bool{}
	for _, d := range destinations {
		key := [2]string{d.Target, d.FromRegion}
		if validated[key] || d.CopyMinutes == 0 {
			continue
		}
		validated[key] = true
		found = append(found, validateDuration(facts, d)...)
	}
	return found
}

// validateDuration warns about the largest snapshot. CopyImage cannot copy the snapshots one after the other, so it
// warns about the whole image too.
func validateDuration(facts distribution.Facts, d distribution.Destination) []distribution.Finding {
	image := facts.Images[d.FromRegion]
	var largest volume
	var largestMiB, totalMiB int64
	for _, v := range volumes(image) {
		totalMiB += v.mib()
		if v.mib() > largestMiB {
			largest, largestMiB = v, v.mib()
		}
	}

	if largestMiB == 0 {
		return nil
	}

	found := durationFindings(d, largest.device(), largest.id(), largestMiB, rateOfCopy)
	if len(found) > 0 || d.Method != distribution.ByImage {
		return found
	}

	return durationFindings(d, "the image", aws.ToString(image.Image.ImageId), totalMiB, step.QueueRate)
}

// durationFindings returns a warning if a copy takes longer than the completion duration.
func durationFindings(d distribution.Destination, subject, resource string, mib, rate int64) []distribution.Finding {
	least := leastTime(mib, rate)
	if least <= time.Duration(d.CopyMinutes)*time.Minute {
		return nil
	}

	const increment = 15 * time.Minute // 4.8.1
	return []distribution.Finding{{
		Level:     distribution.Warning,
		Code:      distribution.CodeCopyDurationTooShort,
		Reference: "4.8.2",
		Field:     field(d.Target, "snapshot_copy_duration_minutes"),
		Resource:  resource,
		Summary: fmt.Sprintf("%s, %d GiB, cannot be copied in %d minutes",
			subject, divideRoundingUp(mib, 1<<10), d.CopyMinutes),
		Detail: fmt.Sprintf("AWS copies %d MiB a second at most, so that it takes %d minutes; what it took is paid for",
			rate, divideRoundingUp(int64(least), int64(time.Minute))),
		Remediation: fmt.Sprintf("set %d", (least+increment-1)/increment*increment/time.Minute),
	}}
}
