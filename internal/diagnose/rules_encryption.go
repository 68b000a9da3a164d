// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// encryptionRules explain errors of encrypted copies and volumes (section 1).
var encryptionRules = []rule{
	{
		references:      "1.8.1 3.4",
		operations:      copyOperations,
		codes:           "InvalidParameterValue",
		messageContains: []string{"specified keyId", "is disabled"},
		aboutKey:        true,
		summary:         "the key is disabled",
		detail:          "a disabled key encrypts nothing",
		remediation: "enable it with `aws kms enable-key` in its account, or name another key in kms_key_id or " +
			"region_kms_key_ids",
	},
	{
		references:      "1.8.2 1.7.5 1.7.6 3.6.2 3.4",
		operations:      copyOperations,
		codes:           "InvalidParameterValue",
		messageContains: []string{"specified keyId", "is invalid"},
		aboutKey:        true,
		summary:         "there is no such key in {region}",
		detail: "key or alias does not exist there, or cannot be used there: the key of a copy has to be in the " +
			"Region of the copy, a bare id or alias is looked up in account {account}, and a key that waits for its deletion " +
			"may be answered alike",
		remediation: "name a symmetric key that exists in {region}, in kms_key_id or region_kms_key_ids",
	},
	{
		references:      "1.8.3 3.1.8 3.1.4",
		operations:      copyOperations,
		codes:           "AuthFailure",
		messageContains: []string{"Not authorized to use key"},
		aboutKey:        true,
		summary:         "{who} may not look at the key of the copy",
		detail:          "EC2 asks for kms:DescribeKey on the key before it begins, and it is refused",
		remediation:     "the copy takes kms:CreateGrant and kms:GenerateDataKeyWithoutPlaintext on the key as well",
		statements:      allowOnKey("kms:DescribeKey"),
	},
	{
		references:      "1.8.4 3.1.8 3.1.1 3.1.2 3.1.3 3.4 4.4.4 A.4.8",
		operations:      copyOperations,
		messageContains: []string{"Given key ID is not accessible"},
		aboutKey:        true,
		eventual:        true,
		summary:         "a key of the copy could not be used",
		detail: "EC2 took the call and failed afterwards, without telling which right was missing on which key: " +
			"kms:CreateGrant or kms:GenerateDataKeyWithoutPlaintext on the key of the copy, or kms:CreateGrant on the " +
			"source's, where that is another one; a key that waits for its import or deletion, or is not available, ends so " +
			"too, and a policy changed in the last five minutes may not be known yet",
		remediation: "check the state of the keys",
		statements:  allowOnCopyKeys,
	},
	{
		references:      "1.8.5 1.8.7 1.7.7",
		operations:      "ec2:CopyImage ec2:DescribeImages",
		messageContains: []string{"Copy image failed with an internal error"},
		aboutKey:        true,
		summary:         "AWS gave up the copy of the image",
		detail: "its text is the same for all reasons; those known are a key that does not exist in {region}, is " +
			"disabled, is an alias without alias/, or is refused",
		remediation: "check that the key exists in {region} and is enabled; copying snapshot by snapshot tells the " +
			"reason",
		statements: allowOnCopyKeys,
	},
	{
		references: "1.8.6 A.4.7 A.4.8",
		operations: "ec2:CreateVolume ec2:DescribeVolumes",
		codes:      "InvalidVolume.NotFound",
		aboutKey:   true,
		summary:    "the volume is not there",
		detail: "EC2 gives a volume its id before it asks for the key: one whose key is missing or refused " +
			"vanishes again",
		remediation: "check that the key exists and is enabled",
		statements:  allowOnKey("kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"),
	},
	{
		references:      "1.1.11 1.4.7 A.4.5",
		operations:      encryptingOperations,
		codes:           "InvalidParameterDependency",
		messageContains: []string{"requires the parameter Encrypted"},
		summary:         "a key was given without asking for encryption",
		detail:          "AWS takes a key only together with Encrypted=true; an empty key counts as given",
		remediation:     reportDefect,
	},
	{
		references:      "1.4.8 1.6.1",
		operations:      copyOperations,
		codes:           "InvalidRequest",
		messageContains: []string{"Creating an unencrypted copy from an encrypted snapshot"},
		summary:         "what is encrypted cannot be copied unencrypted",
		detail:          "the copy was asked for with Encrypted=false",
		remediation:     reportDefect,
	},
	{
		references:      "A.4.6 1.1.12",
		operations:      "ec2:CreateVolume",
		codes:           "InvalidParameterCombination",
		messageContains: []string{"inconsistent with snapshot encryption state"},
		summary:         "an encrypted snapshot makes encrypted volumes only",
		detail:          "the volume was asked for with Encrypted=false",
		remediation:     reportDefect,
	},
	{
		references:      "1.5.1",
		operations:      "ec2:RegisterImage",
		codes:           "InvalidParameter InvalidBlockDeviceMapping",
		messageContains: []string{"encrypted flag"},
		summary:         "encryption cannot be given to a device that has a snapshot",
		detail:          "an image is encrypted as its snapshots are",
		remediation:     reportDefect,
	},
	{
		references:      "1.5.6",
		operations:      "ec2:RegisterImage",
		codes:           "InvalidParameterValue",
		messageContains: []string{"Snapshot does not belong to"},
		summary:         "the snapshot is another account's",
		detail:          "an image can be registered from snapshots of its own account only; a shared one does not do",
		remediation:     reportDefect,
	},
}

