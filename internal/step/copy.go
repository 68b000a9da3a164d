// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// Copying is a step that copies data to its location. Other steps are short.
type Copying interface {
	Step
	Copies() CopyInfo
}

// Deleting is a step that deletes what an earlier step created.
type Deleting interface {
	Step
	Deletes() distribution.StepID // the earlier step. Empty if an earlier run created the resource
}

// CopyInfo describes a copy.
type CopyInfo struct {
	Source     Ref
	FromRegion string
	IsImage    bool
	Device     string // empty for an image
	Volumes    int
	GiB        int64
	Minutes    int // completion duration; 0 without time-based copy
}

// within returns the completion duration for the user. Empty without time-based copy.
func within(minutes int) string {
	if minutes == 0 {
		return ""
	}
	return fmt.Sprintf(" within %d minutes", minutes)
}

// fromRegion names the source Region of a copy for the user. Empty for a copy within a Region.
func fromRegion(region string, to distribution.Location) string {
	if region == to.Region {
		return ""
	}
	return " from " + region
}

// keptCopy returns why a copy is retained. It is still pending if waiting for it ended with an error.
func keptCopy(err error) string {
	if err != nil {
		return distribution.KeptPending
	}
	return distribution.KeptCompleted
}

// CopyInProgress ends a call of Do whose copy goes on in AWS. The runner polls, with one call for all copies of an
// account and Region, and calls Ended once.
type CopyInProgress struct {
	Group       CopyGroup
	ID          string                // of the copy
	Destination distribution.Location // whose image needs all its copies. Zero if the copy counts alone
	GiB         int64
	Ended       func(last *CopyStatus, err error) (Outcome, error) // last is nil if AWS never showed the copy
}

func (*CopyInProgress) Error() string { return "a copy is in progress" }

// CopyFailed says that AWS failed a copy. AWS reports only a text (rules 1.8.4 and 4.6.5).
type CopyFailed struct {
	id        string
	operation string // that started the copy, as "ec2:CopySnapshot"
	text      string // StateMessage of a snapshot, or StateReason of an image
}

func (e *CopyFailed) Error() string {
	return fmt.Sprintf("AWS could not complete %s: %s", e.id, e.text)
}

// CopyNotFound says that AWS has not shown a copy for the time After.
type CopyNotFound struct {
	ID    string
	After time.Duration
}

func (e *CopyNotFound) Error() string {
	return fmt.Sprintf("AWS has not shown %s for %v", e.ID, e.After.Round(time.Second))
}

// CopyStatus is the status of a copy as AWS shows it. Either snapshot or image is set.
type CopyStatus struct {
	snapshot  *ec2types.Snapshot
	image     *ec2types.Image
	state     copyState
	Percent   int       // 0 to 100. -1 if AWS shows none
	StartedAt time.Time // zero if AWS shows none
	text      string    // reason of a failure. Empty if AWS gives none
}

// copyState is the state of a copy.
type copyState int

const (
	inProgress copyState = iota
	completed
	failed
)

// End reports whether a copy has ended, and why it failed.
func (s *CopyStatus) End() (isOver bool, err error) {
	switch s.state {
	case completed:
		return true, nil
	case inProgress:
		return false, nil
	}
	_, id := s.resource()
	return true, &CopyFailed{id: id, operation: s.operation(), text: s.text}
}

// operation returns the IAM action that started the copy.
func (s *CopyStatus) operation() string {
	if s.image != nil {
		return "ec2:CopyImage"
	}
	return "ec2:CopySnapshot"
}

// resource returns the kind and the ID of the copy.
func (s *CopyStatus) resource() (kind, id string) {
	if s.image != nil {
		return "image", aws.ToString(s.image.ImageId)
	}
	return "snapshot", aws.ToString(s.snapshot.SnapshotId)
}

// snapshotIDs returns the snapshots of a copied image by device. Nil for a snapshot.
func (s *CopyStatus) snapshotIDs() map[string]string {
	if s.image == nil {
		return nil
	}
	return snapshotsByDevice(*s.image)
}

// snapshotsByDevice returns the snapshots of an image by device.
func snapshotsByDevice(image ec2types.Image) map[string]string {
	uses := map[string]string{}
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			uses[aws.ToString(m.DeviceName)] = *m.Ebs.SnapshotId
		}
	}
	return uses
}

// CopyGroup identifies the copies that one call describes. They have an account and Region and a resource type in
// common.
type CopyGroup struct {
	distribution.Location
	Images bool // false for snapshots
}

// Describe returns the status of the copies that AWS shows, by ID.
func (group CopyGroup) Describe(
	ctx context.Context,
	client *ec2.Client,
	ids []string,
) (map[string]CopyStatus, error) {
	if group.Images {
		return describeImageCopies(ctx, client, ids)
	}
	snapshots, err := describeSnapshots(ctx, client, ids)
	if err != nil {
		return nil, err
	}
	statuses := make(map[string]CopyStatus, len(snapshots))
	for id, s := range snapshots {
		statuses[id] = newSnapshotStatus(s)
	}
	return statuses, nil
}

