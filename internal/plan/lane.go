// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// imageLanes begins the names of the lanes of image copies: AWS has more room in them than in those of snapshot copies.
const imageLanes = "image/"

// imageLane is where AWS counts concurrent image copies: per account and destination Region (4.1.2).
func imageLane(at Place) string { return imageLanes + at.Account + "/" + at.Region }

// copyLane is where AWS counts concurrent snapshot copies: per account and destination Region (4.1.1).
func copyLane(at Place) string { return "copy/" + at.Account + "/" + at.Region }

// RoomOf is how many copies AWS lets be on their way in a lane at once: of snapshots (4.1.1), of images (4.1.2).
func RoomOf(lane string) int {
	if strings.HasPrefix(lane, imageLanes) {
		return 300
	}
	return 20
}

// RateOfLane is how many MiB a second an account's time-based copies to a Region move at most (4.8.2). AWS counts each Region that they come from
// by itself; the copies of a destination all come from one.
const RateOfLane = 2000

// rateOfCopy is how many MiB a second one time-based copy of a snapshot moves at most (4.8.2).
const rateOfCopy = 500

// rate is how many MiB a second a snapshot's copy takes of its lane, to be complete in so many minutes; 0 for one that may take as long as it takes.
func rate(gib int64, minutes int) int {
	if minutes == 0 {
		return 0
	}
	seconds := int64(minutes) * 60
	return int(min((gib*1024+seconds-1)/seconds, rateOfCopy))
}

// copyTime is what a copy is expected to take: the minutes that it may take, where there is a limit (4.8); else AWS promises no figure (4.6.4), and
// it is for the order of steps and for people.
func copyTime(gib int64, minutes int) time.Duration {
	if minutes == 0 {
		return time.Minute + time.Duration(gib)*8*time.Second
	}
	return max(time.Duration(minutes)*time.Minute, leastTime(gib))
}

// leastTime is what the fastest time-based copy takes, if every block is in use.
func leastTime(gib int64) time.Duration { return time.Duration(gib) * 1024 * time.Second / rateOfCopy }

// Crowded are the places to which AWS does not let all snapshot copies of a plan be on their way at once.
func Crowded(steps []Step) []Place {
	copies, rates := map[Place]int{}, map[Place]int{}
	var crowded []Place
	for _, s := range steps {
		if c, is := s.(*CopySnapshot); is {
			copies[c.At]++
			rates[c.At] += c.Rate
			if (copies[c.At] > RoomOf(c.Lane) || rates[c.At] > RateOfLane) && !slices.Contains(crowded, c.At) {
				crowded = append(crowded, c.At)
			}
		}
	}
	return crowded
}

// laneTime is how long the fullest lane takes if its work is shared out evenly among the copies, and the throughput, that AWS admits at once.
func laneTime(steps []Step) time.Duration {
	work, moved, most := map[string]time.Duration{}, map[string]time.Duration{}, time.Duration(0)
	for _, s := range steps {
		if h := s.Base(); h.Lane != "" {
			work[h.Lane] += h.Takes
			moved[h.Lane] += h.Takes * time.Duration(h.Rate)
			most = max(most, work[h.Lane]/time.Duration(RoomOf(h.Lane)), moved[h.Lane]/RateOfLane)
		}
	}
	return most
}

// paceTroubles warn, once for each target and Region that its copies come from, of times in which AWS cannot copy the image.
func paceTroubles(facts Facts, destinations []Destination) []Finding {
	var found []Finding
	told := map[[2]string]bool{}
	for _, d := range destinations {
		if told[[2]string{d.Target, d.FromRegion}] || d.CopyMinutes == 0 {
			continue
		}
		told[[2]string{d.Target, d.FromRegion}] = true
		all := volumes(facts.Images[d.FromRegion])
		if len(all) == 0 {
			continue
		}
		largest := slices.MaxFunc(all, func(a, b volume) int { return int(a.gib() - b.gib()) })
		if least := leastTime(largest.gib()); least > time.Duration(d.CopyMinutes)*time.Minute {
			const step = 15 * time.Minute // 4.8.1
			found = append(found, Finding{Level: Warning, Rule: "4.8.2", Field: field(d.Target, "snapshot_copy_duration_minutes"), Resource: largest.id(),
				Summary: fmt.Sprintf("%s, %d GiB, cannot be copied in %d minutes", largest.device(), largest.gib(), d.CopyMinutes),
				Because: fmt.Sprintf("AWS copies %d MiB a second at most, so that it takes %d minutes if all of it is in use; the time is paid for all the same", rateOfCopy, (least+time.Minute-1)/time.Minute),
				Next:    fmt.Sprintf("set %d", (least+step-1)/step*step/time.Minute)})
		}
	}
	return found
}
