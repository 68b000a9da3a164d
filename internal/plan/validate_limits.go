// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

// OwnTags is how many tags of its own this plugin puts on each image, snapshot and instance that it creates.
const OwnTags = ownTags
