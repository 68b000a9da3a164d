// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Evidence decides which resources a run may adopt or delete.
type Evidence struct {
	Run     string               // ID of this run
	Records distribution.Records // records of all runs. Nil if no other run uses the source images
}

// judges reads the records of runs again. The returned function returns the judge for the resources of a source
// image.
func (t *executor) judges(ctx context.Context) (func(provenance.SourceImage) (provenance.Judge, bool), error) {
	runs, err := t.runs(ctx)
	if err != nil {
		return nil, err
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	answered := append([]string(nil), t.createdIDs...)
	return func(source provenance.SourceImage) (provenance.Judge, bool) {
		keys := t.keys[source]
		return provenance.Judge{
				Source:   source,
				Keys:     keys,
				Runs:     runs,
				Answered: answered,
				Run:      t.evidence.Run,
			}, len(
				keys,
			) > 0
	}, nil
}

// runs reads the records of runs again.
func (t *executor) runs(ctx context.Context) (distribution.Runs, error) {
	t.mu.Lock()
	known := t.knownRuns
	t.mu.Unlock()
	if invariant.FreshEvidence.IsOff() && known != nil {
		return known, nil
	}
	runs, err := t.evidence.Records.Read(ctx)
	t.mu.Lock()
	t.knownRuns = runs
	t.mu.Unlock()
	return runs, err
}

// judge returns the judgment on a resource of the source image that its tags name.
func (t *executor) judge(ctx context.Context, r provenance.Resource) (provenance.Judgment, error) {
	judges, err := t.judges(ctx)
	if err != nil {
		return provenance.Judgment{}, err
	}
	source, _ := provenance.ParseSourceImage(r.Tags[provenance.TagSource])
	j, _ := judges(source)
	return j.Judge(r), nil
}

// recordCreatedID remembers the ID from a response to a creating call of this process.
func (t *executor) recordCreatedID(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.createdIDs = append(t.createdIDs, id)
}

func (t *executor) isCreatedHere(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, known := range t.createdIDs {
		if known == id {
			return true
		}
	}
	return false
}

// errNotShown says that AWS does not show a resource, because it is gone or too new.
var errNotShown = errors.New("AWS does not show it")

// snapshotProof reads a snapshot and the records of runs again. It returns the proof that the snapshot may be
// deleted.
func (t *executor) snapshotProof(
	ctx context.Context,
	at distribution.Location,
	id string,
) (provenance.DeletionProof, error) {
	seen, err := describeSnapshots(ctx, t.pool.EC2(at), []string{id})
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	snapshot, ok := seen[id]
	if !ok {
		return provenance.DeletionProof{}, errNotShown
	}

	j, err := t.judge(ctx, distribution.SnapshotResource(at, snapshot))
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	return j.Deletion()
}

// imageProof reads an image and the records of runs again. It returns the proof that the image may be deregistered.
// An unfinished delivery may be replaced by its own release, a finished one by its successor.
func (t *executor) imageProof(ctx context.Context, s imageDeletion) (provenance.DeletionProof, error) {
	image, err := t.image(ctx, s.at, s.id)
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	if image == nil {
		return provenance.DeletionProof{}, errNotShown
	}

	snapshots, err := describeSnapshots(ctx, t.pool.EC2(s.at), snapshotIDsOf(*image))
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	judges, err := t.judges(ctx)
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	resource := distribution.ImageResource(s.at, *image, snapshots, s.expected)
	if s.isReplaced {
		return provenance.ReplacementByName(resource, judges, s.release)
	}

	source, _ := provenance.ParseSourceImage(resource.Tags[provenance.TagSource])
	judge, _ := judges(source)
	j := judge.Judge(resource)
	if j.Signed != nil && j.Signed.Role == provenance.Delivery && !s.release.IsZero() {
		return j.Replacement(s.release)
	}

	return j.Deletion()
}

// imageDeletion describes an image to deregister.
type imageDeletion struct {
	at       distribution.Location
	id       string
	expected provenance.Expected
	// release that replaces the image, or its own if it is unfinished. Zero if the image is temporary
	release    time.Time
	isReplaced bool // force_deregister replaces it by name
}

// instanceProof reads an instance and the records of runs again. It returns the proof that the instance may be
// terminated.
func (t *executor) instanceProof(
	ctx context.Context,
	at distribution.Location,
	id string,
) (provenance.DeletionProof, error) {
	instance, err := t.instance(ctx, at, id)
	if err != nil {
		return provenance.DeletionProof{}, err
	}
	if instance == nil {
		return provenance.DeletionProof{}, errNotShown
	}
	j, err := t.judge(ctx, distribution.InstanceResource(at, *instance))
	if err != nil {
		return provenance.DeletionProof{}, err
	}
	return j.Deletion()
}

// grantProof reads a grant and the records of runs again. It returns the proof that the grant may be revoked.
func (t *executor) grantProof(
	ctx context.Context, at distribution.Location, keyARN, id string,
) (provenance.DeletionProof, error) {
	seen, err := t.grants(ctx, at, &kms.ListGrantsInput{KeyId: aws.String(keyARN), GrantId: aws.String(id)})
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	if len(seen) == 0 {
		return provenance.DeletionProof{}, errNotShown
	}

	judges, err := t.judges(ctx)
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	resource := distribution.GrantResource(at, seen[0])
	for source := range t.keys {
		if judge, ok := judges(source); ok && provenance.IsGrantOf(source, resource.Name) {
			return judge.Judge(resource).Deletion()
		}
	}

	return provenance.DeletionProof{}, fmt.Errorf("grant %s is not revoked: no run provably created it", id)
}

// adoptionDelay is the time between signing an existing resource and reading it back. If two runs adopt it at once,
// the last signature counts.
const adoptionDelay = 3 * time.Second

// adopt signs an existing resource for this run and reads it back. It returns retryAfter until the resource is
// adopted, or why that is impossible. It does not sign an image that an active run is delivering.
func (t *executor) adopt(
	ctx context.Context, j *stepRun, signing step.Signing, id string, read func() (*provenance.Resource, error),
) error {
	resource, err := read()
	if err != nil {
		return err
	}

	if resource == nil {
		return notAdoptableError{id, "AWS does not show it"}
	}

	judgment, err := t.judge(ctx, *resource)
	if err != nil {
		return err
	}

	isSigned := judgment.Signed != nil && judgment.Signed.Role == signing.Statement.Role
	switch {
	case isSigned && judgment.Run == t.evidence.Run:
		j.state.isSigned = true
		return nil
	case j.state.adopting:
		return notAdoptableError{id, "another run has adopted it"}
	case isSigned && judgment.Verdict == provenance.Working && signing.Statement.Role == provenance.Delivery:
		j.state.isSigned, j.state.adopted = true, true
		return nil
	}

	statement, err := judgment.Adoption(t.evidence.Run)
	if err != nil {
		return notAdoptableError{id, err.Error()}
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	if err := t.tag(graceCtx, j.base.Location, id, signing.Key.SignedTags(statement)); err != nil {
		return err
	}

	j.state.adopting = true
	return retryAfter{adoptionDelay}
}

// notAdoptableError says why this run cannot use a resource of an earlier run.
type notAdoptableError struct{ id, why string }

func (e notAdoptableError) Error() string {
	return e.id + " of an earlier run cannot be used: " + e.why
}

func snapshotIDsOf(image ec2types.Image) []string {
	var ids []string
	for _, id := range snapshotsByDevice(image) {
		ids = append(ids, id)
	}
	return ids
}

// deregister deregisters an image, optionally with its snapshots (rule 9.11). It returns the snapshots that could
// not be deleted and that no other image uses. It succeeds if the image is gone.
func (t *executor) deregister(
	ctx context.Context, s imageDeletion, withSnapshots bool,
) ([]distribution.RetainedResource, error) {
	proof, err := t.imageProof(ctx, s)
	switch {
	case errors.Is(err, errNotShown) && !t.isCreatedHere(s.id):
		return nil, nil
	case err != nil:
		return nil, err
	}

	in := &ec2.DeregisterImageInput{ImageId: aws.String(proof.ID())}
	if withSnapshots {
		in.DeleteAssociatedSnapshots = aws.Bool(true)
	}

	out, err := t.pool.EC2(s.at).DeregisterImage(ctx, in)
	if err != nil {
		return nil, ignoreNotFound(err)
	}

	var retained []distribution.RetainedResource
	for _, r := range out.DeleteSnapshotResults {
		if r.ReturnCode != ec2types.SnapshotReturnCodesSuccess && r.ReturnCode != ec2types.SnapshotReturnCodesWarnSkipped {
			retained = append(retained, distribution.RetainedResource{
				At:       s.at,
				Kind:     "snapshot",
				Resource: aws.ToString(r.SnapshotId),
				Why:      "its image is gone; AWS says " + string(r.ReturnCode),
			})
		}
	}

	return retained, nil
}
