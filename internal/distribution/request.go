// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"context"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// DefaultKey is the value of Target.KMSKeyID for the account's EBS default key.
const DefaultKey = "default"

// Grant allows a principal to use a key (rule 8.3). Fields of type Text are templates.
type Grant struct {
	Name       Text     // derived from the grantee if empty
	Grantee    Text     // ARN of a principal; the service-linked role of Auto Scaling if empty
	Operations []string // sorted; LaunchOperations if empty
}

// AutoScaling is the service-linked role of Auto Scaling in an account.
const AutoScaling Text = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/" +
	"aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

// Request holds the options of a run, with their defaults. It contains no results of lookups.
type Request struct {
	RunID                 string            // of this run, as in its record
	Records               Records           `json:"-"` // reads which runs are active. Nil if no other run is
	Images                []SourceImage     // one per Region, sorted by Region
	KMSKeyID              string            // key of everything that is shared: id, alias or ARN; empty for none
	RegionKMSKeyIDs       map[string]string // by Region; takes precedence over KMSKeyID
	AllowUnencryptedShare bool              // without a key, share unencrypted snapshots
	TestCopy              *bool             // first copy an empty snapshot to each destination; nil if unset
	SourceKeyAccess       SourceKeyAccess   // ByPolicy if empty
	OptimizeForTime       bool              // prefer the fastest routes between Regions to the least transfer
	CleansUp              bool              // create nothing, and find what runs with any options left
	Targets               []Target          // in the order of the template
	Shares                []Share           // in the order of the template
	Strict                bool              // fail if an attribute would be lost
	PublishAll            bool              // publish no image before those of all required destinations are verified
	Hold                  bool              // verify the images, and publish none
	Move                  PointerMove       // move published references only; empty to distribute
	Watermarks            []string          // names of watermarks of the source images, sorted (rule 9.17)
	SourceRetention       Retention         // of source images of older releases
	Usage                 bool              // report what uses the releases of the image family, and do nothing
	AllowOlderRelease     bool              // with Promote: replace references to a newer release
	ImageFamily           string            // of the images; empty for none
	MaxFailedDestinations int               // failed destinations of required targets that do not fail the run
	OrganizationRoles     []Role            // role chain for the organization; the source credentials if empty
	AssumeRoleFrom        string            // credentials that assume target roles: "source" or "base"
	Timeout               time.Duration     // of the run
	CopyTimeout           time.Duration     // of one copy
	PollInterval          time.Duration     // minimum for one location
	Build                 Build
	RunTags               map[string]Text   // of everything temporary
	Functions             TemplateFunctions // without Created, which depends on the image
	Intent                *BuildConfig      // nil if the images exist
}

// Records reads the records of runs on the source images, and on others, which are source images of other releases.
type Records func(ctx context.Context, others ...provenance.SourceImage) (Runs, error)

// Runs says, from the records of runs, which runs are active and where they may have created resources.
type Runs interface {
	provenance.Runs
	// Regions returns where earlier runs may have created resources, sorted. "*" stands for Regions that are not recorded.
	Regions() []string
}

// Read returns the runs of the records. Without records, no other run counts as active.
func (r Records) Read(ctx context.Context, others ...provenance.SourceImage) (Runs, error) {
	if r == nil {
		return noOtherRun{}, nil
	}
	return r(ctx, others...)
}

// noOtherRun is used for requests without records. Every other run counts as ended.
type noOtherRun struct{}

func (noOtherRun) IsOver(string, time.Time) bool { return true }
func (noOtherRun) Covers(string, time.Time) bool { return true }
func (noOtherRun) Regions() []string             { return nil }

// SourceImage is an image that the build created.
type SourceImage struct {
	Region  string
	ImageID string                 // ami-...
	Keys    provenance.SigningKeys `json:"-"` // from the tags of the image; empty if unknown
}

// Build is what the artifact reports about the build. It excludes other generated data, which contains passwords and
// keys.
type Build struct {
	Name    string // PackerBuildName
	Region  string // of the build; empty if unknown
	BaseAMI string // empty if unknown
	RunID   string // PackerRunUUID, or a new one
}

// Target is a target block: accounts and Regions with the same options. Fields of type Text are templates.
type Target struct {
	TargetOptions
	Name            string // "target[0]" if the template has none
	AccountIDs      []string
	Units           []string // ids of organizational units or a root, whose accounts are targets too
	ExcludedIDs     []string // accounts of Units that are not targets
	Regions         []string // if empty, the Regions of the images
	Roles           []Role   // chain, in order; Profile or the source credentials if empty
	Method          Method
	DeprecateAt     Text // RFC 3339; never if empty. Lifecycle has the time
	KMSKeyID        Text // may be DefaultKey
	RegionKMSKeyIDs map[string]Text
	AMIName         Text // if empty, the name of the source image
	AMIDescription  Text // if empty, the description of the source image
	Tags            map[string]Text
	SnapshotTags    map[string]Text
	Grants          []Grant // on the key of the copies
}

// Publishes reports whether the images are published.
func (r Request) Publishes() bool {
	return slices.ContainsFunc(r.Targets, func(t Target) bool { return !t.PublishTargets.IsEmpty() })
}

// Method is how a copy is created.
type Method string

// Methods of a copy.
const (
	Auto       Method = "auto"     // BySnapshot, or ByImage if the image would lose an attribute otherwise (2.3, 2.4)
	BySnapshot Method = "snapshot" // CopySnapshot of each snapshot, then RegisterImage
	ByImage    Method = "image"    // CopyImage
)

// Methods are all methods.
var Methods = []Method{Auto, BySnapshot, ByImage}

// Share is a share block: the accounts and organizations that may launch the image without their own copy, in every
// Region of the artifact.
type Share struct {
	Name                string   // "share[0]" if the template has none
	AccountIDs          []string // sorted
	OrganizationARNs    []string // sorted
	OrganizationalUnits []string // ARNs, sorted
	Grants              []Grant  // on the key of the shared image, created by each of AccountIDs
	Roles               []Role   // chain to each of AccountIDs, for Grants only
	Profile             string   // for Grants only; empty for none
	PublishTargets               // of the shared image, in the source account
}

// Role is one role of a chain (rules 5.1 to 5.6).
type Role struct {
	RoleName          Text // in the destination's account; or RoleARN
	RoleARN           Text
	ExternalID        Secret
	SessionName       Text
	SourceIdentity    Text
	Duration          time.Duration // one hour if 0, the maximum under role chaining (5.2)
	Policy            string        // session policy, JSON
	PolicyARNs        []string
	Tags              map[string]string
	TransitiveTagKeys []string
}

// Secret is text that must not reach messages, files and logs. It prints as "(secret)".
type Secret string

func (Secret) String() string { return "(secret)" }

func (Secret) GoString() string { return "(secret)" }

func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// SourceKeyAccess says how the targets get permission to use the keys of the source.
type SourceKeyAccess string

// Kinds of source key access.
const (
	ByPolicy SourceKeyAccess = "key_policy" // existing key policies
	ByGrant  SourceKeyAccess = "grant"      // temporary grants (rule 3.2.6)
)

// LaunchOperations are the operations that a service-linked role needs for a launch, sorted (8.3).
var LaunchOperations = []string{
	"CreateGrant",
	"Decrypt",
	"DescribeKey",
	"Encrypt",
	"GenerateDataKey",
	"GenerateDataKeyWithoutPlaintext",
	"ReEncryptFrom",
	"ReEncryptTo",
}
