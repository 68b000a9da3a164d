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
	minQueueBackoff = 30 * time.Second
	maxQueueBackoff = 2 * time.Minute
)

// lane is what AWS limits: an account's copies to one Region. Steps without a lane share one that is never full.
type callQueue struct {
	group          copyGroup     // of its copies
	isUnlimited    bool          // no limit
	limit          int           // how many may be in it now
	quota          int           // what AWS says the limit is
	inUse          int           // how many are in it
	rate           int           // MiB a second that they take together (4.8.2)
	backoff        time.Duration // until it tries more; 0: it has all its room
	increment      int           // how many more it tries then: doubled whenever AWS had a place for all
	isRefused      bool          // AWS had not, since it last tried
	isFullReported bool          // that it is full without us
	isSaturated    bool          // something waits for room
	ready          stepHeap      // what may start
}

func newCallQueue(first step.Step) *callQueue {
	head := first.Meta()
	_, images := first.(*step.CopyImage)
	room := step.QueueLimit(head.Queue)
	return &callQueue{group: copyGroup{head.Location, images}, isUnlimited: head.Queue == "", limit: room, quota: room}
}

func (l *callQueue) canStart() bool {
	return len(l.ready) > 0 && (l.isUnlimited || l.ready[0].base.FitsInQueue(l.limit, l.inUse, l.rate))
}

func (l *callQueue) acquire(j *stepRun) {
	l.inUse++
	l.rate += j.base.Rate
}

func (l *callQueue) release(j *stepRun) {
	l.inUse--
	l.rate -= j.base.Rate
}

// refuse lowers the room to what is in it: AWS had no place for a copy that the lane had admitted (4.1.5). It reports how long the lane rests from
// now on; 0: it does so already.
func (l *callQueue) decreaseLimit(j *stepRun, limit int) time.Duration {
	if limit > 0 {
		l.quota = limit
	}
	l.release(j)
	l.limit, l.increment, l.isRefused = min(l.inUse, l.quota), 1, true
	if l.backoff > 0 {
		return 0
	}
	l.backoff = minQueueBackoff
	return l.backoff
}

// rested lets a lane try more than it has had room for. It reports how long it rests next; 0: it has all its room again.
func (l *callQueue) increaseLimit() time.Duration {
	switch {
	case l.isRefused:
		l.backoff = min(2*l.backoff, maxQueueBackoff)
	case l.limit >= l.quota:
		l.backoff = 0
		return 0
	default:
		l.backoff, l.increment = minQueueBackoff, 2*l.increment
	}
	l.isRefused = false
	l.limit = min(l.limit+l.increment, l.quota)
	return l.backoff
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
	return q[i].startsBefore(q[k])
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
