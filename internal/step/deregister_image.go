// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// DeregisterImage removes an image of ours: a staged one that nobody needs any more, or one that an earlier run made wrongly, and that its
// seal proves to be ours. And, where the template asks for it, another one that has a name which it gives.
type DeregisterImage struct {
	Base
	Image         Ref
	Name          string              // that another image has to leave (2.5.2); "": the image is ours
	WithSnapshots bool                // they were made with it, and are of no use without it (9.11), or the template asks for it
	Snapshots     []string            // ids of those that go with an image that is not ours, sorted; nil: ours, by whatever ids
	Unless        *VerifyImage        // what the image may turn out to be, and stays then; nil: it goes whatever it is
	Expected      provenance.Expected // what runs give an image there: evidence for one without a signature
	Release       time.Time           // of the image that replaces it; zero: it is temporary, or was never finished
}

// Permissions returns the actions that the step uses.
func (s *DeregisterImage) Permissions() []Permission {
	rights := []Permission{{"ec2:DeregisterImage", s.Location.ImageARN(s.Image.Known), "2.5.9"}}
	if s.Unless != nil {
		rights = append(rights, Permission{"ec2:DescribeImages", "*", "4.4.1"}, Permission{"ec2:DescribeSnapshots", "*", "4.4.1"})
	}
	if s.WithSnapshots {
		for _, snapshot := range s.snapshots() {
			rights = append(rights, Permission{"ec2:DeleteSnapshot", s.Location.SnapshotARN(snapshot), "9.11"})
		}
	}
	return rights
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
