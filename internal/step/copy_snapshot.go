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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// CopySnapshot copies a snapshot, encrypted (rules 1.3.8 and 4.1.1). It ends when the copy is completed.
// DeleteSnapshot reverts it.
type CopySnapshot struct {
	Base
	Source      Ref
	FromRegion  string
	FromKeyARN  string // key of the source. Empty if it is not encrypted or a step creates it
	Device      string // for messages
	KeyARN      string // in the Region of the copy
	GiB         int64
	Minutes     int               // paid completion duration. Zero for a copy without one (rule 4.8)
	Description string            // without the token of the call
	Tags        map[string]string // set by the creating call
	Signing     Signing
	Trial       bool // a test copy, which is verified and deleted
}

// Permissions include the copy and its source (rule 6.5). The KMS permissions are the documented set (rules 3.1.2
// to 3.1.4 and 3.1.10).
func (s *CopySnapshot) Permissions() []Permission {
	permissions := []Permission{
		{"ec2:CopySnapshot", s.Location.SnapshotARN("*"), "6.5"},
		{"ec2:CopySnapshot", distribution.Location{Region: s.FromRegion}.SnapshotARN(s.Source.Known), "6.5"},
		{"ec2:CreateTags", s.Location.SnapshotARN("*"), "6.5"},
		{"ec2:DescribeSnapshots", "*", "4.2.2"},
		{"kms:DescribeKey", s.KeyARN, "3.1.4"},
		{"kms:CreateGrant", s.KeyARN, "3.1.4"},
		{"kms:GenerateDataKeyWithoutPlaintext", s.KeyARN, "3.1.4"},
	}

	if s.FromKeyARN != "" {
		for _, action := range []string{"kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt", "kms:ReEncryptFrom"} {
			permissions = append(permissions, Permission{action, s.FromKeyARN, "3.1.3"})
		}
	}

	return permissions
}

func (s *CopySnapshot) ResourceID() string { return s.Source.Known }

func (s *CopySnapshot) String() string {
	if s.ResumeID != "" {
		return fmt.Sprintf(
			"wait for %s (%s, %d GiB), begun by an earlier run, in %s",
			s.ResumeID,
			s.Device,
			s.GiB,
			s.Location,
		)
	}

	from := ""
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}

	if s.Trial {
		return fmt.Sprintf("create a test copy in %s with %s", s.Location, s.KeyARN)
	}

	if s.Destination == (distribution.Location{}) {
		return fmt.Sprintf("stage %s, %d GiB%s in %s", s.Source.stagedSnapshot(s.Device), s.GiB, from, s.Location)
	}

	snapshot := s.Source.stagedSnapshot(s.Device)
	return fmt.Sprintf("copy %s, %d GiB%s to %s%s", snapshot, s.GiB, from, s.Location, within(s.Minutes))
}

func (s *CopySnapshot) Doing(w Words) string {
	where := w.WhereTo(s.Destination, s.Location)
	if s.ResumeID != "" {
		resumed := fmt.Sprintf("%s (%s, %d GiB)", s.ResumeID, s.Device, s.GiB)
		return s.resuming(resumed, where)
	}
	if s.Destination == (distribution.Location{}) {
		where += " with " + w.Key(s.KeyARN)
	}
	snapshot := w.Snapshot(s.Source, s.Device, s.GiB)
	return fmt.Sprintf("Copying %s%s %s", snapshot, fromRegion(s.FromRegion, s.Location), where)
}

func (s *CopySnapshot) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "copy %s", Singular: "snapshot"}, KeyARN: s.KeyARN}
}

func (s *CopySnapshot) Role() Role {
	if s.Trial {
		return CopiesTest
	}
	return Prepares
}

func (s *CopySnapshot) Result(o Outcome) Result {
	destination := s.Destination
	if s.Trial {
		destination = distribution.Location{}
	}
	return Result{
		GiB:     map[string]int64{o.ID: s.GiB},
		Created: newCreatedResource(&s.Base, "snapshot", o, keptCopy(o.Err), destination),
	}
}

var _ = register(&CopySnapshot{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*CopySnapshot).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*CopySnapshot).dryRuns(env) },
})

func (s *CopySnapshot) start(env Env) Attempt { return newAttempt(s, env, env.copySnapshot) }

func (s *CopySnapshot) dryRuns(env Env) []DryRun {
	in := &ec2.CopySnapshotInput{
		DryRun:            aws.Bool(true),
		SourceRegion:      aws.String(s.FromRegion),
		SourceSnapshotId:  aws.String(knownOr(s.Source, StandInSnapshot)),
		Description:       aws.String(s.Signing.Token(string(s.ID)).Description(s.Description)),
		Encrypted:         aws.Bool(true),
		KmsKeyId:          aws.String(s.KeyARN),
		TagSpecifications: tagSpecifications(ec2types.ResourceTypeSnapshot, s.Tags),
	}
	d := newDryRun(s, "ec2:CopySnapshot", env.Clients.EC2(s.Location).CopySnapshot, in)
	return append([]DryRun{d}, keyUseDryRuns(s, env, s.KeyARN, s.FromKeyARN)...)
}

