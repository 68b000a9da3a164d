// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Store keeps the records of the runs of one source image.
type Store interface {
	// List returns all records.
	List(ctx context.Context) ([]Record, error)
	// Put writes the record of the calling run, for the first time or as a renewal.
	Put(ctx context.Context, r Record) error
	// End records that the calling run has ended.
	End(ctx context.Context, r Record) error
	// Delete deletes a record if it has not changed since List returned it. It also succeeds if the record has changed or
	// does not exist.
	Delete(ctx context.Context, r Record) error
}

// TagStore keeps each record in a tag of the source image.
type TagStore struct {
	Client  *ec2.Client // of the source image's owner, in its Region
	ImageID string
}

var _ Store = TagStore{}

// List implements Store.
func (s TagStore) List(ctx context.Context) ([]Record, error) {
	tags, err := s.Tags(ctx)
	if err != nil {
		return nil, err
	}
	var records []Record
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		r, ok, err := parseRecord(key, tags[key])
		switch {
		case err != nil:
			return nil, err
		case ok:
			records = append(records, r)
		}
	}
	return records, nil
}

// Put implements Store.
func (s TagStore) Put(ctx context.Context, r Record) error {
	key, value := r.tag()
	return s.write(ctx, map[string]string{key: value})
}

// End implements Store.
func (s TagStore) End(ctx context.Context, r Record) error {
	r.Ended = true
	return s.Put(ctx, r)
}

// Delete implements Store. EC2 deletes a tag only if it has the value that the call names.
func (s TagStore) Delete(ctx context.Context, r Record) error {
	key, value := r.tag()
	_, err := s.Client.DeleteTags(ctx, &ec2.DeleteTagsInput{
		Resources: []string{s.ImageID},
		Tags:      []types.Tag{{Key: &key, Value: &value}},
	})
	return err
}

// Tags returns all tags of the source image.
func (s TagStore) Tags(ctx context.Context) (map[string]string, error) {
	tags := map[string]string{}
	pages := ec2.NewDescribeTagsPaginator(s.Client, &ec2.DescribeTagsInput{
		Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{s.ImageID}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, tag := range page.Tags {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
	}
	return tags, nil
}

func (s TagStore) write(ctx context.Context, tags map[string]string) error {
	in := &ec2.CreateTagsInput{Resources: []string{s.ImageID}}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	_, err := s.Client.CreateTags(ctx, in)
	return err
}

// A resource has at most 50 tags, not counting those of AWS. A run needs one for its signing key, one for its record,
// and one for the accounts that it shares with.
const (
	maxTags    = 50
	neededTags = 3
)

// ErrFewFreeTags means that the source image has too few free tags for a run.
var ErrFewFreeTags = errors.New("the source image has too few free tags")

// CheckFreeTags returns an error if the source image has too few free tags for a run.
func CheckFreeTags(tags map[string]string) error {
	used := 0
	for key := range tags {
		if !strings.HasPrefix(key, "aws:") {
			used++
		}
	}
	if free := maxTags - used; free < neededTags {
		return fmt.Errorf("%w: %d of %d; a run needs %d", ErrFewFreeTags, free, maxTags, neededTags)
	}
	return nil
}
