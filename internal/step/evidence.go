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
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// Evidence decides which resources a run may adopt or delete.
type Evidence struct {
	Run     string               // ID of this run
	Records distribution.Records // records of all runs. Nil if no other run uses the source images
}

// judges reads the records of runs again, also those on source images of other releases. The returned function returns
// the judge for the resources of a source image.
func (r *Run) judges(
	ctx context.Context, others ...provenance.SourceImage,
) (func(provenance.SourceImage) (provenance.Judge, bool), error) {
	runs, err := r.runs(ctx, others...)
	if err != nil {
		return nil, err
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	answered := append([]string(nil), r.createdIDs...)
	return func(source provenance.SourceImage) (provenance.Judge, bool) {
		keys := r.Keys[source]
		judge := provenance.Judge{
			Source:   source,
			Keys:     keys,
			Runs:     runs,
			Answered: answered,
			Run:      r.Evidence.Run,
		}
		return judge, len(keys) > 0
	}, nil
}

// runs reads the records of runs again.
func (r *Run) runs(ctx context.Context, others ...provenance.SourceImage) (distribution.Runs, error) {
	r.mu.Lock()
	known := r.knownRuns
	r.mu.Unlock()
	if invariant.FreshEvidence.IsOff() && known != nil {
		return known, nil
	}
	runs, err := r.Evidence.Records.Read(ctx, others...)
	r.mu.Lock()
	r.knownRuns = runs
	r.mu.Unlock()
	return runs, err
}

// judge returns the judgment on a resource of the source image that its tags name.
func (r *Run) judge(ctx context.Context, resource provenance.Resource) (provenance.Judgment, error) {
	judges, err := r.judges(ctx)
	if err != nil {
		return provenance.Judgment{}, err
	}
	source, _ := provenance.ParseSourceImage(resource.Tags[provenance.TagSource])
	j, _ := judges(source)
	return j.Judge(resource), nil
}

// recordCreatedID remembers the ID from a response to a creating call of this process.
func (r *Run) recordCreatedID(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.createdIDs = append(r.createdIDs, id)
}

func (r *Run) isCreatedHere(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range r.createdIDs {
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
func (r *Run) snapshotProof(
	ctx context.Context,
	at distribution.Location,
	id string,
) (provenance.DeletionProof, error) {
	seen, err := describeSnapshots(ctx, r.Clients.EC2(at), []string{id})
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	snapshot, ok := seen[id]
	if !ok {
		return provenance.DeletionProof{}, errNotShown
	}

	j, err := r.judge(ctx, distribution.SnapshotResource(at, snapshot))
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	return j.Deletion()
}

// imageProof reads an image and the records of runs again. It returns the proof that the image may be deregistered.
// An unfinished delivery may be replaced by its own release, a finished one by its successor.
func (r *Run) imageProof(ctx context.Context, s imageDeletion) (provenance.DeletionProof, error) {
	image, err := DescribeImage(ctx, r.Clients.EC2(s.at), s.id)
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	if image == nil {
		return provenance.DeletionProof{}, errNotShown
	}

	snapshots, err := describeSnapshots(ctx, r.Clients.EC2(s.at), snapshotIDsOf(*image))
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	resource := distribution.ImageResource(s.at, *image, snapshots, s.expected)
	source, isOurs := provenance.ParseSourceImage(resource.Tags[provenance.TagSource])
	var others []provenance.SourceImage
	if _, ok := r.Keys[source]; ok && isOurs {
		others = append(others, source) // the run that created the image may still work
	}

	judges, err := r.judges(ctx, others...)
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	judge, isKnown := judges(source)
	if s.withSnapshots && isKnown {
		if err := judge.SnapshotDeletion(resource); err != nil {
			return provenance.DeletionProof{}, err
		}
	}

	if s.isReplaced {
		return provenance.ReplacementByName(resource, judges, s.release)
	}

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
	// time of the release that replaces the image, or of its own release if it is unfinished. Zero if the image is
	// temporary
	release       time.Time
	isReplaced    bool // force_deregister replaces it by name
	withSnapshots bool // AWS deletes its snapshots with it (rule 9.11)
}

// instanceProof reads an instance and the records of runs again. It returns the proof that the instance may be
// terminated.
func (r *Run) instanceProof(
	ctx context.Context,
	at distribution.Location,
	id string,
) (provenance.DeletionProof, error) {
	instance, err := r.instance(ctx, at, id)
	if err != nil {
		return provenance.DeletionProof{}, err
	}
	if instance == nil {
		return provenance.DeletionProof{}, errNotShown
	}
	j, err := r.judge(ctx, distribution.InstanceResource(at, *instance))
	if err != nil {
		return provenance.DeletionProof{}, err
	}
	return j.Deletion()
}

// grantProof reads a grant and the records of runs again. It returns the proof that the grant may be revoked.
func (r *Run) grantProof(
	ctx context.Context, at distribution.Location, keyARN, id string,
) (provenance.DeletionProof, error) {
	seen, err := r.grants(ctx, at, &kms.ListGrantsInput{KeyId: aws.String(keyARN), GrantId: aws.String(id)})
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	if len(seen) == 0 {
		return provenance.DeletionProof{}, errNotShown
	}

	judges, err := r.judges(ctx)
	if err != nil {
		return provenance.DeletionProof{}, err
	}

	resource := distribution.GrantResource(at, seen[0])
	for source := range r.Keys {
		if judge, ok := judges(source); ok && provenance.IsGrantOf(source, resource.Name) {
			return judge.Judge(resource).Deletion()
		}
	}

	return provenance.DeletionProof{}, fmt.Errorf("grant %s is not revoked: no run provably created it", id)
}

// createdHereProof returns the proof that a resource that this process created may be deleted, although AWS does not
// show the resource. It refuses kinds of resources that other runs adopt.
func (r *Run) createdHereProof(
	ctx context.Context, resource provenance.Resource,
) (provenance.DeletionProof, error) {
	judges, err := r.judges(ctx)
	if err != nil {
		return provenance.DeletionProof{}, err
	}
	for source := range r.Keys {
		if judge, ok := judges(source); ok {
			return judge.Judge(resource).Deletion()
		}
	}
	return provenance.DeletionProof{}, errNotShown
}

// proofWithoutRead returns the proof that a resource may be deleted although reading it failed with readErr. AWS must
// have returned its ID when this process created it. Otherwise proofWithoutRead returns readErr.
func (r *Run) proofWithoutRead(
	ctx context.Context, resource provenance.Resource, readErr error,
) (provenance.DeletionProof, error) {
	if ctx.Err() != nil || !r.isCreatedHere(resource.ID) {
		return provenance.DeletionProof{}, readErr
	}
	return r.createdHereProof(ctx, resource)
}

// adoptionDelay is the time between signing an existing resource and reading it back. If two runs adopt it at once,
// the last signature counts.
const adoptionDelay = 3 * time.Second

// adopt signs an existing resource for this run and reads it back. It returns RetryAfter until the resource is
// adopted, or why that is impossible. It does not sign an image that an active run is delivering.
func (r *Run) adopt(
	ctx context.Context, a *attempt, signing Signing, id string, read func() (*provenance.Resource, error),
) error {
	resource, err := read()
	if err != nil {
		return err
	}

	if resource == nil {
		return notAdoptableError{id, "AWS does not show it"}
	}

	judgment, err := r.judge(ctx, *resource)
	if err != nil {
		return err
	}

	isSigned := judgment.Signed != nil && judgment.Signed.Role == signing.Statement.Role
	switch {
	case isSigned && judgment.Run == r.Evidence.Run:
		a.isSigned = true
		return nil
	case a.adopting:
		return notAdoptableError{id, "another run has adopted it"}
	case isSigned && judgment.Verdict == provenance.Working && signing.Statement.Role == provenance.Delivery:
		a.isSigned, a.adopted = true, true
		return nil
	}

	statement, err := judgment.Adoption(r.Evidence.Run)
	if err != nil {
		return notAdoptableError{id, err.Error()}
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	if err := r.tag(graceCtx, a.base.Location, id, signing.Key.SignedTags(statement)); err != nil {
		return err
	}

	a.adopting = true
	return RetryAfter{adoptionDelay}
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

// deregister deregisters an image if evidence allows it. It returns the snapshots that AWS did not delete.
func (r *Run) deregister(ctx context.Context, s imageDeletion) ([]distribution.RetainedResource, error) {
	proof, err := r.imageProof(ctx, s)
	switch {
	case errors.Is(err, errNotShown) && !r.isCreatedHere(s.id):
		return nil, nil
	case err != nil:
		return nil, err
	}

	return r.callDeregisterImage(ctx, s.at, proof.ID(), s.withSnapshots)
}

// callDeregisterImage deregisters an image, optionally with its snapshots (rule 9.11). It returns the snapshots that
// could not be deleted and that no other image uses. It succeeds if the image is gone.
func (r *Run) callDeregisterImage(
	ctx context.Context, at distribution.Location, id string, withSnapshots bool,
) ([]distribution.RetainedResource, error) {
	in := &ec2.DeregisterImageInput{ImageId: aws.String(id)}
	if withSnapshots {
		in.DeleteAssociatedSnapshots = aws.Bool(true)
	}

	out, err := r.Clients.EC2(at).DeregisterImage(ctx, in)
	if err != nil {
		return nil, ignoreNotFound(err)
	}

	deleted := map[string]bool{} // a snapshot behind several devices may have several results
	for _, r := range out.DeleteSnapshotResults {
		if r.ReturnCode == ec2types.SnapshotReturnCodesSuccess {
			deleted[aws.ToString(r.SnapshotId)] = true
		}
	}

	var retained []distribution.RetainedResource
	for _, r := range out.DeleteSnapshotResults {
		if deleted[aws.ToString(r.SnapshotId)] {
			continue
		}
		if r.ReturnCode != ec2types.SnapshotReturnCodesSuccess && r.ReturnCode != ec2types.SnapshotReturnCodesWarnSkipped {
			retained = append(retained, distribution.RetainedResource{
				At:       at,
				Kind:     "snapshot",
				Resource: aws.ToString(r.SnapshotId),
				Why:      "its image is gone; AWS says " + string(r.ReturnCode),
			})
		}
	}

	return retained, nil
}

// Signing holds the statement in a resource's tags and the key that signs it.
type Signing struct {
	Kind      provenance.Kind
	Key       provenance.SigningKey
	Statement provenance.Statement // without the ID, which the creating call returns
}

// CreationTags returns the tags for the creating call.
func (s Signing) CreationTags() map[string]string {
	return provenance.CreationTags(s.Statement.Source, s.Statement.Run)
}

// Tags returns the signed tags of the created resource.
func (s Signing) Tags(resourceID string) map[string]string {
	s.Statement.ResourceID = resourceID
	return s.Key.SignedTags(s.Statement)
}

// Token returns the token of a creating call. A repeated call must have the same purpose. A call that replaces a failed
// resource must have another purpose.
func (s Signing) Token(purpose string) provenance.CallToken {
	return s.Key.CallToken(provenance.Call{
		Kind:    s.Kind,
		Account: s.Statement.Account,
		Region:  s.Statement.Region,
		Source:  s.Statement.Source,
		Run:     s.Statement.Run,
		Purpose: purpose,
	})
}
