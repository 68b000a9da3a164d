// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// TagResource adds tags to an existing resource.
type TagResource struct {
	Base
	Resource Ref
	Tags     map[string]string
}

func (s *TagResource) Permissions() []Permission {
	kind := "*"
	if strings.HasPrefix(s.Resource.Known, "ami-") {
		kind = "image"
	}
	return []Permission{{"ec2:CreateTags", s.Location.ResourceARN(kind, s.Resource.Known), "9.4"}}
}

func (s *TagResource) ResourceID() string { return s.Resource.Known }

func (s *TagResource) String() string {
	return fmt.Sprintf("tag %s in %s with %v", s.Resource, s.Location, slices.Sorted(maps.Keys(s.Tags)))
}

func (s *TagResource) Doing(w Words) string {
	return fmt.Sprintf("Tagging %s in %s", cmp.Or(w.ID(s.Resource), "the copy"), w.Location(s.Location))
}

var _ = register(&TagResource{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*TagResource).start(env) },
})

func (s *TagResource) start(env Env) Attempt { return newAttempt(s, env, env.tagResource) }

func (r *Run) tagResource(ctx context.Context, a *attempt, s *TagResource) (Outcome, error) {
	id := a.id(s.Resource)
	err := r.tag(ctx, s.Location, id, s.Tags)
	if awsclient.IsNotFound(err) && a.keepPolling() { // eventual consistency (rule 4.4.1)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}
	return Outcome{ID: id}, err
}

// sign writes the signature of a created resource as soon as its ID is known. If that is denied, the run continues
// with a warning. A resource without a signature is never published, and no later run reuses it.
func (r *Run) sign(ctx context.Context, a *attempt, signing Signing) error {
	if a.isSigned {
		return nil
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	id := a.resourceID
	err := r.tag(graceCtx, a.base.Location, id, signing.Tags(id))
	if awsclient.IsNotFound(err) && a.keepPolling() { // eventual consistency (rule 4.4.1)
		return RetryAfter{Backoff(a.polls)}
	}

	a.isSigned = true
	r.noteUnsigned(ctx, a, id, err)
	return nil
}

// noteUnsigned adds a warning that a resource could not be signed. It does nothing if err is nil.
func (r *Run) noteUnsigned(ctx context.Context, a *attempt, id string, err error) {
	if f := r.Explain(ctx, a.step, err); f != nil {
		a.isSigningDenied = true
		f.Level, f.Resource, f.Summary = distribution.Warning, id, "the signature could not be written to "+id
		a.notes = append(a.notes, *f)
	}
}

func (r *Run) tag(ctx context.Context, at distribution.Location, id string, tags map[string]string) error {
	_, err := r.Clients.EC2(at).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: ec2Tags(tags)})
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
