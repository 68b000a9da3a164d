// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// ShareSnapshot adds create volume permissions to a snapshot (rules 2.1.5 and 2.1.6). UnshareSnapshot reverts it.
type ShareSnapshot struct {
	Base
	Snapshot Ref
	Device   string   // for messages
	Accounts []string // sorted, at most 500
	Baseline bool     // save the existing permissions of a source snapshot in its tags first

	// PermanentOn is the source image whose tags name the accounts that keep the permission. Empty for a temporary
	// permission.
	PermanentOn string
}

func (s *ShareSnapshot) Permissions() []Permission {
	permissions := []Permission{{"ec2:ModifySnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"}}
	if s.Baseline {
		permissions = append(permissions,
			Permission{"ec2:CreateTags", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"},
			Permission{"ec2:DescribeSnapshots", "*", "2.1.4"},
			Permission{"ec2:DescribeSnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"})
	}
	if s.PermanentOn != "" {
		permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.ImageARN(s.PermanentOn), "2.1.4"})
	}
	return permissions
}

func (s *ShareSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *ShareSnapshot) String() string {
	return fmt.Sprintf(
		"share %s in %s with %s",
		s.Snapshot.stagedSnapshot(s.Device),
		s.Location.Region,
		accountList(s.Accounts),
	)
}

func (s *ShareSnapshot) Doing(w Words) string {
	accounts := w.Accounts(s.Accounts, s.Location.Region)
	return fmt.Sprintf("Sharing %s with %s", w.Snapshot(s.Snapshot, s.Device, 0), accounts)
}

func (s *ShareSnapshot) Summary() Summary {
	return Summary{
		Phrase:   Phrase{Text: "share %s", Singular: "snapshot"},
		Accounts: s.Accounts,
		IsShare:  true,
	}
}

func (s *ShareSnapshot) Subject() Ref { return s.Snapshot }

func (s *ShareSnapshot) Audience() []string { return s.Accounts }

func (s *ShareSnapshot) PolicyCondition(action string) (distribution.Condition, bool) {
	return shareCondition(action, s.Accounts)
}

func (s *ShareSnapshot) Result(o Outcome) Result {
	if !s.Baseline || s.PermanentOn != "" {
		return Result{}
	}
	return temporaryShare(s.Location, s.Snapshot.Known, s.Accounts, o.Err)
}

// temporaryShare returns the result of a step that shares a resource until copies are complete. It includes the
// permission even after an error, because AWS may have added it.
func temporaryShare(at distribution.Location, id string, accounts []string, err error) Result {
	if errors.Is(err, ErrSkipped) || err != nil && !awsclient.IsOutcomeUnknown(err) {
		return Result{}
	}
	return Result{Temporary: &distribution.TemporaryShare{At: at, Resource: id, Accounts: accounts}}
}

var _ = register(&ShareSnapshot{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*ShareSnapshot).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*ShareSnapshot).dryRuns(env) },
})

func (s *ShareSnapshot) start(env Env) Attempt { return newAttempt(s, env, env.shareSnapshot) }

func (s *ShareSnapshot) dryRuns(env Env) []DryRun {
	in := &ec2.ModifySnapshotAttributeInput{
		DryRun:                 aws.Bool(true),
		SnapshotId:             aws.String(knownOr(s.Snapshot, StandInSnapshot)),
		Attribute:              ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: volumePermissions(s.Accounts)},
	}
	call := env.Clients.EC2(s.Location).ModifySnapshotAttribute
	return []DryRun{newDryRun(s, "ec2:ModifySnapshotAttribute", call, in)}
}

// UnshareSnapshot removes create volume permissions of a staged snapshot that no copy needs.
type UnshareSnapshot struct {
	Base
	Snapshot Ref
	Device   string   // for messages
	Accounts []string // sorted
}

