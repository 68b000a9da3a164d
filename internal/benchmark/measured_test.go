// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// measured holds the figures of a run.
type measured struct {
	Took           time.Duration  // from the call of PostProcess to its return
	Bound          time.Duration  // no run can be faster
	Listed         time.Duration  // its own copies in their order, without a pause between them
	Calls          int            // of all services, with repeats
	Polls          int            // calls of DescribeSnapshots
	Refused        int            // calls that AWS throttled
	Changed        map[string]int // mutating calls by action
	MutatingExcess int            // difference to the calls that the job needs, summed over the actions
	TestCopies     int            // mutating calls for test copies
	AtOnce         int            // most concurrent copies of an account to a Region
	OverLimit      int            // copies that AWS refused because of its limit
	Entities       int            // most launch permissions of an image at once
	Found          leftovers      // after copies by CopyImage
}

func (m measured) ratio() float64 { return float64(m.Took) / float64(m.Bound) }

// pollInterval is the default of poll_interval.
const pollInterval = 15 * time.Second

// pollShare returns the share of the possible polls that a run made. One poll is possible for each account and Region,
// including the source account, in each poll interval.
func (m measured) pollShare(s scenario) float64 {
	locations := s.Targets + s.Regions
	return float64(m.Polls) / (float64(locations) * m.Took.Seconds() / pollInterval.Seconds())
}

func (c course) measured() measured {
	m := measured{
		Took:   c.took,
		Bound:  c.bound(),
		Listed: c.listed(),
		Polls:  c.calls["ec2:DescribeSnapshots"],
		Refused: c.refused["RequestLimitExceeded"] +
			c.refused["Throttling"] +
			c.refused["ThrottlingException"],
		Changed:   c.changed,
		AtOnce:    atOnce(c.copies),
		Entities:  c.entities.most,
		Found:     c.found,
		OverLimit: c.refused["ResourceLimitExceeded"],
	}
	for _, n := range c.calls {
		m.Calls += n
	}
	wanted, testCopies := c.necessary(), c.testCopies()
	for action, n := range testCopies {
		wanted[action] += n
		m.TestCopies += n
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

// copiesAtOnce is AWS's limit of concurrent copies of an account to a Region (4.1.1).
const copiesAtOnce = 20

// queue identifies the copies of an account to a Region, which share a quota.
type queue struct{ account, region string }

// bound returns the duration of the fastest possible run, from the durations of copies that the simulated AWS drew. It
// is the longest chain of copies that depend on each other, or the sum of an account's copies to a Region divided by
// the quota. Calls take no time in it.
func (c course) bound() time.Duration {
	copies, copyLimit := c.copies, c.copyLimit
	took, work := map[string]time.Duration{}, map[queue]time.Duration{}
	for _, c := range copies {
		took[c.SnapshotID] = c.Ends.Sub(c.Requested)
		work[queue{c.Account, c.Region}] += c.Ends.Sub(c.Requested)
	}
	var most time.Duration
	for _, c := range copies {
		most = max(most, took[c.SourceID]+took[c.SnapshotID])
	}
	for l, all := range work {
		most = max(most, all/time.Duration(copyLimit(l.account)))
	}
	return most
}

// listed returns when the last copy ends if each copy starts as soon as its source exists and the quota allows. The
// copies keep the order of the run. The duration of a copy is unknown before it ends, so with a low quota no order
// comes close to the bound.
func (c course) listed() (last time.Duration) {
	ends, queues := map[string]time.Duration{}, map[queue][]time.Duration{}
	for _, one := range slices.SortedStableFunc(
		slices.Values(c.copies),
		func(a, b awssim.CopySchedule) int { return a.Requested.Compare(b.Requested) },
	) {
		l := queue{one.Account, one.Region}
		if queues[l] == nil {
			queues[l] = make([]time.Duration, c.copyLimit(one.Account))
		}
		first := slices.Index(queues[l], slices.Min(queues[l]))
		end := max(queues[l][first], ends[one.SourceID]) + one.Ends.Sub(one.Requested)
		queues[l][first], ends[one.SnapshotID] = end, end
		last = max(last, end)
	}
	return last
}

// atOnce returns the maximum number of concurrent copies of an account to a Region.
func atOnce(copies []awssim.CopySchedule) (most int) {
	type change struct {
		at time.Time
		by int
	}
	queues := map[queue][]change{}
	for _, c := range copies {
		l := queue{c.Account, c.Region}
		queues[l] = append(queues[l], change{c.Requested, 1}, change{c.Ends, -1})
	}
	for _, changes := range queues {
		slices.SortFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
		n := 0
		for _, c := range changes {
			n += c.by
			most = max(most, n)
		}
	}
	return most
}

// sharesACall is the maximum number of accounts in one sharing call (rule 2.1.6).
const sharesACall = 500

// necessary returns the mutating calls that the job needs, by action. The volumes are not encrypted, so all snapshots
// that are shared are staged. All copies and images are signed. The source image is protected during the run.
func (c course) necessary() map[string]int {
	if c.ByImage {
		return c.necessaryByImage()
	}
	regions := c.shared()
	staged, copied, shares := c.Volumes*len(regions), c.Volumes*c.Targets, 0
	baselines := 0 // tags with the accounts that had access to a source snapshot before
	if c.Shareable {
		staged, baselines = staged-c.Volumes, c.Volumes
	}
	for _, accounts := range regions {
		shares += c.Volumes * chunks(accounts)
	}
	return map[string]int{
		"ec2:CopySnapshot":                         staged + copied,
		"ec2:RegisterImage":                        c.Targets,
		"ec2:ModifySnapshotAttribute":              2 * shares, // and unshared
		"ec2:DeleteSnapshot":                       staged,
		"ec2:CreateTags":                           staged + copied + c.Targets + baselines, // signatures
		"ec2:EnableImageDeregistrationProtection":  1,
		"ec2:DisableImageDeregistrationProtection": 1,
	}
}

// testCopies returns the mutating calls of test copies: in each Region an empty snapshot is created, and each account
// copies it.
func (c course) testCopies() map[string]int {
	regions := c.shared()
	if c.Shareable { // where nothing is staged, nothing is tested
		delete(regions, home)
	}
	if c.Bare || c.Targets*len(regions) < 2 {
		return nil
	}
	n, copies, shares := len(regions), 0, 0
	for _, accounts := range regions {
		copies += accounts
		shares += chunks(accounts)
	}
	return map[string]int{
		"ebs:StartSnapshot":           n,
		"ebs:CompleteSnapshot":        n,
		"ec2:ModifySnapshotAttribute": shares,
		"ec2:CopySnapshot":            copies,
		"ec2:CreateTags":              n + copies, // signatures
		"ec2:DeleteSnapshot":          n + copies,
	}
}

// shared returns the number of accounts that the source account shares with, by Region.
func (c course) shared() map[string]int {
	if c.ForTime {
		return map[string]int{home: c.accounts()}
	}
	accounts := map[string]int{}
	for number, in := range c.regionsByAccount() {
		for _, region := range in {
			if number != source {
				accounts[region]++
			}
		}
	}
	return accounts
}

// chunks returns the number of calls that share with the accounts.
func chunks(accounts int) int { return (accounts + sharesACall - 1) / sharesACall }
