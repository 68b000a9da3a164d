// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
