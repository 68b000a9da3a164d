// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import "time"

// heartbeatInterval is the longest time without a line of output.
const heartbeatInterval = time.Minute

// heartbeat prints a line when nothing else was printed for a minute, so that no wait is silent.
type heartbeat struct {
	timer *time.Timer // nil while it does not run
	doing string      // what the run does apart from steps: "Reading snapshots, keys and settings"
	until time.Time   // the end of the run at the latest. Zero if unknown
}

// startHeartbeat starts the heartbeat of a run that must end by a time.
func (p *progress) startHeartbeat(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heartbeat.until = until
	p.heartbeat.timer = time.AfterFunc(heartbeatInterval, p.beat)
}

// delay postpones the next heartbeat, because a line was printed.
func (h *heartbeat) delay() {
	if h.timer != nil {
		h.timer.Reset(heartbeatInterval)
	}
}

func (h *heartbeat) stop() {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

// limit returns the time by which the current wait must end. Empty if it is unknown.
func (h *heartbeat) limit() string {
	if h.until.IsZero() {
		return ""
	}
	return ", until " + clock(h.until) + " at the latest"
}

// clock returns a time of day.
func clock(at time.Time) string { return at.UTC().Format("15:04") + " UTC" }