func (s *CopySnapshot) Copies() CopyInfo {
	return CopyInfo{
		Source:     s.Source,
		FromRegion: s.FromRegion,
		Device:     s.Device,
		Volumes:    1,
		GiB:        s.GiB,
		Minutes:    s.Minutes,
	}
}

// copySnapshot starts a copy and has it watched. It is called again after a lost response, and after a copy that
// failed due to eventual consistency.
func (r *Run) copySnapshot(ctx context.Context, a *attempt, s *CopySnapshot) (Outcome, error) {
	if failed := a.failedCopy; failed != nil {
		_, id := failed.resource()
		a.retained = append(a.retained, r.discard(ctx, s.Location, id)...)
		a.failedCopy = nil
		return Outcome{Snapshot: failed.snapshot}, a.repeatOrFail()
	}

	err := r.startSnapshotCopy(ctx, a, s)
	if err == nil {
		err = r.sign(ctx, a, s.Signing)
	}

	if err != nil {
		return Outcome{}, err
	}

	id, destination := a.resourceID, s.Destination
	if s.Trial {
		destination = distribution.Location{} // a test copy belongs to no image
	}

	return Outcome{}, &CopyInProgress{
		Group:       CopyGroup{Location: s.Location},
		ID:          id,
		Destination: destination,
		GiB:         s.GiB,
		Ended: func(status *CopyStatus, err error) (Outcome, error) {
			if note := emptySnapshotDeletedNote(err); s.Trial && note != nil {
				return Outcome{ID: id}, &Untested{Err: err, finding: note}
			}
			return r.handleCopyEnd(a, id, status, err)
		},
	}
}

// repeatOrFail returns RetryAfter to create another copy in place of a failed one that was deleted. If the copy must
// not be repeated, it returns the failure.
func (a *attempt) repeatOrFail() error {
	if a.failure != nil {
		return a.failure
	}
	return RetryAfter{}
}

// startSnapshotCopy resumes the copy of an earlier run, or starts one.
func (r *Run) startSnapshotCopy(ctx context.Context, a *attempt, s *CopySnapshot) (err error) {
	if err := r.resumeEarlier(ctx, a, s.Signing, r.snapshotReader(ctx, s.Location, s.ResumeID)); err != nil {
		return err
	}
	if a.resourceID == "" {
		a.resourceID, err = r.callCopySnapshot(ctx, a, s)
	}
	return err
}

// callCopySnapshot calls CopySnapshot, or finds the snapshot of an earlier call whose response was lost.
func (r *Run) callCopySnapshot(ctx context.Context, a *attempt, s *CopySnapshot) (string, error) {
	if err := guardCopy(a, s.Source, s.KeyARN); err != nil {
		return "", err
	}

	token := s.Signing.Token(fmt.Sprintf("%s %d", s.ID, len(a.discardedIDs)+1))
	id, err := r.callOnce(ctx, a, func(ctx context.Context) (string, error) {
		return r.findSnapshot(ctx, a, s.Location, s.Signing, token)
	},
		func(ctx context.Context) (string, error) {
			in := &ec2.CopySnapshotInput{
				SourceRegion:      aws.String(s.FromRegion),
				SourceSnapshotId:  aws.String(a.id(s.Source)),
				Description:       aws.String(token.Description(s.Description)),
				Encrypted:         aws.Bool(true), // account defaults may differ (rule 1.3.9)
				KmsKeyId:          aws.String(s.KeyARN),
				TagSpecifications: tagSpecifications(ec2types.ResourceTypeSnapshot, s.Tags),
			}

			if s.Minutes > 0 {
				in.CompletionDurationMinutes = aws.Int32(int32(s.Minutes)) //nolint:gosec // at most 2880
			}

			output, err := r.Clients.EC2(s.Location).CopySnapshot(ctx, in)
			if err != nil {
				return "", err
			}

			return aws.ToString(output.SnapshotId), nil
		})

	if awsclient.IsResourceLimit(err) {
		return "", newQuotaExceeded(err)
	}

	return id, err
}

// findSnapshot looks for the snapshot of a call whose response was lost, by the token of the call. It returns the
// oldest one. The step that registers the image deletes the duplicates.
func (r *Run) findSnapshot(
	ctx context.Context, a *attempt, at distribution.Location, signing Signing, token provenance.CallToken,
) (string, error) {
	found, err := r.snapshotsOfCall(ctx, at, signing, token)
	for _, s := range found {
		if id := aws.ToString(s.SnapshotId); !slices.Contains(a.discardedIDs, id) {
			r.recordCreatedID(id)
			return id, nil
		}
	}
	return "", err
}

