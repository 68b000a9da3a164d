// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"container/heap"
	"regexp"
	"strconv"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// laneRest is how long a lane waits that AWS calls full while nothing of ours is in it: others are copying.
const laneRest = 30 * time.Second

// lane is what AWS limits: an account's copies to one Region. Steps without a lane share one that is never full.
type lane struct {
	free    bool  // no limit
	room    int   // how many may be in it now
	most    int   // what AWS says the limit is
	used    int   // how many are in it
	rate    int   // MiB a second that they take together (4.8.2)
	calm    int   // how many ended since the room last changed
	blocked *job  // the lane is closed until this one wakes
	told    bool  // that it is full without us
	ready   queue // what may start
}

func newLane(name string) *lane {
	room := plan.RoomOf(name)
	return &lane{free: name == "", room: room, most: room}
}

func (l *lane) open() bool {
	return len(l.ready) > 0 && (l.free || l.blocked == nil && l.ready[0].head.Admits(l.room, l.used, l.rate))
}

func (l *lane) enter(j *job) {
	l.used++
	l.rate += j.head.Rate
}

// leave counts an end. After as many ends as it has room, the lane tries one more.
func (l *lane) leave(j *job) {
	l.used--
	l.rate -= j.head.Rate
	if l.calm++; l.calm >= l.room && l.room < l.most {
		l.room, l.calm = l.room+1, 0
	}
}

// refuse lowers the room: AWS had no place for a copy that the lane had admitted (4.1.5). It reports how long the copy has to
// wait; 0: for the end of one of ours.
func (l *lane) refuse(j *job, limit int) time.Duration {
	if limit > 0 {
		l.most = limit
	}
	l.used--
	l.rate -= j.head.Rate
	l.room, l.calm = max(min(l.used, l.most), 1), 0
	if l.used > 0 {
		return 0
	}
	l.blocked = j
	return laneRest
}

var limitInText = regexp.MustCompile(`limit is (\d+)`)

// limitOf reads the account's limit out of AWS's text (4.1.1); 0 where there is none.
func limitOf(err error) int {
	found := limitInText.FindStringSubmatch(err.Error())
	if found == nil {
		return 0
	}
	limit, _ := strconv.Atoi(found[1]) // digits; too many of them are no limit
	return limit
}

// queue has first what begins before all else in it.
type queue []*job

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q *queue) Push(j any)   { *q = append(*q, j.(*job)) }
func (q queue) Less(i, k int) bool {
	return q[i].before(q[k])
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	j := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return j
}

func (l *lane) push(j *job) { heap.Push(&l.ready, j) }
func (l *lane) pop() *job   { return heap.Pop(&l.ready).(*job) }
