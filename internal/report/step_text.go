// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// StepText describes steps in the present participle, as Packer's own output does.
type StepText struct {
	Labels
	// Created returns the AWS id of what a step of the run created. Empty if there is none yet.
	Created func(distribution.StepID) string
}

// Doing returns what a step does: "Copying snap-0a (/dev/xvda, 8 GiB) to 999999999999 (prod) in eu-west-1".
// Empty for a step that creates, changes and deletes nothing that a user asked for.
func (t StepText) Doing(s step.Step) string { return s.Doing(t) }

// Subject returns what a failed step was doing. Unlike Doing it is never empty.
func (t StepText) Subject(s step.Step) string { return cmp.Or(t.Doing(s), s.String()) }

// WhereTo returns the destination of a copy as text, or the source account if it has none.
func (t StepText) WhereTo(destination, at distribution.Location) string {
	isOnlyRegion := len(t.plan.Images) == 1 && t.plan.Images[0].Region == at.Region
	switch {
	case destination == (distribution.Location{}) && isOnlyRegion:
		return "in the source account"
	case destination == (distribution.Location{}):
		return "in the source account in " + at.Region
	}
	return "to " + t.Location(at)
}

// CopyProgress returns the progress of a copy: "Copying snap-0a (/dev/xvda) to 999999999999 in eu-west-1: 52% of 20
// GiB".
func (t StepText) CopyProgress(s step.Step, percent int) string {
	copying, ok := s.(step.Copying)
	if !ok {
		return ""
	}
	info, base := copying.Copies(), s.Meta()
	what := t.Snapshot(info.Source, info.Device, 0)
	if info.IsImage {
		what = t.Image(info.Source)
	}
	return fmt.Sprintf(
		"Copying %s %s: %d%% of %d GiB",
		what,
		t.WhereTo(base.Destination, base.Location),
		percent,
		info.GiB,
	)
}

// ID returns the AWS id of a reference. Empty if nothing was created yet.
func (t StepText) ID(r step.Ref) string {
	if r.Known != "" || r.Device != "" || t.Created == nil {
		return r.Known
	}
	return t.Created(r.From)
}

// Snapshot returns a snapshot with its device and size: "snap-0a (/dev/xvda, 8 GiB)".
func (t StepText) Snapshot(r step.Ref, device string, gib int64) string {
	id, details := cmp.Or(t.ID(r), "the snapshot"), []string{}
	if device != "" {
		details = append(details, device)
	}
	if gib > 0 {
		details = append(details, fmt.Sprintf("%d GiB", gib))
	}
	if len(details) == 0 {
		return id
	}
	return id + " (" + strings.Join(details, ", ") + ")"
}

// Image returns an image. It has no ID before its step has ended.
func (t StepText) Image(r step.Ref) string { return cmp.Or(t.ID(r), "the new AMI") }

// Audience returns the accounts that an image is shared with, as text.
func (t StepText) Audience(with distribution.LaunchPermissions, region string) string {
	if len(with.Organizations)+len(with.Units) == 0 {
		return t.Accounts(with.Accounts, region)
	}
	return with.String()
}
