// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// Destination is one account in one Region of a target, which shall own one copy of the image: all templates rendered.
type Destination struct {
	At           Location
	Target       string // name of the target block
	Optional     bool
	FromRegion   string   // Region of the image that it gets
	Method       Method   // BySnapshot or ByImage
	MethodWhy    string   // why auto took ByImage
	CopyMinutes  int      // 0: as long as it takes
	Licenses     []string // ARNs of license configurations, sorted
	Lifecycle    Lifecycle
	Retention    Retention
	Via          string // option that its credentials come from
	Roles        []Role // rendered, each with its ARN; empty: the source credentials, or Profile
	Profile      string
	KMSKeyID     string // as asked for; DefaultKey is possible
	Name         string
	Description  string
	Tags         map[string]string
	SnapshotTags map[string]string
	Launch       *Launch          // nil: no launch check
	Parameters   []Parameter      // rendered
	Templates    []LaunchTemplate // rendered
	Grants       []KeyGrant

	SkipMissingRole bool
}

// KeyGrant is a grant for one account: all templates rendered.
type KeyGrant struct {
	Name       string
	Grantee    string
	Operations []string // sorted
}

// Launch is a launch check at one destination: all templates rendered.
type Launch struct {
	InstanceType string
	SubnetID     string
	Tags         map[string]string
}
