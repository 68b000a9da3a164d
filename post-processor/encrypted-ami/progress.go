// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"strconv"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// machineCategory is the type of our machine-readable lines: event, account, region, id, percent, eta.
const machineCategory = "encrypted-ami"

// progress tells people and machines what moves: the end of every step, and of a copy every tenth of its way.
type progress struct {
	ui   packersdk.Ui
	told map[distribution.StepID]int // percentage told last
}

func newProgress(ui packersdk.Ui) *progress {
	return &progress{ui: ui, told: map[distribution.StepID]int{}}
}

// noticeable is how far a copy has to have moved, in percent, to be told again.
const noticeable = 10

func (p *progress) say(e distribution.Event) {
	switch e.Kind {
	case distribution.Progressed:
		if e.Percent < p.told[e.Step]+noticeable || e.Percent >= 100 { // its end is told next
			return
		}
		p.told[e.Step] = e.Percent
		p.ui.Say(e.At.String() + ": " + e.Text)
	case distribution.Finished:
		p.ui.Say("done: " + e.Text + made(e))
	case distribution.Failed:
		p.ui.Error("failed: " + e.Text + made(e))
	case distribution.Noted:
		p.ui.Say(e.Text)
	}
	p.ui.Machine(machineCategory, string(e.Kind), e.At.Account, e.At.Region, e.Resource, percent(e), eta(e.ETA))
}

func made(e distribution.Event) string {
	if e.Resource == "" {
		return ""
	}
	return " (" + e.Resource + ")"
}

func percent(e distribution.Event) string {
	if e.Percent < 0 {
		return ""
	}
	return strconv.Itoa(e.Percent)
}

func eta(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
