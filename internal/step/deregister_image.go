// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// DeregisterImage deregisters a temporary image or an unfinished one, if evidence shows that a run created it. With
// force_deregister it deregisters another image that has the wanted name.
type DeregisterImage struct {
	Base
	Image         Ref
	Name          string              // name that the new image needs (rule 2.5.2). Empty if a run created the image
	WithSnapshots bool                // delete its snapshots too (rule 9.11)
	Snapshots     []string            // snapshots of an image that no run created, sorted. Nil for an image of a run
	Unless        *VerifyImage        // the image stays if this verification passes. Nil if it never stays
	Expected      provenance.Expected // what runs give images there, as evidence for one without a signature
	Release       time.Time           // release of the new image. Zero if the image is temporary or unfinished
}

func (s *DeregisterImage) Permissions() []Permission {
	permissions := []Permission{{"ec2:DeregisterImage", s.Location.ImageARN(s.Image.Known), "2.5.9"}}
	if s.Unless != nil {
		permissions = append(
			permissions,
			Permission{"ec2:DescribeImages", "*", "4.4.1"},
			Permission{"ec2:DescribeSnapshots", "*", "4.4.1"},
		)
	}

	if s.WithSnapshots {
		for _, snapshot := range s.snapshots() {
			permissions = append(permissions, Permission{"ec2:DeleteSnapshot", s.Location.SnapshotARN(snapshot), "9.11"})
		}
	}

	return permissions
}

func (s *DeregisterImage) snapshots() []string {
	if s.Snapshots == nil {
		return []string{"*"}
	}
	return s.Snapshots
}

func (s *DeregisterImage) ResourceID() string { return s.Image.Known }

func (s *DeregisterImage) String() string {
	with := ""
	if s.WithSnapshots {
		with = " with its snapshots"
	}
	image := s.Image.image()
	if s.Name != "" {
		image += fmt.Sprintf(", which has the name %q,", s.Name)
	}
	return fmt.Sprintf("deregister %s%s in %s", image, with, s.Location)
}
