// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"container/heap"
	"regexp"
	"strconv"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// A lane that AWS calls full below its limit has others in it. It tries more after a rest, which grows while that is in vain.
const (
	laneRest    = 30 * time.Second
	longestRest = 2 * time.Minute
)

// lane is what AWS limits: an account's copies to one Region. Steps without a lane share one that is never full.
type callQueue struct {
	at      watchKey      // of its copies
	free    bool          // no limit
	limit   int           // how many may be in it now
	most    int           // what AWS says the limit is
	used    int           // how many are in it
	rate    int           // MiB a second that they take together (4.8.2)
	rest    time.Duration // until it tries more; 0: it has all its room
	tries   int           // how many more it tries then: doubled whenever AWS had a place for all
	refused bool          // AWS had not, since it last tried
	told    bool          // that it is full without us
	scarce  bool          // something waits for room
	ready   stepHeap      // what may start
}

func newLane(first step.Step) *callQueue {
	head := first.Meta()
	_, images := first.(*step.CopyImage)
	room := step.QueueLimit(head.Queue)
	return &callQueue{at: watchKey{head.Location, images}, free: head.Queue == "", limit: room, most: room}
}

func (l *callQueue) open() bool {
	return len(l.ready) > 0 && (l.free || l.ready[0].head.FitsInQueue(l.limit, l.used, l.rate))
}

func (l *callQueue) enter(j *stepRun) {
	l.used++
	l.rate += j.head.Rate
}

func (l *callQueue) leave(j *stepRun) {
	l.used--
	l.rate -= j.head.Rate
}

// refuse lowers the room to what is in it: AWS had no place for a copy that the lane had admitted (4.1.5). It reports how long the lane rests from
// now on; 0: it does so already.
func (l *callQueue) refuse(j *stepRun, limit int) time.Duration {
	if limit > 0 {
		l.most = limit
	}
	l.leave(j)
	l.limit, l.tries, l.refused = min(l.used, l.most), 1, true
	if l.rest > 0 {
		return 0
	}
	l.rest = laneRest
	return l.rest
}

// rested lets a lane try more than it has had room for. It reports how long it rests next; 0: it has all its room again.
func (l *callQueue) increaseLimit() time.Duration {
	switch {
	case l.refused:
		l.rest = min(2*l.rest, longestRest)
	case l.limit >= l.most:
		l.rest = 0
		return 0
	default:
		l.rest, l.tries = laneRest, 2*l.tries
	}
	l.refused = false
	l.limit = min(l.limit+l.tries, l.most)
	return l.rest
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
type stepHeap []*stepRun

func (q stepHeap) Len() int      { return len(q) }
func (q stepHeap) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q *stepHeap) Push(j any)   { *q = append(*q, j.(*stepRun)) }
func (q stepHeap) Less(i, k int) bool {
	return q[i].before(q[k])
}

func (q *stepHeap) Pop() any {
	last := len(*q) - 1
	j := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return j
}

func (l *callQueue) push(j *stepRun) { heap.Push(&l.ready, j) }
func (l *callQueue) pop() *stepRun   { return heap.Pop(&l.ready).(*stepRun) }
