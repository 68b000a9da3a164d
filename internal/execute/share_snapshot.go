// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// shareSnapshot adds create volume permissions to a snapshot. Existing permissions stay. Adding one twice is no
// error (rule 2.1.5).
func (t *executor) shareSnapshot(ctx context.Context, j *stepRun, s *step.ShareSnapshot) StepOutcome {
	if err := guardShare(s.Accounts); err != nil {
		return StepOutcome{Err: err}
	}

	id := j.id(s.Snapshot)
	if id == "" { // the snapshot for the test copy could not be created
		return StepOutcome{}
	}

	if !j.state.changed {
		if err := t.writeSnapshotSharingTags(ctx, s, id); err != nil {
			return StepOutcome{Err: err}
		}
		j.state.changed = true
	}

	err := t.modifyVolumePermissions(
		ctx,
		s.Location,
		id,
		&ec2types.CreateVolumePermissionModifications{Add: volumePermissions(s.Accounts)},
	)

	if awsclient.IsNotFound(err) && j.keepPolling() { // eventual consistency (rule 4.4.1)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}

	return StepOutcome{ID: id, Err: err}
}

// writeSnapshotSharingTags writes which accounts had a permission before any run, and which ones keep it. Without
// these tags a temporary permission cannot be distinguished from others. They are written once, before the permission.
func (t *executor) writeSnapshotSharingTags(ctx context.Context, s *step.ShareSnapshot, id string) error {
	if s.PermanentOn != "" {
		if err := t.writePermanentTags(ctx, s.Location, s.PermanentOn, s.Accounts); err != nil {
			return err
		}
	}

	if !s.Baseline {
		return nil
	}

	accounts, err := t.describeVolumePermissions(ctx, s.Location, id)
	if err != nil {
		return err
	}

	snapshots, err := describeSnapshots(ctx, t.pool.EC2(s.Location), []string{id})
	if err != nil {
		return err
	}

	return t.writeBaseline(ctx, s.Location, id, accounts, tagsOf(snapshots[id].Tags))
}

// writeBaseline writes the accounts that have a permission to the tags of a resource, unless an earlier run has.
func (t *executor) writeBaseline(
	ctx context.Context,
	at distribution.Location,
	id string,
	permitted []string,
	tags map[string]string,
) error {
	if _, known, err := provenance.Baseline(tags); known || err != nil {
		return err
	}
	baseline, err := provenance.BaselineTags(permitted)
	if err != nil {
		return err
	}
	return t.tag(ctx, at, id, baseline)
}

// writePermanentTags writes the accounts that keep a permission to the tags of the source image.
func (t *executor) writePermanentTags(
	ctx context.Context,
	at distribution.Location,
	imageID string,
	accounts []string,
) error {
	image, err := t.image(ctx, at, imageID)
	if err != nil || image == nil {
		return cmp.Or(err, fmt.Errorf("AWS does not show %s", imageID))
	}
	tags, err := provenance.PermanentTags(accounts, tagsOf(image.Tags))
	if err != nil || len(tags) == 0 {
		return err
	}
	return t.tag(ctx, at, imageID, tags)
}

// unshareSnapshot removes the create volume permissions of a staged snapshot and reads them back. Removing a
// missing one is no error (rule 2.1.5). It does not affect a copy in progress (rule 1.3.13).
func (t *executor) unshareSnapshot(ctx context.Context, j *stepRun, s *step.UnshareSnapshot) StepOutcome {
	id := j.id(s.Snapshot)
	if err := guardShare(s.Accounts); err != nil {
		return StepOutcome{Err: err}
	}

	retained := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: why}}
	}
	err := t.modifyVolumePermissions(
		ctx,
		s.Location,
		id,
		&ec2types.CreateVolumePermissionModifications{Remove: volumePermissions(s.Accounts)},
	)

	switch {
	case awsclient.IsNotFound(err):
		return StepOutcome{ID: id}
	case err != nil:
		return StepOutcome{ID: id, Err: err, Retained: retained(reason(err))}
	}

	accounts, err := t.describeVolumePermissions(ctx, s.Location, id)
	remaining := slices.DeleteFunc(accounts, func(account string) bool { return !slices.Contains(s.Accounts, account) })
	switch {
	case err != nil:
		return StepOutcome{ID: id, Err: err, Retained: retained("withdrawn, but it could not be read back: " + reason(err))}
	case len(remaining) > 0 && j.keepPolling(): // eventual consistency (rule 4.4.2)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case len(remaining) > 0:
		return StepOutcome{ID: id, Retained: retained("withdrawn, and still shown for " + strings.Join(remaining, ", "))}
	}

	return StepOutcome{ID: id}
}

// describeVolumePermissions returns the accounts that have a create volume permission. Empty if the snapshot is
// gone.
func (t *executor) describeVolumePermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
) ([]string, error) {
	out, err := t.pool.EC2(at).DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{
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

func (t *executor) modifyVolumePermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
	change *ec2types.CreateVolumePermissionModifications,
) error {
	_, err := t.pool.EC2(at).ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
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

// keepPolling counts a poll that did not find the expected state, and reports whether to poll again.
func (j *stepRun) keepPolling() bool {
	if j.state.missingSince.IsZero() {
		j.state.missingSince = time.Now()
	}
	j.state.polls++
	return time.Since(j.state.missingSince) < step.EventualConsistencyTimeout
}
