// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
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
	r := newRenderer(b.req, b.facts, "", s.location, s.region)
	return r.texts("run_tags", b.req.RunTags, nil) // their errors are those of the destinations
}

// testCopyTags returns the tags of a test copy. It has those of snapshots too, because a policy may require them.
func testCopyTags(d distribution.Destination) map[string]string {
	return joined(d.SnapshotTags, d.RunTags)
}
