// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// doubt is how long a difference has to last before it is believed: a read may be stale (4.4.1).
const differenceTimeout = time.Minute

// doubtful counts a look at what is not as it should be, and reports whether to look again.
func (j *stepRun) keepRechecking() bool {
	if j.state.missingSince.IsZero() {
		j.state.missingSince = time.Now()
	}
	j.state.polls++
	return time.Since(j.state.missingSince) < differenceTimeout
}

// unlike is an image that is not what was asked for.
type verificationError struct {
	image       string
	differences []string
	isForeign   bool // another run made it
}

func (e *verificationError) Error() string {
	return fmt.Sprintf("%s is not what was asked for: %s", e.image, strings.Join(e.differences, "; "))
}

// finding explains an image that did not pass. What a registered image is billed as comes from its snapshots, or does not (2.3.3).
func (e *verificationError) finding(s step.Step) *distribution.Finding {
	f := &distribution.Finding{Level: distribution.Refused, Reference: "4.6.1", Location: s.Meta().Location, Resource: e.image, Summary: "could not " + s.String() + ": the image was discarded", Detail: e.Error(),
		Remediation: "resume the run: it keeps what is completed"}
	if e.isForeign {
		f.Summary = "could not " + s.String() + ": the image stays, for another run made it"
		f.Remediation = "deregister it and run again; or set another ami_name; or, to replace that image, set ami_name to its name and force_deregister = true"
	}
	if verify, is := s.(*step.VerifyImage); is && hasBillingDifference(e.differences) {
		f.Reference, f.Remediation = "2.3.3", "an image of another billing may not be launched: build the image in the target account from AWS's own image of that platform"
		if verify.Method == distribution.BySnapshot {
			f.Remediation = `set copy_method = "image" in the target, which keeps the billing`
		}
	}
	return f
}

// verifyImage compares what was made with what was asked for. An image of this run that does not pass goes, with the snapshots that do not;
// one of another run stays, for who made it may use it.
func (t *executor) verifyImage(ctx context.Context, j *stepRun, s *step.VerifyImage) StepOutcome {
	id := j.id(s.Image)
	image, err := t.image(ctx, s.Location, id)
	switch {
	case err != nil:
		return StepOutcome{ID: id, Err: err}
	case image == nil || image.State == ec2types.ImageStatePending: // 4.4.1
		if j.keepPolling() {
			return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
		}
		return StepOutcome{ID: id, Err: fmt.Errorf("AWS has not shown %s as available for %v", id, step.EventualConsistencyTimeout)}
	}
	snapshots, err := t.verifiedSnapshots(ctx, j, s)
	if err != nil {
		return StepOutcome{ID: id, Err: err}
	}
	differences := imageDifferences(s, j, *image, snapshots)
	if s.UEFIData != "" {
		data, err := t.uefiData(ctx, s.Location, id)
		if err != nil {
			return StepOutcome{ID: id, Err: err}
		}
		if data != s.UEFIData {
			differences = append(differences, "UefiData: not the source's")
		}
	}
	wrong, findings := findWrongSnapshots(s, j, snapshots)
	differences = append(differences, findings...)
	if len(differences) == 0 {
		return StepOutcome{ID: id, SnapshotIDs: j.expectedSnapshotIDs(s), Unsigned: j.hasUnsignedDependency()}
	}
	if j.keepRechecking() {
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}
	if hasBillingDifference(differences) { // it comes from the snapshots' own data: no image of theirs will be another
		wrong = j.copiedSnapshots(s)
	}
	d := StepOutcome{ID: id, Err: &verificationError{id, differences, j.isForeign(s)}}
	if j.isForeign(s) {
		d.Retained = []distribution.RetainedResource{{At: s.Location, Kind: "image", Resource: id, Why: "it did not pass, and is not this run's"}}
	} else {
		d.Retained = t.discardRejected(ctx, j, s, wrong)
	}
	return d
}

// unsealed reports that a step which this one waits for could not give the image its second seal.
func (j *stepRun) hasUnsignedDependency() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(j.outcomes)), func(d StepOutcome) bool { return d.Unsigned })
}

// foreign reports an image that another run made.
func (j *stepRun) isForeign(s *step.VerifyImage) bool {
	return s.Image.From == "" || j.outcomes[s.Image.From].Adopted
}

// misbilled reports a difference in what the image is billed as (2.3.3).
func hasBillingDifference(differences []string) bool {
	return slices.ContainsFunc(differences, func(d string) bool {
		return strings.HasPrefix(d, "PlatformDetails:") || strings.HasPrefix(d, "UsageOperation:")
	})
}

// copiedFor are the snapshots that this run copied for an image.
func (j *stepRun) copiedSnapshots(s *step.VerifyImage) []string {
	var ids []string
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		if made := j.outcomes[s.Snapshots[device].Snapshot.From].ID; made != "" && made == j.expectedSnapshotID(s, device) && !slices.Contains(ids, made) {
			ids = append(ids, made)
		}
	}
	return ids
}

// startsFrom is the snapshot that a device of the image has to start from.
func (j *stepRun) expectedSnapshotID(s *step.VerifyImage, device string) string {
	if id := j.outcomes[s.Image.From].SnapshotIDs[device]; id != "" {
		return id
	}
	return j.id(s.Snapshots[device].Snapshot)
}

func (j *stepRun) expectedSnapshotIDs(s *step.VerifyImage) map[string]string {
	uses := make(map[string]string, len(s.Snapshots))
	for device := range s.Snapshots {
		uses[device] = j.expectedSnapshotID(s, device)
	}
	return uses
}

