// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// FastLaunch asks for snapshots that Windows instances are launched from, made before they are needed (9.0: EnableFastLaunch).
type FastLaunch struct {
	TemplateID, TemplateName string // of the launch template that AWS makes the snapshots with; both "": AWS's own
	TemplateVersion          int    // of it
	MaxParallelLaunches      int    // at least 6; 0: AWS's default
	TargetResourceCount      int    // snapshots to keep ready; 0: AWS's default
}

// DefaultKey stands for the account's EBS default key in Target.KMSKeyID.
const DefaultKey = "default"

// Grant lets a principal use a key (rule 8.3). Fields of type Text are templates.
type Grant struct {
	Name       Text     // "": made of the grantee's
	Grantee    Text     // ARN of a principal; "": the account's service-linked role of Auto Scaling
	Operations []string // sorted; empty: what a launch by Auto Scaling takes
}

// AutoScaling is the service-linked role of Auto Scaling in an account.
const AutoScaling Text = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

// GrantOperations are those that a grant on a symmetric encryption key can allow, sorted.
var GrantOperations = []string{"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
	"GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo", "RetireGrant"}

// LaunchCheck starts one instance of every image that a target gets.
type LaunchCheck struct {
	InstanceType string
	SubnetID     string          // "": one of the account's default VPC
	Tags         map[string]Text // of the instance and its volumes
}

// Lifecycle is what a target wants of its images beyond their being there.
type Lifecycle struct {
	DeprecateAt    time.Time         // zero: DeprecateAfter
	DeprecateAfter time.Duration     // after the run began; 0: never
	Protection     *Protection       // against deregistration; nil: none
	FastLaunch     *FastLaunch       // of a Windows image; nil: left as it is
	Users          LaunchPermissions // who may launch them; they need the target's key

	ForceDeregister     bool // another image that has the name makes way
	ForceDeleteSnapshot bool // and its snapshots with it
}

// Protection is an image's protection against deregistration (A.2).
type Protection struct {
	Cooldown bool // it still holds for a day after it was switched off
}

// ImageParameter is the data type of parameters that launch templates can name (7.5).
const ImageParameter = "aws:ec2:image"

// SecureString is the type of encrypted parameters.
const SecureString = "SecureString"

// Request is what was asked: complete, defaults filled in, nothing looked up yet.
type Request struct {
	Images                []SourceImage     // one per Region, sorted by Region
	KMSKeyID              string            // key of everything shared: id, alias name or ARN of either; "" is none
	RegionKMSKeyIDs       map[string]string // Region -> key; goes before KMSKeyID
	AllowUnencryptedShare bool              // without a key: share unencrypted snapshots as they are
	Canary                *bool             // try every destination with an empty snapshot while the stage goes on; nil: where there is more than one
	SourceKeyAccess       SourceKeyAccess   // "" is ByPolicy
	ProtectSource         bool              // deregistration protection for the images of this build
	CleansUp              bool              // nothing is made: what runs have left is looked for, whatever options they had
	Targets               []Target          // in the order of the template
	Shares                []Share           // in the order of the template
	Strict                bool              // an attribute that would be lost is a refusal
	PublishAll            bool              // nothing points at an image before those of all required destinations are proved
	KeepShares            bool              // who was given permission to copy keeps it
	ReleaseLine           string            // whose release the images are; "": none that older ones are known by
	KeepStaged            bool              // what was staged stays when every target has its copy
	MaxFailedTargets      int               // how many destinations of required targets may fail without failing the run
	OrganizationRoles     []Role            // hops to credentials that may look at the organization; empty: the source credentials
	AssumeRoleFrom        string            // "source" or "base": the credentials that target roles are assumed from
	Timeout               time.Duration     // the whole run
	CopyTimeout           time.Duration     // one copy, from its call to its end
	PollInterval          time.Duration     // the shortest time between two looks at the same place
	Build                 Build
	Intent                *BuildConfig // nil: the images are there; else what is going to be built
}

// SourceImage names an image that the build made.
type SourceImage struct {
	Region  string
	ImageID string     // ami-...
	SealKey origin.Key `json:",omitempty"` // as it was given to the image, or found there; nil: not known
}

// Build is what the artifact tells of the build. Nothing else of generated_data is kept: it holds passwords and keys.
type Build struct {
	Name    string // PackerBuildName
	Region  string // where the build ran; "" when unknown
	BaseAMI string // the image that the build started from; "" when unknown
	RunID   string // PackerRunUUID, or one of our own
}

// Target is a block of the template: accounts x Regions with one set of options. Fields of type Text are templates.
type Target struct {
	Name            string // for messages; never empty: "target[0]" where the template gives none
	Optional        bool   // its failure is reported and does not fail the run
	AccountIDs      []string
	Units           []string // ids of organizational units or a root, whose accounts are targets as well, through child units
	ExcludedIDs     []string // accounts of Units that are none
	SkipMissingRole bool     // an account whose role cannot be assumed is left out
	Regions         []string // empty: those of the images
	Roles           []Role   // hops, in order; empty: the source credentials, or Profile
	Profile         string   // shared configuration profile whose credentials own the target; "" is none
	Method          Method
	CopyMinutes     int // 15 to 2880, in steps of 15: how long a copy into the target may take; 0: as long as it takes (4.8)
	Lifecycle       Lifecycle
	Retention       Retention
	KMSKeyID        Text // "default": the account's EBS default key
	RegionKMSKeyIDs map[string]Text
	AMIName         Text // "": the source's name
	AMIDescription  Text // "": the source's description
	Tags            map[string]Text
	SnapshotTags    map[string]Text
	Licenses        []Text           // ARNs of license configurations that count its launches
	LaunchCheck     *LaunchCheck     // nil: none
	Grants          []Grant          // who may use its key
	Parameters      []Parameter      // in the order of the template
	Templates       []LaunchTemplate // in the order of the template
}

