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
func (t StepText) Doing(s step.Step) string {
	at := t.Location(s.Meta().Location)
	switch s := s.(type) {
	case *step.CopySnapshot:
		return t.copyingSnapshot(s)
	case *step.CopyImage:
		return t.copyingImage(s)
	case *step.ShareSnapshot:
		return fmt.Sprintf(
			"Sharing %s with %s",
			t.snapshot(s.Snapshot, s.Device, 0),
			t.accounts(s.Accounts, s.Location.Region),
		)
	case *step.ShareImage:
		return fmt.Sprintf("Sharing %s with %s", t.image(s.Image), t.audience(s.With, s.Location.Region))
	case *step.UnshareSnapshot:
		return fmt.Sprintf(
			"Unsharing %s from %s",
			t.snapshot(s.Snapshot, s.Device, 0),
			t.accounts(s.Accounts, s.Location.Region),
		)
	case *step.UnshareImage:
		return fmt.Sprintf("Unsharing %s from %s", t.image(s.Image), t.accounts(s.Accounts, s.Location.Region))
	case *step.RegisterImage:
		return fmt.Sprintf("Registering %q in %s", s.Name, at)
	case *step.VerifyImage:
		return fmt.Sprintf("Comparing %s with %s", t.image(s.Image), pointed(s.Source.ImageId))
	case *step.RunInstance:
		return fmt.Sprintf("Launching a %s from %s in %s to check it", s.InstanceType, t.image(s.Image), at)
	case *step.TerminateInstance:
		return fmt.Sprintf("Terminating %s in %s", cmp.Or(t.id(s.Instance), "the instance of the launch check"), at)
	case *step.PutParameter:
		return fmt.Sprintf("Updating SSM parameter %s in %s", s.Name, at)
	case *step.CreateLaunchTemplateVersion:
		if s.Version > 0 {
			return fmt.Sprintf("Setting version %d as the default of launch template %s in %s", s.Version, s.Template, at)
		}
		return fmt.Sprintf("Creating a version of launch template %s in %s", s.Template, at)
	}
	return t.doingMore(s, at)
}

// doingMore continues Doing with the steps that few templates ask for, and with those that clean up.
func (t StepText) doingMore(s step.Step, at string) string {
	switch s := s.(type) {
	case *step.DeprecateImage:
		return fmt.Sprintf("Setting the deprecation date of %s in %s", t.image(s.Image), at)
	case *step.EnableDeregistrationProtection:
		return fmt.Sprintf("Enabling deregistration protection on %s in %s", t.image(s.Image), at)
	case *step.EnableFastLaunch:
		return fmt.Sprintf("Enabling fast launch for %s in %s", t.image(s.Image), at)
	case *step.AssociateLicenseConfigurations:
		return fmt.Sprintf("Associating %s with %s in %s",
			t.image(s.Image), distribution.Count(len(s.ARNs), "license configuration", "license configurations"), at)
	case *step.CreateGrant:
		return fmt.Sprintf("Creating a grant on %s for %s", t.Key(s.KeyARN), s.Grantee)
	case *step.RevokeGrant:
		return fmt.Sprintf("Revoking the grant on %s for %s", t.Key(s.KeyARN), s.Grantee)
	case *step.WaitForKeyAccess:
		return fmt.Sprintf("Waiting until %s may use %s", t.Account(s.Location), t.Key(s.KeyARN))
	case *step.DeleteSnapshot:
		return fmt.Sprintf("Deleting %s in %s", t.snapshot(s.Snapshot, s.Device, 0), at)
	case *step.DeregisterImage:
		return fmt.Sprintf("Deregistering %s in %s", t.image(s.Image), at)
	case *step.DeleteRelease:
		if s.DryRun {
			return fmt.Sprintf("Checking whether %s (%q) in %s could be deregistered", s.ImageID, s.Name, at)
		}
		return fmt.Sprintf("Deregistering the earlier release %s (%q) in %s", s.ImageID, s.Name, at)
	case *step.TagResource:
		return fmt.Sprintf("Tagging %s in %s", cmp.Or(t.id(s.Resource), "the copy"), at)
	case *step.EnableSourceProtection:
		return fmt.Sprintf("Enabling deregistration protection on %s for this run", s.ImageID)
	case *step.DisableSourceProtection:
		return fmt.Sprintf("Disabling deregistration protection on %s", s.ImageID)
	}
	return ""
}

