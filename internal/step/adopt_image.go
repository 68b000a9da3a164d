// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

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
)

// deleteDuplicates deletes the duplicate snapshots of copy steps. They exist if AWS executed a call whose response
// was lost, but showed the snapshot too late.
func (r *Run) deleteDuplicates(ctx context.Context, a *attempt, s *RegisterImage) error {
	if a.snapshotIDs != nil {
		return nil
	}

	snapshotIDs := map[string]string{}
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		ref := s.Snapshots[device]
		snapshotIDs[device] = a.id(ref)
		copied := r.copies[ref.From]
		if copied == nil || !a.outcomes.Of(copied.ID).Repeated {
			continue
		}

		token := copied.Signing.Token(fmt.Sprintf("%s %d", copied.ID, 1))
		found, err := r.snapshotsOfCall(ctx, copied.Location, copied.Signing, token)
		if err != nil {
			return err
		}

		for _, duplicate := range found {
			if id := aws.ToString(duplicate.SnapshotId); id != snapshotIDs[device] {
				a.retained = append(a.retained, r.discard(ctx, copied.Location, id)...)
			}
		}
	}

	a.snapshotIDs = snapshotIDs
	return nil
}

// adoptImage adopts the image that has the name, if its signature proves that another run registered it. A name
// alone proves nothing. It then deletes this run's unused copies. isUnproven reports whether the image with the name
// has the same source but no signature. Its run may be about to sign it.
func (r *Run) adoptImage(
	ctx context.Context,
	a *attempt,
	s *RegisterImage,
) (id string, isUnproven bool, err error) {
	existing, isSigned, err := r.namesake(ctx, s.ImageSpec)
	if err != nil || !isSigned {
		return "", existing != nil, err
	}

	if existing.State == ec2types.ImageStatePending { // a copy, which shows no devices yet and may fail
		a.polls++
		return "", false, RetryAfter{Backoff(a.polls)}
	}

	unused := map[string]bool{}
	for _, ref := range s.Snapshots {
		if ref.From != "" {
			unused[a.id(ref)] = true
		}
	}

	snapshotIDs := snapshotsByDevice(*existing)
	for _, id := range snapshotIDs {
		delete(unused, id)
	}

	for _, id := range slices.Sorted(maps.Keys(unused)) {
		a.retained = append(a.retained, r.discard(ctx, s.Location, id)...)
	}

	a.snapshotIDs, a.adopted = snapshotIDs, true
	return aws.ToString(existing.ImageId), false, nil
}

// namesake returns the image that has the wanted name and the same source image. Nil if there is none. isSigned
// reports whether a run signed it as a delivery.
func (r *Run) namesake(
	ctx context.Context,
	spec ImageSpec,
) (existing *ec2types.Image, isSigned bool, err error) {
	statement := spec.Signing.Statement
	at := distribution.Location{Account: statement.Account, Region: statement.Region}
	filter := ec2types.Filter{Name: aws.String("tag:" + provenance.TagSource), Values: []string{statement.Source.String()}}
	err = eachImage(ctx, r.Clients.EC2(at), []ec2types.Filter{filter}, func(image ec2types.Image) {
		if aws.ToString(image.Name) == spec.Name {
			existing = &image
		}
	})

	if err != nil || existing == nil {
		return nil, false, err
	}

	j, err := r.judge(ctx, distribution.ImageResource(at, *existing, nil, provenance.Expected{}))
	return existing, j.Signed != nil && j.Signed.Role == statement.Role, err
}

// eachImage calls each for the account's own images that match the filters.
func eachImage(ctx context.Context, client *ec2.Client, filters []ec2types.Filter, each func(ec2types.Image)) error {
	pages := ec2.NewDescribeImagesPaginator(
		client,
		&ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: filters, MaxResults: aws.Int32(1000)},
	)
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
