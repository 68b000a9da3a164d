// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// AttributeOutcome says what happens to one attribute of the source image in the copy (rule 2.4).
type AttributeOutcome struct {
	Attribute string
	How       AttributeHandling
	Why       string
}

// AttributeHandling is how the copy gets an attribute.
type AttributeHandling string

// Handling of attributes.
const (
	Kept       AttributeHandling = "kept"        // passed to RegisterImage, or a property of the snapshots
	Set        AttributeHandling = "set"         // set by the template, or after registering
	Lost       AttributeHandling = "lost"        // a registered image cannot have it
	OutputOnly AttributeHandling = "output-only" // AWS derives it from the image
)

// Pointer is a published reference to an image.
type Pointer struct {
	Kind string // "SSM parameter"
	Name string
	Set  bool // it refers to the image
	Held bool `json:",omitempty"` // publish = "hold": it keeps what it refers to

	Names   string `json:",omitempty"` // with promote and rollback: the image that it named before the run
	Image   string `json:",omitempty"` // with promote and rollback: the image that it names after the run
	Release string `json:",omitempty"` // with promote and rollback: the release that it names after the run
}

func (p Pointer) String() string { return p.Kind + " " + p.Name }
