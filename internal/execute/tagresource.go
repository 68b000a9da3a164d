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

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

func (t *transfer) tagResource(ctx context.Context, j *stepRun, s *step.TagResource) StepOutcome {
	id := j.id(s.Resource)
	err := t.tag(ctx, s.Location, id, s.Tags)
	if awsclient.IsNotFound(err) && j.patient() { // 4.4.1
		return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
	}
	return StepOutcome{Made: id, Err: err}
}

// sign signs what a step has created, as soon as its id is known. If that is denied, the run goes on and says so: a
// resource without a signature is never published, and no later run uses it.
func (t *transfer) sign(ctx context.Context, j *stepRun, signing step.Signing) error {
	if j.memo.sealed {
		return nil
	}
	lasting, release := grace(ctx)
	defer release()
	id := j.memo.made
	err := t.tag(lasting, j.head.Location, id, signing.Tags(id))
	if awsclient.IsNotFound(err) && j.patient() { // 4.4.1
		return retryAfter{step.Backoff(j.memo.looks)}
	}
	j.memo.sealed = true
	t.noteUnsigned(ctx, j, id, err)
	return nil
}

// noteUnsigned notes that a resource could not be signed. Nil means that it was.
func (t *transfer) noteUnsigned(ctx context.Context, j *stepRun, id string, err error) {
	if f := explain(ctx, t.pool, "", j.step, err); f != nil {
		j.memo.refused = true
		f.Level, f.Resource, f.Summary = distribution.Warning, id, "the signature could not be written to "+id
		j.memo.notes = append(j.memo.notes, *f)
	}
}

func (t *transfer) tag(ctx context.Context, at distribution.Location, id string, tags map[string]string) error {
	_, err := t.pool.EC2(at).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tagList(tags)})
	return err
}

func tagsOf(list []ec2types.Tag) map[string]string {
	tags := make(map[string]string, len(list))
	for _, tag := range list {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags
}

// tagged are the tags that a thing gets in the call that makes it (9.4).
func tagged(kind ec2types.ResourceType, tags map[string]string) []ec2types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: tagList(tags)}}
}

func tagList(tags map[string]string) []ec2types.Tag {
	list := make([]ec2types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, ec2types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}