func (s *UnshareSnapshot) Permissions() []Permission {
	return []Permission{
		{"ec2:ModifySnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"},
		{"ec2:DescribeSnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "4.4.2"},
	}
}

func (s *UnshareSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *UnshareSnapshot) String() string {
	return fmt.Sprintf(
		"withdraw %s in %s from %s",
		s.Snapshot.stagedSnapshot(s.Device),
		s.Location.Region,
		accountList(s.Accounts),
	)
}

func (s *UnshareSnapshot) Doing(w Words) string {
	accounts := w.Accounts(s.Accounts, s.Location.Region)
	return fmt.Sprintf("Unsharing %s from %s", w.Snapshot(s.Snapshot, s.Device, 0), accounts)
}

func (s *UnshareSnapshot) Summary() Summary {
	return Summary{
		Phrase:   Phrase{Text: "unshare %s", Singular: "snapshot"},
		Cleanup:  Phrase{Text: "Unsharing %s", Singular: "snapshot"},
		Accounts: s.Accounts,
	}
}

func (s *UnshareSnapshot) Subject() Ref { return s.Snapshot }

func (s *UnshareSnapshot) PolicyCondition(action string) (distribution.Condition, bool) {
	return unshareCondition(action)
}

var _ = register(&UnshareSnapshot{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*UnshareSnapshot).start(env) },
})

func (s *UnshareSnapshot) start(env Env) Attempt { return newAttempt(s, env, env.unshareSnapshot) }

// shareSnapshot adds create volume permissions to a snapshot. Existing permissions stay. Adding one twice is no
// error (rule 2.1.5).
func (r *Run) shareSnapshot(ctx context.Context, a *attempt, s *ShareSnapshot) (Outcome, error) {
	if err := guardShare(s.Accounts); err != nil {
		return Outcome{}, err
	}

	id := a.id(s.Snapshot)
	if id == "" { // the snapshot for the test copy could not be created
		return Outcome{}, nil
	}

	if !a.changed {
		if err := r.writeSnapshotSharingTags(ctx, s, id); err != nil {
			return Outcome{}, err
		}
		a.changed = true
	}

	err := r.modifyVolumePermissions(
		ctx,
		s.Location,
		id,
		&ec2types.CreateVolumePermissionModifications{Add: volumePermissions(s.Accounts)},
	)

	if awsclient.IsNotFound(err) && a.keepPolling() { // eventual consistency (rule 4.4.1)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}

	return Outcome{ID: id}, err
}

// writeSnapshotSharingTags writes which accounts had a permission before any run, and which ones keep it. Without
// these tags a temporary permission cannot be distinguished from others. They are written once, before the permission.
func (r *Run) writeSnapshotSharingTags(ctx context.Context, s *ShareSnapshot, id string) error {
	if s.PermanentOn != "" {
		if err := r.writePermanentTags(ctx, s.Location, s.PermanentOn, s.Accounts); err != nil {
			return err
		}
	}

	if !s.Baseline {
		return nil
	}

	accounts, err := r.describeVolumePermissions(ctx, s.Location, id)
	if err != nil {
		return err
	}

	snapshots, err := describeSnapshots(ctx, r.Clients.EC2(s.Location), []string{id})
	if err != nil {
		return err
	}

	sharing := newSharing(s.Accounts, accounts, s.PermanentOn)
	return r.writeBaseline(ctx, s.Location, id, sharing, tagsOf(snapshots[id].Tags))
}

// sharing holds the accounts that must be recorded in tags before a resource is shared.
type sharing struct {
	permitted []string // have a permission
	temporary []string // get one until copies are made
}

func newSharing(accounts, permitted []string, permanentOn string) sharing {
	if permanentOn != "" {
		accounts = nil
	}
	return sharing{permitted: permitted, temporary: accounts}
}

// writeBaseline writes the accounts that have a permission to the tags of a resource, unless an earlier run wrote them.
// In that case it writes which of these accounts have since lost their permission and now get a temporary one.
func (r *Run) writeBaseline(
	ctx context.Context,
	at distribution.Location,
	id string,
	s sharing,
	tags map[string]string,
) error {
	_, known, err := provenance.Baseline(tags)
	if err != nil {
		return err
	}

	var write map[string]string
	if known {
		write, err = provenance.RemovedTags(s.temporary, s.permitted, tags)
	} else {
		write, err = provenance.BaselineTags(s.permitted)
	}
	if err != nil || len(write) == 0 {
		return err
	}
	return r.tag(ctx, at, id, write)
}

// writePermanentTags writes the accounts that keep a permission to the tags of the source image.
func (r *Run) writePermanentTags(
	ctx context.Context,
	at distribution.Location,
	imageID string,
	accounts []string,
) error {
	image, err := DescribeImage(ctx, r.Clients.EC2(at), imageID)
	if err != nil || image == nil {
		return cmp.Or(err, fmt.Errorf("AWS does not show %s", imageID))
	}
	tags, err := provenance.PermanentTags(accounts, tagsOf(image.Tags))
	if err != nil || len(tags) == 0 {
		return err
	}
	return r.tag(ctx, at, imageID, tags)
}

// unshareSnapshot removes the create volume permissions of a staged snapshot and reads them back. Removing a
// missing one is no error (rule 2.1.5). It does not affect a copy in progress (rule 1.3.13).
func (r *Run) unshareSnapshot(ctx context.Context, a *attempt, s *UnshareSnapshot) (Outcome, error) {
	id := a.id(s.Snapshot)
	if err := guardShare(s.Accounts); err != nil {
		return Outcome{}, err
	}

	retained := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: why}}
	}
	err := r.modifyVolumePermissions(
		ctx,
		s.Location,
		id,
		&ec2types.CreateVolumePermissionModifications{Remove: volumePermissions(s.Accounts)},
	)

	switch {
	case awsclient.IsNotFound(err):
		return Outcome{ID: id}, nil
	case err != nil:
		return Outcome{ID: id, Retained: retained(Reason(err))}, err
	}

	accounts, err := r.describeVolumePermissions(ctx, s.Location, id)
	remaining := slices.DeleteFunc(accounts, func(account string) bool { return !slices.Contains(s.Accounts, account) })
	switch {
	case err != nil:
		return Outcome{ID: id, Retained: retained("withdrawn, but it could not be read back: " + Reason(err))}, err
	case len(remaining) > 0 && a.keepPolling(): // eventual consistency (rule 4.4.2)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	case len(remaining) > 0:
		return Outcome{ID: id, Retained: retained("withdrawn, and still shown for " + strings.Join(remaining, ", "))}, nil
	}

	return Outcome{ID: id}, nil
}

