// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// VerifyImage compares a destination's image with its source, and its snapshots with the expected ones. It is valid
// only after completion (rule 4.6.1).
type VerifyImage struct {
	Base
	ImageSpec
	Target    string // name of the target block
	Image     Ref
	Snapshots map[string]ExpectedSnapshot // by device
}

// ExpectedSnapshot describes the snapshot that a device must have.
type ExpectedSnapshot struct {
	Snapshot Ref
	KeyARN   string
	GiB      int64
}

func (s *VerifyImage) Permissions() []Permission {
	permissions := []Permission{{"ec2:DescribeImages", "*", "4.2.2"}, {"ec2:DescribeSnapshots", "*", "4.2.2"}}
	if s.UEFIData != "" {
		permissions = append(permissions, Permission{"ec2:DescribeImageAttribute", s.Location.ImageARN("*"), "2.2.11"})
	}
	return permissions
}

func (s *VerifyImage) ResourceID() string { return s.Image.Known }

func (s *VerifyImage) String() string {
	return fmt.Sprintf("verify %q in %s: attributes, owners, sizes, keys", s.Name, s.Location)
}

func (s *VerifyImage) Doing(w Words) string {
	source := "the source AMI"
	if s.Source != nil && s.Source.ImageId != nil {
		source = *s.Source.ImageId
	}
	return fmt.Sprintf("Comparing %s with %s", w.Image(s.Image), source)
}

func (s *VerifyImage) Summary() Summary { return Summary{Phrase: Phrase{Text: "compare"}} }

func (s *VerifyImage) Role() Role { return VerifiesImage }

func (s *VerifyImage) Result(o Outcome) Result {
	if o.Err != nil {
		return Result{}
	}

	image := &distribution.CreatedImage{
		At:      s.Location,
		Target:  s.Target,
		ImageID: o.ID,
		Name:    s.Name,
		Earlier: o.Adopted,
	}
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		wanted := s.Snapshots[device]
		image.Snapshots = append(image.Snapshots, distribution.CreatedSnapshot{
			Device:     device,
			SnapshotID: o.SnapshotIDs[device],
			KeyARN:     wanted.KeyARN,
			GiB:        int32(wanted.GiB),
		})
	}

	return Result{Image: image}
}

var _ = register(&VerifyImage{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*VerifyImage).start(env) },
})

func (s *VerifyImage) start(env Env) Attempt { return newAttempt(s, env, env.verifyImage) }

// differenceTimeout is how long a difference must last before the image is rejected. A read can be stale (rule
// 4.4.1, eventual consistency).
const differenceTimeout = time.Minute

// verificationError says that an image differs from what was requested.
type verificationError struct {
	image       string
	differences []string
	isForeign   bool // another run created it
}

func (e *verificationError) Error() string {
	return fmt.Sprintf("%s is not what was asked for: %s", e.image, strings.Join(e.differences, "; "))
}

// Finding explains an image that failed verification. The billing product of an image comes from its snapshots
// (rule 2.3.3).
func (e *verificationError) Finding(s Step) *distribution.Finding {
	d := &distribution.Finding{
		Level:       distribution.Refused,
		Code:        distribution.CodeCopyDiffers,
		Reference:   "4.6.1",
		Location:    s.Meta().Location,
		Resource:    e.image,
		Summary:     "could not " + s.String() + ": the image was discarded",
		Detail:      e.Error(),
		Remediation: "resume the run: it keeps what is completed",
	}

	if e.isForeign {
		d.Summary = "could not " + s.String() + ": the image stays, for another run made it"
		d.Remediation = "deregister it and run again; or set another ami_name; or, to replace that image, set " +
			"ami_name to its name and force_deregister = true"
	}

	if verify, is := s.(*VerifyImage); is && hasBillingDifference(e.differences) {
		d.Reference = "2.3.3"
		d.Remediation = "an image of another billing may not be launched: " +
			"build the image in the target account from AWS's own image of that platform"
		if verify.Method == distribution.BySnapshot {
			d.Remediation = `set copy_method = "image" in the target, which keeps the billing`
		}
	}

	return d
}

