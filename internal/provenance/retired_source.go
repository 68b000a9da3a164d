// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance

import (
	"maps"
	"slices"
	"strings"
)

// RetiredSourcePath is the path of the parameters that keep the signing keys of deregistered source images.
const RetiredSourcePath = "/encrypted-ami/sources/"

// RetiredSourceName returns the name of the SecureString with the signing keys of a source image. It is in the
// account and Region of the image.
func RetiredSourceName(imageID string) string { return RetiredSourcePath + imageID }

// FormatRetiredSource returns the tags of a source image that prove its copies, one a line.
func FormatRetiredSource(tags map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if key == TagImageFamily || strings.HasPrefix(key, tagSigningKey) {
			lines = append(lines, key+"="+tags[key])
		}
	}
	return strings.Join(lines, "\n")
}

// ParseRetiredSource returns the tags that FormatRetiredSource has written.
func ParseRetiredSource(value string) map[string]string {
	tags := map[string]string{}
	for line := range strings.SplitSeq(value, "\n") {
		key, value, ok := strings.Cut(line, "=")
		if ok && (key == TagImageFamily || strings.HasPrefix(key, tagSigningKey)) {
			tags[key] = value
		}
	}
	return tags
}
