// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// measured is what is known of a run afterwards.
type measured struct {
	Took           time.Duration  // from the call of PostProcess to its return
	Bound          time.Duration  // what no run can go below
	Listed         time.Duration  // what its own copies take in their order, with nothing lost between them
	Calls          int            // of all services; repeats count
	Looks          int            // DescribeSnapshots
	Refused        int            // calls that AWS refused for their number
	Changed        map[string]int // calls that changed something, by action
	MutatingExcess int            // by how many calls they are not those that the job takes, action by action
	Canaries       int            // how many of them were of canaries
	AtOnce         int            // copies on their way in the fullest lane
	Crowded        int            // copies that AWS had no room for
}

func (m measured) ratio() float64 { return float64(m.Took) / float64(m.Bound) }

// pollInterval is the default of poll_interval.
const pollInterval = 15 * time.Second

// ticks is the share of its looks that a run made: one for each account and Region, the source's too, in every poll interval.
func (m measured) ticks(s scenario) float64 {
	places := s.Targets + s.Regions
	return float64(m.Looks) / (float64(places) * m.Took.Seconds() / pollInterval.Seconds())
}

func (c course) measured() measured {
	m := measured{Took: c.took, Bound: c.bound(), Listed: c.listed(), Looks: c.calls["ec2:DescribeSnapshots"], Refused: c.refused["RequestLimitExceeded"] + c.refused["Throttling"] + c.refused["ThrottlingException"],
		Changed: c.changed, AtOnce: atOnce(c.copies), Crowded: c.refused["ResourceLimitExceeded"]}
	for _, n := range c.calls {
		m.Calls += n
	}
	wanted, canaries := c.necessary(), c.canaries()
	for action, n := range canaries {
		wanted[action] += n
		m.Canaries += n
	}
	for action, n := range wanted {
		m.MutatingExcess += max(n-c.changed[action], c.changed[action]-n)
	}
	for action, n := range c.changed {
		if _, known := wanted[action]; !known {
			m.MutatingExcess += n
		}
	}
	return m
}

// copiesAtOnce is how many copies AWS lets an account have on their way to a Region (4.1.1).
const copiesAtOnce = 20

type lane struct{ account, region string }

// bound is the time that no run can go below, by the simulated AWS's own draws: of the copies that were made, the longest chain of
// one copy on another, or the work of an account's copies to a Region shared out evenly among as many as AWS admits at once. Calls
// count nothing.
func (c course) bound() time.Duration {
	copies, room := c.copies, c.room
	took, work := map[string]time.Duration{}, map[lane]time.Duration{}
	for _, c := range copies {
		took[c.SnapshotID] = c.Ends.Sub(c.Requested)
		work[lane{c.Account, c.Region}] += c.Ends.Sub(c.Requested)
	}
	var most time.Duration
	for _, c := range copies {
		most = max(most, took[c.SourceID]+took[c.SnapshotID])
	}
	for l, all := range work {
		most = max(most, all/time.Duration(room(l.account)))
	}
	return most
}

// listed is when the last copy ends where the copies that were made, in the order in which they began, each begin as soon as the one that they are of is
// there and their lane has a place. What a copy takes is not known before it ends: where few places have much to do, no order comes close to the bound.
func (c course) listed() (last time.Duration) {
	ends, lanes := map[string]time.Duration{}, map[lane][]time.Duration{}
	for _, one := range slices.SortedStableFunc(slices.Values(c.copies), func(a, b awssim.CopySchedule) int { return a.Requested.Compare(b.Requested) }) {
		l := lane{one.Account, one.Region}
		if lanes[l] == nil {
			lanes[l] = make([]time.Duration, c.room(one.Account))
		}
		first := slices.Index(lanes[l], slices.Min(lanes[l]))
		end := max(lanes[l][first], ends[one.SourceID]) + one.Ends.Sub(one.Requested)
		lanes[l][first], ends[one.SnapshotID] = end, end
		last = max(last, end)
	}
	return last
}

// atOnce is how many copies were on their way in the fullest lane.
func atOnce(copies []awssim.CopySchedule) (most int) {
	type change struct {
		at time.Time
		by int
	}
	lanes := map[lane][]change{}
	for _, c := range copies {
		l := lane{c.Account, c.Region}
		lanes[l] = append(lanes[l], change{c.Requested, 1}, change{c.Ends, -1})
	}
	for _, changes := range lanes {
		slices.SortFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
		n := 0
		for _, c := range changes {
			n += c.by
			most = max(most, n)
		}
	}
	return most
}

// sharesACall is how many accounts a sharing call takes (2.1.6).
const sharesACall = 500

// necessary is how many calls that change something the job takes, by action: no one else's image is copied unstaged, because none of its
// snapshots is encrypted; every copy and image is sealed; the source image is protected and let go.
func (c course) necessary() map[string]int {
	regions := c.shared()
	staged, copied, shares := c.Volumes*len(regions), c.Volumes*c.Targets, 0
	for _, accounts := range regions {
		shares += c.Volumes * chunks(accounts)
	}
	return map[string]int{
		"ec2:CopySnapshot":                         staged + copied,
		"ec2:RegisterImage":                        c.Targets,
		"ec2:ModifySnapshotAttribute":              2 * shares, // and taken back
		"ec2:DeleteSnapshot":                       staged,
		"ec2:CreateTags":                           staged + copied + c.Targets + 2, // seals; the key of the seals; that the protection is ours
		"ec2:EnableImageDeregistrationProtection":  1,
		"ec2:DisableImageDeregistrationProtection": 1,
		"ec2:DeleteTags":                           1,
	}
}

// canaries is how many calls those take, which try in every destination what its copies will meet: in each Region an empty volume and its
// snapshot, which every account copies.
func (c course) canaries() map[string]int {
	regions := c.shared()
	if c.Bare || c.Targets*len(regions) < 2 {
		return nil
	}
	n, copies, shares := len(regions), 0, 0
	for _, accounts := range regions {
		copies += accounts
		shares += chunks(accounts)
	}
	return map[string]int{"ec2:CreateVolume": n, "ec2:CreateSnapshot": n, "ec2:DeleteVolume": n, "ec2:ModifySnapshotAttribute": shares,
		"ec2:CopySnapshot": copies, "ec2:CreateTags": 2*n + copies, "ec2:DeleteSnapshot": n + copies}
}

// shared is how many accounts the source account shares with, by Region.
func (c course) shared() map[string]int {
	accounts := map[string]int{}
	for number, in := range c.places() {
		for _, region := range in {
			if number != source {
				accounts[region]++
			}
		}
	}
	return accounts
}

// chunks is how many calls it takes to share with accounts.
func chunks(accounts int) int { return (accounts + sharesACall - 1) / sharesACall }
