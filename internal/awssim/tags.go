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

var tagOperations = []named{
	op((*World).createTags),
	op((*World).deleteTags),
	op((*World).describeTags),
}

// label is what is known of every resource of EC2: what it is, whose, and its tags.
type label struct {
	kind types.ResourceType
	home place
	tags map[string]string

	earlier []earlierTags // within staleFor
}

// maxTags is how many tags a resource may have; those of aws: do not count.
const maxTags = 50

// tagNew notes a resource that the call makes, with the tags that its request gives to resources of that kind.
func (w *World) tagNew(c *Call, id string, kind types.ResourceType, specs []types.TagSpecification) []types.Tag {
	w.labels[id] = &label{kind: kind, home: c.place(), tags: tagsFor(kind, specs)}
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

// tagsOf are a resource's tags, sorted by key; nil for none.
func (w *World) tagsOf(id string) []types.Tag {
	known, there := w.labels[id]
	if !there {
		return nil
	}
	return tagList(known.tags)
}

// tagsSeen returns a resource's tags as a describe call sees them. A stale read misses the latest changes (4.4.1).
func (w *World) tagsSeen(c *Call, id string) []types.Tag {
	known, there := w.labels[id]
	if !there {
		return nil
	}
	if w.breaks(c, "4.4.1", c.fault == StaleRead) {
		return tagList(known.tagsAt(c.At.Add(-staleFor)))
	}
	return tagList(known.tags)
}

// tagList returns tags in the order of their keys. Nil for none.
func tagList(tags map[string]string) (list []types.Tag) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: &key, Value: aws.String(tags[key])})
	}
	return list
}

// checkTags judges the tags of a request that makes something: each for a kind that the request makes.
func (w *World) checkTags(c *Call, specs []types.TagSpecification, kinds ...types.ResourceType) error {
	for _, spec := range specs {
		if w.breaks(c, "2.5.7", !slices.Contains(kinds, spec.ResourceType)) {
			return invalid("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", spec.ResourceType)
		}
		seen := map[string]bool{}
		for _, tag := range spec.Tags {
			key := aws.ToString(tag.Key)
			if seen[key] {
				return invalid("InvalidParameterValue", "Duplicate tag key '%s' specified.", key)
			}
			seen[key] = true
		}
		if err := checkTagList(spec.Tags); err != nil {
			return err
		}
	}
	return nil
}

