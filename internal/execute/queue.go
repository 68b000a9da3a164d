// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"container/heap"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// These are the limits of the delay after AWS refused a copy below the known quota. Other runs use the quota then.
// The delay doubles while AWS keeps refusing.
const (
	minQueueBackoff = 30 * time.Second
	maxQueueBackoff = 2 * time.Minute
)

// callQueue limits the copies of one account to one Region, because AWS has a quota for them. Steps without a quota
// share one unlimited queue.
type callQueue struct {
	group          step.CopyGroup // copies that it limits
	isUnlimited    bool
	limit          int           // current limit
	quota          int           // quota of the account, as AWS reported it
	inUse          int           // number of running steps
	rate           int           // MiB per second of the running steps together (rule 4.8.2, throughput quota)
	backoff        time.Duration // until the limit increases. Zero if the limit is the quota
	increment      int           // by which the limit increases. It doubles after each success
	isRefused      bool          // AWS refused a copy since the last increase
	isFullReported bool          // the user knows that copies of other runs use up the quota
	isSaturated    bool          // a step waits for the quota
	ready          stepHeap      // steps that can start
}

func newCallQueue(first step.Step) *callQueue {
	base := first.Meta()
	copying, isCopying := first.(step.Copying)
	isImages := isCopying && copying.Copies().IsImage
	limit := step.QueueLimit(base.Queue)
	return &callQueue{
		group:       step.CopyGroup{Location: base.Location, Images: isImages},
		isUnlimited: base.Queue == "",
		limit:       limit,
		quota:       limit,
	}
}

func (q *callQueue) canStart() bool {
	return len(q.ready) > 0 && (q.isUnlimited || q.ready[0].base.FitsInQueue(q.limit, q.inUse, q.rate))
}

func (q *callQueue) acquire(j *stepRun) {
	q.inUse++
	q.rate += j.base.Rate
}

func (q *callQueue) release(j *stepRun) {
	q.inUse--
	q.rate -= j.base.Rate
}

// decreaseLimit lowers the limit to the running copies, because AWS refused one more (rule 4.1.5, concurrent
// copies). It returns the delay until the next increase. Zero if one is already scheduled.
func (q *callQueue) decreaseLimit(j *stepRun, limit int) time.Duration {
	if limit > 0 {
		q.quota = limit
	}
	q.release(j)
	q.limit, q.increment, q.isRefused = min(q.inUse, q.quota), 1, true
	if q.backoff > 0 {
		return 0
	}
	q.backoff = minQueueBackoff
	return q.backoff
}

// increaseLimit raises the limit after a backoff. It returns the delay until the next increase. Zero if the limit
// is the quota again.
func (q *callQueue) increaseLimit() time.Duration {
	switch {
	case q.isRefused:
		q.backoff = min(2*q.backoff, maxQueueBackoff)
	case q.limit >= q.quota:
		q.backoff = 0
		return 0
	default:
		q.backoff, q.increment = minQueueBackoff, 2*q.increment
	}
	q.isRefused = false
	q.limit = min(q.limit+q.increment, q.quota)
	return q.backoff
}

// stepHeap is a heap of steps, ordered by startsBefore.
type stepHeap []*stepRun

func (q stepHeap) Len() int      { return len(q) }
func (q stepHeap) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q *stepHeap) Push(run any) { *q = append(*q, run.(*stepRun)) }
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

func (q *callQueue) push(j *stepRun) { heap.Push(&q.ready, j) }
func (q *callQueue) pop() *stepRun   { return heap.Pop(&q.ready).(*stepRun) }
