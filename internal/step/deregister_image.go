// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// DeregisterImage deregisters a temporary image or an unfinished one, if evidence shows that a run created it. With
// force_deregister it deregisters another image that has the wanted name.
type DeregisterImage struct {
	Base
	Image         Ref
	Name          string              // name that the new image needs (rule 2.5.2). Empty if a run created the image
	WithSnapshots bool                // delete its snapshots too (rule 9.11)
	Snapshots     []string            // snapshots of an image that no run created, sorted. Nil for an image of a run
	Unless        *VerifyImage        // the image stays if this verification passes. Nil if it never stays
	Expected      provenance.Expected // what runs set on their images, as evidence for an image without a signature
	Release       time.Time           // release of the new image. Zero if the image is temporary or unfinished
}

func (s *DeregisterImage) Permissions() []Permission {
	permissions := []Permission{{"ec2:DeregisterImage", s.Location.ImageARN(s.Image.Known), "2.5.9"}}
	if s.Unless != nil {
		permissions = append(
			permissions,
			Permission{"ec2:DescribeImages", "*", "4.4.1"},
			Permission{"ec2:DescribeSnapshots", "*", "4.4.1"},
		)
	}

	if s.WithSnapshots {
		for _, snapshot := range s.snapshots() {
			permissions = append(permissions, Permission{"ec2:DeleteSnapshot", s.Location.SnapshotARN(snapshot), "9.11"})
		}
	}

	return permissions
}

func (s *DeregisterImage) snapshots() []string {
	if s.Snapshots == nil {
		return []string{"*"}
	}
	return s.Snapshots
}

// Deletes implements Deleting.
func (s *DeregisterImage) Deletes() distribution.StepID { return s.Image.From }

func (s *DeregisterImage) ResourceID() string { return s.Image.Known }

func (s *DeregisterImage) String() string {
	with := ""
	if s.WithSnapshots {
		with = " with its snapshots"
	}
	image := s.Image.stagedImage()
	if s.Name != "" {
		image += fmt.Sprintf(", which has the name %q,", s.Name)
	}
	return fmt.Sprintf("deregister %s%s in %s", image, with, s.Location)
}

func (s *DeregisterImage) Doing(w Words) string {
	return fmt.Sprintf("Deregistering %s in %s", w.Image(s.Image), w.Location(s.Location))
}

func (s *DeregisterImage) Summary() Summary {
	if s.Name != "" {
		return Summary{Phrase: Phrase{Text: "deregister %s of the same name", Singular: "AMI"}}
	}
	return Summary{
		Phrase:  Phrase{Text: "deregister %s", Singular: "staged AMI"},
		Cleanup: Phrase{Text: "Deregistering %s", Singular: "staged AMI"},
	}
}

// PolicyCondition is nil for an image that is replaced by name, because it has no tags of ours.
func (s *DeregisterImage) PolicyCondition(action string) (distribution.Condition, bool) {
	return nil, s.Name != "" && (action == "ec2:DeregisterImage" || action == "ec2:DeleteSnapshot")
}

func (s *DeregisterImage) Result(o Outcome) Result {
	if s.Name != "" && o.Err != nil { // an image that is replaced by name does not count as retained
		return Result{}
	}
	return deletionResult(&s.Base, "image", s.Image.Known, o)
}

var _ = register(&DeregisterImage{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*DeregisterImage).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*DeregisterImage).dryRuns(env) },
})

func (s *DeregisterImage) start(env Env) Attempt { return newAttempt(s, env, env.deregisterImage) }

