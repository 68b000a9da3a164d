// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// maxTags is the number of tags that AWS allows for one resource.
var maxTags = awslimits.Number(awslimits.Tags, awslimits.MaxCount)

// carriedTags returns the tags of a source without reserved tags of AWS and without ours, which belong to the source.
func carriedTags(tags []ec2types.Tag) map[string]string {
	carried := map[string]string{}
	for _, tag := range tags {
		if key := aws.ToString(tag.Key); !strings.HasPrefix(key, "aws:") && !provenance.IsOwnTag(key) {
			carried[key] = aws.ToString(tag.Value)
		}
	}
	return carried
}

// fitTags returns given tags, and as many of the carried ones as AWS allows beside the plugin's own. It also returns
// the keys of the others, sorted. A run must not fail because of tags that the template does not name.
func fitTags(carried, given map[string]string) (tags map[string]string, left []string) {
	tags = joined(given)
	for _, key := range slices.Sorted(maps.Keys(carried)) {
		switch _, isGiven := given[key]; {
		case isGiven:
		case len(tags)+provenance.OwnTags < maxTags:
			tags[key] = carried[key]
		default:
			left = append(left, key)
		}
	}
	return tags, left
}

// copiedSnapshotTags returns the tags of a destination's copy of a snapshot: those of the template, and as many of the
// source snapshot's as the limit allows. It returns the keys of the others.
func copiedSnapshotTags(
	d distribution.Destination, snapshot ec2types.Snapshot,
) (tags map[string]string, left []string) {
	return fitTags(carriedTags(snapshot.Tags), d.SnapshotTags)
}

// imageSnapshotTags returns the snapshot tags for CopyImage, which gives all snapshots of an image the same tags. Of
// the source snapshots' tags, it keeps those that all have. It also returns the keys of the others.
func imageSnapshotTags(d distribution.Destination, all []volume) (tags map[string]string, left []string) {
	common, differing := map[string]string{}, map[string]string{}
	for _, v := range all {
		for key, value := range carriedTags(v.snapshot.Tags) {
			isMissing := func(other volume) bool {
				shown, has := carriedTags(other.snapshot.Tags)[key]
				return !has || shown != value
			}
			if slices.ContainsFunc(all, isMissing) {
				differing[key] = value
			} else {
				common[key] = value
			}
		}
	}
	tags, left = fitTags(common, d.SnapshotTags)
	for key := range differing {
		if _, isGiven := d.SnapshotTags[key]; !isGiven {
			left = append(left, key)
		}
	}
	slices.Sort(left)
	return tags, left
}

// validateCarriedTags returns a finding for the tags of the source image and its snapshots that the copy will not have.
func (a *Assessment) validateCarriedTags(d distribution.Destination) []distribution.Finding {
	image := a.facts.Images[d.FromRegion]
	if image.Image == nil {
		return nil
	}

	var found []distribution.Finding
	add := func(option, resource string, left []string, detail, next string) {
		if len(left) == 0 {
			return
		}
		level := distribution.Warning
		if a.req.Strict {
			level = distribution.Refused
		}
		f := destinationFinding(d, a.facts, level, distribution.CodeTagsNotCopied, "9.4", option)
		f.Resource = resource
		f.Summary = fmt.Sprintf("%s of %s will not be copied", distribution.Count(len(left), "tag", "tags"), resource)
		f.Detail = detail + ": " + strings.Join(left, ", ")
		f.Remediation = next
		found = append(found, f)
	}

	const tooMany, remove = "AWS allows 50 tags, and these exceed the limit", "remove tags, or set them in the template"
	add("tags", imageID(a.req, d.FromRegion), d.LeftTags, tooMany, remove)
	all := volumes(image)
	if d.Method == distribution.ByImage {
		_, left := imageSnapshotTags(d, all)
		add("snapshot_tags", "the snapshots", left, "CopyImage gives all snapshots the same tags, at most 50, without these",
			`set copy_method = "snapshot", or set them in snapshot_tags`)
		return found
	}
	for _, v := range all {
		_, left := copiedSnapshotTags(d, v.snapshot.Snapshot)
		add("snapshot_tags", v.id(), left, tooMany, remove)
	}
	return found
}

// joined returns all tags. Later tags take precedence.
func joined(sources ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, source := range sources {
		maps.Copy(all, source)
	}
	return all
}

// runTagsAt returns the tags of what is temporary in the source account. Its templates have no target.
func (b *builder) runTagsAt(s *shareSource) map[string]string {
	r := b.newRenderer("", s.location, s.region)
	return r.texts("run_tags", b.req.RunTags, nil) // the destinations have already reported the errors
}

// testCopyTags returns the tags of a test copy. It has those of snapshots too, because a policy may require them.
func testCopyTags(d distribution.Destination) map[string]string {
	return joined(d.SnapshotTags, d.RunTags)
}