// verifyImage compares an image with what was requested. An image of this run that differs is deregistered, and its
// wrong snapshots are deleted. An image of another run stays, because that run may use it.
func (r *Run) verifyImage(ctx context.Context, a *attempt, s *VerifyImage) (Outcome, error) {
	id := a.id(s.Image)
	image, err := DescribeImage(ctx, r.Clients.EC2(s.Location), id)
	switch {
	case err != nil:
		return Outcome{ID: id}, err
	case image == nil || image.State == ec2types.ImageStatePending: // rule 4.4.1, eventual consistency
		if a.keepPolling() {
			return Outcome{}, RetryAfter{Backoff(a.polls)}
		}
		return Outcome{ID: id}, fmt.Errorf("AWS has not shown %s as available for %v", id, EventualConsistencyTimeout)
	}

	snapshots, err := r.verifiedSnapshots(ctx, a, s)
	if err != nil {
		return Outcome{ID: id}, err
	}

	differences := imageDifferences(s, a, *image)
	if s.UEFIData != "" {
		data, err := r.uefiData(ctx, s.Location, id)
		if err != nil {
			return Outcome{ID: id}, err
		}
		if data != s.UEFIData {
			differences = append(differences, "UefiData: not the source's")
		}
	}

	wrongIDs, wrong := findWrongSnapshots(s, a, snapshots)
	differences = append(differences, wrong...)
	if len(differences) == 0 {
		return Outcome{
			ID:          id,
			SnapshotIDs: a.expectedSnapshotIDs(s),
			Adopted:     a.isForeign(s),
			Unsigned:    a.hasUnsignedDependency(),
		}, nil
	}

	if a.keepRechecking() {
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}

	// the billing product comes from the data in the snapshots, so a retry with the same snapshots would fail too
	if hasBillingDifference(differences) {
		wrongIDs = a.copiedSnapshots(s)
	}

	failure := &verificationError{id, differences, a.isForeign(s)}
	if failure.isForeign {
		kept := distribution.RetainedResource{
			At:       s.Location,
			Kind:     "image",
			Resource: id,
			Why:      "it did not pass, and is not this run's",
		}
		return Outcome{ID: id, Retained: []distribution.RetainedResource{kept}}, failure
	}
	if s.Method == distribution.ByImage { // AWS deletes them with the image
		wrongIDs = slices.Collect(maps.Values(snapshotsByDevice(*image)))
	}
	retained := r.discardRejected(ctx, a, s, wrongIDs)
	return Outcome{ID: id, Retained: retained, Removed: removedIDs(id, wrongIDs, retained)}, failure
}

// removedIDs returns which of a rejected image and its snapshots were removed. It returns none if the image was
// retained, because its snapshots are then retained as well.
func removedIDs(imageID string, snapshots []string, retained []distribution.RetainedResource) []string {
	isRetained := func(id string) bool {
		return slices.ContainsFunc(retained, func(l distribution.RetainedResource) bool { return l.Resource == id })
	}
	if isRetained(imageID) {
		return nil
	}
	return slices.DeleteFunc(append([]string{imageID}, snapshots...), isRetained)
}

// hasUnsignedDependency reports whether a step that this one waits for could not sign the image.
func (a *attempt) hasUnsignedDependency() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(a.outcomes)), func(o *Outcome) bool { return o.Unsigned })
}

// isForeign reports whether another run created the image.
func (a *attempt) isForeign(s *VerifyImage) bool {
	return s.Image.From == "" || a.outcomes.Of(s.Image.From).Adopted
}

// hasBillingDifference reports whether the image would be billed differently from the source (rule 2.3.3).
func hasBillingDifference(differences []string) bool {
	return slices.ContainsFunc(differences, func(d string) bool {
		return strings.HasPrefix(d, "PlatformDetails:") || strings.HasPrefix(d, "UsageOperation:")
	})
}

// copiedSnapshots returns the snapshots that this run copied for an image.
func (a *attempt) copiedSnapshots(s *VerifyImage) []string {
	var ids []string
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		made := a.outcomes.Of(s.Snapshots[device].Snapshot.From).ID
		if made != "" && made == a.expectedSnapshotID(s, device) &&
			!slices.Contains(ids, made) {
			ids = append(ids, made)
		}
	}
	return ids
}

// expectedSnapshotID returns the snapshot that a device of the image must use.
func (a *attempt) expectedSnapshotID(s *VerifyImage, device string) string {
	if id := a.outcomes.Of(s.Image.From).SnapshotIDs[device]; id != "" {
		return id
	}
	return a.id(s.Snapshots[device].Snapshot)
}

func (a *attempt) expectedSnapshotIDs(s *VerifyImage) map[string]string {
	uses := make(map[string]string, len(s.Snapshots))
	for device := range s.Snapshots {
		uses[device] = a.expectedSnapshotID(s, device)
	}
	return uses
}

// discardRejected deregisters a rejected image and deletes its wrong snapshots. The next run reuses the correct
// ones.
func (r *Run) discardRejected(
	ctx context.Context,
	a *attempt,
	s *VerifyImage,
	wrong []string,
) []distribution.RetainedResource {
	id := a.id(s.Image)
	graceCtx, release := withGracePeriod(ctx)
	defer release()
	left, err := r.deregister(graceCtx, imageDeletion{
		at:            s.Location,
		id:            id,
		expected:      provenance.Expected{Names: []string{s.Name}},
		release:       s.Signing.Statement.Release,
		withSnapshots: s.Method == distribution.ByImage,
	})
	if err != nil {
		return []distribution.RetainedResource{{At: s.Location, Kind: "image", Resource: id, Why: Reason(err)}}
	}

	if s.Method == distribution.ByImage {
		return left
	}

	for _, snapshot := range wrong {
		left = append(left, r.discard(graceCtx, s.Location, snapshot)...)
	}

	return left
}

