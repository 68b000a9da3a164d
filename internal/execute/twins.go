// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Twins are two things of ours where one was wanted: a call whose effect was seen too late, or two runs of one image at once.
// Whoever meets them keeps the older one, so that all keep the same.

// choose finds the snapshots to register with: the run's own copies, or older twins of them. What is not chosen goes.
func (t *transfer) choose(ctx context.Context, j *stepRun, s *step.RegisterImage) error {
	if j.memo.uses != nil {
		return nil
	}
	uses, bySource := map[string]string{}, map[string]*step.CopySnapshot{}
	for device, ref := range s.Snapshots {
		uses[device] = j.id(ref)
		if c := t.copies[ref.From]; c != nil && c.SealKey != nil {
			bySource[c.Mark.Source()] = c
		}
	}
	families := map[*step.CopySnapshot][]ec2types.Snapshot{}
	if len(bySource) > 0 {
		filter := ec2types.Filter{Name: aws.String("tag:" + origin.Source), Values: slices.Sorted(maps.Keys(bySource))}
		err := snapshots(ctx, t.pool.EC2(s.Location), []ec2types.Filter{filter}, func(one ec2types.Snapshot) {
			c := bySource[tagsOf(one.Tags)[origin.Source]]
			if c != nil && aws.ToString(one.Description) == c.Description {
				families[c] = append(families[c], one)
			}
		})
		if err != nil {
			return err
		}
	}
	j.memo.uses = uses
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		c := bySource[source]
		own := j.ended[c.ID].Snapshot
		t.deleteDuplicates(ctx, j, c, *own, families[c])
	}
	return nil
}

// deleteDuplicates deletes what a call of this run created beside the copy that it uses: its effect was seen too late. Copies of other runs are
// theirs.
func (t *transfer) deleteDuplicates(ctx context.Context, j *stepRun, c *step.CopySnapshot, own ec2types.Snapshot, family []ec2types.Snapshot) {
	for _, twin := range family {
		id := aws.ToString(twin.SnapshotId)
		sameRun := tagsOf(twin.Tags)[origin.Run] == tagsOf(own.Tags)[origin.Run]
		if id != aws.ToString(own.SnapshotId) && sameRun && genuine(c, twin) {
			j.memo.left = append(j.memo.left, t.discard(ctx, c.Location, id)...)
		}
	}
}

// genuine reports whether both seals prove that a run created a snapshot.
func genuine(c *step.CopySnapshot, twin ec2types.Snapshot) bool {
	mark, tags := c.Mark, tagsOf(twin.Tags)
	if twin.State == ec2types.SnapshotStateCompleted { // a pending copy shows no key yet (4.6.1)
		mark.KeyARN = aws.ToString(twin.KmsKeyId)
	}
	return mark.Prove(c.SealKey, aws.ToString(twin.SnapshotId), tags) == origin.Both || mark.WasCalled(c.SealKey, aws.ToString(twin.Description), tags)
}

// adoptImage takes the image that has the name already, when another run of ours registered it: its seals prove that. This run's
// own copies are of no use then. Nothing is taken by its name alone. unproven: an image has the name and the first seal, and its run may
// be about to give it the second.
func (t *transfer) adoptImage(ctx context.Context, j *stepRun, s *step.RegisterImage) (id string, unproven bool, err error) {
	taken, proven, err := t.namesake(ctx, s.Location, s.ImageSpec)
	if err != nil || !proven {
		return "", taken != nil, err
	}
	if taken.State == ec2types.ImageStatePending { // a copy, which shows no devices yet, and may fail
		j.memo.looks++
		return "", false, retryAfter{step.Backoff(j.memo.looks)}
	}
	unused := map[string]bool{}
	for _, ref := range s.Snapshots {
		if ref.From != "" {
			unused[j.id(ref)] = true
		}
	}
	uses := usesOf(*taken)
	for _, id := range uses {
		delete(unused, id)
	}
	for _, id := range slices.Sorted(maps.Keys(unused)) {
		j.memo.left = append(j.memo.left, t.discard(ctx, s.Location, id)...)
	}
	j.memo.uses, j.memo.adopted = uses, true
	return aws.ToString(taken.ImageId), false, nil
}

// namesake is the image that has a wanted name and the tags of its source, and whether both its seals prove that a run of ours made it.
// nil: there is none, or its first seal is wrong.
func (t *transfer) namesake(ctx context.Context, at distribution.Location, like step.ImageSpec) (taken *ec2types.Image, proven bool, err error) {
	filter := ec2types.Filter{Name: aws.String("tag:" + origin.Source), Values: []string{like.Mark.Source()}}
	err = images(ctx, t.pool.EC2(at), []ec2types.Filter{filter}, func(image ec2types.Image) {
		proof := like.Mark.Prove(like.SealKey, aws.ToString(image.ImageId), tagsOf(image.Tags))
		if aws.ToString(image.Name) == like.Name && proof != origin.None {
			taken, proven = &image, proof == origin.Both
		}
	})
	return taken, proven, err
}

// images goes through the account's own images that pass the filters.
func images(ctx context.Context, client *ec2.Client, filters []ec2types.Filter, each func(ec2types.Image)) error {
	pages := ec2.NewDescribeImagesPaginator(client, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: filters, MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, image := range page.Images {
			each(image)
		}
	}
	return nil
}
