// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package provenance tags and signs the resources that a run creates, and proves which resources a run created.
package provenance

import (
	"regexp"
	"strings"
)

// TagPrefix is the prefix of the keys of all tags that this plugin writes. Such tags are never copied from a source
// image.
const TagPrefix = "encrypted-ami:"

// Keys of the tags on what a run creates. The first two are given in the creating call, the third as soon as the id is
// known.
const (
	TagSource    = TagPrefix + "source"    // SourceImage as text
	TagRun       = TagPrefix + "run"       // id of the run that owns the resource
	TagSignature = TagPrefix + "signature" // proves that a run created the resource
)

// OwnTags is the number of tags that this plugin adds to each image, snapshot and instance that it creates.
const OwnTags = 3

// Keys of the tags on a source image and its snapshots.
const (
	TagBaseline   = TagPrefix + "baseline"     // accounts that had a permission before any run
	tagRemoved    = TagBaseline + "-removed:"  // and a hash: accounts of the baseline that lost the permission later
	tagPermanent  = TagPrefix + "permanent:"   // and a hash: accounts that a share block gives a permission
	tagSigningKey = TagPrefix + "signing-key:" // and the id of the key
	tagRunRecord  = TagPrefix + "run:"         // and the id of the run
)

// TagImageFamily is the key of the tag that names the image family of a source image.
const TagImageFamily = TagPrefix + "image-family"

// IsOwnTag reports whether this plugin writes tags with a key.
func IsOwnTag(key string) bool { return strings.HasPrefix(key, TagPrefix) }

// RecordKey returns the key of the tag that holds the record of a run.
func RecordKey(run string) string { return tagRunRecord + run }

// ParseRecordKey returns the id of the run whose record a tag holds.
func ParseRecordKey(key string) (run string, ok bool) {
	run, ok = strings.CutPrefix(key, tagRunRecord)
	return run, ok && run != ""
}

// IsSigningKey reports whether a tag key is that of a signing key.
func IsSigningKey(key string) bool { return strings.HasPrefix(key, tagSigningKey) }

// SourceImage is an image that runs copy from.
type SourceImage struct {
	Account string
	Region  string
	ImageID string
}

// String returns the value of TagSource. All resources of one image have the same value, so that one lookup finds them.
func (s SourceImage) String() string { return s.Account + "/" + s.Region + "/" + s.ImageID }

var sourceImage = regexp.MustCompile(`^(\d{12})/([a-z0-9-]+)/(ami-[0-9a-f]+)$`)

// ParseSourceImage reads the value of TagSource.
func ParseSourceImage(tag string) (SourceImage, bool) {
	found := sourceImage.FindStringSubmatch(tag)
	if found == nil {
		return SourceImage{}, false
	}
	return SourceImage{Account: found[1], Region: found[2], ImageID: found[3]}, true
}

// CreationTags returns the tags for the creating call. They identify the source image and the run, but they prove
// nothing.
func CreationTags(source SourceImage, run string) map[string]string {
	return map[string]string{TagSource: source.String(), TagRun: run}
}

// copiedFor is the description that EC2 gives the snapshots of a copied image. It cannot be changed.
var copiedFor = regexp.MustCompile(`^Copied for DestinationAmi (ami-[0-9a-f]+) `)

// ImageOfCopy returns the image that EC2 created a snapshot for, according to its description. Empty if it names none.
func ImageOfCopy(description string) string {
	if found := copiedFor.FindStringSubmatch(description); found != nil {
		return found[1]
	}
	return ""
}