// imageDifferences returns how an image differs from what was requested. findWrongSnapshots checks its snapshots.
func imageDifferences(
	s *VerifyImage,
	a *attempt,
	image ec2types.Image,
) []string {
	differences := s.ImageSpec.Differences(image)
	differ := func(what, want, is string) {
		if want != is {
			differences = append(differences, fmt.Sprintf("%s: %q was wanted, it is %q", what, want, is))
		}
	}

	differ("State", string(ec2types.ImageStateAvailable), string(image.State))
	differ("OwnerId", s.Location.Account, aws.ToString(image.OwnerId))
	differ("Name", s.Name, aws.ToString(image.Name))
	differ("Public", "false", fmt.Sprint(aws.ToBool(image.Public)))
	if !a.isForeign(s) { // another run has signed it, and its texts may contain that run's name, date and build
		differ("Description", s.Description, aws.ToString(image.Description))
		tags := tagsOf(image.Tags)
		for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
			differ("Tag "+key, s.Tags[key], tags[key])
		}
	}

	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			device := aws.ToString(m.DeviceName)
			differ("SnapshotId of "+device, a.expectedSnapshotID(s, device), aws.ToString(m.Ebs.SnapshotId))
		}
	}

	return differences
}

// findWrongSnapshots returns how snapshots differ from the destination's own, completed snapshots under its key.
// ids are those that this run created. The comparison is valid only after completion (rule 4.6.1).
func findWrongSnapshots(s *VerifyImage, a *attempt, snapshots map[string]ec2types.Snapshot) (ids, why []string) {
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		wanted := s.Snapshots[device]
		id := a.expectedSnapshotID(s, device)
		snapshot, isShown := snapshots[id]
		if !isShown {
			why = append(why, fmt.Sprintf("%s of %s: AWS does not show it", id, device))
			continue
		}

		if differences := snapshotDifferences(device, id, s.Location.Account, wanted, snapshot); len(differences) > 0 {
			why = append(why, differences...)
			if id == a.outcomes.Of(wanted.Snapshot.From).ID && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids, why
}

// snapshotDifferences returns how a snapshot differs from the expected one.
func snapshotDifferences(
	device, id, account string,
	wanted ExpectedSnapshot,
	snapshot ec2types.Snapshot,
) (differences []string) {
	differ := func(what, want, snapshot string) {
		if want != snapshot {
			differences = append(
				differences,
				fmt.Sprintf("%s of %s (%s): %q was wanted, it is %q", what, device, id, want, snapshot),
			)
		}
	}
	differ("State", string(ec2types.SnapshotStateCompleted), string(snapshot.State))
	differ("OwnerId", account, aws.ToString(snapshot.OwnerId))
	differ("Encrypted", "true", fmt.Sprint(aws.ToBool(snapshot.Encrypted)))
	differ("KmsKeyId", wanted.KeyARN, aws.ToString(snapshot.KmsKeyId))
	differ("VolumeSize", fmt.Sprint(wanted.GiB), fmt.Sprint(aws.ToInt32(snapshot.VolumeSize)))
	return differences
}

// verifiedSnapshots returns the snapshots of an image. For copies of this run it uses the watcher's last status,
// which saves a call.
func (r *Run) verifiedSnapshots(
	ctx context.Context,
	a *attempt,
	s *VerifyImage,
) (map[string]ec2types.Snapshot, error) {
	found := map[string]ec2types.Snapshot{}
	var missing []string
	for device, wanted := range s.Snapshots {
		id := a.expectedSnapshotID(s, device)
		if known := a.outcomes.Of(wanted.Snapshot.From).Snapshot; known != nil && aws.ToString(known.SnapshotId) == id {
			found[id] = *known
		} else if !slices.Contains(missing, id) {
			missing = append(missing, id)
		}
	}

	if len(missing) == 0 {
		return found, nil
	}

	slices.Sort(missing)
	more, err := describeSnapshots(ctx, r.Clients.EC2(s.Location), missing)
	maps.Copy(found, more)
	return found, err
}

// uefiData returns the UEFI variable store of an image. Only the owner may read it (rule 2.2.11).
func (r *Run) uefiData(ctx context.Context, at distribution.Location, id string) (string, error) {
	out, err := r.Clients.EC2(at).DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
		ImageId: aws.String(id), Attribute: ec2types.ImageAttributeNameUefiData,
	})
	if err != nil || out.UefiData == nil {
		return "", err
	}
	return aws.ToString(out.UefiData.Value), nil
}
