// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// machineType is the type of the plugin's lines in Packer's machine-readable output. The first field is the event.
const machineType = "encrypted-ami"

// stepEvents names the events of steps in machine-readable output.
var stepEvents = map[distribution.EventKind]string{
	distribution.Begun:      "step_started",
	distribution.Progressed: "step_progress",
	distribution.Finished:   "step_completed",
	distribution.Failed:     "step_failed",
	distribution.Skipped:    "step_skipped",
}

// machineEvent prints an event of a step in machine-readable form.
func machineEvent(ui packersdk.Ui, s step.Step, e distribution.Event) {
	event := stepEvents[e.Kind]
	if event == "" {
		return
	}
	fields := []string{event, operationOf(s), e.At.Account, e.At.Region, e.Resource}
	if e.Kind == distribution.Progressed {
		fields = append(fields, strconv.Itoa(max(e.Percent, 0)), formatETA(e.ETA))
	}
	ui.Machine(machineType, fields...)
}

// operationOf returns the AWS operation that a step is about: "CopySnapshot". Empty if it calls none.
func operationOf(s step.Step) string {
	permissions := s.Permissions()
	if len(permissions) == 0 {
		return ""
	}
	_, operation, _ := strings.Cut(permissions[0].Action, ":")
	return operation
}

func formatETA(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// destinationEvents names the ends of destinations in machine-readable output.
var destinationEvents = map[distribution.State]string{
	distribution.DestinationSucceeded: "destination_completed",
	distribution.DestinationFailed:    "destination_failed",
	distribution.Excluded:             "destination_skipped",
}

// machineStart prints the start of a run in machine-readable form. The number of destinations is empty until the
// organizational units are listed.
func (r *run) machineStart() {
	destinations := 0
	for _, t := range r.config.Targets {
		regions := cmp.Or(len(t.Regions), len(r.images))
		destinations += len(t.AccountIDs) * regions
		if len(t.OrganizationalUnitIDs) > 0 {
			r.ui.Machine(machineType, "run_started", string(r.mode()), r.images[0].ImageID, "")
			return
		}
	}
	r.ui.Machine(machineType, "run_started", string(r.mode()), r.images[0].ImageID, strconv.Itoa(destinations))
}

// machineEnd prints the end of a run in machine-readable form: the skipped destinations, the findings and the outcome.
func (r *run) machineEnd(m report.Manifest) {
	for _, d := range r.result.Destinations {
		if d.State == distribution.Excluded {
			r.ui.Machine(machineType, destinationEvents[d.State], d.At.Account, d.At.Region, d.Target, "")
		}
	}
	for _, f := range m.Findings {
		r.ui.Machine(machineType, "finding",
			string(f.Severity), string(f.Code), string(f.AccountID), string(f.Region), f.Summary)
	}
	event := map[report.Status]string{report.Failed: "run_failed", report.Canceled: "run_canceled"}[m.Status]
	if event == "" {
		event = "run_completed"
	}
	r.ui.Machine(machineType, event,
		strconv.Itoa(m.Summary.Succeeded), strconv.Itoa(m.Summary.Failed), strconv.Itoa(m.Summary.Skipped))
}