// Publishes reports whether anything is to name the images.
func (r Request) Publishes() bool {
	return slices.ContainsFunc(r.Targets, func(t Target) bool { return len(t.Parameters)+len(t.Templates) > 0 })
}

// LaunchTemplate asks for a version of a launch template that names a destination's image. Fields of type Text are templates.
type LaunchTemplate struct {
	Template    Text   // id, lt-..., or name
	Source      string // version that the new one is made from: a number, "$Default" or "$Latest"
	Description Text
	SetDefault  bool // make the new version the default one
}

// Parameter asks for an SSM parameter that names a destination's image. Fields of type Text are templates.
type Parameter struct {
	Name        Text
	Type        string // "String" or "SecureString"
	DataType    string // "aws:ec2:image", of a String only (7.1), or "text"
	KeyID       Text   // of a SecureString; "": the account's alias/aws/ssm (7.9)
	Tier        string // "Standard", "Advanced" or "Intelligent-Tiering"; "": the account's default
	Description Text
	Tags        map[string]Text
	Overwrite   bool // one that names something else already
}

// Method is how a target gets its copy.
type Method string

const (
	Auto       Method = "auto"     // BySnapshot, but ByImage where the image would lose something that way (2.3, 2.4)
	BySnapshot Method = "snapshot" // CopySnapshot of each snapshot, then RegisterImage
	ByImage    Method = "image"    // CopyImage
)

// Methods are all of them.
var Methods = []Method{Auto, BySnapshot, ByImage}

// Share is a block of the template: who may launch the image without a copy of their own, in every Region of the artifact.
type Share struct {
	Name                string   // for messages; never empty: "share[0]" where the template gives none
	AccountIDs          []string // sorted
	OrganizationARNs    []string // sorted
	OrganizationalUnits []string // ARNs, sorted
	Grants              []Grant  // who may use the key of the shared image in each of AccountIDs; its account makes them
	Roles               []Role   // hops to each of AccountIDs, in order; for Grants only
	Profile             string   // likewise; "" is none
}

// Text is template text, rendered for a destination by Expand.
type Text string

// Role is one hop of an assumed role (rules 5.1 to 5.6).
type Role struct {
	RoleName          Text // name in the destination's account; or
	RoleARN           Text
	ExternalID        Secret
	SessionName       Text
	SourceIdentity    Text
	Duration          time.Duration // 0: one hour, the most that role chaining allows (5.2)
	Policy            string        // session policy, JSON
	PolicyARNs        []string
	Tags              map[string]string
	TransitiveTagKeys []string
}

// Secret is text that no message, file or log may show; it prints as "(secret)".
type Secret string

func (Secret) String() string { return "(secret)" }

func (Secret) GoString() string { return "(secret)" }

func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Retention is which older releases of its line a target keeps: those among the newest, and those that are young. The zero value keeps all.
type Retention struct {
	Releases int           // how many, the one of this run among them; 0: none for being among the newest
	For      time.Duration // since AWS made the image at the destination; 0: none for its age
	DryRun   bool          // tell what would go
}

// On reports whether anything is to go.
func (r Retention) On() bool { return r.Releases > 0 || r.For > 0 }

// SourceKeyAccess is how the targets come to use the source's keys.
type SourceKeyAccess string

const (
	ByPolicy SourceKeyAccess = "policy" // their policies admit the targets already
	ByGrant  SourceKeyAccess = "grant"  // grants for the time of the copies (rule 3.2.6)
)

// Vars are what a Text may name. They are our own, because Packer's build variables do not exist under its null builder.
type Vars struct {
	AccountId     string // of the destination
	Region        string // of the destination
	Partition     string // aws, aws-us-gov, aws-cn
	SourceAMI     string // the image that is copied
	SourceAMIName string
	SourceRegion  string
	BaseAMI       string // the image that the build started from
	BuildName     string
	RunId         string
	Date          string // of the run, 2006-01-02 in UTC
}

// Check reports what is wrong with a template: its syntax, or a variable that does not exist.
func (t Text) Check() error {
	_, err := t.Render(Vars{})
	return err
}

func (t Text) Render(vars Vars) (string, error) {
	if !strings.Contains(string(t), "{{") {
		return string(t), nil
	}
	parsed, err := template.New("").Option("missingkey=error").Parse(string(t))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = parsed.Execute(&out, vars)
	return out.String(), err
}

// launchOperations are what a service-linked role needs on the key of what it launches (8.3), sorted.
var LaunchOperations = []string{"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"}