// kmsRules explain errors of KMS itself (section 3).
var kmsRules = []rule{
	{
		references:  "3.4 1.8.1",
		operations:  "kms:*",
		codes:       "DisabledException",
		aboutKey:    true,
		summary:     "the key is disabled",
		detail:      "a disabled key encrypts and decrypts nothing, and takes no grants",
		remediation: "enable it with `aws kms enable-key` in its account, or name another key",
	},
	{
		references:      "3.4",
		operations:      "kms:*",
		codes:           "KMSInvalidStateException",
		messageContains: []string{"pending deletion"},
		aboutKey:        true,
		summary:         "the key is going to be deleted",
		detail:          "its deletion is scheduled, and until then it does nothing",
		remediation:     "cancel it with `aws kms cancel-key-deletion` and enable the key, or name another key",
	},
	{
		references:      "3.4 3.5.1",
		operations:      "kms:*",
		codes:           "KMSInvalidStateException",
		messageContains: []string{"pending import"},
		aboutKey:        true,
		summary:         "the key has no key material",
		detail:          "it waits for the import; material that was deleted or has expired puts a key back there at once",
		remediation:     "import its key material, or name another key",
	},
	{
		references: "3.4",
		operations: "kms:*",
		codes:      "KMSInvalidStateException",
		aboutKey:   true,
		summary:    "the key cannot be used now",
		detail: "its state does not allow it: Unavailable where a custom key store is not connected, Creating, " +
			"Updating or PendingReplicaDeletion where it is a multi-Region key",
		remediation: "see KeyState in `aws kms describe-key`, wait until it is Enabled, or name another key",
	},
	{
		references:  "3.4.1",
		operations:  "kms:*",
		codes:       "NotFoundException",
		aboutKey:    true,
		summary:     "there is no such key in {region}",
		detail:      "KMS looks a bare id or alias up in the caller's account and Region",
		remediation: "check id, account and Region; name another account's key by its ARN",
	},
	{
		references:      "8.3",
		operations:      "kms:CreateGrant",
		codes:           "InvalidArnException",
		messageContains: []string{"does not refer to a valid principal"},
		summary:         "there is no such principal",
		detail: "a grant is for a principal that exists; a service-linked role is made when its service is first " +
			"used",
		remediation: "check the ARN; for Auto Scaling make the role with `aws iam create-service-linked-role " +
			"--aws-service-name autoscaling.amazonaws.com`",
	},
	{
		references:  "3.4.1",
		operations:  "kms:*",
		codes:       "InvalidArnException",
		aboutKey:    true,
		summary:     "this is no ARN that KMS takes",
		detail:      "it is not of the form of a key's, alias's or principal's ARN, or of another Region",
		remediation: "correct the ARN",
	},
	{
		references:  "3.4.2",
		operations:  "kms:*",
		codes:       "InvalidKeyUsageException",
		aboutKey:    true,
		summary:     "the key is of another kind",
		detail:      "EBS takes symmetric encryption keys only: SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT",
		remediation: "name another key",
	},
	{
		references:      "3.4.3",
		operations:      "kms:*",
		codes:           accessDeniedCodes,
		messageContains: []string{hiddenKeyMessage},
		aboutKey:        true,
		summary:         "KMS does not let {who} use {key}",
		detail:          "it does not tell whether the key does not exist in {region} or the right is missing",
		remediation:     "check the key",
		statements:      allowOperationOnKey,
	},
	{
		references:  "3.2.7 3.7",
		operations:  "kms:CreateGrant",
		codes:       "LimitExceededException",
		aboutKey:    true,
		summary:     "the key has too many grants",
		detail:      "AWS allows 50,000 on a key, and grants stay until they are retired or revoked",
		remediation: "revoke grants that are not needed: `aws kms list-grants`, `aws kms revoke-grant`",
	},
	{
		references:  "3.7",
		operations:  "kms:RevokeGrant kms:RetireGrant",
		codes:       "InvalidGrantIdException",
		aboutKey:    true,
		summary:     "there is no such grant",
		detail:      "it was retired or revoked already, or is another key's",
		remediation: "nothing is to be done where it was to be revoked",
	},
	{
		references: "3.7",
		operations: "kms:*",
		codes: "InvalidGrantTokenException InvalidMarkerException InvalidCiphertextException " +
			"IncorrectKeyException",
		aboutKey:    true,
		summary:     "KMS does not take what it was given",
		detail:      "a grant token, page marker or ciphertext is not one of its own",
		remediation: reportDefect,
	},
}
