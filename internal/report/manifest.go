// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// SchemaVersion is the version of the manifest's schema. A new minor version adds keys or values of enumerations. A new
// major version removes or renames a key, or changes its type or meaning.
const SchemaVersion = "1.0"

// Manifest describes a run. Programs read it as a JSON file, and the HTML and Markdown reports are rendered from it.
// Every key is always present. Unknown or inapplicable values are null, and an empty list is [].
type Manifest struct {
	SchemaVersion         string             `json:"schema_version"`
	PluginVersion         string             `json:"plugin_version"`
	Mode                  Mode               `json:"mode"`
	Status                Status             `json:"status"`
	Error                 OptionalString     `json:"error"`
	Run                   Run                `json:"run"`
	Summary               Summary            `json:"summary"`
	Estimate              Estimate           `json:"estimate"`
	SourceAMIs            []SourceAMI        `json:"source_amis"`  // by Region
	Destinations          []Destination      `json:"destinations"` // by account, then Region
	Shares                []Share            `json:"shares"`
	KMSGrants             []KMSGrant         `json:"kms_grants"`
	Usage                 []ReleaseUsage     `json:"usage"`    // newest release first, then by account and Region
	Findings              []Finding          `json:"findings"` // errors first, then warnings, then notes
	LeftBehind            []RetainedResource `json:"left_behind"`
	LeftBehindUSDPerMonth float64            `json:"left_behind_usd_per_month"`
	Resume                *Resume            `json:"resume"` // null if there is no resume file
	Steps                 []Step             `json:"steps"`  // by start, then those that have not started
}

// Mode is the mode of the run.
type Mode string

// Modes of a run.
const (
	Distribute Mode = "distribute"
	PlanOnly   Mode = "plan"
	Verify     Mode = "verify"
	CleanUp    Mode = "cleanup"
	Promote    Mode = "promote"
	Rollback   Mode = "rollback"
	Usage      Mode = "usage"
)

// Status is the state of a run, a destination, a step, or another part of a run. Readers must expect further values.
type Status string

// These are the states of runs and of their parts. Only runs are running, canceled or planned. Only parts are skipped,
// in progress or pending.
const (
	Running    Status = "running"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Canceled   Status = "canceled"
	Planned    Status = "planned"
	Skipped    Status = "skipped"
	InProgress Status = "in_progress"
	Pending    Status = "pending"
	Held       Status = "held" // a reference that publish = "hold" keeps as it is
)

// Label returns the status as words.
func (s Status) Label() string { return strings.ReplaceAll(string(s), "_", " ") }

// Run identifies a run and its times.
type Run struct {
	ID            OptionalString `json:"id"`
	ResumedRunID  OptionalString `json:"resumed_run_id"`
	PackerRunUUID OptionalString `json:"packer_run_uuid"`
	BuildName     OptionalString `json:"build_name"`
	BuilderType   OptionalString `json:"builder_type"`
	StartedAt     Time           `json:"started_at"`
	UpdatedAt     Time           `json:"updated_at"`
	EndedAt       Time           `json:"ended_at"` // null while the run goes on
}

// Resume names the file that resumes the run.
type Resume struct {
	File           string   `json:"file"` // in the directory of the manifest
	Command        string   `json:"command"`
	CleanupCommand string   `json:"cleanup_command"` // gives the run up
	Variables      []string `json:"variables"`       // that need values
}

// Summary counts destinations by status.
type Summary struct {
	Destinations int `json:"destinations"`
	Succeeded    int `json:"succeeded"`
	Failed       int `json:"failed"`
	Skipped      int `json:"skipped"`
	InProgress   int `json:"in_progress"`
	Pending      int `json:"pending"`
}

// Estimate is the expected duration and cost of the plan, at the list prices of us-east-1 and at full size.
type Estimate struct {
	Copies           int     `json:"copies"`
	CopiedGiB        int64   `json:"copied_gib"`
	CrossRegionGiB   int64   `json:"cross_region_gib"`
	StoredGiB        int64   `json:"stored_gib"` // without the copies that the run deletes
	DurationSeconds  int64   `json:"duration_seconds"`
	USDPerMonth      float64 `json:"usd_per_month"`
	USDOnce          float64 `json:"usd_once"`            // for data between Regions
	USDTimeBasedCopy float64 `json:"usd_time_based_copy"` // once, for copies with a promised duration
}

// SourceAMI is an image that the run distributes.
type SourceAMI struct {
	AccountID                OptionalString `json:"account_id"`
	Region                   string         `json:"region"`
	AMIID                    string         `json:"ami_id"`
	AMIName                  OptionalString `json:"ami_name"`
	ImageFamily              OptionalString `json:"image_family"`
	BaseAMIID                OptionalString `json:"base_ami_id"`
	DeregistrationProtection OptionalString `json:"deregistration_protection"` // null without a protection by a run
	EncryptionReasons        []string       `json:"encryption_reasons"`        // several if the cause is ambiguous
	Volumes                  []Volume       `json:"volumes"`
}

