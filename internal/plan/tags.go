// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// maxTags is how many tags AWS lets one resource have.
const maxTags = 50

// carriedTags are a source's own tags: neither AWS's (reserved) nor ours (of another thing).
func carriedTags(tags []ec2types.Tag) map[string]string {
	carried := map[string]string{}
	for _, tag := range tags {
		if key := aws.ToString(tag.Key); !strings.HasPrefix(key, "aws:") && !origin.Ours(key) {
			carried[key] = aws.ToString(tag.Value)
		}
	}
	return carried
}

// joined lays tags over tags: the later go before the earlier.
func joined(layers ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, layer := range layers {
		maps.Copy(all, layer)
	}
	return all
}
