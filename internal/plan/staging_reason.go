// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"

// StagingReason is why a snapshot is staged, or why it is shared as it is. The manifest has it.
type StagingReason string

// Reasons to stage a snapshot, and reasons not to.
const (
	AWSManagedKey      StagingReason = "aws_managed_key"
	OtherKey           StagingReason = "other_key"
	NotEncrypted       StagingReason = "not_encrypted"
	OneTransfer        StagingReason = "one_transfer_per_region"
	PartOfStagedImage  StagingReason = "part_of_staged_image"
	TooManyAccounts    StagingReason = "too_many_accounts"
	ConfiguredKey      StagingReason = "configured_key"
	CustomerManagedKey StagingReason = "customer_managed_key"
	UnencryptedAllowed StagingReason = "unencrypted_share_allowed"
	CopiedByOwner      StagingReason = "copied_by_owner"
)

var stagingTexts = map[StagingReason]string{
	AWSManagedKey:      "cannot be shared",
	OtherKey:           "not the key of kms_key_id",
	NotEncrypted:       "not encrypted",
	OneTransfer:        "transferred once for all accounts",
	PartOfStagedImage:  "copied because another volume of the AMI must be",
	TooManyAccounts:    "copied to share it in batches, with at most 1000 accounts at a time",
	ConfiguredKey:      "shared as it is",
	CustomerManagedKey: "shared as it is",
	UnencryptedAllowed: "shared unencrypted (allow_unencrypted_share)",
	CopiedByOwner:      "copied by its own account",
}

// Text returns the reason for the screen and the reports. A reason of a later version has its own name as text.
func (r StagingReason) Text() string {
	if text, known := stagingTexts[r]; known {
		return text
	}
	return string(r)
}

// unsharableDetails holds the facts of AWS in findings about snapshots that cannot be shared, by the rule they rest
// on.
var unsharableDetails = map[string]string{
	"2.1.1": "it is encrypted with aws/ebs, and other accounts cannot use an AWS managed key",
	"2.1.4": "it is not encrypted, and a share needs kms_key_id or allow_unencrypted_share = true",
}

func unsharable(s *shareSource, v volume, rule string) distribution.Finding {
	return distribution.Finding{
		Level:       distribution.Refused,
		Code:        distribution.CodeSnapshotNotShareable,
		Reference:   rule,
		Field:       "kms_key_id",
		Location:    s.location,
		Resource:    v.id(),
		Summary:     "the snapshot of " + v.device() + " cannot be shared",
		Detail:      unsharableDetails[rule],
		Remediation: shareRemedy(rule),
	}
}
