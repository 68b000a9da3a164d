// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// shareSnapshot adds to who may create volumes from a snapshot; nothing that was there is taken away. Adding twice is no error (2.1.5).
func (t *transfer) shareSnapshot(ctx context.Context, j *stepRun, s *step.ShareSnapshot) StepOutcome {
	if err := guardShare(s.Accounts); err != nil {
		return StepOutcome{Err: err}
	}
	id := j.id(s.Snapshot)
	if id == "" { // the canary could not be made
		return StepOutcome{}
	}
	if s.Remember != nil && !j.memo.changed {
		if err := t.tag(ctx, s.Location, id, s.Remember); err != nil {
			return StepOutcome{Err: err}
		}
		j.memo.changed = true
	}
	err := t.modifyShare(ctx, s.Location, id, &ec2types.CreateVolumePermissionModifications{Add: permissions(s.Accounts)})
	if awsclient.IsNotFound(err) && j.patient() { // 4.4.1
		return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
	}
	return StepOutcome{Made: id, Err: err}
}

// withdrawShare takes back what shareSnapshot added, but for what a run has given for good meanwhile, and reads it back. Removing what is not
// there is no error (2.1.5); a copy under way goes on (1.3.13).
func (t *transfer) withdrawShare(ctx context.Context, j *stepRun, s *step.UnshareSnapshot) StepOutcome {
	id, from := j.id(s.Snapshot), s.Accounts
	if len(from) > 0 && s.Spares() {
		from = t.withoutRemembered(ctx, s.Location, id, from)
	}
	var err error
	if len(from) > 0 {
		if err := guardShare(from); err != nil {
			return StepOutcome{Err: err}
		}
		err = t.modifyShare(ctx, s.Location, id, &ec2types.CreateVolumePermissionModifications{Remove: permissions(from)})
	}
	switch {
	case awsclient.IsNotFound(err):
		return StepOutcome{Made: id}
	case err != nil:
		return StepOutcome{Made: id, Err: err, Left: []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: reason(err)}}}
	}
	permitted, err := t.permitted(ctx, s.Location, id)
	still := slices.DeleteFunc(slices.Clone(permitted), func(account string) bool { return !slices.Contains(from, account) })
	switch {
	case err != nil:
		return StepOutcome{Made: id, Err: err, Left: []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: "withdrawn, but it could not be read back: " + reason(err)}}}
	case len(still) > 0 && j.patient(): // 4.4.2
		return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
	case len(still) > 0:
		return StepOutcome{Made: id, Left: []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: "withdrawn, and still shown for " + strings.Join(still, ", ")}}}
	case s.Forget:
		return StepOutcome{Made: id, Err: t.forget(ctx, s.Location, id, permitted)}
	}
	return StepOutcome{Made: id}
}

// withoutRemembered are the accounts but for those that a snapshot's tags remember. A look that fails spares nobody: no share may stay for it.
func (t *transfer) withoutRemembered(ctx context.Context, at distribution.Location, id string, accounts []string) []string {
	seen, _ := describe(ctx, t.pool.EC2(at), []string{id})
	before, _ := origin.Remembered(tagsOf(seen[id].Tags))
	return slices.DeleteFunc(slices.Clone(accounts), func(account string) bool { return slices.Contains(before, account) })
}

// permitted are the accounts that AWS shows among who may use a snapshot. A snapshot that is gone is shared with nobody.
func (t *transfer) permitted(ctx context.Context, at distribution.Location, id string) ([]string, error) {
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

// forget takes the tags away that remember who might use a snapshot before we shared it, unless somebody else may use it now: another
// run has let them, and needs the memory.
func (t *transfer) forget(ctx context.Context, at distribution.Location, id string, permitted []string) error {
	seen, err := describe(ctx, t.pool.EC2(at), []string{id})
	if err != nil {
		return err
	}
	tags := tagsOf(seen[id].Tags)
	before, known := origin.Remembered(tags)
	if !known || slices.ContainsFunc(permitted, func(account string) bool { return !slices.Contains(before, account) }) {
		return nil
	}
	keys := origin.RememberKeys(tags)
	return t.untag(ctx, at, id, keys...)
}

func (t *transfer) modifyShare(ctx context.Context, at distribution.Location, id string, change *ec2types.CreateVolumePermissionModifications) error {
	_, err := t.pool.EC2(at).ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
		SnapshotId: aws.String(id), Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change,
	})
	return err
}

func permissions(accounts []string) []ec2types.CreateVolumePermission {
	list := make([]ec2types.CreateVolumePermission, len(accounts))
	for i, account := range accounts {
		list[i] = ec2types.CreateVolumePermission{UserId: aws.String(account)}
	}
	return list
}

// patient counts a look at what is not there yet, and reports whether to look again.
func (j *stepRun) patient() bool {
	if j.memo.missing.IsZero() {
		j.memo.missing = time.Now()
	}
	j.memo.looks++
	return time.Since(j.memo.missing) < step.EventualConsistencyTimeout
}