// Values of SourceAMI.DeregistrationProtection.
const (
	enabledByRun      = "enabled_by_run"
	neededByOtherRuns = "needed_by_other_block" // another block of the build failed
)

// Volume is an EBS volume of a source image, and the decision about it.
type Volume struct {
	DeviceName       string         `json:"device_name"`
	SnapshotID       string         `json:"snapshot_id"`
	SizeGiB          int64          `json:"size_gib"`
	KMSKeyARN        OptionalString `json:"kms_key_arn"` // null if it is not encrypted
	KMSKeyAlias      OptionalString `json:"kms_key_alias"`
	Staged           bool           `json:"staged"`
	StagedSnapshotID OptionalString `json:"staged_snapshot_id"`
	StagedKMSKeyARN  OptionalString `json:"staged_kms_key_arn"`
	StagedKeyAlias   OptionalString `json:"staged_kms_key_alias"`
	StagingReason    OptionalString `json:"staging_reason"` // why it is staged, or why it is not
}

// Destination is an account and Region that gets an image.
type Destination struct {
	Target              string         `json:"target"`
	Required            bool           `json:"required"`
	AccountID           string         `json:"account_id"`
	Region              string         `json:"region"`
	Status              Status         `json:"status"`
	AMIID               OptionalString `json:"ami_id"`
	AMIName             OptionalString `json:"ami_name"`
	SourceAMIID         OptionalString `json:"source_ami_id"`
	SourceRegion        OptionalString `json:"source_region"` // that the copies come from
	CopyMethod          OptionalString `json:"copy_method"`
	CopyMethodReason    OptionalString `json:"copy_method_reason"`
	CreatedByEarlierRun bool           `json:"created_by_earlier_run"`
	// null if it does not exist, or if an earlier run created it
	CreatedByRunID OptionalString `json:"created_by_run_id"`
	KMSKeyARN      OptionalString `json:"kms_key_arn"`
	KMSKeyAlias    OptionalString `json:"kms_key_alias"`
	StartedAt      Time           `json:"started_at"`
	EndedAt        Time           `json:"ended_at"`
	Snapshots      []Snapshot     `json:"snapshots"`
	Attributes     []Attribute    `json:"attributes"`
	Published      []Publication  `json:"published"`
	LaunchCheck    *LaunchCheck   `json:"launch_check"`
	// AMI IDs of older releases that the run removed, sorted
	RemovedReleases []string `json:"removed_releases"`
	FindingIDs      []string `json:"finding_ids"`
}

// Snapshot is a snapshot of a destination's image.
type Snapshot struct {
	DeviceName string `json:"device_name"`
	SnapshotID string `json:"snapshot_id"`
	SizeGiB    int64  `json:"size_gib"`
	KMSKeyARN  string `json:"kms_key_arn"`
}

// Attribute is an attribute of the source image, and its outcome in a destination's image.
type Attribute struct {
	Name    string         `json:"name"`
	Outcome string         `json:"outcome"`
	Reason  OptionalString `json:"reason"`
}

// Values of Attribute.Outcome.
const (
	kept    = "kept"
	changed = "changed"
	lost    = "lost"
)

// Publication is an SSM parameter or a launch template that refers to the image of a destination or of a share block.
type Publication struct {
	Kind    string        `json:"kind"`
	Name    string        `json:"name"`
	Version OptionalInt64 `json:"version"` // that the run wrote; null if it wrote none
	Status  Status        `json:"status"`

	AMIID         OptionalString `json:"ami_id"`          // with promote and rollback: what it names, or will name
	PreviousAMIID OptionalString `json:"previous_ami_id"` // with promote and rollback: what it named before
}

// LaunchCheck is the launch of an instance of a destination's image.
type LaunchCheck struct {
	Status           Status `json:"status"`
	InstanceType     string `json:"instance_type"`
	SecondsToRunning *int64 `json:"seconds_to_running"` // null until it runs
}

// Share is an image of the source account that other accounts launch.
type Share struct {
	Name                   string         `json:"name"` // of the share blocks
	AccountID              string         `json:"account_id"`
	Region                 string         `json:"region"`
	AMIID                  OptionalString `json:"ami_id"` // null until a copy of the source image exists
	AccountIDs             []string       `json:"account_ids"`
	OrganizationARNs       []string       `json:"organization_arns"`
	OrganizationalUnitARNs []string       `json:"organizational_unit_arns"`
	Status                 Status         `json:"status"`
	Published              []Publication  `json:"published"`
}

// ReleaseUsage is the usage of the image of a release in an account and Region.
type ReleaseUsage struct {
	SourceAMIID string `json:"source_ami_id"`
	ReleasedAt  Time   `json:"released_at"`
	Target      string `json:"target"`
	AccountID   string `json:"account_id"`
	Region      string `json:"region"`
	AMIID       string `json:"ami_id"`
	AMIName     string `json:"ami_name"`
	State       string `json:"state"`
	Complete    bool   `json:"complete"` // false if a lookup failed, so that there may be further uses
	Uses        []Use  `json:"uses"`     // by kind, then resource
}

// Use is a resource that names an image.
type Use struct {
	Kind       string         `json:"kind"`
	ResourceID string         `json:"resource_id"`
	Detail     OptionalString `json:"detail"`
}

