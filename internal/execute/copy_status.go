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

// sight is a copy as AWS shows it.
type copyStatus struct {
	snapshot  *ec2types.Snapshot // or
	image     *ec2types.Image
	state     copyState
	percent   int       // 0 to 100; -1 when AWS shows none
	startedAt time.Time // zero when AWS does not tell
	text      string    // why it failed, as far as AWS tells
}

// state of a copy.
type copyState int

const (
	inProgress copyState = iota
	completed
	failed
)

// operation that made the copy.
func (s *copyStatus) operation() string {
	if s.image != nil {
		return "ec2:CopyImage"
	}
	return "ec2:CopySnapshot"
}

// what the copy is, and its id.
func (s *copyStatus) resource() (kind, id string) {
	if s.image != nil {
		return "image", aws.ToString(s.image.ImageId)
	}
	return "snapshot", aws.ToString(s.snapshot.SnapshotId)
}

// uses are the snapshots that a copied image starts from, by device; nil for a snapshot.
func (s *copyStatus) snapshotIDs() map[string]string {
	if s.image == nil {
		return nil
	}
	return snapshotsByDevice(*s.image)
}

// usesOf are the snapshots that an image starts from, by device.
func snapshotsByDevice(image ec2types.Image) map[string]string {
	uses := map[string]string{}
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			uses[aws.ToString(m.DeviceName)] = *m.Ebs.SnapshotId
		}
	}
	return uses
}

// look shows those of the copies of these ids that AWS shows.
func (at copyGroup) describeCopies(ctx context.Context, client *ec2.Client, ids []string) (map[string]copyStatus, error) {
	if at.images {
		return describeImageCopies(ctx, client, ids)
	}
	seen, err := describeSnapshots(ctx, client, ids)
	if err != nil {
		return nil, err
	}
	sights := make(map[string]copyStatus, len(seen))
	for id, s := range seen {
		sights[id] = newSnapshotStatus(s)
	}
	return sights, nil
}

func newSnapshotStatus(s ec2types.Snapshot) copyStatus {
	seen := copyStatus{snapshot: &s, percent: progressPercent(s), startedAt: aws.ToTime(s.StartTime), text: aws.ToString(s.StateMessage)}
	switch s.State {
	case ec2types.SnapshotStateCompleted:
		seen.state = completed
	case ec2types.SnapshotStatePending:
	default:
		seen.state = failed
	}
	return seen
}

// lookAtImages shows images. Of their progress, and of the true cause of a failure, AWS tells nothing but in their snapshots, which it names in
// the image late or not at all (1.8.5, 4.6.3): they are found by our tags and by what their descriptions say.
func describeImageCopies(ctx context.Context, client *ec2.Client, ids []string) (map[string]copyStatus, error) {
	seen := make(map[string]copyStatus, len(ids))
	var sources []string
	for some := range slices.Chunk(ids, filterValues) {
		err := eachImage(ctx, client, []ec2types.Filter{{Name: aws.String("image-id"), Values: some}}, func(image ec2types.Image) {
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
			seen[aws.ToString(image.ImageId)] = s
		})
		if err != nil {
			return nil, err
		}
	}
	if len(sources) == 0 {
		return seen, nil
	}
	slices.Sort(sources)
	parts := map[string][]copyStatus{}
	err := eachSnapshot(ctx, client, []ec2types.Filter{{Name: aws.String("tag:" + provenance.TagSource), Values: sources}}, func(s ec2types.Snapshot) {
		if image := provenance.ImageOfCopy(aws.ToString(s.Description)); image != "" {
			parts[image] = append(parts[image], newSnapshotStatus(s))
		}
	})
	if err != nil {
		return seen, nil //nolint:nilerr // progress is worth nothing but to be shown
	}
	for id, s := range seen {
		if s.state != completed && len(parts[id]) > 0 {
			seen[id] = s.withSnapshots(parts[id])
		}
	}
	return seen, nil
}

// with is a copy of an image with what its snapshots tell.
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

// percentOf reads AWS's "42%"; -1 where it shows none (4.6.3).
func progressPercent(s ec2types.Snapshot) int {
	percent, err := strconv.Atoi(strings.TrimSuffix(aws.ToString(s.Progress), "%"))
	if err != nil {
		return -1
	}
	return percent
}

// describe finds the account's own snapshots by id, those that AWS shows. Filters, unlike ids, do not make one missing snapshot
// an error for all.
func describeSnapshots(ctx context.Context, client *ec2.Client, ids []string) (map[string]ec2types.Snapshot, error) {
	found := make(map[string]ec2types.Snapshot, len(ids))
	for some := range slices.Chunk(ids, filterValues) {
		err := eachSnapshot(ctx, client, []ec2types.Filter{{Name: aws.String("snapshot-id"), Values: some}}, func(s ec2types.Snapshot) {
			found[aws.ToString(s.SnapshotId)] = s
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// snapshots goes through the account's own snapshots that pass the filters. A page may be empty and not be the last (4.3.2).
func eachSnapshot(ctx context.Context, client *ec2.Client, filters []ec2types.Filter, each func(ec2types.Snapshot)) error {
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
