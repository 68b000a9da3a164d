// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package origin says how a thing is known as ours: tags find candidates, seals prove them.
//
// Whoever may tag in a target account can write any tag. A seal cannot be written without the sealing key, which lives in a tag
// of the source image: other accounts never see our tags (rules 2.1.8, 2.2.12), and it is never copied.
package origin

import (
	"regexp"
	"strings"
)

// Prefix of all our tag keys. Tags under it are never carried over from a source image.
const Prefix = "encrypted-ami:"

// Keys of our tags.
const (
	Source   = Prefix + "source"   // account/region/ami-..., /staged/whom where it is, and /device for a snapshot
	Run      = Prefix + "run"      // id of the run that made the thing
	Sealed   = Prefix + "seal"     // first seal: over what the thing is, given in the call that makes it
	SealedID = Prefix + "seal-id"  // second seal: over its id, given right after
	SealKey  = Prefix + "seal-key" // on a source image: the sealing key
	Stays    = Prefix + "stays"    // on a staged image: share blocks let others launch it, and no run removes it
	Line     = Prefix + "line"     // on a source image: the line that it is a release of
)

// Whole stands for the device of a snapshot that CopyImage made: AWS gives all snapshots of an image the same tags.
const Whole = "image"

// madeFor is how EC2 describes the snapshots of a copied image. Nobody can change a snapshot's description.
var madeFor = regexp.MustCompile(`^Copied for DestinationAmi (ami-[0-9a-f]+) `)

// MadeFor is the image that EC2 says it has made a snapshot for; "" where it says nothing of the kind.
func MadeFor(description string) string {
	if found := madeFor.FindStringSubmatch(description); found != nil {
		return found[1]
	}
	return ""
}

// Ours reports whether a tag key is one of ours.
func Ours(key string) bool { return strings.HasPrefix(key, Prefix) }

// LaunchCheck is the Device in the Mark of a launch check's instance.
const LaunchCheck = "launch-check"

// Canary is the Device in the Marks of a canary: its volume, its snapshot, and copies of that.
const Canary = "canary"

// Mark is where a thing comes from, and where it belongs.
type Mark struct {
	Account string // of the source image
	Region  string
	ImageID string
	Staged  string // for whom: Whom of the destinations that shall copy it; "" for what is nobody's but its place's
	Device  string // "" for an image
	Run     string // that made the thing
	Place   string // where the thing is: account/region
	KeyARN  string // that encrypts it; "" for an image
}

const staged = "/staged/"

// Sharers stands for the destinations of a staged image that share blocks let others launch: it is for whoever comes, and stays.
const Sharers = "shared"

// Temporary stands for what is staged until the copies of it are made, whoever makes them.
const Temporary = "temporary"

// Source is the value of the tag that candidates are looked for by.
func (m Mark) Source() string {
	source := m.Account + "/" + m.Region + "/" + m.ImageID
	if m.Staged != "" {
		source += staged + m.Staged
	}
	if m.Device != "" {
		source += "/" + strings.TrimPrefix(m.Device, "/")
	}
	return source
}

// parts of a tag Source of an image that is nobody's to copy.
var parts = regexp.MustCompile(`^(\d{12})/([a-z0-9-]+)/(ami-[0-9a-f]+)$`)

// ParseSource reads account, Region and image from a tag Source of a target's image; false where it is none.
func ParseSource(source string) (Mark, bool) {
	found := parts.FindStringSubmatch(source)
	if found == nil {
		return Mark{}, false
	}
	return Mark{Account: found[1], Region: found[2], ImageID: found[3]}, true
}

// Tags are the mark as tags, with the first seal where there is a key.
func (m Mark) Tags(key Key) map[string]string {
	tags := map[string]string{Source: m.Source(), Run: m.Run}
	if key != nil {
		tags[Sealed] = key.seal(m)
	}
	return tags
}

// Proof is how well the tags of a thing prove that we made it.
type Proof int

const (
	None  Proof = iota // no seal, or a wrong one: somebody else's
	First              // the first seal is right; the call that gives the second never came through, or the seal was copied
	Both               // made by us
)

// Prove judges the tags of a thing with an id, found at the mark's place. The run is taken from the tags.
func (m Mark) Prove(key Key, id string, tags map[string]string) Proof {
	m.Run = tags[Run]
	switch {
	case key == nil || tags[Source] != m.Source() || !key.right(tags[Sealed], key.seal(m)):
		return None
	case key.right(tags[SealedID], key.SealID(id, tags[Sealed])):
		return Both
	case tags[SealedID] != "": // a second seal over another id: the tags were copied
		return None
	}
	return First
}