func newSnapshotStatus(s ec2types.Snapshot) CopyStatus {
	status := CopyStatus{
		snapshot:  &s,
		Percent:   progressPercent(s),
		StartedAt: aws.ToTime(s.StartTime),
		text:      aws.ToString(s.StateMessage),
	}

	switch s.State {
	case ec2types.SnapshotStateCompleted:
		status.state = completed
	case ec2types.SnapshotStatePending:
		s.Tags = nil // a run may keep thousands of these for hours
	default:
		status.state = failed
	}

	return status
}

// describeImageCopies returns the status of images. AWS shows progress and the cause of a failure only at their
// snapshots. An image names its snapshots late or never (rules 1.8.5 and 4.6.3). So the snapshots are found by our
// tags and their descriptions.
func describeImageCopies(ctx context.Context, client *ec2.Client, ids []string) (map[string]CopyStatus, error) {
	statuses := make(map[string]CopyStatus, len(ids))
	var sources []string
	for chunk := range slices.Chunk(ids, filterValues) {
		filters := []ec2types.Filter{{Name: aws.String("image-id"), Values: chunk}}
		err := eachImage(ctx, client, filters, func(image ec2types.Image) {
			s := newImageStatus(image)
			source := tagsOf(image.Tags)[provenance.TagSource]
			if s.state != completed && source != "" && !slices.Contains(sources, source) {
				sources = append(sources, source)
			}
			statuses[aws.ToString(image.ImageId)] = s
		})
		if err != nil {
			return nil, err
		}
	}

	if len(sources) == 0 {
		return statuses, nil
	}

	slices.Sort(sources)
	parts, err := describePartsOfImages(ctx, client, sources)
	if err != nil {
		return statuses, nil //nolint:nilerr // progress is only for display
	}

	for id, s := range statuses {
		if s.state != completed && len(parts[id]) > 0 {
			statuses[id] = s.withSnapshots(parts[id])
		}
	}

	return statuses, nil
}

func newImageStatus(image ec2types.Image) CopyStatus {
	s := CopyStatus{image: &image, Percent: -1}

	switch image.State {
	case ec2types.ImageStateAvailable:
		s.state, s.Percent = completed, 100
	case ec2types.ImageStatePending, ec2types.ImageStateTransient:
	default:
		s.state = failed
		if image.StateReason != nil {
			s.text = aws.ToString(image.StateReason.Message)
		}
	}

	return s
}

// describePartsOfImages returns the status of the snapshots of image copies, by image.
func describePartsOfImages(ctx context.Context, client *ec2.Client, sources []string) (map[string][]CopyStatus, error) {
	parts := map[string][]CopyStatus{}
	filters := []ec2types.Filter{{Name: aws.String("tag:" + provenance.TagSource), Values: sources}}
	err := eachSnapshot(ctx, client, filters, func(s ec2types.Snapshot) {
		if image := provenance.ImageOfCopy(aws.ToString(s.Description)); image != "" {
			parts[image] = append(parts[image], newSnapshotStatus(s))
		}
	})
	return parts, err
}

// withSnapshots returns the status of an image completed from its snapshots.
func (s CopyStatus) withSnapshots(parts []CopyStatus) CopyStatus {
	sum := 0
	for _, part := range parts {
		sum += max(part.Percent, 0)
		if s.StartedAt.IsZero() || part.StartedAt.Before(s.StartedAt) {
			s.StartedAt = part.StartedAt
		}
		if s.state == failed && part.state == failed && part.text != "" {
			s.text = part.text
		}
	}

	if s.state != failed {
		s.Percent = sum / len(parts)
	}

	return s
}

// progressPercent parses the progress of a snapshot, such as "42%". It returns -1 if AWS shows none (rule 4.6.3).
func progressPercent(s ec2types.Snapshot) int {
	percent, err := strconv.Atoi(strings.TrimSuffix(aws.ToString(s.Progress), "%"))
	if err != nil {
		return -1
	}
	return percent
}

// filterValues is the maximum number of values of a filter (EC2 API reference, Filter).
const filterValues = 200

// describeSnapshots returns the account's own snapshots by ID. It uses filters, because a missing ID in SnapshotIds
// would fail the whole call.
func describeSnapshots(ctx context.Context, client *ec2.Client, ids []string) (map[string]ec2types.Snapshot, error) {
	found := make(map[string]ec2types.Snapshot, len(ids))
	for chunk := range slices.Chunk(ids, filterValues) {
		err := eachSnapshot(
			ctx,
			client,
			[]ec2types.Filter{{Name: aws.String("snapshot-id"), Values: chunk}},
			func(s ec2types.Snapshot) {
				found[aws.ToString(s.SnapshotId)] = s
			},
		)
		if err != nil {
			return nil, err
		}
	}

	return found, nil
}

// eachSnapshot calls each for the account's own snapshots that match the filters. A page can be empty without being
// the last (rule 4.3.2).
func eachSnapshot(
	ctx context.Context,
	client *ec2.Client,
	filters []ec2types.Filter,
	each func(ec2types.Snapshot),
) error {
	pages := ec2.NewDescribeSnapshotsPaginator(client, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, Filters: filters, MaxResults: aws.Int32(1000),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, s := range page.Snapshots {
			each(s)
		}
	}

	return nil
}