// describeVolumePermissions returns the accounts that have a create volume permission. Empty if the snapshot is
// gone.
func (r *Run) describeVolumePermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
) ([]string, error) {
	out, err := r.Clients.EC2(at).DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{
		SnapshotId: aws.String(id), Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
	})
	if awsclient.IsNotFound(err) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	var accounts []string
	for _, p := range out.CreateVolumePermissions {
		if account := aws.ToString(p.UserId); account != "" {
			accounts = append(accounts, account)
		}
	}

	return accounts, nil
}

func (r *Run) modifyVolumePermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
	change *ec2types.CreateVolumePermissionModifications,
) error {
	_, err := r.Clients.EC2(at).ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
		SnapshotId: aws.String(
			id,
		),
		Attribute:              ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: change,
	})
	return err
}

func volumePermissions(accounts []string) []ec2types.CreateVolumePermission {
	list := make([]ec2types.CreateVolumePermission, len(accounts))
	for i, account := range accounts {
		list[i] = ec2types.CreateVolumePermission{UserId: aws.String(account)}
	}
	return list
}

// sharingActions are the actions that share and unshare.
var sharingActions = []string{"ec2:ModifySnapshotAttribute", "ec2:ModifyImageAttribute"}

// shareCondition allows sharing with some accounts only, and never with the public. False if the accounts are unknown.
func shareCondition(action string, accounts []string) (distribution.Condition, bool) {
	if len(accounts) == 0 || !slices.Contains(sharingActions, action) {
		return nil, false
	}
	return distribution.Condition{
		"ForAllValues:StringEquals": {"ec2:Add/userId": accounts},
		"Null":                      {"ec2:Add/group": {"true"}, "ec2:Add/userId": {"false"}},
	}, true
}

// unshareCondition allows removing permissions, and does not allow adding any.
func unshareCondition(action string) (distribution.Condition, bool) {
	if !slices.Contains(sharingActions, action) {
		return nil, false
	}
	return distribution.Condition{"Null": {
		"ec2:Add/group":     {"true"},
		"ec2:Add/userId":    {"true"},
		"ec2:Remove/userId": {"false"},
	}}, true
}
