// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// Identity is who some credentials are (rule 5.9).
type CallerIdentity struct {
	Account   string // 12 digits
	ARN       string
	Partition string // aws, aws-us-gov, aws-cn, ...
}

// Facts is what was seen, and what could not be seen. The SDK's own types, so that no attribute is lost on the way.
type Facts struct {
	At       time.Time // the only clock that plan has
	Source   CallerIdentity
	Regions  []string                       // of the partition, as AWS lists them for the source account; empty: not known
	Units    map[string]Unit                // organizational unit or root, as a target names it -> who is in it
	Images   map[string]Image               // Region -> the image of the request there
	Defaults map[Location]Default           // EBS encryption-by-default of the source Regions, and where a target asks for the default key
	Keys     map[Location]map[string]Key    // key as asked for -> what it is
	Sites    map[Location]DestinationFacts  // what is at each destination
	Earlier  map[Location]ExistingResources // what bears our source tag there
	Unseen   []FailedLookup                 // looks that were refused

	Releases map[Location][]ec2types.Image // own images that bear our source tag there, sorted by id; looked for where older ones are to go
	Sources  map[string]ec2types.Image     // what Releases were made of, by id, as far as it is there

	// temporary grants of the images on keys of the source account, by id; looked for where they are asked for
	Grants map[Location][]kmstypes.GrantListEntry

	Base        Image // of an Intent: what the build starts from, in the fields of that name
	BaseMatches int   // of an Intent: how many images its filter finds
}

// HasRegion reports whether a Region exists, enabled or not, as far as that is known.
func (f Facts) HasRegion(region string) bool {
	return len(f.Regions) == 0 || slices.Contains(f.Regions, region)
}

// Unit is the accounts of an organizational unit, and of those below it.
type Unit struct {
	Accounts []Member  // sorted by id
	Err      *APIError // why they could not be listed
}

// Member is an account of an organization.
type Member struct {
	ID     string // 12 digits
	Active bool   // neither suspended nor about to be closed
}

// Image is a source image with all that only its owner can read (rules 2.2.11, 2.2.12).
type Image struct {
	Image         *ec2types.Image   // nil: AWS does not show it to these credentials
	UEFIData      string            // base64; "" for none
	SealKey       origin.Key        // from its tags; nil: none yet
	SharedWith    LaunchPermissions // who may launch it
	Snapshots     map[string]Snapshot
	Base          *ec2types.Image              // the image that the build started from; nil when it cannot be seen
	BaseSnapshots map[string]ec2types.Snapshot // of Base, where visible
	Foretold      []string                     // why it is going to be encrypted; nil where the image is there
}

// Snapshot is a snapshot of a source image, with those who may create volumes from it.
type Snapshot struct {
	ec2types.Snapshot
	SharedWith []string // account ids, sorted; nil when they could not be read
}

// Default is what EBS does there on its own (rules 1.7.1, 1.7.3).
type Default struct {
	Encryption bool   // EBS encryption-by-default
	KMSKeyID   string // as answered: "alias/aws/ebs" or an ARN. Look it up in Facts.Keys
}

// Key is what DescribeKey said of a key. Metadata nil: not found or refused; Err tells which.
type Key struct {
	Metadata *kmstypes.KeyMetadata
	Err      *APIError
}

// Site is what was seen at one destination.
type DestinationFacts struct {
	Identity   CallerIdentity  // zero when the credentials could not be had
	Err        *APIError       // why not, or why the Region cannot be used
	ExternalID bool            // the last role is assumed with one
	NameUsed   *ec2types.Image // the destination's own image that has the wanted name already; nil: free

	Parameters map[string]ParameterFacts      // by name: those that the destination asks for; absent: there is none yet
	Templates  map[string]LaunchTemplateFacts // by id or name, as the destination asks for them
}