// KMSGrant is a grant on a key that the run creates, or that an earlier run created and this one uses.
type KMSGrant struct {
	AccountID        string         `json:"account_id"` // that creates it
	Region           string         `json:"region"`
	KMSKeyARN        string         `json:"kms_key_arn"`
	Name             string         `json:"name"`
	GranteePrincipal string         `json:"grantee_principal"`
	Operations       []string       `json:"operations"`
	GrantID          OptionalString `json:"grant_id"`
	Temporary        bool           `json:"temporary"` // the run revokes it at its end
	Status           Status         `json:"status"`
}

// Values of PolicyStatement.PolicyType. Readers must expect further values.
const (
	identityPolicy      = "identity"
	keyPolicy           = "key"
	sessionPolicy       = "session"
	permissionsBoundary = "permissions_boundary"
	resourcePolicy      = "resource"
)

// Severity of a finding.
type Severity string

// Severities of findings.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note"
)

// Finding is a problem or a remark, with its cause and the next step.
type Finding struct {
	ID               string            `json:"id"`
	Severity         Severity          `json:"severity"`
	Code             OptionalString    `json:"code"` // stable; the heading in the troubleshooting guide
	Summary          string            `json:"summary"`
	Detail           OptionalString    `json:"detail"`
	NextStep         OptionalString    `json:"next_step"`
	Target           OptionalString    `json:"target"`
	AccountID        OptionalString    `json:"account_id"`
	Region           OptionalString    `json:"region"`
	Operation        OptionalString    `json:"operation"`
	AWSErrorCode     OptionalString    `json:"aws_error_code"`
	AWSErrorMessage  OptionalString    `json:"aws_error_message"`
	Principal        OptionalString    `json:"principal"`
	ResourceID       OptionalString    `json:"resource_id"`
	Option           OptionalString    `json:"option"`    // of the template
	Reference        OptionalString    `json:"reference"` // number of the rule of AWS
	PolicyStatements []PolicyStatement `json:"policy_statements"`
}

// PolicyStatement is a statement that a policy lacks.
type PolicyStatement struct {
	PolicyType string          `json:"policy_type"`
	AttachTo   string          `json:"attach_to"`
	Statement  json.RawMessage `json:"statement"`
}

// RetainedResource is a temporary resource that the run did not delete.
type RetainedResource struct {
	Kind       string        `json:"kind"`
	AccountID  string        `json:"account_id"`
	Region     string        `json:"region"`
	ResourceID string        `json:"resource_id"`
	SizeGiB    OptionalInt64 `json:"size_gib"` // null if it stores nothing
	Reason     string        `json:"reason"`

	KeptForResume bool `json:"kept_for_resume"` // a resumed run continues with it
}

// Step is one operation of the plan.
type Step struct {
	ID           string         `json:"id"`
	Operation    OptionalString `json:"operation"`
	AccountID    string         `json:"account_id"`
	Region       string         `json:"region"`
	SourceID     OptionalString `json:"source_id"`     // that it copies; null before it exists
	SourceRegion OptionalString `json:"source_region"` // null if it copies nothing
	Staged       bool           `json:"staged"`        // the step creates a copy that destinations copy from
	Reused       bool           `json:"reused"`        // the step uses a copy that an earlier run started
	DeviceName   OptionalString `json:"device_name"`   // null for a copy of an image
	SizeGiB      OptionalInt64  `json:"size_gib"`
	ResourceID   OptionalString `json:"resource_id"`
	Status       Status         `json:"status"`
	Error        OptionalString `json:"error"`
	FindingID    OptionalString `json:"finding_id"`
	StartedAt    Time           `json:"started_at"`
	EndedAt      Time           `json:"ended_at"`
}

// isCopy reports whether the step copies a snapshot or an image.
func (s Step) isCopy() bool { return s.SourceRegion != "" }

// isTest reports whether a step is the copy of an empty snapshot, which is deleted again.
func (s Step) isTest() bool { return strings.HasPrefix(s.ID, "test-copy") }

// JSON returns the manifest as the JSON file that programs read.
func (m Manifest) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // no page contains the file
	encoder.SetIndent("", "  ")
	err := encoder.Encode(m)
	return out.Bytes(), err
}

// OptionalString is a string that is null in JSON if it is empty.
type OptionalString string

// MarshalJSON returns null for the empty string.
func (s OptionalString) MarshalJSON() ([]byte, error) { return marshalOptional(string(s)) }

// OptionalInt64 is a number that is null in JSON if it is zero.
type OptionalInt64 int64

// MarshalJSON returns null for zero.
func (n OptionalInt64) MarshalJSON() ([]byte, error) { return marshalOptional(int64(n)) }

func marshalOptional[T comparable](value T) ([]byte, error) {
	var zero T
	if value == zero {
		return []byte("null"), nil
	}
	return json.Marshal(value)
}

// Time is a time that JSON shows in UTC and to the second. The zero time is null.
type Time struct{ time.Time }

// MarshalJSON returns null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Format(time.RFC3339))
}
