// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// entry is one way in which AWS refuses. Texts may name {who}, {action}, {operation}, {code}, {on}, {key}, {account}, {whose}
// (the caller's account), {region} and {limit}.
type rule struct {
	rules           string   // numbers of the AWS rules it rests on; a finding bears the first
	calls           string   // operations; "": whichever
	codes           string   // "": whichever
	messageContains []string // what "Code: message" holds, all of it: no apostrophes, blanks at ends or limits, which vary (2.2.2, 4.1.1)
	onKey           bool     // the refusal is about the key that encrypts
	says            string
	because         string
	next            string // what to do, beside adding statements
	add             func(match) []distribution.Addition

	premature bool // it may come of AWS not having seen yet what the call depends on
}

func (e *rule) rule() string {
	rule, _, _ := strings.Cut(e.rules, " ")
	return rule
}

func (e *rule) knows(r distribution.APIError) bool {
	text := r.Code + ": " + r.Message
	return one(r.Operation, e.calls) && one(r.Code, e.codes) &&
		!slices.ContainsFunc(e.messageContains, func(fragment string) bool { return !strings.Contains(text, fragment) })
}

// one reports whether a name is among others; none stands for all.
func one(name, among string) bool {
	return among == "" || slices.Contains(strings.Fields(among), name)
}

type has = []string

// Texts and codes that several entries share.
const (
	denials    = "UnauthorizedOperation AccessDenied AccessDeniedException AuthorizationException"
	assuming   = "sts:AssumeRole sts:AssumeRoleWithWebIdentity sts:AssumeRoleWithSAML"
	ciphertext = "ciphertext refers to a customer master key that does not exist"
	copying    = "ec2:CopySnapshot ec2:CopyImage"

	defect  = "no option of the template leads here: report it with this text"
	waiting = "it passes: run again, what is done stays done"
	noHelp  = "an explicit deny goes before every allow, so no statement helps: "
)

