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

// rateOfCopy is how many MiB a second one time-based copy of a snapshot moves at most (4.8.2).
const rateOfCopy = 500

// mib is how much data a copy of a volume moves: the blocks that were ever written, as AWS shows them for a snapshot, else the whole volume (EBS user
// guide, time-based copies).
func (v volume) mib() int64 {
	if bytes := aws.ToInt64(v.snapshot.FullSnapshotSizeInBytes); bytes > 0 {
		return over(bytes, 1<<20)
	}
	return v.gib() << 10
}

// over divides and rounds up.
func over(n, by int64) int64 { return (n + by - 1) / by }

// rate is how many MiB a second a snapshot's copy takes of its lane, to be complete in so many minutes; 0 for one that may take as long as it takes.
func rate(mib int64, minutes int) int {
	if minutes == 0 {
		return 0
	}
	return int(min(over(mib, int64(minutes)*60), rateOfCopy))
}

// copyTime is what a copy is expected to take: the minutes that it may take, where there is a limit (4.8); else AWS promises no figure (4.6.4), and
// it is for the order of steps and for people.
func copyTime(v volume, minutes int) time.Duration {
	if minutes == 0 {
		return time.Minute + time.Duration(v.gib())*8*time.Second
	}
	return max(time.Duration(minutes)*time.Minute, leastTime(v.mib(), rateOfCopy))
}

// leastTime is what so much takes with so many MiB a second.
func leastTime(mib, rate int64) time.Duration { return time.Duration(over(mib, rate)) * time.Second }

// usdPerGiBTimed is what a GiB costs that is copied within a promised time (4.8.3; EBS user guide, time-based copies, which names no Region).
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

// original is what an account makes time-based copies of.
type original struct {
	account string
	source  step.Ref
}

// originalOf is that of a time-based copy that is yet to begin; false: the step is none.
func originalOf(s step.Step) (original, bool) {
	if c, is := s.(step.Copying); is && c.Copies().Minutes > 0 && s.Meta().ResumeID == "" {
		return original{s.Meta().Location.Account, c.Copies().Source}, true
	}
	return original{}, false
}

// queueFindings tell of time-based copies of one snapshot or image: the time of a second begins when the first has ended (4.8.3). AWS says so of whoever
// makes both; the expected time supposes that accounts do not wait for each other.
func queueFindings(steps []step.Step) []distribution.Finding {
	copies, together, most := map[step.Ref]int{}, map[step.Ref]time.Duration{}, step.Ref{}
	for _, s := range steps {
		if of, timed := originalOf(s); timed {
			copies[of.source]++
			together[of.source] += s.Meta().ExpectedDuration
			if copies[of.source] > 1 && together[of.source] > together[most] {
				most = of.source
			}
		}
	}
	if copies[most] < 2 {
		return nil
	}
	return []distribution.Finding{{
		Level:     distribution.Note,
		Reference: "4.8.3",
		Field:     "snapshot_copy_duration_minutes",
		Resource:  most.Known,
		Summary:   fmt.Sprintf("%d copies of the same snapshot may wait for each other", copies[most]),
		Detail: fmt.Sprintf("AWS begins the time of a second one when the first has ended, and does not say "+
			"whether that holds between accounts; if so, all take %d minutes", int(together[most].Minutes())),
		Remediation: "leave it out where many accounts copy: only time-based copies wait so",
	}}
}

// paceTroubles warn, once for each target and Region that its copies come from, of times in which AWS cannot copy the image.
func validateDurations(facts distribution.Facts, destinations []distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	told := map[[2]string]bool{}
	for _, d := range destinations {
		of := [2]string{d.Target, d.FromRegion}
		if told[of] || d.CopyMinutes == 0 {
			continue
		}
		told[of] = true
		warned := func(what, resource string, mib, rate int64) bool {
			least := leastTime(mib, rate)
			if least <= time.Duration(d.CopyMinutes)*time.Minute {
				return false
			}
			const newStep = 15 * time.Minute // 4.8.1
			found = append(found, distribution.Finding{
				Level:     distribution.Warning,
				Reference: "4.8.2",
				Field:     field(d.Target, "snapshot_copy_duration_minutes"),
				Resource:  resource,
				Summary:   fmt.Sprintf("%s, %d GiB, cannot be copied in %d minutes", what, over(mib, 1<<10), d.CopyMinutes),
				Detail: fmt.Sprintf("AWS copies %d MiB a second at most, so that it takes %d minutes; what it took is "+
					"paid for", rate, over(int64(least), int64(time.Minute))),
				Remediation: fmt.Sprintf("set %d", (least+newStep-1)/newStep*newStep/time.Minute),
			})
			return true
		}
		var largest volume
		var most, all int64
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			if all += v.mib(); v.mib() > most {
				largest, most = v, v.mib()
			}
		}
		if most == 0 {
			continue
		}
		if !warned(largest.device(), largest.id(), most, rateOfCopy) &&
			d.Method == distribution.ByImage { // snapshots take turns, an image's cannot
			warned("the image", aws.ToString(facts.Images[d.FromRegion].Image.ImageId), all, step.QueueRate)
		}
	}
	return found
}
