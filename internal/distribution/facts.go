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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// CallerIdentity is the identity of credentials (rule 5.9, GetCallerIdentity).
type CallerIdentity struct {
	Account   string // 12 digits
	ARN       string
	Partition string // aws, aws-us-gov, aws-cn, ...
}

// Facts holds what lookups found and which of them failed. It has the types of the SDK, so that no attribute is lost.
type Facts struct {
	At       time.Time // the only clock of the plan
	Source   CallerIdentity
	Regions  []string                       // of the partition, as AWS lists them for the source account; empty if unknown
	Units    map[string]Unit                // by organizational unit or root, as a target names it
	Images   map[string]Image               // by Region
	Defaults map[Location]Default           // of the source Regions, and where a target uses the default key
	Keys     map[Location]map[string]Key    // by the key as the template names it
	Sites    map[Location]DestinationFacts  // of each destination
	Earlier  map[Location]ExistingResources // with our source tag
	Runs     Runs                           `json:"-"` // which runs are active; nil if no other run is
	Unseen   []FailedLookup                 // lookups that failed

	// Releases holds the accounts' own images with our source tag, sorted by ID. Empty without retention and usage.
	Releases map[Location][]ec2types.Image
	// Published holds the accounts' own images that parameters and default versions of launch templates name, by ID.
	Published map[Location]map[string]ec2types.Image

	// AllowedImages holds the Allowed AMIs settings of accounts of share blocks.
	AllowedImages map[Location]AllowedImages

	// SharePublications holds the parameters of share blocks in the source account.
	SharePublications map[Location]PublicationFacts

	// SourceReleases holds the source images of the image family, by Region. Empty without source_retention.
	SourceReleases map[string][]ec2types.Image

	Usage map[Location]ImageUseFacts // what uses the releases of the image family; empty without mode = "usage"

	// Sources holds the source images of Releases and of other images that a run may replace. Deleted ones are missing.
	Sources map[provenance.SourceImage]ec2types.Image

	// Grants holds the temporary grants on keys of the source account, sorted by id. Empty unless the request uses them.
	Grants map[Location][]kmstypes.GrantListEntry

	Base Image // with Request.Intent: the base AMI of the build, in its fields Base and BaseSnapshots
	// ProtectedNamesakes are images with the name of the build and deregistration protection, by Region
	ProtectedNamesakes map[string]string
	BaseMatches        int // with Request.Intent: how many images match the filter
}

// IsWorking reports whether the run that created a resource is another run that is still active.
func (f Facts) IsWorking(run string, created time.Time) bool {
	return f.Runs != nil && !f.Runs.IsOver(run, created)
}

// SigningKeys returns the signing keys of the source images: of the request's, and of those in Sources.
func (f Facts) SigningKeys() map[provenance.SourceImage]provenance.SigningKeys {
	all := map[provenance.SourceImage]provenance.SigningKeys{}
	for source, image := range f.Sources {
		all[source] = provenance.ParseSigningKeys(TagMap(image.Tags))
	}
	for region, image := range f.Images {
		if image.Image != nil {
			all[f.SourceOf(region)] = image.Keys
		}
	}
	return all
}

// SourceOf returns the source image of a Region.
func (f Facts) SourceOf(region string) provenance.SourceImage {
	source := provenance.SourceImage{Account: f.Source.Account, Region: region}
	if image := f.Images[region].Image; image != nil {
		source.ImageID = aws.ToString(image.ImageId)
	}
	return source
}

// Judge returns the provenance.Judge for the resources of a source image. The result is false if its signing keys are
// unknown.
func (f Facts) Judge(source provenance.SourceImage) (provenance.Judge, bool) {
	keys := f.SigningKeys()[source]
	runs := f.Runs
	if runs == nil {
		runs = noOtherRun{}
	}
	return provenance.Judge{Source: source, Keys: keys, Runs: runs}, len(keys) > 0
}

// HasUnfinishedRuns reports whether the source images have records of runs other than own. A successful run deletes its
// record.
func (f Facts) HasUnfinishedRuns(own string) bool {
	for _, image := range f.Images {
		if image.Image == nil {
			continue
		}
		for _, tag := range image.Image.Tags {
			if run, ok := provenance.ParseRecordKey(aws.ToString(tag.Key)); ok && run != own {
				return true
			}
		}
	}
	return false
}

