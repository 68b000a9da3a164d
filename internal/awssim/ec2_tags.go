// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var tagOperations = []namedOperation{
	newOperation((*World).createTags),
	newOperation((*World).deleteTags),
	newOperation((*World).describeTags),
}

// ec2Resource holds the type, owner and tags of an EC2 resource.
type ec2Resource struct {
	resourceType types.ResourceType
	location     location
	tags         map[string]string

	earlier []earlierTags // within staleReadWindow
}

// Limits of tags in EC2, KMS and SSM. Tags with the prefix aws: do not count.
const (
	maxTags           = 50
	maxTagKeyLength   = 128 // in characters
	maxTagValueLength = 256
)

// tagNewResource registers a resource that the call creates, with the tags for its type in the request.
func (w *World) tagNewResource(
	c *Call, id string, kind types.ResourceType, specs []types.TagSpecification,
) []types.Tag {
	w.resources[id] = &ec2Resource{resourceType: kind, location: c.location(), tags: tagsFor(kind, specs)}
	return w.tagsOf(id)
}

func tagsFor(kind types.ResourceType, specs []types.TagSpecification) map[string]string {
	tags := map[string]string{}
	for _, spec := range specs {
		if spec.ResourceType == kind {
			for _, tag := range spec.Tags {
				tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
			}
		}
	}
	return tags
}

// tagsOf returns a resource's tags, sorted by key. Nil if it has none.
func (w *World) tagsOf(id string) []types.Tag {
	known, ok := w.resources[id]
	if !ok {
		return nil
	}
	return tagList(known.tags)
}

// tagsSeen returns a resource's tags as a describe call sees them. A stale read misses the latest changes (4.4.1).
func (w *World) tagsSeen(c *Call, id string) []types.Tag {
	known, ok := w.taggedBy(c, id)
	if !ok {
		return nil
	}
	if w.violates(c, "4.4.1", c.fault == StaleRead) {
		return tagList(known.tagsAt(c.At.Add(-staleReadWindow)))
	}
	return tagList(known.tags)
}

// recipientTagsKey identifies the tags that an account assigned to a resource of another account.
type recipientTagsKey struct{ account, id string }

// taggedBy returns the tags that the caller assigned to a resource. Owner and recipients of a shared resource see only
// their own tags.
func (w *World) taggedBy(c *Call, id string) (*ec2Resource, bool) {
	known, ok := w.resources[id]
	if !ok {
		return nil, false
	}
	if w.violates(c, "B.7.2", known.location.account != c.location().account) {
		known, ok = w.recipientTags[recipientTagsKey{c.location().account, id}]
	}
	return known, ok
}

// taggableBy returns what the caller can tag: its own resource, or a snapshot or image that it can read.
func (w *World) taggableBy(c *Call, id string) *ec2Resource {
	known, ok := w.resources[id]
	switch {
	case !ok || known.location.region != c.Region:
		return nil
	case known.location == c.location():
		return known
	case !w.canReadResource(c, id):
		return nil
	}

	key := recipientTagsKey{c.location().account, id}
	if w.recipientTags[key] == nil {
		w.recipientTags[key] = &ec2Resource{
			resourceType: known.resourceType,
			location:     c.location(),
			tags:         map[string]string{},
		}
	}
	return w.recipientTags[key]
}

// canReadResource reports whether the caller can read a snapshot or image of another account.
func (w *World) canReadResource(c *Call, id string) bool {
	if _, ok := w.findReadableSnapshot(c.location().account, c.Region, id); ok {
		return true
	}
	i, ok := w.images.get(id)
	return ok && i.location.region == c.Region && w.canLaunch(c, c.location().account, i)
}

// tagList returns tags in the order of their keys. Nil for none.
func tagList(tags map[string]string) (list []types.Tag) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: &key, Value: aws.String(tags[key])})
	}
	return list
}

