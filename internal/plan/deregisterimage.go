// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import "fmt"

// DeregisterImage removes an image that an earlier run registered wrongly, and that its seal proves to be ours.
type DeregisterImage struct {
	Head
	Image Ref
}

// Rights of the step.
func (s *DeregisterImage) Rights() []Right {
	return []Right{{"ec2:DeregisterImage", s.At.image(s.Image.Known), "2.5.9"}}
}

func (s *DeregisterImage) String() string {
	return fmt.Sprintf("deregister %s in %s", s.Image, s.At)
}
