// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deleteDuplicates deletes the snapshots of a copy step beside the one that it uses: AWS executed a call whose answer was
// lost, and showed its effect too late.
func (t *executor) deleteDuplicates(ctx context.Context, j *stepRun, s *step.RegisterImage) error {
	if j.state.snapshotIDs != nil {
		return nil
	}
	used := map[string]string{}
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		ref := s.Snapshots[device]
		used[device] = j.id(ref)
		c := t.copies[ref.From]
		if c == nil || !j.outcomes[c.ID].Repeated {
			continue
		}
		token := c.Signing.Token(fmt.Sprintf("%s %d", c.ID, 1))
		found, err := t.snapshotsOfCall(ctx, c.Location, c.Signing, token)
		if err != nil {
			return err
		}
		for _, duplicate := range found {
			if id := aws.ToString(duplicate.SnapshotId); id != used[device] {
				j.state.retained = append(j.state.retained, t.discard(ctx, c.Location, id)...)
			}
		}
	}
	j.state.snapshotIDs = used
	return nil
}

// adoptImage takes the image that has the name already, when another run registered it: its signature proves that. This
// run's own copies are deleted then. Nothing is taken by its name alone. isUnproven: an image of the source image has the
// name, and its run may be about to sign it.
func (t *executor) adoptImage(ctx context.Context, j *stepRun, s *step.RegisterImage) (id string, isUnproven bool, err error) {
	taken, isSigned, err := t.namesake(ctx, s.ImageSpec)
	if err != nil || !isSigned {
		return "", taken != nil, err
	}
	if taken.State == ec2types.ImageStatePending { // a copy, which shows no devices yet, and may fail
		j.state.polls++
		return "", false, retryAfter{step.Backoff(j.state.polls)}
	}
	unused := map[string]bool{}
	for _, ref := range s.Snapshots {
		if ref.From != "" {
			unused[j.id(ref)] = true
		}
	}
	uses := snapshotsByDevice(*taken)
	for _, id := range uses {
		delete(unused, id)
	}
	for _, id := range slices.Sorted(maps.Keys(unused)) {
		j.state.retained = append(j.state.retained, t.discard(ctx, s.Location, id)...)
	}
	j.state.snapshotIDs, j.state.adopted = uses, true
	return aws.ToString(taken.ImageId), false, nil
}

// namesake returns the image that has the wanted name and comes from the same source image, and whether it is signed as a
// delivery. Nil if there is none.
func (t *executor) namesake(ctx context.Context, spec step.ImageSpec) (taken *ec2types.Image, isSigned bool, err error) {
	statement := spec.Signing.Statement
	at := distribution.Location{Account: statement.Account, Region: statement.Region}
	filter := ec2types.Filter{Name: aws.String("tag:" + provenance.TagSource), Values: []string{statement.Source.String()}}
	err = eachImage(ctx, t.pool.EC2(at), []ec2types.Filter{filter}, func(image ec2types.Image) {
		if aws.ToString(image.Name) == spec.Name {
			taken = &image
		}
	})
	if err != nil || taken == nil {
		return nil, false, err
	}
	j, err := t.judge(ctx, distribution.ImageResource(at, *taken, nil, provenance.Expected{}))
	return taken, j.Signed != nil && j.Signed.Role == statement.Role, err
}

// images goes through the account's own images that pass the filters.
func eachImage(ctx context.Context, client *ec2.Client, filters []ec2types.Filter, each func(ec2types.Image)) error {
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