// reject takes away what did not pass. The copies that are right stay for the next run.
func (t *executor) discardRejected(ctx context.Context, j *stepRun, s *step.VerifyImage, wrong []string) []distribution.RetainedResource {
	id := j.id(s.Image)
	lasting, release := withGracePeriod(ctx)
	defer release()
	left, err := t.deregister(lasting, imageDeletion{
		at:       s.Location,
		id:       id,
		expected: provenance.Expected{Names: []string{s.Name}},
		release:  s.Signing.Statement.Release,
	}, s.Method == distribution.ByImage)
	if err != nil {
		return []distribution.RetainedResource{{At: s.Location, Kind: "image", Resource: id, Why: reason(err)}}
	}
	if s.Method == distribution.ByImage {
		return left
	}
	for _, snapshot := range wrong {
		left = append(left, t.discard(lasting, s.Location, snapshot)...)
	}
	return left
}

// differencesOf the image from what was asked for, the state of its snapshots aside.
func imageDifferences(s *step.VerifyImage, j *stepRun, image ec2types.Image, snapshots map[string]ec2types.Snapshot) []string {
	found := s.ImageSpec.Differences(image)
	differ := func(what, want, is string) {
		if want != is {
			found = append(found, fmt.Sprintf("%s: %q was wanted, it is %q", what, want, is))
		}
	}
	differ("State", string(ec2types.ImageStateAvailable), string(image.State))
	differ("OwnerId", s.Location.Account, aws.ToString(image.OwnerId))
	differ("Name", s.Name, aws.ToString(image.Name))
	differ("Public", "false", fmt.Sprint(aws.ToBool(image.Public)))
	if !j.isForeign(s) { // another run has proved its own by its seals, and its texts may name it, its day and its build
		differ("Description", s.Description, aws.ToString(image.Description))
		tags := tagsOf(image.Tags)
		for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
			differ("Tag "+key, s.Tags[key], tags[key])
		}
	}
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			device := aws.ToString(m.DeviceName)
			differ("SnapshotId of "+device, j.expectedSnapshotID(s, device), aws.ToString(m.Ebs.SnapshotId))
		}
	}
	return found
}

// wrongSnapshots says what is wrong with snapshots that are not the destination's own, whole, and under its key, and names those of
// them that this run made. Valid after completion only (4.6.1).
func findWrongSnapshots(s *step.VerifyImage, j *stepRun, snapshots map[string]ec2types.Snapshot) (ids, why []string) {
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		wanted := s.Snapshots[device]
		id := j.expectedSnapshotID(s, device)
		is, there := snapshots[id]
		if !there {
			why = append(why, fmt.Sprintf("%s of %s: AWS does not show it", id, device))
			continue
		}
		if wrong := snapshotDifferences(device, id, s.Location.Account, wanted, is); len(wrong) > 0 {
			why = append(why, wrong...)
			if id == j.outcomes[wanted.Snapshot.From].ID && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids, why
}

// wrongSnapshot says what is wrong with a snapshot that is to be an account's own, whole, and under a key.
func snapshotDifferences(device, id, account string, wanted step.ExpectedSnapshot, is ec2types.Snapshot) (wrong []string) {
	differ := func(what, want, is string) {
		if want != is {
			wrong = append(wrong, fmt.Sprintf("%s of %s (%s): %q was wanted, it is %q", what, device, id, want, is))
		}
	}
	differ("State", string(ec2types.SnapshotStateCompleted), string(is.State))
	differ("OwnerId", account, aws.ToString(is.OwnerId))
	differ("Encrypted", "true", fmt.Sprint(aws.ToBool(is.Encrypted)))
	differ("KmsKeyId", wanted.KeyARN, aws.ToString(is.KmsKeyId))
	differ("VolumeSize", fmt.Sprint(wanted.GiB), fmt.Sprint(aws.ToInt32(is.VolumeSize)))
	return wrong
}

// snapshotsOf are the image's snapshots: as the watcher saw them last, without another call, where this run copied them.
func (t *executor) verifiedSnapshots(ctx context.Context, j *stepRun, s *step.VerifyImage) (map[string]ec2types.Snapshot, error) {
	found := map[string]ec2types.Snapshot{}
	var unseen []string
	for device, wanted := range s.Snapshots {
		id := j.expectedSnapshotID(s, device)
		if seen := j.outcomes[wanted.Snapshot.From].Snapshot; seen != nil && aws.ToString(seen.SnapshotId) == id {
			found[id] = *seen
		} else if !slices.Contains(unseen, id) {
			unseen = append(unseen, id)
		}
	}
	if len(unseen) == 0 {
		return found, nil
	}
	slices.Sort(unseen)
	more, err := describeSnapshots(ctx, t.pool.EC2(s.Location), unseen)
	maps.Copy(found, more)
	return found, err
}

// image is an account's own image; nil where AWS does not show it.
func (t *executor) image(ctx context.Context, at distribution.Location, id string) (*ec2types.Image, error) {
	out, err := t.pool.EC2(at).DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, Filters: []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{id}}},
	})
	if err != nil || len(out.Images) == 0 {
		return nil, err
	}
	return &out.Images[0], nil
}

// uefiData is an image's variable store; only its owner may read it (2.2.11).
func (t *executor) uefiData(ctx context.Context, at distribution.Location, id string) (string, error) {
	out, err := t.pool.EC2(at).DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
		ImageId: aws.String(id), Attribute: ec2types.ImageAttributeNameUefiData,
	})
	if err != nil || out.UefiData == nil {
		return "", err
	}
	return aws.ToString(out.UefiData.Value), nil
}