// HasRegion reports whether a Region exists, enabled or not. True if the Regions are unknown.
func (f Facts) HasRegion(region string) bool {
	return len(f.Regions) == 0 || slices.Contains(f.Regions, region)
}

// Unit holds the accounts of an organizational unit and of its child units.
type Unit struct {
	Accounts []Member  // sorted by id
	Err      *APIError // why they could not be listed; nil if they were
}

// Member is an account of an organization.
type Member struct {
	ID     string // 12 digits
	Active bool   // neither suspended nor pending closure
}

// Image is a source image with the attributes that only its owner can read (rules 2.2.11, 2.2.12).
type Image struct {
	Image             *ec2types.Image        // nil if it is not visible to the source credentials
	UEFIData          string                 // base64; empty if there is none
	Keys              provenance.SigningKeys `json:"-"` // from its tags; empty before the first run
	SharedWith        LaunchPermissions
	Snapshots         map[string]Snapshot
	Base              *ec2types.Image              // base AMI of the build; nil if it is not visible
	BaseSnapshots     map[string]ec2types.Snapshot // of Base, if visible
	EncryptionReasons []string                     // why a planned image will be encrypted; nil if the image exists
}

// Snapshot is a snapshot of a source image with its create volume permissions.
type Snapshot struct {
	ec2types.Snapshot
	SharedWith []string // account ids, sorted; nil if they could not be read
}

// Default holds the EBS encryption settings of a location (rules 1.7.1, 1.7.3).
type Default struct {
	Encryption bool   // encryption by default
	KMSKeyID   string // "alias/aws/ebs" or an ARN, which is in Facts.Keys
}

// Key is the response of DescribeKey. Metadata is nil if the key was not found or the call was denied; then Err is set.
type Key struct {
	Metadata *kmstypes.KeyMetadata
	Err      *APIError
}

// DestinationFacts holds the facts of one destination.
type DestinationFacts struct {
	Identity   CallerIdentity  // zero if the credentials could not be retrieved
	Err        *APIError       // why there is no identity, or why the Region is not usable
	ExternalID bool            // the last role is assumed with an external id
	WorkedIn   string          // another account of the block, whose role was assumed with the same external id
	NameUsed   *ec2types.Image // own image that has the name of the copy; nil if the name is free

	PublicationFacts

	Subnet       SubnetFacts       // for a launch check
	InstanceType InstanceTypeFacts // for a launch check
}

// AllowedImages is the Allowed AMIs setting of an account in a Region (rule 2.2.14).
type AllowedImages struct {
	State    string // "enabled", "audit-mode" or "disabled"
	Criteria []ec2types.ImageCriterion
}

// SubnetFacts holds the subnet of a launch check: by its id, by its filters, or a default one.
type SubnetFacts struct {
	ID        string    // empty if none matches
	IsMissing bool      // AWS was asked, and none matches
	IsFull    bool      // it has no free address
	Err       *APIError // why subnets could not be listed
}

// InstanceTypeFacts holds what AWS says about the instance type of a launch check.
type InstanceTypeFacts struct {
	Info      *ec2types.InstanceTypeInfo // nil if it was not found
	IsMissing bool                       // AWS was asked, and the Region has no such type
	Err       *APIError                  // why it could not be looked up
}

// ExistingResources holds the resources with the source tag of an image at a location, and the snapshots of such
// images. The plan decides which of them runs created.
type ExistingResources struct {
	Snapshots []ec2types.Snapshot // own, sorted by id
	Images    []ec2types.Image    // own, sorted by id
	Instances []ec2types.Instance // own, not terminated, sorted by id

	// LaunchPermissions and VolumePermissions are set for the images of destinations with launch permissions and of share
	// blocks, and for their snapshots, by ID.
	LaunchPermissions map[string]LaunchPermissions
	VolumePermissions map[string][]string
	Others            []OtherResource // of kinds that no run creates, sorted by id
}

// OtherResource is a resource with the source tag of which only the ID and the kind are known.
type OtherResource struct{ Kind, ID string }

// APIError is an error of AWS as part of the facts.
type APIError struct {
	Operation string // "sts:AssumeRole"
	Status    int    // HTTP
	Code      string // empty without a response of AWS
	Message   string

	Unanswered bool            `json:"-"` // the call was given up, because AWS did not answer it for minutes
	Cause      CredentialCause // why there are no credentials; empty for all other errors
	Profile    string          // profile without credentials; empty if no profile is known
}

