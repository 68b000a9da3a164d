// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// CreateVolume makes an empty encrypted volume, and ends when it is available (rule 1.1.10). One that cannot be made is told, and is no
// failure: it makes nothing. Undone by DeleteVolume.
type CreateVolume struct {
	Base
	KeyARN  string
	GiB     int64
	Tags    map[string]string
	Mark    origin.Mark // what the tags say
	SealKey origin.Key  // for the second seal; nil: none
}

// Permissions returns the actions that the step uses. Of KMS those that a new volume was observed to take (A.4.8).
func (s *CreateVolume) Permissions() []Permission {
	return []Permission{
		{"ec2:CreateVolume", s.Location.OwnedARN("volume", ""), "1.1.10"},
		{"ec2:CreateTags", s.Location.OwnedARN("volume", ""), "9.4"},
		{"ec2:DescribeAvailabilityZones", "*", "1.1.10"},
		{"ec2:DescribeVolumes", "*", "A.4.7"},
		{"kms:CreateGrant", s.KeyARN, "A.4.8"},
		{"kms:GenerateDataKeyWithoutPlaintext", s.KeyARN, "A.4.8"},
	}
}

func (s *CreateVolume) ResourceID() string { return s.KeyARN }

func (s *CreateVolume) String() string {
	return fmt.Sprintf("make an empty volume of %d GiB in %s under %s", s.GiB, s.Location, s.KeyARN)
}
