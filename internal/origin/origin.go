// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package origin says how a thing is known as ours: the tags that it gets in the call that makes it.
package origin

import "strings"

// Prefix of all our tag keys. Tags under it are never carried over from a source image.
const Prefix = "encrypted-ami:"

// Keys of our tags.
const (
	Source    = Prefix + "source"    // account/region/ami-..., and /device for a snapshot
	Run       = Prefix + "run"       // id of the run that made the thing
	Protected = Prefix + "protected" // on a source image: the run that switched its deregistration protection on
)

// Mark is where a thing comes from.
type Mark struct {
	Account string // of the source image
	Region  string
	ImageID string
	Device  string // "" for an image
	Run     string
}

// Tags are the mark as tags of a thing.
func (m Mark) Tags() map[string]string {
	source := m.Account + "/" + m.Region + "/" + m.ImageID
	if m.Device != "" {
		source += "/" + strings.TrimPrefix(m.Device, "/")
	}
	return map[string]string{Source: source, Run: m.Run}
}

// Ours reports whether a tag key is one of ours.
func Ours(key string) bool { return strings.HasPrefix(key, Prefix) }