// TemplateStands is how a launch template stands.
type LaunchTemplateFacts struct {
	ID      string             // lt-...
	Default int64              // the version that launches without a version take
	Source  int64              // the version that new ones are to be made from
	Naming  map[string][]int64 // image -> versions that name it, ascending: the default, and those that are as Source else; of the images that earlier runs left only
	Err     *APIError          // why it, or the version, could not be looked at
}

// Stored is what Parameter Store says of a parameter, without its value: that may be a secret.
type ParameterFacts struct {
	Type     string // "String", "StringList", "SecureString"
	DataType string
	ImageID  string    // its value, where that is the id of an image; "" otherwise, and where its key does not let us read it (7.10)
	Err      *APIError // why it could not be looked at
}

// Earlier is what runs before this one left at a place, as far as the tags say. Seals are for plan to judge.
type ExistingResources struct {
	Snapshots  []ec2types.Snapshot // own, sorted by id
	SharedWith map[string][]string // staged snapshot -> who may use it, sorted; looked for where staged snapshots are kept
	Images     []ec2types.Image    // own, sorted by id
	Instances  []ec2types.Instance // own, not terminated, sorted by id; looked for where a launch check is asked for
	Volumes    []ec2types.Volume   // own, sorted by id; looked for in the source account, where a canary may have been made
}

// Refusal is an AWS error as a fact.
type APIError struct {
	Operation string // "sts:AssumeRole"
	Status    int    // HTTP
	Code      string // "" where AWS gave no answer
	Message   string
}

func (r *APIError) Error() string {
	if r.Code == "" {
		return r.Operation + ": " + r.Message
	}
	return r.Operation + ": " + r.Code + ": " + r.Message
}

// Unseen is a look that was refused: no more than a gap in the facts, until plan needs what would have been seen.
type FailedLookup struct {
	At       Location
	Resource string
	Refusal  APIError
	Vital    bool // what it would have shown decides what is taken away, or what an image loses: nothing is done without
}

// needs reports a place where nothing is done without seeing it: all but Regions in which the source account would only stage.
func (f Facts) NeedsLookup(at Location) bool {
	return at.Account != f.Source.Account || f.Images[at.Region].Image != nil
}

// Hidden reports a place that could not be seen although something may be left there.
func (f Facts) HasHiddenResources() bool {
	for _, site := range f.Sites {
		if site.Err != nil {
			return true
		}
	}
	return slices.ContainsFunc(f.Unseen, func(u FailedLookup) bool { return u.Vital && f.NeedsLookup(u.At) })
}

// blind is a look at a place that nothing can be done without; nil: none was refused.
func (f Facts) RequiredLookupFailure(at Location) *FailedLookup {
	i := slices.IndexFunc(f.Unseen, func(u FailedLookup) bool { return u.Vital && u.At == at })
	if i < 0 {
		return nil
	}
	return &f.Unseen[i]
}

// managedByAWS reports whether a key is one of AWS's own, whose policy nobody can open to another account (3.2.5).
func (k Key) IsManagedByAWS() bool {
	return k.Metadata != nil && k.Metadata.KeyManager == kmstypes.KeyManagerTypeAws
}

// arn is the key's ARN; "" while unknown.
func (k Key) ARN() string {
	if k.Metadata == nil {
		return ""
	}
	return aws.ToString(k.Metadata.Arn)
}

// hidden reports whether the key was refused to us, which does not mean that EC2 cannot use it for us: a key policy may admit
// calls through EC2 only (3.2.4).
func (k Key) IsHidden() bool {
	return k.Metadata == nil && k.Err != nil && strings.HasPrefix(k.Err.Code, "AccessDenied")
}

// concealed reports a key of a Region that is named by its ARN and hidden: EC2 may be let use it all the same.
func (k Key) IsConcealed(asked, region string) bool {
	return k.IsHidden() && ARNRegion(asked) == region && strings.Contains(asked, ":key/") // of an alias AWS shows another ARN later
}