// catalogue is every refusal that the rules name: first comes what is looked at first.
var catalogue = []rule{
	// 5: credentials and sessions, whatever the call.
	{rules: "5.4 5.3", codes: "RequestExpired ExpiredToken ExpiredTokenException", says: "the credentials have expired",
		because: "their session ended, and new ones could not be had from where they came", next: "renew the credentials that the run began with and run again: what is done stays done"},
	{rules: "5.8", codes: "RegionDisabledException", says: "STS gives no sessions in {region}",
		because: "the Region, or its STS endpoint, is switched off in account {account}", next: "enable the Region in account {account}, or leave it out of regions"},
	{rules: "5.8", codes: "OptInRequired", says: "account {account} does not use {region}",
		because: "the Region has to be enabled in every account that owns a copy there", next: "enable the Region in account {account}, or leave it out of regions"},
	{rules: "5.8", codes: "AuthFailure", messageContains: has{"not able to validate the provided access credentials"}, says: "{region} does not know the credentials",
		because: "one of these is so: the Region is not enabled in account {account}; their token is of the global STS endpoint, which Regions to opt in to do not take; the keys are wrong or deleted",
		next:    "enable the Region in account {account} or leave it out of regions; if the source credentials were issued by another tool, have it use the regional STS endpoint"},
	{rules: "5.8", codes: "InvalidClientTokenId UnrecognizedClientException", says: "the credentials are not known",
		because: "one of these is so: the Region is not enabled in account {account}; their token is of the global STS endpoint, which Regions to opt in to do not take; the keys are wrong or deleted",
		next:    "check the keys; enable the Region in account {account} or leave it out of regions; if the source credentials were issued by another tool, have it use the regional STS endpoint"},
	{rules: "5.10 5.9", messageContains: has{"they belong to account"}, says: "the credentials are not those of account {account}",
		because: "what they sign would land in another account, so nothing was sent", next: "name a role or a profile of account {account}"},
	{rules: "5.2", codes: "ValidationError", messageContains: has{"role chaining"}, says: "the session is to last longer than an hour",
		because: "a role that is assumed with the credentials of another role lasts an hour at most, and asking for more fails", next: "leave out duration_seconds: sessions are renewed while the run goes on"},
	{rules: "5.1", codes: "ValidationError", messageContains: has{"exceeds the MaxSessionDuration"}, says: "the session is to last longer than the role allows",
		because: "duration_seconds is more than the role's maximum session duration", next: "leave out duration_seconds: sessions are renewed while the run goes on"},
	{rules: "5.5 5.1", calls: assuming, codes: "ValidationError", says: "STS does not take what it was asked with",
		because: "the role's ARN, session name, external id, source identity, duration, policy or tags are not of the form that STS wants", next: "correct the assume_role block that the text is about"},
	{rules: "5.5", calls: assuming, codes: "InvalidParameterValue", messageContains: has{"transitive tag key"}, says: "a transitive session tag is refused",
		because: "a tag inherited from the calling session cannot be passed again, and one that is to be inherited has to be among the tags", next: "mend tags and transitive_tag_keys of the assume_role block"},
	{rules: "5.5", calls: assuming, codes: "InvalidParameterValue", says: "STS does not take what it was asked with", because: "a session tag is given twice, or is not of the form that STS wants",
		next: "mend tags and transitive_tag_keys of the assume_role block"},
	{rules: "5.6", calls: assuming, codes: "MalformedPolicyDocument", says: "the session policy is no policy", because: "the option policy of assume_role is not JSON of the form that IAM wants",
		next: "correct the option policy: a document with Version and Statement"},
	{rules: "5.6 5.7", calls: assuming, codes: "PackedPolicyTooLarge", says: "session policy and session tags are too large together",
		because: "AWS packs policy, policy_arns and tags of a session into one room, and tags inherited from sessions before count", next: "shorten policy, or pass fewer policy_arns and tags"},
	{rules: "5.6", calls: assuming, codes: "AccessDenied", messageContains: has{"assumed by root accounts"}, says: "a root user cannot assume a role", because: "AWS lets nobody assume a role with an account's root credentials",
		next: "use the credentials of an IAM user or role"},

	// 6: rights. An explicit deny is never answered with a statement.
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny", "service control policy"}, says: "an organization forbids {action}",
		because: "a service control policy that bears on account {whose} denies it explicitly", next: noHelp + "ask who keeps the organization's service control policies to leave {who} out of the deny"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny", "resource control policy"}, says: "an organization forbids {action}",
		because: "a resource control policy that bears on the account of {on} denies it explicitly", next: noHelp + "ask who keeps the organization's resource control policies to leave {who} out of the deny"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny", "permissions boundary"}, says: "a permissions boundary forbids {action}",
		because: "the permissions boundary of {who} denies it explicitly", next: noHelp + "ask who set the boundary to take the deny out of it, or use a role without it"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny", "session policy"}, says: "the session's own policy forbids {action}",
		because: "a policy that the session was made with denies it explicitly", next: noHelp + "take the deny out of policy or policy_arns of assume_role, or out of what made the source credentials"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny", "identity-based policy"}, says: "{who} is forbidden {action}",
		because: "an identity policy of its own denies it explicitly", next: noHelp + "take the deny out of that policy, or use another role"},
	{rules: "6.2 A.4.11 5.6", codes: denials, messageContains: has{"explicit deny", "role trust policy"}, says: "the role forbids to assume it",
		because: "the trust policy of {on} denies it explicitly", next: noHelp + "take the deny out of the trust policy, or leave {who} out of it"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny", "VPC endpoint policy"}, says: "the network forbids {action}",
		because: "the policy of the VPC endpoint that the call went through denies it explicitly", next: noHelp + "take the deny out of the endpoint's policy, or run where the endpoint is not in the way"},
	{rules: "6.2 A.4.11 3.2.1", codes: denials, messageContains: has{"explicit deny", "resource-based policy"}, says: "the policy of {on} forbids {action}",
		because: "it denies it explicitly: a key policy, where it is a key", next: noHelp + "ask who keeps that policy to leave {who} out of the deny"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"explicit deny"}, says: "{who} is forbidden {action}",
		because: "some policy denies it explicitly; AWS does not say which", next: noHelp + "look for a deny in service control, resource control, boundary, session, identity and resource policies"},
	{rules: "3.2.1 3.4.3 1.7.6", codes: denials, messageContains: has{"no resource-based policies allow access"}, onKey: true, says: "KMS does not let {who} use {key}",
		because: "one of these is so, and KMS does not tell another account which: the key does not exist in {region}; its key policy does not admit the caller; its key policy denies it explicitly",
		next:    "where the key does not exist or its policy denies, no statement helps: check the ARN, and ask who keeps the key", add: toResource},
	{rules: "6.2 A.4.11 6.5 2.5.5 7.6 3.2.1", codes: denials, messageContains: has{"no identity-based policy allows"}, says: "{who} may not {action}",
		because: "none of its identity policies allows it on {on}", add: toIdentity},
	{rules: "6.2 A.4.11 5.5", codes: denials, messageContains: has{"no session policy allows"}, says: "the session may not {action}",
		because: "the policy that the session was made with does not allow it on {on}; what both the role and that policy allow is allowed", add: toSession},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"no permissions boundary allows"}, says: "{who} may not {action}",
		because: "its permissions boundary does not allow it on {on}; what both its policies and the boundary allow is allowed", next: "ask who set the boundary", add: toBoundary},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"no service control policy allows"}, says: "account {whose} may not {action}",
		because: "its organization allows by list, and at some level from the root down to the account no service control policy lists it",
		next:    "ask who keeps the organization's service control policies to list {action} at each of these levels"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"no resource control policy allows"}, says: "{on} cannot be reached with {action}",
		because: "the organization of its account has a level with no resource control policy that allows it", next: "ask who keeps the organization's resource control policies to attach RCPFullAWSAccess again"},
	{rules: "6.2 A.4.11", codes: denials, messageContains: has{"no VPC endpoint policy allows"}, says: "the network does not let {action} through",
		because: "the policy of the VPC endpoint that the call went through does not allow it", next: "ask who keeps the endpoint to allow {action} in its policy"},
	{rules: "5.6 6.2 A.4.11", codes: denials, messageContains: has{"no role trust policy allows"}, says: "the role does not let {who} assume it",
		because: "its trust policy has no statement that admits {who} to {action}, under the external id, tags and MFA that the call came with",
		next:    "compare external_id with the condition on sts:ExternalId in that policy, and keep the condition", add: toResource},
	{rules: "3.2.1 6.2 A.4.11", codes: denials, messageContains: has{"no resource-based policy allows"}, says: "the policy of {on} does not admit {who} to {action}",
		because: "none of its statements allows it", add: toResource},
	{rules: "5.6", calls: assuming, codes: "AccessDenied", says: "the role cannot be assumed",
		because: "{who} of account {whose} was refused {action} on {on}, and AWS answers alike where there is no such role; where its trust policy does not admit the caller, or asks for another external id or for MFA, which a run cannot give; " +
			"where tags are given and that policy does not allow sts:TagSession, or source_identity and it does not allow sts:SetSourceIdentity; and where the caller's own policies do not allow it",
		next: "check role name and account; with external_id, keep the condition on sts:ExternalId; with tags or source_identity, allow sts:TagSession or sts:SetSourceIdentity in the same way", add: toAssume},

	// 7: parameters. KMS's refusals are handed on (7.10).
	{rules: "7.9 3.4.3 7.10", calls: "ssm:PutParameter", codes: "AccessDeniedException", messageContains: has{ciphertext}, onKey: true, says: "the parameter cannot be encrypted under {key}",
		because: "SSM hands on the refusal of KMS, which does not tell whether the key does not exist in {region} or {who} may not use it: a standard parameter takes kms:Encrypt, an advanced one kms:GenerateDataKey",
		next:    "check the key; an AMI id needs no key as a String of data type aws:ec2:image", add: toKey("kms:Encrypt", "kms:GenerateDataKey")},
	{rules: "7.10 7.9 3.4.3", calls: "ssm:GetParameter ssm:GetParameters ssm:GetParametersByPath", codes: "AccessDeniedException", messageContains: has{ciphertext}, onKey: true, says: "the parameter cannot be decrypted with {key}",
		because: "SSM hands on the refusal of KMS, which does not tell whether the key does not exist in {region} or {who} may not use it", next: "check the key", add: toKey("kms:Decrypt")},
	{rules: "7.7", codes: "AccessDeniedException", messageContains: has{"reserved parameter name"}, says: "the name is reserved", because: "names of parameters may not begin with aws or ssm", next: "name the parameter otherwise"},
	{rules: "7.2 7.3", calls: "ssm:GetParameter ssm:GetParameters", codes: "ParameterNotFound ParameterVersionNotFound", says: "the parameter that was put is not there",
		because: "SSM checks a parameter of data type aws:ec2:image after it has answered: nothing is written where the image does not exist, is not visible to account {account}, or {who} lacks ec2:DescribeImages",
		next:    "check that the image is there", add: toCaller("ec2:DescribeImages")},
	{rules: "7.8", codes: "ParameterAlreadyExists", says: "there is such a parameter already", because: "without overwrite SSM does not touch it", next: "let it be overwritten, or name the parameter otherwise"},
	{rules: "7.8", codes: "ParameterLimitExceeded", says: "account {account} has too many parameters in {region}", because: "AWS allows 10,000 standard and 100,000 advanced ones",
		next: "delete parameters, use the advanced tier, or ask AWS for more"},
	{rules: "7.7 7.8", codes: "ParameterMaxVersionLimitExceeded", says: "the parameter can have no further version", because: "AWS keeps 100 versions, and the oldest bears a label, which protects it",
		next: "move the label to a newer version with `aws ssm label-parameter-version`"},
	{rules: "7.8 4.2.1", codes: "TooManyUpdates", says: "somebody else writes the parameter", because: "several writers are at it at once", next: waiting},
	{rules: "7.8", codes: "InvalidKeyId", onKey: true, says: "SSM cannot use {key}", because: "it does not exist in {region}, or its state does not let it encrypt", next: "check the key, its Region and its state"},
	{rules: "7.8 7.7", codes: "HierarchyLevelLimitExceededException", says: "the name has too many levels", because: "AWS allows 15", next: "give the parameter a shorter path"},
	{rules: "7.8", codes: "HierarchyTypeMismatchException", says: "the parameter is of another type", because: "the type of an existing parameter cannot be changed", next: "delete it first, or name the parameter otherwise"},
	{rules: "7.8", codes: "InvalidAllowedPatternException", says: "the parameter's allowed pattern is no pattern", because: "it is not a regular expression that SSM takes", next: "correct the pattern that the parameter was made with"},
	{rules: "7.8", codes: "ParameterPatternMismatchException", says: "the value does not fit the parameter's allowed pattern", because: "the parameter was made with a pattern that an AMI id does not match",
		next: "change the pattern, or name the parameter otherwise"},
	{rules: "7.8", codes: "UnsupportedParameterType", says: "SSM does not know the type of the parameter", because: "types are String, StringList and SecureString", next: "use String"},
	{rules: "7.5", messageContains: has{"Unsupported data type"}, says: "the parameter is not of data type aws:ec2:image", because: "launch templates that name it with resolve:ssm: take that data type only",
		next: "delete the parameter, because its data type cannot be changed, and let it be made again"},
	{rules: "7.8", calls: "ssm:PutParameter", codes: "ValidationException", messageContains: has{"overwrite"}, says: "tags cannot be given to a parameter that is overwritten", because: "tags belong to the creation of a parameter", next: defect},
	{rules: "7.4 7.1", calls: "ssm:PutParameter", codes: "ValidationException", messageContains: has{"data type"}, says: "the data type is refused",
		because: "the data type of an existing parameter cannot be changed, and aws:ec2:image is for parameters of type String only", next: "delete the parameter, or name it otherwise; use String"},
	{rules: "7.7", calls: "ssm:PutParameter", codes: "ValidationException", says: "SSM does not take the parameter",
		because: "one of its limits is passed: 4 KB of value, 8 KB in the advanced tier; a name of 1,011 characters with the ARN before it, which may not begin with aws or ssm", next: "name the parameter otherwise"},

	// 1: keys of copies, and what becomes encrypted.
	{rules: "1.8.1 3.4", calls: copying, codes: "InvalidParameterValue", messageContains: has{"specified keyId", "is disabled"}, onKey: true, says: "the key is disabled",
		because: "a disabled key encrypts nothing", next: "enable it with `aws kms enable-key` in its account, or name another key in kms_key_id or region_kms_key_ids"},
	{rules: "1.8.2 1.7.5 1.7.6 3.6.2 3.4", calls: copying, codes: "InvalidParameterValue", messageContains: has{"specified keyId", "is invalid"}, onKey: true, says: "there is no such key in {region}",
		because: "key or alias does not exist there, or cannot be used there: the key of a copy has to be in the Region of the copy, a bare id or alias is looked up in account {account}, and a key that waits for its deletion may be answered alike",
		next:    "name a symmetric key that exists in {region}, in kms_key_id or region_kms_key_ids"},
	{rules: "1.8.3 3.1.8 3.1.4", calls: copying, codes: "AuthFailure", messageContains: has{"Not authorized to use key"}, onKey: true, says: "{who} may not look at the key of the copy",
		because: "EC2 asks for kms:DescribeKey on the key before it begins, and it is refused", next: "the copy takes kms:CreateGrant and kms:GenerateDataKeyWithoutPlaintext on the key as well", add: toKey("kms:DescribeKey")},
	{rules: "1.8.4 3.1.8 3.1.1 3.1.2 3.1.3 3.4 4.4.4 A.4.8", calls: copying, premature: true, messageContains: has{"Given key ID is not accessible"}, onKey: true, says: "a key of the copy could not be used",
		because: "EC2 took the call and failed afterwards, without telling which right was missing on which key: kms:CreateGrant or kms:GenerateDataKeyWithoutPlaintext on the key of the copy, or kms:CreateGrant on the source's, where that is another one; " +
			"a key that waits for its import or deletion, or is not available, ends so too, and a policy changed in the last five minutes may not be known yet",
		next: "check the state of the keys", add: toKeys},
	{rules: "1.8.5 1.8.7 1.7.7", calls: "ec2:CopyImage ec2:DescribeImages", messageContains: has{"Copy image failed with an internal error"}, onKey: true, says: "AWS gave up the copy of the image",
		because: "its text is the same for all reasons; those known are a key that does not exist in {region}, is disabled, is an alias without alias/, or is refused",
		next:    "check that the key exists in {region} and is enabled; copying snapshot by snapshot tells the reason", add: toKeys},
	{rules: "1.8.6 A.4.7 A.4.8", calls: "ec2:CreateVolume ec2:DescribeVolumes", codes: "InvalidVolume.NotFound", onKey: true, says: "the volume is not there", because: "EC2 gives a volume its id before it asks for the key: one whose key is missing or refused vanishes again",
		next: "check that the key exists and is enabled", add: toKey("kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey")},
	{rules: "1.1.11 1.4.7 A.4.5", codes: "InvalidParameterDependency", messageContains: has{"requires the parameter Encrypted"}, says: "a key was given without asking for encryption",
		because: "AWS takes a key only together with Encrypted=true; an empty key counts as given", next: defect},
	{rules: "1.4.8 1.6.1", codes: "InvalidRequest", messageContains: has{"Creating an unencrypted copy from an encrypted snapshot"}, says: "what is encrypted cannot be copied unencrypted", because: "the copy was asked for with Encrypted=false", next: defect},
	{rules: "A.4.6 1.1.12", codes: "InvalidParameterCombination", messageContains: has{"inconsistent with snapshot encryption state"}, says: "an encrypted snapshot makes encrypted volumes only", because: "the volume was asked for with Encrypted=false", next: defect},
	{rules: "1.5.1", codes: "InvalidParameter InvalidBlockDeviceMapping", messageContains: has{"encrypted flag"}, says: "encryption cannot be given to a device that has a snapshot", because: "an image is encrypted as its snapshots are", next: defect},
	{rules: "1.5.6", codes: "InvalidParameterValue", messageContains: has{"Snapshot does not belong to"}, says: "the snapshot is another account's", because: "an image can be registered from snapshots of its own account only; a shared one does not do", next: defect},

	// 2: sharing, product codes, registering, removing.
	{rules: "2.1.1 A.4.3", codes: "OperationNotPermitted", messageContains: has{"Encrypted snapshots with EBS default key cannot be shared"}, says: "what is encrypted with aws/ebs cannot be shared",
		because: "no other account can use that key, and its policy cannot be changed", next: "set kms_key_id to a customer managed key of the source account: the snapshot is then copied under it first"},
	{rules: "2.1.2", codes: "OperationNotPermitted", messageContains: has{"Encrypted snapshots cannot be shared publicly"}, says: "an encrypted snapshot cannot be public", because: "AWS forbids it", next: defect},
	{rules: "2.1.3", codes: "OperationNotPermitted", messageContains: has{"Public sharing of snapshots is blocked"}, says: "account {account} blocks public snapshots", because: "block public access for snapshots is on in {region}", next: defect},
	{rules: "2.1.6", codes: "InvalidParameterValue", messageContains: has{"Modification size must not be greater"}, says: "too many accounts in one call", because: "AWS takes 500 at once", next: defect},
	{rules: "2.1.6 A.4.3 2.2.10", codes: "InvalidParameterCombination", messageContains: has{"attribute"}, says: "one call changes too much, or nothing", because: "AWS takes one change of one attribute in a call, and refuses a call without any", next: defect},
	{rules: "2.1.6 A.4.3", codes: "InvalidParameterCombination", messageContains: has{"createVolumePermission"}, says: "one call adds and removes", because: "AWS takes one kind of change in a call", next: defect},
	{rules: "2.1.6 A.4.3 2.2.10", codes: "InvalidAMIAttributeItemValue", says: "AWS does not know whom to share with", because: "the account id is not one of 12 digits that exists, or the group not one that AWS has", next: "check account_ids of the targets"},
	{rules: "2.1.7 A.4.4", calls: "ec2:ModifySnapshotAttribute ec2:DescribeSnapshotAttribute ec2:ResetSnapshotAttribute", codes: "InvalidSnapshot.NotFound", says: "{on} is not a snapshot of account {account}",
		because: "AWS answers so to everybody but a snapshot's owner, also where it was deleted", next: "use the credentials of the account that made the image, and check that the snapshot is still there"},
	{rules: "2.2.2", codes: "InvalidParameter", messageContains: has{"Snapshots encrypted with the AWS Managed CMK"}, says: "an image with a snapshot under aws/ebs cannot be shared",
		because: "no other account can use that key, and its policy cannot be changed", next: "set kms_key_id to a customer managed key of the source account: the image is then copied under it first"},
	{rules: "2.2.3", codes: "UnsupportedOperation", messageContains: has{"be shared publicly"}, says: "an image with an encrypted snapshot cannot be public", because: "AWS forbids it", next: defect},
	{rules: "2.2.8 2.2.9 A.1.4", premature: true, codes: "InvalidRequest", messageContains: has{"permission to access the storage of this ami"}, says: "the image is shared, its snapshots are not",
		because: "copying another account's image takes createVolumePermission on every snapshot of it, and sharing an image with an organization or a unit shares none", next: "share every snapshot of {on} with account {account}"},
	{rules: "2.2.10", codes: "MissingParameter", says: "the call lacks a parameter", because: "AWS takes no empty description, and imdsSupport can be set to v2.0 and not be reset", next: defect},
	{rules: "2.2.11 A.4.1", codes: "AuthFailure", messageContains: has{"Not authorized for image"}, says: "account {account} is not the owner of {on}", because: "only its owner can read or change the attributes of an image, shared or not", next: "use the credentials of the account that made the image"},
	{rules: "2.2.11 A.4.1", codes: "AuthFailure", messageContains: has{"access restricted resource"}, says: "AWS shows this attribute to nobody", because: "the block device mapping is not read as an attribute, not even by the owner", next: defect},
	{rules: "2.3.1 2.3.2", codes: "InvalidRequest", messageContains: has{"AWS Marketplace cannot be copied"}, says: "an image from AWS Marketplace cannot be copied to another account",
		because: "its product code follows the copies and binds them to the subscriber", next: "subscribe in account {account} and build the image there, or launch the shared image there and make an image of the instance"},
	{rules: "2.3.1 2.3.2", codes: "InvalidRequest", messageContains: has{"BillingProduct codes cannot be copied"}, says: "an image with a billing code cannot be copied to another account",
		because: "Windows, Red Hat, SUSE and SQL Server are billed by codes in the image", next: "build the image in account {account}, or launch the shared image there and make an image of the instance"},
	{rules: "2.3.3", codes: "AuthFailure", messageContains: has{"billing products"}, says: "billing information cannot be given to an image", because: "AWS takes BillingProducts from those only whom it allows to give them", next: defect},
	{rules: "2.5.1", codes: "InvalidBlockDeviceMapping", messageContains: has{"No root snapshot"}, says: "the image has no snapshot for its root device", because: "no mapping with a snapshot bears the name of the root device", next: defect},
	{rules: "2.5.2", codes: "InvalidAMIName.Duplicate", says: "the name is taken", because: "account {account} has an image of this name in {region}", next: "set ami_name, or deregister the image that has the name"},
	{rules: "2.5.3", codes: "InvalidAMIName.Malformed", says: "the name cannot be the name of an image", because: "names have 3 to 128 letters, digits, blanks and ( ) [ ] . / - ' @ _", next: "set ami_name"},
	{rules: "2.5.4 2.5.10 4.4.1", codes: "InvalidSnapshotID.NotFound InvalidSnapshot.NotFound", says: "the snapshot is not there", because: "it was deleted, is not shared with account {account}, or AWS does not show it yet in {region}",
		next: "run again: copies that are gone are made again"},
	{rules: "2.5.8", codes: "InvalidSnapshot.InUse", says: "the snapshot belongs to an image", because: "a snapshot can be deleted after the last image that uses it was deregistered", next: "deregister the images that the text names, if they are not needed"},
	{rules: "2.5.9", codes: "InvalidAMIID.Unavailable", says: "the image is gone or cannot be used", because: "it was deregistered, disabled or failed", next: "build it again, or enable it if it was disabled"},
	{rules: "2.5.10 2.2.12 2.2.14 4.4.1", codes: "InvalidAMIID.NotFound", says: "AWS does not show the image to account {account}",
		because: "it does not exist in {region}, is not shared with the account, or the account's Allowed AMIs setting hides it, which it does to other accounts' images only", next: "check Region and credentials, launch permission, and Allowed AMIs in account {account}"},
	{rules: "2.5.10", codes: "InvalidAMIID.Malformed InvalidSnapshotID.Malformed", says: "this cannot be an id", because: "ids have a check of their own: one that was made up is refused", next: "check the id in source_amis"},
	{rules: "A.2.1 A.2.2 A.2.3 A.2.5", calls: "ec2:DeregisterImage", codes: "OperationNotPermitted", says: "the image cannot be deregistered now",
		because: "AWS publishes no text for it; the reason known is deregistration protection, which holds for everybody, whatever policies say, and with a cool-down for 24 hours after it was switched off",
		next:    "switch it off with `aws ec2 disable-image-deregistration-protection`, with a cool-down wait a day, then deregister the image"},
	{rules: "9.3", calls: "ec2:DeleteSnapshot", codes: "OperationNotPermitted", says: "the snapshot cannot be deleted now", because: "AWS publishes no text for it; a snapshot lock is the reason known", next: "see `aws ec2 describe-locked-snapshots`; in compliance mode wait until the lock ends"},

	// 3: KMS itself.
	{rules: "3.4 1.8.1", codes: "DisabledException", onKey: true, says: "the key is disabled", because: "a disabled key encrypts and decrypts nothing, and takes no grants", next: "enable it with `aws kms enable-key` in its account, or name another key"},
	{rules: "3.4", codes: "KMSInvalidStateException", messageContains: has{"pending deletion"}, onKey: true, says: "the key is going to be deleted", because: "its deletion is scheduled, and until then it does nothing",
		next: "cancel it with `aws kms cancel-key-deletion` and enable the key, or name another key"},
	{rules: "3.4 3.5.1", codes: "KMSInvalidStateException", messageContains: has{"pending import"}, onKey: true, says: "the key has no key material", because: "it waits for the import; material that was deleted or has expired puts a key back there at once",
		next: "import its key material, or name another key"},
	{rules: "3.4", codes: "KMSInvalidStateException", onKey: true, says: "the key cannot be used now", because: "its state does not allow it: Unavailable where a custom key store is not connected, Creating, Updating or PendingReplicaDeletion where it is a multi-Region key",
		next: "see KeyState in `aws kms describe-key`, wait until it is Enabled, or name another key"},
	{rules: "3.4.1", codes: "NotFoundException", onKey: true, says: "there is no such key in {region}", because: "KMS looks a bare id or alias up in the caller's account and Region", next: "check id, account and Region; name another account's key by its ARN"},
	{rules: "8.3", calls: "kms:CreateGrant", codes: "InvalidArnException", messageContains: has{"does not refer to a valid principal"}, says: "there is no such principal", because: "a grant is for a principal that exists; a service-linked role is made when its service is first used",
		next: "check the ARN; for Auto Scaling make the role with `aws iam create-service-linked-role --aws-service-name autoscaling.amazonaws.com`"},
	{rules: "3.4.1", codes: "InvalidArnException", onKey: true, says: "this is no ARN that KMS takes", because: "it is not of the form of a key's, alias's or principal's ARN, or of another Region", next: "correct the ARN"},
	{rules: "3.4.2", codes: "InvalidKeyUsageException", onKey: true, says: "the key is of another kind", because: "EBS takes symmetric encryption keys only: SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT", next: "name another key"},
	{rules: "3.4.3", codes: denials, messageContains: has{ciphertext}, onKey: true, says: "KMS does not let {who} use {key}", because: "it does not tell whether the key does not exist in {region} or the right is missing", next: "check the key", add: toCalled},
	{rules: "3.2.7 3.7", codes: "LimitExceededException", onKey: true, says: "the key has too many grants", because: "AWS allows 50,000 on a key, and grants stay until they are retired or revoked", next: "revoke grants that are not needed: `aws kms list-grants`, `aws kms revoke-grant`"},
	{rules: "3.7", codes: "InvalidGrantIdException", onKey: true, says: "there is no such grant", because: "it was retired or revoked already, or is another key's", next: "nothing is to be done where it was to be revoked"},
	{rules: "3.7", codes: "InvalidGrantTokenException InvalidMarkerException InvalidCiphertextException IncorrectKeyException", onKey: true, says: "KMS does not take what it was given", because: "a grant token, page marker or ciphertext is not one of its own", next: defect},

	// 4: limits, waiting.
	{rules: "4.1.1 4.1.5 A.3.1 A.3.2 A.3.3", calls: "ec2:CopySnapshot", codes: "ResourceLimitExceeded", says: "too many snapshots are being copied to {region}", because: "account {account} may have {limit} copies under way to a Region, also those that others began",
		next: "wait for copies to end and run again, or ask AWS to raise the limit"},
	{rules: "4.1.4", calls: "ec2:RegisterImage", codes: "ResourceLimitExceeded", says: "account {account} has too many images in {region}", because: "AWS allows 50,000 unless it has raised the limit",
		next: "deregister images, or ask AWS to raise the limit, and run again: what is done stays done"},
	{rules: "4.1.2 4.1.3 4.1.5", codes: "ResourceLimitExceeded", says: "too much is under way in {region}", because: "account {account} may have {limit} at once, also those that others began", next: "wait for copies to end and run again, or ask AWS to raise the limit"},
	{rules: "4.1.4", codes: "SnapshotLimitExceeded", says: "account {account} has too many snapshots in {region}", because: "AWS allows 100,000 unless it has raised the limit", next: "delete snapshots, or ask AWS to raise the limit"},
	{rules: "4.1.4", codes: "PendingSnapshotLimitExceeded", says: "too many snapshots of account {account} are pending", because: "AWS limits how many are made at once", next: "wait for some to end and run again"},
	{rules: "4.2.1 3.7 3.2.9", codes: "RequestLimitExceeded Throttling ThrottlingException TooManyRequestsException", says: "AWS wants fewer calls", because: "the calls of the whole account count, not only this run's", next: waiting},
	{rules: "3.7 7.8", codes: "KeyUnavailableException DependencyTimeoutException KMSInternalException InternalServerError InternalError InternalFailure ServiceUnavailable Unavailable", says: "AWS is in trouble", because: "the fault is on its side", next: waiting},
	{rules: "4.2.3", codes: "IdempotentParameterMismatch", says: "the same token came with another request", because: "AWS remembers a token with all that came with it, and something of it was changed since", next: "run again with what the first call had, or as a new run"},
	{rules: "4.6.5 2.1.5 A.4.7", calls: copying, premature: true, messageContains: has{"Source snapshot is not found"}, says: "EC2 did not find the snapshot to copy", because: "EC2 took the call and looked afterwards: the snapshot does not exist in the source Region, or is not shared with account {account}, or its share was not known yet",
		next: "run again; check the snapshot's createVolumePermission with the source credentials"},
	{rules: "4.6.5 A.4.7", premature: true, messageContains: has{"Source snapshot is not complete"}, says: "the snapshot to copy was not complete", because: "a snapshot can be copied after it is completed", next: "run again: what is done stays done"},
	{rules: "A.4.7", codes: "IncorrectState", messageContains: has{"Snapshot is in invalid state"}, says: "the snapshot was not complete", because: "a volume can be made of it after it is completed", next: "run again: what is done stays done"},
	{rules: "4.8.1", codes: "InvalidParameterValue", messageContains: has{"completion duration"}, says: "the copy cannot be asked to take so long", because: "times are 15 to 2880 minutes, in steps of 15", next: defect},

	{rules: "A.4.12", codes: "InvalidLaunchTemplateId.NotFound InvalidLaunchTemplateName.NotFoundException", says: "there is no such launch template in {region}", because: "launch templates are looked up in account {account}, and never shared", next: "make it there, or correct id or name"},
	{rules: "A.4.12", codes: "InvalidLaunchTemplateId.VersionNotFound", says: "the launch template has no such version", because: "versions are numbers, $Default and $Latest, and deleted ones do not come back", next: "correct source_version"},

	{rules: "9.18 2.4.4", calls: "ec2:RunInstances", codes: "InvalidParameterCombination", messageContains: has{"instance type"}, says: "the image does not run on this instance type", because: "types may ask for enhanced networking (ENA), which the image has to support, and an image may be made for some types alone",
		next: "set instance_type in launch_check to one that the image is made for"},
	{rules: "9.0", calls: "license-manager:UpdateLicenseSpecificationsForResource", codes: "InvalidParameterValueException", says: "License Manager does not take the license configuration", because: "it takes those that the account may use, in the image's Region",
		next: "check license_configuration_arns: that it is there, of {region}, and shared with account {account} where it is another one's"},
	{rules: "9.0", calls: "license-manager:UpdateLicenseSpecificationsForResource", codes: "InvalidResourceStateException LicenseUsageException ConflictException", says: "License Manager cannot associate the image now", because: "the license configuration is not in a state for it, has no license left, or is being changed",
		next: "look at it in License Manager, then run again: what is done stays done"},

	// 8: launches that end as soon as they begin.
	{rules: "8.5 8.6 1.8.6 A.4.9", messageContains: has{"Client.InvalidKMSKey.InvalidState"}, onKey: true, says: "the instance ended because of a key",
		because: "EC2 says so where the key of a volume is disabled, where the account's default key is, and where who launches may not use it; a service-linked role, as Auto Scaling's, may use a customer key only by its key policy or a grant",
		next:    "check that the key is enabled; with a key of another account, let the account of a service-linked role make it a grant: `aws kms create-grant`", add: toLaunch},
	{rules: "8.5 8.6 1.8.6", messageContains: has{"Client.InternalError"}, onKey: true, says: "the instance ended as soon as it began",
		because: "EC2 says so, among others, where the key of a volume is disabled or who launches may not use it; a service-linked role, as Auto Scaling's, may use a customer key only by its key policy or a grant",
		next:    "check that the key is enabled; with a key of another account, let the account of a service-linked role make it a grant: `aws kms create-grant`", add: toLaunch},

	// Where AWS says no more than no.
	{rules: "6.2", codes: denials, says: "AWS refused", because: "it does not say which policy is to blame", next: "an encoded message tells more: `aws sts decode-authorization-message`"},
}

// unknown is a refusal that no rule names.
var unknown = rule{says: "AWS refused", next: "look up the code {code} of {operation} in AWS's reference; then run again, what is done stays done"}

// unanswered is a failure without an error code: a state that AWS shows, or a call that did not come through.
var unanswered = rule{says: "it failed", next: "run again: what is done stays done"}