// Subject returns what a failed step was doing, for every kind of step.
func (t StepText) Subject(s step.Step) string { return cmp.Or(t.Doing(s), s.String()) }

func (t StepText) copyingSnapshot(s *step.CopySnapshot) string {
	verb, from := "Copying", ""
	if s.ResumeID != "" {
		return fmt.Sprintf("Waiting for %s (%s, %d GiB), which an earlier run started, %s",
			s.ResumeID, s.Device, s.GiB, t.whereTo(s.Destination, s.Location))
	}
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}
	what := t.snapshot(s.Source, s.Device, s.GiB)
	if s.Destination == (distribution.Location{}) {
		return fmt.Sprintf("%s %s%s %s with %s", verb, what, from, t.whereTo(s.Destination, s.Location), t.Key(s.KeyARN))
	}
	return fmt.Sprintf("%s %s%s %s", verb, what, from, t.whereTo(s.Destination, s.Location))
}

func (t StepText) copyingImage(s *step.CopyImage) string {
	if s.ResumeID != "" {
		return fmt.Sprintf("Waiting for %s (%d GiB), which an earlier run started, %s",
			s.ResumeID, s.GiB, t.whereTo(s.Destination, s.Location))
	}
	from := ""
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}
	where := t.whereTo(s.Destination, s.Location)
	if s.Destination == (distribution.Location{}) {
		where += " with " + t.Key(s.KeyARN)
	}
	return fmt.Sprintf("Copying %s (%d GiB)%s %s", t.image(s.Image), s.GiB, from, where)
}

// whereTo returns where a copy goes: to a destination, or into the source account if there is none.
func (t StepText) whereTo(destination, at distribution.Location) string {
	isOnlyRegion := len(t.plan.Images) == 1 && t.plan.Images[0].Region == at.Region
	switch {
	case destination == (distribution.Location{}) && isOnlyRegion:
		return "in the source account"
	case destination == (distribution.Location{}):
		return "in the source account in " + at.Region
	}
	return "to " + t.Location(at)
}

// CopyProgress returns how far a copy is: "Copying snap-0a (/dev/xvda) to 999999999999 in eu-west-1: 52% of 20 GiB".
func (t StepText) CopyProgress(s step.Step, percent int) string {
	copying, ok := s.(step.Copying)
	if !ok {
		return ""
	}
	info, base := copying.Copies(), s.Meta()
	what := t.snapshot(info.Source, info.Device, 0)
	if info.Device == "" {
		what = t.image(info.Source)
	}
	return fmt.Sprintf(
		"Copying %s %s: %d%% of %d GiB",
		what,
		t.whereTo(base.Destination, base.Location),
		percent,
		info.GiB,
	)
}

// id returns the AWS id of a reference. Empty if nothing was created yet.
func (t StepText) id(r step.Ref) string {
	if r.Known != "" || r.Device != "" || t.Created == nil {
		return r.Known
	}
	return t.Created(r.From)
}

// snapshot returns a snapshot with its device and size: "snap-0a (/dev/xvda, 8 GiB)".
func (t StepText) snapshot(r step.Ref, device string, gib int64) string {
	id, details := cmp.Or(t.id(r), "the snapshot"), []string{}
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

func (t StepText) image(r step.Ref) string { return cmp.Or(t.id(r), "the new AMI") }

func (t StepText) audience(with distribution.LaunchPermissions, region string) string {
	if len(with.Organizations)+len(with.Units) == 0 {
		return t.accounts(with.Accounts, region)
	}
	return with.String()
}

func pointed(text *string) string {
	if text == nil {
		return "the source AMI"
	}
	return *text
}
