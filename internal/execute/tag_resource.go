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

func (t *executor) tagResource(ctx context.Context, j *stepRun, s *step.TagResource) StepOutcome {
	id := j.id(s.Resource)
	err := t.tag(ctx, s.Location, id, s.Tags)
	if awsclient.IsNotFound(err) && j.keepPolling() { // eventual consistency (rule 4.4.1)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}
	return StepOutcome{ID: id, Err: err}
}

// sign writes the signature of a created resource as soon as its ID is known. If that is denied, the run continues
// with a warning. A resource without a signature is never published, and no later run reuses it.
func (t *executor) sign(ctx context.Context, j *stepRun, signing step.Signing) error {
	if j.state.isSigned {
		return nil
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	id := j.state.resourceID
	err := t.tag(graceCtx, j.base.Location, id, signing.Tags(id))
	if awsclient.IsNotFound(err) && j.keepPolling() { // eventual consistency (rule 4.4.1)
		return retryAfter{step.Backoff(j.state.polls)}
	}

	j.state.isSigned = true
	t.noteUnsigned(ctx, j, id, err)
	return nil
}

// noteUnsigned adds a warning that a resource could not be signed. It does nothing if err is nil.
func (t *executor) noteUnsigned(ctx context.Context, j *stepRun, id string, err error) {
	if f := explain(ctx, t.pool, "", j.step, err); f != nil {
		j.state.isSigningDenied = true
		f.Level, f.Resource, f.Summary = distribution.Warning, id, "the signature could not be written to "+id
		j.state.notes = append(j.state.notes, *f)
	}
}

func (t *executor) tag(ctx context.Context, at distribution.Location, id string, tags map[string]string) error {
	_, err := t.pool.EC2(at).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: ec2Tags(tags)})
	return err
}

func tagsOf(list []ec2types.Tag) map[string]string {
	tags := make(map[string]string, len(list))
	for _, tag := range list {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags
}

// tagSpecifications returns tags to set in a creating call (rule 9.4).
func tagSpecifications(kind ec2types.ResourceType, tags map[string]string) []ec2types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: ec2Tags(tags)}}
}

func ec2Tags(tags map[string]string) []ec2types.Tag {
	list := make([]ec2types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, ec2types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}