// validateTagSpecifications checks the tags of a request that creates resources.
func (w *World) validateTagSpecifications(c *Call, specs []types.TagSpecification, kinds ...types.ResourceType) error {
	for _, spec := range specs {
		if w.violates(c, "2.5.7", !slices.Contains(kinds, spec.ResourceType)) {
			return badRequest(
				"InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", spec.ResourceType,
			)
		}

		seen := map[string]bool{}
		for _, tag := range spec.Tags {
			key := aws.ToString(tag.Key)
			if seen[key] {
				return badRequest("InvalidParameterValue", "Duplicate tag key '%s' specified.", key)
			}
			seen[key] = true
		}

		if err := w.validateTags(c, spec.Tags); err != nil {
			return err
		}
	}

	return nil
}

// validateTags checks the keys, values and number of tags (EC2-UG:Using_Tags).
func (w *World) validateTags(c *Call, tags []types.Tag) error {
	for _, tag := range tags {
		key, value := aws.ToString(tag.Key), aws.ToString(tag.Value)
		switch {
		case key == "":
			return badRequest("InvalidParameterValue", "Tag key cannot be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:") && !c.caller.isAutoScaling():
			return badRequest("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case w.violates(c, "B.7.1", len([]rune(key)) > maxTagKeyLength):
			return badRequest(
				"InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKeyLength,
			)
		case w.violates(c, "B.7.1", len([]rune(value)) > maxTagValueLength):
			return badRequest(
				"InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValueLength,
			)
		}
	}

	if len(tags) > maxTags {
		return badRequest("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}

	return nil
}

// resourceTagContext returns the condition keys of a resource's tags.
func (w *World) resourceTagContext(id string) iampolicy.Context {
	if known, ok := w.resources[id]; ok {
		return known.tagContext()
	}
	return iampolicy.Context{}
}

func (l *ec2Resource) tagContext() iampolicy.Context {
	context := iampolicy.Context{}
	for key, value := range l.tags {
		context["aws:ResourceTag/"+key], context["ec2:ResourceTag/"+key] = []string{value}, []string{value}
	}
	return context
}

// findTaggable returns the caller's resources in a call on tags. An element is nil if the resource does not exist.
func (w *World) findTaggable(c *Call, ids []string, tags []types.Tag) ([]*ec2Resource, []AuthorizationRequest) {
	found, requests := make([]*ec2Resource, len(ids)), make([]AuthorizationRequest, len(ids))
	requested := requestTagContext(parseTags(tags, func(t types.Tag) (string, string) {
		return aws.ToString(t.Key), aws.ToString(t.Value)
	}))

	for i, id := range ids {
		resource := resourceTypeOfID(id) + "/" + id
		requests[i] = newAuthorization(c, c.location(), resource)
		if known := w.taggableBy(c, id); known != nil {
			found[i] = known
			requests[i] = newAuthorization(c, c.location(), string(known.resourceType)+"/"+id).withContext(known.tagContext())
		}
		requests[i] = requests[i].withContext(requested)
	}

	return found, requests
}

// resourceTypeOfID returns the resource type that the prefix of an ID stands for.
func resourceTypeOfID(id string) string {
	prefix, _, _ := strings.Cut(id, "-")
	kind, known := map[string]string{
		"snap": "snapshot",
		"ami":  "image",
		"vol":  "volume",
		"i":    "instance",
		"sg":   "security-group",
		"lt":   "launch-template",
		"key":  "key-pair",
	}[prefix]
	if known {
		return kind
	}

	return "*"
}

// resourceNotFound returns the error for tagging a resource that does not exist. It depends on the resource type.
func resourceNotFound(id string) *APIError {
	switch resourceTypeOfID(id) {
	case "snapshot":
		return badRequest("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	case "image":
		return badRequest("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	case "volume":
		return volumeNotFound(id)
	case "instance":
		return badRequest("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	return badRequest("InvalidID", "The ID '%s' is not valid", id)
}

func (w *World) createTags(c *Call, in *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error) {
	switch {
	case len(in.Resources) == 0:
		return nil, missingParameter("resourceIdSet")
	case len(in.Tags) == 0:
		return nil, missingParameter("tagSet")
	}

	if err := w.validateTags(c, in.Tags); err != nil {
		return nil, err
	}

	found, requests := w.findTaggable(c, in.Resources, in.Tags)
	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	for i, one := range found {
		if one == nil {
			return nil, resourceNotFound(in.Resources[i])
		}
		tags := maps.Clone(one.tags)
		for _, tag := range in.Tags {
			tags[*tag.Key] = aws.ToString(tag.Value)
		}
		if len(tags) > maxTags {
			return nil, badRequest("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
		}
	}

	for i, one := range found {
		one.changeTags(c.At, func(tags map[string]string) {
			for _, tag := range in.Tags {
				tags[*tag.Key] = aws.ToString(tag.Value)
			}
		})
		c.changedIDs = append(c.changedIDs, in.Resources[i])
	}

	return &ec2.CreateTagsOutput{}, nil
}

// deleteTags deletes tags by key and, if given, by value. Without tags it deletes all.
func (w *World) deleteTags(c *Call, in *ec2.DeleteTagsInput) (*ec2.DeleteTagsOutput, error) {
	if len(in.Resources) == 0 {
		return nil, missingParameter("resourceIdSet")
	}

	found, requests := w.findTaggable(c, in.Resources, in.Tags)
	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	for i, one := range found {
		if one == nil {
			return nil, resourceNotFound(in.Resources[i])
		}
	}

	for i, one := range found {
		one.changeTags(c.At, func(tags map[string]string) {
			if len(in.Tags) == 0 {
				clear(tags)
			}
			for _, tag := range in.Tags {
				if tag.Value == nil || tags[aws.ToString(tag.Key)] == *tag.Value {
					delete(tags, aws.ToString(tag.Key))
				}
			}
		})
		c.changedIDs = append(c.changedIDs, in.Resources[i])
	}

	return &ec2.DeleteTagsOutput{}, nil
}

// maxTagsPage is the most tags on a page of DescribeTags.
const maxTagsPage = 1000

func (w *World) describeTags(c *Call, in *ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
	if err := w.validatePage(c, "", 0, in.MaxResults); err != nil {
		return nil, err
	}

	for _, filter := range in.Filters {
		if aws.ToString(filter.Name) == "tag-key" { // a filter of the other describe calls only
			return nil, badRequest("InvalidParameterValue", "The filter 'tag-key' is invalid")
		}
	}

	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	var all []types.TagDescription
	for _, id := range slices.Sorted(maps.Keys(w.resources)) {
		known, ok := w.taggedBy(c, id)
		if !ok || known.location != c.location() || !w.isVisible(c, w.createdAt(id)) {
			continue
		}

		for _, tag := range w.tagsSeen(c, id) {
			all = append(all, types.TagDescription{
				ResourceId:   &id,
				ResourceType: known.resourceType,
				Key:          tag.Key,
				Value:        tag.Value,
			})
		}
	}

	all, err := tagFilters.filter(all, in.Filters)
	if err != nil {
		return nil, err
	}

	all, next, err := paginate(
		all, aws.Int32(min(maxTagsPage, cmp.Or(aws.ToInt32(in.MaxResults), maxTagsPage))), in.NextToken,
	)

	return &ec2.DescribeTagsOutput{Tags: all, NextToken: next}, err
}

var tagFilters = filterFields[types.TagDescription]{
	tags: tagOfDescription,
	values: map[string]func(types.TagDescription) []string{
		"key":           func(t types.TagDescription) []string { return []string{*t.Key} },
		"resource-id":   func(t types.TagDescription) []string { return []string{*t.ResourceId} },
		"resource-type": func(t types.TagDescription) []string { return []string{string(t.ResourceType)} },
		"value":         func(t types.TagDescription) []string { return []string{*t.Value} },
	},
}

// tagOfDescription returns the tag of a description, for the filter tag:<key>. DescribeTags has no filter tag-key.
func tagOfDescription(t types.TagDescription) []types.Tag {
	return []types.Tag{{Key: t.Key, Value: t.Value}}
}
