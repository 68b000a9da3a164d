// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// Carried says what becomes of one attribute of the source image (rule 2.4).
type AttributeOutcome struct {
	Attribute string
	How       AttributeHandling
	Why       string
}

// How an attribute gets into the target's image.
type AttributeHandling string

const (
	Kept       AttributeHandling = "kept"        // passed to RegisterImage, or a property of the snapshots
	Set        AttributeHandling = "set"         // given by the template, or set after registering
	Lost       AttributeHandling = "lost"        // no way to give it to a registered image
	OutputOnly AttributeHandling = "output-only" // AWS's own finding about an image: nothing to carry
)

// Pointer is what names an image for others.
type Pointer struct {
	Kind string // "SSM parameter"
	Name string
	Set  bool // it names the image
}

func (p Pointer) String() string { return p.Kind + " " + p.Name }