func (r *APIError) Error() string {
	if r.Operation == "" {
		return r.Message
	}
	if r.Code == "" {
		return r.Operation + ": " + r.Message
	}
	return r.Operation + ": " + r.Code + ": " + r.Message
}

// CredentialCause is the reason why this machine has no credentials. AWS was not called, or refused a sign-in.
type CredentialCause string

// Causes of missing credentials.
const (
	NoCredentials           CredentialCause = "no credentials"
	ProfileMissing          CredentialCause = "profile missing"
	ProfileInvalid          CredentialCause = "profile invalid"
	MFARequired             CredentialCause = "MFA required"
	SSOSignInRequired       CredentialCause = "SSO sign-in required"
	SSORoleDenied           CredentialCause = "SSO role denied"
	ProcessFailed           CredentialCause = "credential process failed"
	WebIdentityTokenMissing CredentialCause = "web identity token missing"
)

// Finding returns the finding for a call that AWS did not answer.
func (r *APIError) Finding(at Location) Finding {
	return Finding{
		Level:       Refused,
		Code:        CodeUnanswered,
		Location:    at,
		Operation:   r.Operation,
		Summary:     "no answer from " + r.Operation,
		Detail:      r.Error(),
		Remediation: "check that this machine reaches the endpoint, and resume the run when AWS answers",
	}
}

// FailedLookup is a missing fact. It fails the plan only if the plan needs the fact.
type FailedLookup struct {
	At       Location
	Resource string
	Refusal  APIError
	Vital    bool // the run needs the fact, because it decides what is deleted or which attributes an image loses
}

// NeedsLookup reports whether a location cannot be planned without its facts. It is false only for Regions in which the
// source account would have nothing but staged copies.
func (f Facts) NeedsLookup(at Location) bool {
	return at.Account != f.Source.Account || f.Images[at.Region].Image != nil
}

// HasHiddenResources reports whether a lookup failed where resources of earlier runs may exist.
func (f Facts) HasHiddenResources() bool {
	for _, site := range f.Sites {
		if site.Err != nil {
			return true
		}
	}
	return slices.ContainsFunc(f.Unseen, func(u FailedLookup) bool { return u.Vital && f.NeedsLookup(u.At) })
}

// UnseenAccounts returns the number of accounts in which a lookup failed, so that resources of earlier runs may exist
// there.
func (f Facts) UnseenAccounts() int {
	var accounts []string
	for at, site := range f.Sites {
		if site.Err != nil {
			accounts = append(accounts, at.Account)
		}
	}
	for _, unseen := range f.Unseen {
		if unseen.Vital && f.NeedsLookup(unseen.At) {
			accounts = append(accounts, unseen.At.Account)
		}
	}
	return len(Union(accounts, nil))
}

// RequiredLookupFailure returns the failed lookup without which a location cannot be planned. Nil if none failed.
func (f Facts) RequiredLookupFailure(at Location) *FailedLookup {
	i := slices.IndexFunc(f.Unseen, func(u FailedLookup) bool { return u.Vital && u.At == at })
	if i < 0 {
		return nil
	}
	return &f.Unseen[i]
}

// IsManagedByAWS reports whether a key is an AWS managed key, whose policy cannot allow another account (3.2.5).
func (k Key) IsManagedByAWS() bool {
	return k.Metadata != nil && k.Metadata.KeyManager == kmstypes.KeyManagerTypeAws
}

// ARN returns the ARN of the key. Empty if it is unknown.
func (k Key) ARN() string {
	if k.Metadata == nil {
		return ""
	}
	return aws.ToString(k.Metadata.Arn)
}

// IsHidden reports whether DescribeKey was denied. EC2 may still be able to use the key for the caller, because a key
// policy can allow calls through EC2 only (3.2.4).
func (k Key) IsHidden() bool {
	return k.Metadata == nil && k.Err != nil && strings.HasPrefix(k.Err.Code, "AccessDenied")
}

// IsConcealed reports whether a key is hidden but its ARN is known. EC2 may still be able to use such a key. The ARN of
// an alias is not enough, because AWS later reports the ARN of the key.
func (k Key) IsConcealed(name, region string) bool {
	return k.IsHidden() && ARNRegion(name) == region && strings.Contains(name, ":key/")
}