// snapshotsOfCall returns the snapshots that carry the token of a call, oldest first.
func (r *Run) snapshotsOfCall(
	ctx context.Context, at distribution.Location, signing Signing, token provenance.CallToken,
) ([]ec2types.Snapshot, error) {
	source := signing.Statement.Source.String()
	filters := []ec2types.Filter{{Name: aws.String("tag:" + provenance.TagSource), Values: []string{source}}}
	var found []ec2types.Snapshot
	err := eachSnapshot(ctx, r.Clients.EC2(at), filters, func(one ec2types.Snapshot) {
		if token.IsIn(aws.ToString(one.Description)) {
			found = append(found, one)
		}
	})
	slices.SortFunc(found, func(a, b ec2types.Snapshot) int {
		return cmp.Or(aws.ToTime(a.StartTime).Compare(aws.ToTime(b.StartTime)), cmp.Compare(*a.SnapshotId, *b.SnapshotId))
	})
	return found, err
}

// snapshotReader returns a function that reads the snapshot of an earlier run.
func (r *Run) snapshotReader(
	ctx context.Context, at distribution.Location, id string,
) func() (*provenance.Resource, error) {
	return func() (*provenance.Resource, error) {
		seen, err := describeSnapshots(ctx, r.Clients.EC2(at), []string{id})
		snapshot, ok := seen[id]
		if err != nil || !ok {
			return nil, err
		}
		resource := distribution.SnapshotResource(at, snapshot)
		return &resource, nil
	}
}

// handleCopyEnd returns the outcome of a copy. A failed copy is deleted, and repeated if eventual consistency
// explains the failure.
func (r *Run) handleCopyEnd(a *attempt, id string, status *CopyStatus, err error) (Outcome, error) {
	isOfOtherRun := a.adopted || id == a.base.ResumeID
	isUnrepeatable := a.base.NotRepeatable && id == a.base.ResumeID
	if errors.As(err, new(*CopyNotFound)) && isOfOtherRun && !isUnrepeatable { // the other run deleted it meanwhile
		a.discardCopy(id)
		return Outcome{}, RetryAfter{}
	}

	var failed *CopyFailed
	if !errors.As(err, &failed) {
		outcome := Outcome{ID: id}
		if status != nil {
			outcome.Snapshot, outcome.SnapshotIDs = status.snapshot, status.snapshotIDs()
		}
		return outcome, err
	}

	adopted := a.adopted // another run deletes it
	a.discardCopy(id)
	if !adopted {
		a.failedCopy = status
	}

	if delay, ok := r.copyRetryDelay(a, failed); ok && !isUnrepeatable {
		r.reportRetry(a, failed, a.firstFailure.Add(copyRetryTimes[len(copyRetryTimes)-1]))
		return Outcome{}, RetryAfter{delay}
	}

	if adopted {
		return Outcome{}, failed
	}

	a.failure = failed
	return Outcome{}, RetryAfter{}
}

// copyRetryDelay returns the delay before a failed copy is repeated. False if eventual consistency does not explain
// the failure.
func (r *Run) copyRetryDelay(a *attempt, failed *CopyFailed) (time.Duration, bool) {
	refusal, _ := Refusal(failed)
	n := len(a.discardedIDs)
	if n > len(copyRetryTimes) || !r.IsEventualConsistency(refusal) {
		return 0, false
	}
	if a.firstFailure.IsZero() {
		a.firstFailure = time.Now()
	}
	retryAt := copyRetryTimes[n-1]
	isExplained := a.firstFailure.Sub(r.dependenciesEnded(a)) < EventualConsistencyTimeout+copyRetryTimes[0]
	return max(time.Until(a.firstFailure.Add(retryAt)), 0), isExplained
}

// copyRetryTimes are the times after its first failure at which a copy is repeated. They do not depend on how long a
// copy takes to fail, so that the time of the last attempt is known from the first failure on.
var copyRetryTimes = [...]time.Duration{30 * time.Second, 3 * time.Minute}

// reportRetry reports once for each step why it is retried, and when the last attempt is.
func (r *Run) reportRetry(a *attempt, err error, until time.Time) {
	kind := distribution.Retrying
	if errors.Is(err, provenance.ErrWorking) {
		kind = distribution.Blocked
	}
	if a.isRetryReported {
		return
	}

	a.isRetryReported = true
	refusal, _ := Refusal(err)
	r.Emit(distribution.Event{
		Time:    time.Now(),
		Kind:    kind,
		Step:    a.base.ID,
		At:      a.base.Location,
		Percent: -1,
		ETA:     until,
		Text:    strings.TrimPrefix(refusal.Operation+": "+Reason(err), ": "),
	})
}

// dependenciesEnded returns when the last dependency of a step ended. Without dependencies it returns the start of
// the run.
func (r *Run) dependenciesEnded(a *attempt) time.Time {
	last := r.begun
	for _, id := range a.base.DependsOn {
		if ended := a.outcomes.Of(id).Ended; ended.After(last) {
			last = ended
		}
	}
	return last
}
