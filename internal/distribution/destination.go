// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// Destination is one account in one Region of a target, which will own a copy of the image. Its templates are rendered.
type Destination struct {
	TargetOptions
	At           Location
	Target       string // name of the target block
	FromRegion   string // Region of the image that is copied
	Method       Method // BySnapshot or ByImage
	MethodWhy    string // why Auto has become ByImage
	Via          string // option that sets its credentials
	Roles        []Role // rendered, each with its ARN; if empty, Profile or the source credentials are used
	KMSKeyID     string // as in the template; may be DefaultKey
	Name         string
	Description  string
	Tags         map[string]string
	LeftTags     []string // keys of the source image's tags that exceed the limit
	SnapshotTags map[string]string
	RunTags      map[string]string // of everything temporary
	Grants       []KeyGrant
}

// KeyGrant is a grant for one account. Its templates are rendered.
type KeyGrant struct {
	Name       string
	Grantee    string
	Operations []string // sorted
}
