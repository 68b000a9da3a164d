// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// DeleteSnapshot deletes a temporary snapshot that no copy needs.
type DeleteSnapshot struct {
	Base
	Snapshot Ref
	Device   string // for messages. Empty if the ID is enough
	Trial    bool   // the snapshot is a test copy
}

func (s *DeleteSnapshot) Permissions() []Permission {
	return []Permission{{"ec2:DeleteSnapshot", s.Location.SnapshotARN(s.Snapshot.Known), "2.5.8"}}
}

// Deletes implements Deleting.
func (s *DeleteSnapshot) Deletes() distribution.StepID { return s.Snapshot.From }

func (s *DeleteSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *DeleteSnapshot) String() string {
	unknown := "the staged "
	if s.Trial {
		unknown = "the copied "
	}
	return fmt.Sprintf("delete %s in %s", s.Snapshot.snapshot(unknown+s.Device, s.Device), s.Location)
}

func (s *DeleteSnapshot) Doing(w Words) string {
	return fmt.Sprintf("Deleting %s in %s", w.Snapshot(s.Snapshot, s.Device, 0), w.Location(s.Location))
}

func (s *DeleteSnapshot) Summary() Summary {
	return Summary{
		Phrase:  Phrase{Text: "delete %s", Singular: "staged snapshot"},
		Cleanup: Phrase{Text: "Deleting %s", Singular: "staged snapshot"},
	}
}

func (s *DeleteSnapshot) Subject() Ref { return s.Snapshot }

func (s *DeleteSnapshot) Result(o Outcome) Result {
	return deletionResult(&s.Base, "snapshot", s.Snapshot.Known, o)
}

var _ = register(&DeleteSnapshot{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*DeleteSnapshot).start(env) },
})

func (s *DeleteSnapshot) start(env Env) Attempt { return newAttempt(s, env, env.deleteSnapshot) }

// deleteSnapshot deletes a snapshot. It succeeds if the snapshot is gone or an image uses it.
func (r *Run) deleteSnapshot(ctx context.Context, a *attempt, s *DeleteSnapshot) (Outcome, error) {
	id := a.id(s.Snapshot)
	if id == "" { // it could not be created
		return Outcome{}, nil
	}

	err := r.deleteIfProven(ctx, s.Location, id)
	switch {
	case errors.Is(err, errNotShown) && a.keepPolling(): // created moments ago (rule 4.4.1, eventual consistency)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	case err == nil, awsclient.IsInUse(err):
		return Outcome{ID: id}, nil
	}

	return Outcome{
		ID:       id,
		Retained: []distribution.RetainedResource{{At: s.Location, Kind: "snapshot", Resource: id, Why: Reason(err)}},
	}, err
}

// deleteIfProven deletes a snapshot if the evidence allows it. It succeeds if the snapshot is gone.
func (r *Run) deleteIfProven(ctx context.Context, at distribution.Location, id string) error {
	proof, err := r.snapshotProof(ctx, at, id)
	if errors.Is(err, errNotShown) && !r.isCreatedHere(id) {
		r.deleted.Store(id, true)
		return nil
	}

	if err != nil {
		return err
	}

	_, err = r.Clients.EC2(at).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(proof.ID())})
	if err = ignoreNotFound(err); err == nil {
		r.deleted.Store(id, true)
	}

	return err
}

// discard deletes a snapshot that nothing needs. It returns the snapshot if it could not be deleted.
func (r *Run) discard(ctx context.Context, at distribution.Location, id string) []distribution.RetainedResource {
	if err := r.deleteIfProven(ctx, at, id); err != nil && !awsclient.IsInUse(err) {
		return []distribution.RetainedResource{{At: at, Kind: "snapshot", Resource: id, Why: Reason(err)}}
	}
	return nil
}

// ignoreNotFound returns nil if the error says that a resource is gone.
func ignoreNotFound(err error) error {
	if awsclient.IsNotFound(err) {
		return nil
	}
	return err
}
