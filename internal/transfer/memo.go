// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// memo is what a step remembers from one call of its act to the next.
type memo struct {
	asked   time.Time         // when a call was made of which nobody knows the effect; zero: none was
	looks   int               // how often its effect was looked for
	lost    bool              // such a call was made at some time
	made    string            // id of what the step made
	uses    map[string]string // device -> snapshot to register with; nil: not looked for yet
	adopted bool              // what was made is another run's
	sealed  bool              // it has its second seal, or cannot get it
	refused bool              // it cannot get it
	notes   []plan.Finding    // what is worth telling although the step went on
	left    []plan.Leftover   // what could not be removed
	alien   []plan.Leftover   // what bears our tags without proof, at the last look
	changed bool              // a change was made that is to be read back
	broken  *sight            // a copy that failed and has to go
	thrown  []string          // ids of earlier copies that failed
	failure error             // what the step ends with once broken is gone
	crowded error             // why AWS had no room for it, at last
	missing time.Time         // since when something is not there that should be; zero: it is
}

// patience is how long eventual consistency is waited for (4.4.1, 4.4.4).
const patience = 5 * time.Minute

// pause before the nth look or repeat: 2 s, doubling to a minute.
func pause(n int) time.Duration { return min(2*time.Second<<min(n, 10), time.Minute) }

// throw forgets a copy that came to nothing.
func (m *memo) throw(id string) {
	m.made, m.sealed, m.adopted = "", false, false
	m.thrown = append(m.thrown, id)
}

// leftovers are what a step leaves behind that nobody uses.
func (m memo) leftovers(at plan.Place) []plan.Leftover {
	all := slices.Concat(m.left, m.alien)
	if m.broken != nil { // the run was stopped before it was removed
		kind, id := m.broken.what()
		all = append(all, plan.Leftover{At: at, Kind: kind, Resource: id, Why: m.broken.text})
	}
	return all
}