// checkTagList judges tags by themselves (EC2-UG:Using_Tags).
func checkTagList(tags []types.Tag) error {
	for _, tag := range tags {
		key, value := aws.ToString(tag.Key), aws.ToString(tag.Value)
		switch {
		case key == "":
			return invalid("InvalidParameterValue", "Tag key cannot be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return invalid("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case len([]rune(key)) > 127:
			return invalid("InvalidParameterValue", "Tag key exceeds the maximum length of 127 characters")
		case len([]rune(value)) > 255:
			return invalid("InvalidParameterValue", "Tag value exceeds the maximum length of 255 characters")
		}
	}
	if len(tags) > maxTags {
		return invalid("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return nil
}

// resourceTags is what a resource's tags say to conditions.
func (w *World) resourceTags(id string) iampolicy.Context {
	context := iampolicy.Context{}
	if known, there := w.labels[id]; there {
		for key, value := range known.tags {
			context["aws:ResourceTag/"+key], context["ec2:ResourceTag/"+key] = []string{value}, []string{value}
		}
	}
	return context
}

// taggable finds the caller's resources that a call on tags names; nil for one that is not there.
func (w *World) taggable(c *Call, ids []string, tags []types.Tag) ([]*label, []Ask) {
	found, asks := make([]*label, len(ids)), make([]Ask, len(ids))
	requested := tagContext(tagMap(tags, func(t types.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) }))
	for i, id := range ids {
		resource := kindOfID(id) + "/" + id
		if known, there := w.labels[id]; there && known.home == c.place() {
			found[i], resource = known, string(known.kind)+"/"+id
		}
		asks[i] = ask(c, c.place(), resource).with(w.resourceTags(id)).with(requested)
	}
	return found, asks
}

// kindOfID tells from an id what kind of resource it would be.
func kindOfID(id string) string {
	prefix, _, _ := strings.Cut(id, "-")
	if kind, known := map[string]string{"snap": "snapshot", "ami": "image", "vol": "volume", "i": "instance", "sg": "security-group", "lt": "launch-template", "key": "key-pair"}[prefix]; known {
		return kind
	}
	return "*"
}

// unknownResource refuses to tag what is not there, in the words of its kind.
func unknownResource(id string) *Refusal {
	switch kindOfID(id) {
	case "snapshot":
		return invalid("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	case "image":
		return invalid("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	case "volume":
		return noVolume(id)
	case "instance":
		return invalid("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	return invalid("InvalidID", "The ID '%s' is not valid", id)
}

func (w *World) createTags(c *Call, in *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error) {
	switch {
	case len(in.Resources) == 0:
		return nil, missing("resourceIdSet")
	case len(in.Tags) == 0:
		return nil, missing("tagSet")
	}
	if err := checkTagList(in.Tags); err != nil {
		return nil, err
	}
	found, asks := w.taggable(c, in.Resources, in.Tags)
	if err := w.authorise(c, asks...); err != nil {
		return nil, err
	}
	for i, one := range found {
		if one == nil {
			return nil, unknownResource(in.Resources[i])
		}
		tags := maps.Clone(one.tags)
		for _, tag := range in.Tags {
			tags[*tag.Key] = aws.ToString(tag.Value)
		}
		if len(tags) > maxTags {
			return nil, invalid("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
		}
	}
	for i, one := range found {
		one.changeTags(c.At, func(tags map[string]string) {
			for _, tag := range in.Tags {
				tags[*tag.Key] = aws.ToString(tag.Value)
			}
		})
		c.made = append(c.made, in.Resources[i])
	}
	return &ec2.CreateTagsOutput{}, nil
}

// deleteTags deletes the tags with the keys, and values if given; without any, all of them.
func (w *World) deleteTags(c *Call, in *ec2.DeleteTagsInput) (*ec2.DeleteTagsOutput, error) {
	if len(in.Resources) == 0 {
		return nil, missing("resourceIdSet")
	}
	found, asks := w.taggable(c, in.Resources, in.Tags)
	if err := w.authorise(c, asks...); err != nil {
		return nil, err
	}
	for i, one := range found {
		if one == nil {
			return nil, unknownResource(in.Resources[i])
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
		c.made = append(c.made, in.Resources[i])
	}
	return &ec2.DeleteTagsOutput{}, nil
}

// maxTagsPage is the most tags on a page of DescribeTags.
const maxTagsPage = 1000

func (w *World) describeTags(c *Call, in *ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
	if err := w.checkPage(c, "", 0, in.MaxResults); err != nil {
		return nil, err
	}
	for _, filter := range in.Filters {
		if aws.ToString(filter.Name) == "tag-key" { // as other describe calls know it
			return nil, invalid("InvalidParameterValue", "The filter 'tag-key' is invalid")
		}
	}
	if err := w.authorise(c, anything(c)); err != nil {
		return nil, err
	}
	var all []types.TagDescription
	for _, id := range slices.Sorted(maps.Keys(w.labels)) {
		known := w.labels[id]
		if known.home != c.place() || !w.settled(c, w.createdAt(id)) {
			continue
		}
		for _, tag := range w.tagsSeen(c, id) {
			all = append(all, types.TagDescription{ResourceId: &id, ResourceType: known.kind, Key: tag.Key, Value: tag.Value})
		}
	}
	all, err := tagFacets.filter(all, in.Filters)
	if err != nil {
		return nil, err
	}
	all, next, err := page(all, aws.Int32(min(maxTagsPage, cmp.Or(aws.ToInt32(in.MaxResults), maxTagsPage))), in.NextToken)
	return &ec2.DescribeTagsOutput{Tags: all, NextToken: next}, err
}

var tagFacets = facets[types.TagDescription]{tags: tagOfDescription, values: map[string]func(types.TagDescription) []string{
	"key":           func(t types.TagDescription) []string { return []string{*t.Key} },
	"resource-id":   func(t types.TagDescription) []string { return []string{*t.ResourceId} },
	"resource-type": func(t types.TagDescription) []string { return []string{string(t.ResourceType)} },
	"value":         func(t types.TagDescription) []string { return []string{*t.Value} },
}}

// tagOfDescription lets the filter tag:<key> look at a tag. The filter tag-key is none of DescribeTags.
func tagOfDescription(t types.TagDescription) []types.Tag {
	return []types.Tag{{Key: t.Key, Value: t.Value}}
}
