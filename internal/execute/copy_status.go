// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// copyStatus is the status of a copy as AWS shows it. Either snapshot or image is set.
type copyStatus struct {
	snapshot  *ec2types.Snapshot
	image     *ec2types.Image
	state     copyState
	percent   int       // 0 to 100. -1 if AWS shows none
	startedAt time.Time // zero if AWS shows none
	text      string    // reason of a failure. Empty if AWS gives none
}

// copyState is the state of a copy.
type copyState int

const (
	inProgress copyState = iota
	completed
	failed
)

// operation returns the IAM action that started the copy.
func (s *copyStatus) operation() string {
	if s.image != nil {
		return "ec2:CopyImage"
	}
	return "ec2:CopySnapshot"
}

// resource returns the kind and the ID of the copy.
func (s *copyStatus) resource() (kind, id string) {
	if s.image != nil {
		return "image", aws.ToString(s.image.ImageId)
	}
	return "snapshot", aws.ToString(s.snapshot.SnapshotId)
}

// snapshotIDs returns the snapshots of a copied image by device. Nil for a snapshot.
func (s *copyStatus) snapshotIDs() map[string]string {
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

// describeCopies returns the status of the copies that AWS shows, by ID.
func (group copyGroup) describeCopies(
	ctx context.Context,
	client *ec2.Client,
	ids []string,
) (map[string]copyStatus, error) {
	if group.images {
		return describeImageCopies(ctx, client, ids)
	}
	snapshots, err := describeSnapshots(ctx, client, ids)
	if err != nil {
		return nil, err
	}
	statuses := make(map[string]copyStatus, len(snapshots))
	for id, s := range snapshots {
		statuses[id] = newSnapshotStatus(s)
	}
	return statuses, nil
}

func newSnapshotStatus(s ec2types.Snapshot) copyStatus {
	status := copyStatus{
		snapshot:  &s,
		percent:   progressPercent(s),
		startedAt: aws.ToTime(s.StartTime),
		text:      aws.ToString(s.StateMessage),
	}

	switch s.State {
	case ec2types.SnapshotStateCompleted:
		status.state = completed
	case ec2types.SnapshotStatePending:
	default:
		status.state = failed
	}

	return status
}

// describeImageCopies returns the status of images. AWS shows progress and the cause of a failure only at their
// snapshots. An image names its snapshots late or never (rules 1.8.5 and 4.6.3). So the snapshots are found by our
// tags and their descriptions.
func describeImageCopies(ctx context.Context, client *ec2.Client, ids []string) (map[string]copyStatus, error) {
	statuses := make(map[string]copyStatus, len(ids))
	var sources []string
	for chunk := range slices.Chunk(ids, filterValues) {
		err := eachImage(
			ctx,
			client,
			[]ec2types.Filter{{Name: aws.String("image-id"), Values: chunk}},
			func(image ec2types.Image) {
				s := copyStatus{image: &image, percent: -1}
				switch image.State {
				case ec2types.ImageStateAvailable:
					s.state, s.percent = completed, 100
				case ec2types.ImageStatePending, ec2types.ImageStateTransient:
				default:
					s.state = failed
					if image.StateReason != nil {
						s.text = aws.ToString(image.StateReason.Message)
					}
				}

				source := tagsOf(image.Tags)[provenance.TagSource]
				if s.state != completed && source != "" && !slices.Contains(sources, source) {
					sources = append(sources, source)
				}

				statuses[aws.ToString(image.ImageId)] = s
			},
		)
		if err != nil {
			return nil, err
		}
	}

	if len(sources) == 0 {
		return statuses, nil
	}

	slices.Sort(sources)
	parts := map[string][]copyStatus{}
	err := eachSnapshot(
		ctx,
		client,
		[]ec2types.Filter{{Name: aws.String("tag:" + provenance.TagSource), Values: sources}},
		func(s ec2types.Snapshot) {
			if image := provenance.ImageOfCopy(aws.ToString(s.Description)); image != "" {
				parts[image] = append(parts[image], newSnapshotStatus(s))
			}
		},
	)
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

// withSnapshots returns the status of an image completed from its snapshots.
func (s copyStatus) withSnapshots(parts []copyStatus) copyStatus {
	sum := 0
	for _, part := range parts {
		sum += max(part.percent, 0)
		if s.startedAt.IsZero() || part.startedAt.Before(s.startedAt) {
			s.startedAt = part.startedAt
		}
		if s.state == failed && part.state == failed && part.text != "" {
			s.text = part.text
		}
	}

	if s.state != failed {
		s.percent = sum / len(parts)
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