// dryRuns returns the dry runs of the deregistration and of the deletion of the snapshots. Only an image that no run
// created needs them, because the target's policy may deny deleting foreign resources. Otherwise a refusal would show
// only after the image is deregistered (rule 9.11).
func (s *DeregisterImage) dryRuns(env Env) []DryRun {
	if s.Name == "" {
		return nil
	}

	client := env.Clients.EC2(s.Location)
	in := &ec2.DeregisterImageInput{
		DryRun:                    aws.Bool(true),
		ImageId:                   aws.String(s.Image.Known),
		DeleteAssociatedSnapshots: aws.Bool(s.WithSnapshots),
	}

	all := []DryRun{newDryRun(s, "ec2:DeregisterImage", client.DeregisterImage, in)}
	for _, snapshot := range s.Snapshots {
		in := &ec2.DeleteSnapshotInput{DryRun: aws.Bool(true), SnapshotId: aws.String(snapshot)}
		d := newDryRun(s, "ec2:DeleteSnapshot "+snapshot, client.DeleteSnapshot, in)
		d.Resource = snapshot
		all = append(all, d)
	}

	return all
}

// lapseTime is the time after which the record of a killed run no longer counts as active. It lapses 45 minutes after
// its last renewal, and package runrecord adds a grace of 5 minutes.
const lapseTime = 50 * time.Minute

func (r *Run) deregisterImage(ctx context.Context, a *attempt, s *DeregisterImage) (Outcome, error) {
	id := a.id(s.Image)
	if s.Unless != nil {
		isUnneeded, err := r.isReplacementUnneeded(ctx, a, s.Unless)
		if err != nil {
			return Outcome{}, err
		}

		if isUnneeded { // no step needs the name then, because the image is reused
			return Outcome{Notes: []distribution.Finding{
				{
					Level:    distribution.Note,
					Code:     distribution.CodeAMIKept,
					Location: s.Location,
					Resource: id,
					Summary:  "the image " + id + " stays",
					Detail:   "it is what was asked for: it had not been seen whole when the plan was made",
				},
			}}, nil
		}
	}

	left, err := r.deregister(ctx, imageDeletion{
		at:            s.Location,
		id:            id,
		expected:      s.Expected,
		release:       s.Release,
		isReplaced:    s.Name != "",
		withSnapshots: s.WithSnapshots,
	})

	if errors.Is(err, provenance.ErrWorking) && s.Name != "" && a.keepPollingFor(lapseTime) {
		r.reportRetry(a, err, a.missingSince.Add(lapseTime))
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}

	if errors.Is(err, errNotShown) && a.keepPolling() { // created moments ago (rule 4.4.1, eventual consistency)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}

	if err != nil {
		left = append(left, distribution.RetainedResource{At: s.Location, Kind: "image", Resource: id, Why: Reason(err)})
	}

	return Outcome{ID: id, Retained: left}, err
}

// isReplacementUnneeded reads an image of an earlier run again before it is deregistered. The plan may have read it
// stale or before it was complete (rule 4.4.1). A difference counts only if it lasts.
func (r *Run) isReplacementUnneeded(ctx context.Context, a *attempt, s *VerifyImage) (bool, error) {
	image, err := DescribeImage(ctx, r.Clients.EC2(s.Location), s.Image.Known)
	if err != nil {
		return false, err
	}

	isUnneeded := image != nil && image.State == ec2types.ImageStatePending // another run is creating it
	if image != nil && !isUnneeded {
		if isUnneeded, err = r.isAsSpecified(ctx, a, s, *image); err != nil {
			return false, err
		}
	}

	if !isUnneeded && a.keepRechecking() {
		return false, RetryAfter{Backoff(a.polls)}
	}

	return isUnneeded, nil
}

// isAsSpecified reports whether an image is as requested, whatever snapshots it uses.
func (r *Run) isAsSpecified(
	ctx context.Context,
	a *attempt,
	s *VerifyImage,
	image ec2types.Image,
) (bool, error) {
	snapshotIDs := snapshotsByDevice(image)
	verify := *s
	verify.Snapshots = map[string]ExpectedSnapshot{}
	for device, wanted := range s.Snapshots {
		if snapshotIDs[device] == "" {
			return false, nil
		}
		wanted.Snapshot = Ref{Known: snapshotIDs[device]}
		verify.Snapshots[device] = wanted
	}

	snapshots, err := r.verifiedSnapshots(ctx, a, &verify)
	if err != nil {
		return false, err
	}

	_, differences := findWrongSnapshots(&verify, a, snapshots)
	return len(imageDifferences(&verify, a, image))+len(differences) == 0, nil
}
