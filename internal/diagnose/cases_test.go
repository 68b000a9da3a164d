// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Accounts, principals, keys and resources of the cases.
const (
	source = "111111111111"
	target = "999999999999"
	third  = "222222222222"

	packerRole  = "arn:aws:sts::111111111111:assumed-role/packer/build-7"
	targetRole  = "arn:aws:sts::999999999999:assumed-role/golden-image-target/encrypted-ami"
	scalingRole = "arn:aws:iam::999999999999:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

	sourceKey = "arn:aws:kms:eu-west-1:111111111111:key/1111aaaa-11aa-22bb-33cc-111111aaaaaa"
	targetKey = "arn:aws:kms:eu-west-1:999999999999:key/9999bbbb-99bb-88cc-77dd-999999bbbbbb"
	thirdKey  = "arn:aws:kms:eu-west-1:222222222222:key/2222cccc-22cc-33dd-44ee-222222cccccc"

	image    = "ami-0a1b2c3d4e5f60718"
	snapshot = "snap-0f1e2d3c4b5a69788"
)

var (
	atSource = distribution.Location{Account: source, Region: "eu-west-1"}
	atTarget = distribution.Location{Account: target, Region: "eu-west-1"}
)

// copySnapshot returns the step that copies a snapshot into the target account.
func copySnapshot(key, fromKey string) *step.CopySnapshot {
	return &step.CopySnapshot{
		Base:       baseInTarget("copy/999999999999/eu-west-1/xvda"),
		Source:     step.Ref{Known: snapshot},
		FromRegion: "eu-west-1",
		FromKeyARN: fromKey,
		Device:     "/dev/xvda",
		KeyARN:     key,
		GiB:        8,
	}
}

// copyInSource returns the step that copies a snapshot within the source account.
func copyInSource() *step.CopySnapshot {
	s := copySnapshot(sourceKey, sourceKey)
	s.Base = step.Base{ID: "stage/eu-west-1/xvda", Location: atSource}
	return s
}

func baseInTarget(id distribution.StepID) step.Base {
	return step.Base{ID: id, Location: atTarget, Destination: atTarget}
}

// unknownStep is a kind of step that this package does not know. Its permissions hold everything that a finding needs.
type unknownStep struct{ step.Base }

func (*unknownStep) Permissions() []step.Permission {
	return copySnapshot(targetKey, sourceKey).Permissions()
}

func (*unknownStep) ResourceID() string { return "" }

func (*unknownStep) String() string { return "copy " + image + " to " + atTarget.String() }

func shareSnapshot() *step.ShareSnapshot {
	return &step.ShareSnapshot{
		Base:     step.Base{ID: "share/eu-west-1/xvda", Location: atSource},
		Snapshot: step.Ref{Known: snapshot},
		Accounts: []string{target},
	}
}

func registerImage() *step.RegisterImage {
	return &step.RegisterImage{
		Base:      baseInTarget("register/999999999999/eu-west-1"),
		ImageSpec: step.ImageSpec{Name: "golden-2026-11-21"},
		Snapshots: map[string]step.Ref{"/dev/xvda": {Known: snapshot}},
	}
}

func deregisterImage() *step.DeregisterImage {
	return &step.DeregisterImage{
		Base:  baseInTarget("deregister/999999999999/eu-west-1"),
		Image: step.Ref{Known: image},
	}
}

func deleteSnapshot() *step.DeleteSnapshot {
	return &step.DeleteSnapshot{
		Base:     step.Base{ID: "delete/eu-west-1/xvda", Location: atSource},
		Snapshot: step.Ref{Known: snapshot},
	}
}

// inTarget returns a case of a call in the target account, made by the target's role. The step is nil for a lookup.
func inTarget(step step.Step, operation string, status int, code, message string) Case {
	return Case{
		Refusal:       distribution.APIError{Operation: operation, Status: status, Code: code, Message: message},
		Step:          step,
		At:            atTarget,
		Principal:     targetRole,
		Resource:      snapshot,
		SourceAccount: source,
	}
}

// inSource returns a case of a call in the source account, made by the role of the build.
func inSource(step step.Step, operation string, status int, code, message string) Case {
	c := inTarget(step, operation, status, code, message)
	c.At, c.Principal = atSource, packerRole
	return c
}

// withoutCredentials returns a case of a profile that has no credentials. No call was sent.
func withoutCredentials(cause distribution.CredentialCause, message string) Case {
	return Case{
		Refusal:       distribution.APIError{Cause: cause, Profile: "prod", Message: message},
		At:            atTarget,
		SourceAccount: source,
	}
}

func (c Case) calledBy(principal string) Case { c.Principal = principal; return c }

// withExternalIDOf returns a case whose external id worked in another account.
func (c Case) withExternalIDOf(account string) Case {
	c.ExternalID, c.WorkedIn = true, account
	return c
}

func (c Case) about(resource string) Case { c.Resource = resource; return c }

// ec2Denial returns the message of EC2 for a denial of IAM (6.2).
func ec2Denial(principal, action, resource, reason string) string {
	return "You are not authorized to perform this operation. User: " + principal + " is not authorized to perform: " +
		action + " on resource: " + resource + " " + reason + ". Encoded authorization failure message: 3xY9kq"
}

const (
	snapshots          = "arn:aws:ec2:eu-west-1::snapshot/*"
	oneSnapshot        = "arn:aws:ec2:eu-west-1::snapshot/" + snapshot
	images             = "arn:aws:ec2:eu-west-1::image/*"
	role               = "arn:aws:iam::999999999999:role/golden-image-target"
	parameter          = "arn:aws:ssm:eu-west-1:999999999999:parameter/golden/ami"
	noIdentityPolicy   = "because no identity-based policy allows the "
	noResourcePolicies = "because the resource does not exist in this Region, no resource-based policies allow access, " +
		"or a resource-based policy explicitly denies access"
	hiddenKeyText = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, " +
		"or you are not allowed to access."
)

type titledCase struct {
	title string
	Case
}

// cases are errors of AWS as the rules quote them. A title begins with the rule that the finding must refer to.
var cases = []titledCase{
	{
		"1.8.1 CopySnapshot, the key of the copy is disabled",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "InvalidParameterValue",
			"The specified keyId "+targetKey+" is disabled"),
	},
	{
		"1.8.2 CopySnapshot, the key of the copy does not exist",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "InvalidParameterValue",
			"The specified keyId "+targetKey+" is invalid"),
	},
	{
		"1.8.3 CopySnapshot, caller lacks kms:DescribeKey on the key of the copy",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 403, "AuthFailure",
			"Not authorized to use key "+targetKey+" "),
	},
	{
		"1.8.3 the same, the key is a third account's",
		inTarget(copySnapshot(thirdKey, sourceKey), "ec2:CopySnapshot", 403, "AuthFailure",
			"Not authorized to use key "+thirdKey+" "),
	},
	{
		"1.8.4 CopySnapshot in the target, a permission is missing on one of two keys",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible"),
	},
	{
		"1.8.4 CopySnapshot in the target, the source is not encrypted",
		inTarget(copySnapshot(targetKey, ""), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible"),
	},
	{
		"1.8.4 CopySnapshot in the target, its key is a third account's",
		inTarget(copySnapshot(thirdKey, sourceKey), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible"),
	},
	{
		"1.8.4 CopySnapshot in the source account, both keys are one",
		inSource(copyInSource(), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible"),
	},
	{
		"1.8.4 CopySnapshot by an unknown caller",
		inTarget(copySnapshot(targetKey, ""), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible").calledBy(""),
	},
	{
		"1.8.5 CopyImage with an unusable key",
		inTarget(&unknownStep{step.Base{Location: atTarget}}, "ec2:CopyImage", 0, "",
			"Copy image failed with an internal error").about(image),
	},
	{
		"1.8.6 CreateVolume with an unusable key",
		inTarget(nil, "ec2:DescribeVolumes", 400, "InvalidVolume.NotFound",
			"The volume 'vol-0a1b2c3d4e5f60718' does not exist.").about(targetKey),
	},
	{
		"1.1.11 a key without Encrypted",
		inTarget(nil, "ec2:RunInstances", 400, "InvalidParameterDependency",
			"The parameter KmsKeyId requires the parameter Encrypted to be set.").about(image),
	},
	{
		"1.1.11 a key without Encrypted, as CreateVolume words it (A.4.5)",
		inTarget(nil, "ec2:CreateVolume", 400, "InvalidParameterDependency",
			"The parameter [KmsKeyId] requires the parameter Encrypted to be set."),
	},
	{
		"1.4.8 CopyImage with Encrypted=false",
		inTarget(nil, "ec2:CopyImage", 400, "InvalidRequest",
			"Snapshot "+snapshot+
				" is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.").about(image),
	},
	{
		"1.5.1 RegisterImage with Encrypted beside a snapshot",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidParameter",
			"Parameter encrypted is invalid. You cannot specify the encrypted flag if specifying a "+
				"snapshot id in a block device mapping.").about(image),
	},
	{
		"1.5.1 the same in other words",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidBlockDeviceMapping",
			"the encrypted flag cannot be specified since device /dev/sda1 has a snapshot specified.").about(image),
	},
	{
		"1.5.6 RegisterImage with a snapshot that is only shared",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidParameterValue",
			"Invalid value '"+snapshot+"' for snapshotId. Snapshot does not belong to 999999999999").about(image),
	},

	{
		"2.1.1 sharing a snapshot under aws/ebs",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "OperationNotPermitted",
			"Encrypted snapshots with EBS default key cannot be shared"),
	},
	{
		"2.1.2 making an encrypted snapshot public",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "OperationNotPermitted",
			"Encrypted snapshots cannot be shared publicly."),
	},
	{
		"2.1.3 making a snapshot public where that is blocked",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "OperationNotPermitted",
			"Public sharing of snapshots is blocked for this account."),
	},
	{
		"2.1.6 sharing with more than 500 accounts at once",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterValue",
			"Modification size must not be greater than 500."),
	},
	{
		"2.1.6 adding and removing in one call",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterCombination",
			"One and only one operation type may be specified for createVolumePermissions"),
	},
	{
		"2.1.6 changing nothing",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterCombination",
			"No attributes specified."),
	},
	{
		"2.1.6 no operation in the old parameters (A.4.3)",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterCombination",
			"No operation specified for createVolumePermission attribute."),
	},
	{
		"2.1.6 sharing with what is no account (A.4.3)",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "InvalidAMIAttributeItemValue",
			"UserId 9999-9999-9999"),
	},
	{
		"2.1.7 sharing another account's snapshot",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 400, "InvalidSnapshot.NotFound",
			"The snapshot '"+snapshot+"' does not exist."),
	},
	{
		"2.2.2 sharing an image with a snapshot under aws/ebs (typographic apostrophe)",
		inSource(nil, "ec2:ModifyImageAttribute", 400, "InvalidParameter",
			"Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot.").about(image),
	},
	{
		"2.2.3 making an image with an encrypted snapshot public (typographic apostrophe)",
		inSource(nil, "ec2:ModifyImageAttribute", 400, "UnsupportedOperation",
			"Encrypted snapshots can’t be shared publicly. Specify another snapshot.").about(image),
	},
	{
		"2.2.8 copying a shared image whose snapshots are not shared",
		inTarget(nil, "ec2:CopyImage", 400, "InvalidRequest",
			"You do not have permission to access the storage of this ami").about(image),
	},
	{
		"2.1.6 two attributes of an image in one call (2.2.10)",
		inSource(nil, "ec2:ModifyImageAttribute", 400, "InvalidParameterCombination",
			"Fields for multiple attribute types specified: description, imdsSupport").about(image),
	},
	{
		"2.1.6 a bad account for an image (2.2.10)",
		inSource(nil, "ec2:ModifyImageAttribute", 400, "InvalidAMIAttributeItemValue",
			`Invalid attribute item value "123 " for userId item type.`).about(image),
	},
	{
		"2.2.10 an empty description",
		inSource(nil, "ec2:ModifyImageAttribute", 400, "MissingParameter",
			"The request must contain the parameter description").about(image),
	},
	{
		"2.2.10 taking back that IMDSv2 is required",
		inSource(nil, "ec2:ModifyImageAttribute", 400, "MissingParameter",
			"The request must contain the parameter imdsSupport with value v2.0").about(image),
	},
	{
		"2.2.11 reading an attribute of another account's image",
		inTarget(nil, "ec2:DescribeImageAttribute", 400, "AuthFailure", "Not authorized for image:"+image).about(image),
	},
	{
		"2.2.11 reading an attribute that no account may read",
		inSource(nil, "ec2:DescribeImageAttribute", 400, "AuthFailure",
			"Unauthorized attempt to access restricted resource").about(image),
	},
	{
		"2.3.1 copying an image from AWS Marketplace",
		inTarget(nil, "ec2:CopyImage", 400, "InvalidRequest",
			"Images from AWS Marketplace cannot be copied to another AWS account").about(image),
	},
	{
		"2.3.1 copying an image with a billing code, as AWS worded it before",
		inTarget(nil, "ec2:CopyImage", 400, "InvalidRequest",
			"Images with EC2 BillingProduct codes cannot be copied to another AWS account").about(image),
	},
	{
		"2.3.3 giving billing products",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "AuthFailure",
			"Not authorized to use billing products.").about(image),
	},
	{
		"2.5.1 RegisterImage without a root snapshot",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidBlockDeviceMapping",
			"No root snapshot specified in device mapping.").about(image),
	},
	{
		"2.5.2 RegisterImage under a taken name",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidAMIName.Duplicate",
			"AMI name golden-2026-11-21 is already in use by AMI "+image).about(image),
	},
	{
		"2.5.3 RegisterImage under no name",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidAMIName.Malformed",
			"AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', "+
				"')', '.', '-', '/' and '_'").about(image),
	},
	{
		"2.5.4 RegisterImage with a snapshot that is gone",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidSnapshotID.NotFound",
			"The snapshot ID '"+snapshot+"' does not exist").about(image),
	},
	{
		"2.5.8 DeleteSnapshot, an image uses it",
		inSource(deleteSnapshot(), "ec2:DeleteSnapshot", 400, "InvalidSnapshot.InUse",
			"The snapshot "+snapshot+" is currently in use by "+image),
	},
	{
		"2.5.9 DeregisterImage of what is deregistered",
		inTarget(deregisterImage(), "ec2:DeregisterImage", 400, "InvalidAMIID.Unavailable",
			"The image ID '"+image+"' is no longer available").about(image),
	},
	{
		"2.5.10 an image that is not there, or that Allowed AMIs hide (2.2.14)",
		inTarget(nil, "ec2:DescribeImages", 400, "InvalidAMIID.NotFound",
			"The image id '["+image+"]' does not exist").about(image),
	},
	{
		"2.5.10 an id that was made up",
		inSource(nil, "ec2:DescribeImages", 400, "InvalidAMIID.Malformed",
			`Invalid id: "ami-00000000000000000"`).about("ami-00000000000000000"),
	},

	{
		"6.2 a look at the target's key by ARN, the role lacks kms:DescribeKey",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+
				targetKey+" "+noIdentityPolicy+"kms:DescribeKey action").about(targetKey),
	},
	{
		"6.2 a look at another account's key, the role lacks kms:DescribeKey",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:DescribeKey on this resource "+
				noIdentityPolicy+"kms:DescribeKey action").about(sourceKey),
	},
	{
		"6.2 a key by its alias, the role lacks kms:DescribeKey",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+
				" is not authorized to perform: kms:DescribeKey on this resource "+
				noIdentityPolicy+"kms:DescribeKey action").about("alias/golden-target"),
	},
	{
		"3.2.1 the source key's policy does not allow the target role",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:DescribeKey on this resource "+
				noResourcePolicies).about(sourceKey),
	},
	{
		"6.2 KMS: an identity policy lacks kms:CreateGrant",
		inTarget(nil, "kms:CreateGrant", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:CreateGrant on resource: "+
				targetKey+" "+noIdentityPolicy+"kms:CreateGrant action").about(targetKey),
	},
	{
		"3.2.1 the policy of a third account's key does not allow the target role",
		inTarget(nil, "kms:CreateGrant", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:CreateGrant on this resource "+
				noResourcePolicies).about(thirdKey),
	},
	{
		"3.2.1 the target key's policy does not allow its own account's role",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+
				targetKey+" because no resource-based policy allows the kms:DescribeKey action").about(targetKey),
	},
	{
		"3.4 DisabledException",
		inTarget(nil, "kms:CreateGrant", 400, "DisabledException", targetKey+" is disabled.").about(targetKey),
	},
	{
		"3.4 pending deletion",
		inTarget(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is pending deletion.").about(targetKey),
	},
	{
		"3.4 pending import",
		inTarget(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is pending import.").about(targetKey),
	},
	{
		"3.4 unavailable, creating, updating",
		inTarget(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is unavailable.").about(targetKey),
	},
	{
		"3.4 pending replica deletion",
		inTarget(nil, "kms:CreateGrant", 400, "KMSInvalidStateException",
			targetKey+" is pending replica deletion.").about(targetKey),
	},
	{
		"3.4.1 a key that does not exist",
		inTarget(nil, "kms:DescribeKey", 400, "NotFoundException",
			"Alias arn:aws:kms:eu-west-1:999999999999:alias/golden-target is not found.").about("alias/golden-target"),
	},
	{
		"3.4.1 an ARN that is none",
		inTarget(nil, "kms:DescribeKey", 400, "InvalidArnException",
			"Invalid arn eu-west-9").about("arn:aws:kms:eu-west-9:999999999999:key/1"),
	},
	{
		"8.3 a grant for a role that does not exist",
		inTarget(nil, "kms:CreateGrant", 400, "InvalidArnException",
			"ARN does not refer to a valid principal: "+scalingRole).about(targetKey),
	},
	{
		"3.4.2 a key of another kind",
		inTarget(nil, "kms:CreateGrant", 400, "InvalidKeyUsageException",
			targetKey+" key usage is SIGN_VERIFY which is not valid for CreateGrant.").about(targetKey),
	},
	{
		"3.4.3 KMS hides whether there is a key",
		inTarget(nil, "kms:Decrypt", 400, "AccessDeniedException", hiddenKeyText).about(targetKey),
	},
	{
		"3.2.7 too many grants on a key",
		inTarget(nil, "kms:CreateGrant", 400, "LimitExceededException", "Grants limit exceeded.").about(targetKey),
	},
	{
		"3.7 a grant that is gone",
		inSource(nil, "kms:RevokeGrant", 400, "InvalidGrantIdException", "Invalid grant id").about(sourceKey),
	},
	{
		"3.7 what KMS does not take",
		inSource(nil, "kms:ListGrants", 400, "InvalidMarkerException", "Could not deserialize marker").about(sourceKey),
	},
	{"3.7 KMS is in trouble", inSource(nil, "kms:DescribeKey", 500, "KMSInternalException", "").about(sourceKey)},

	{
		"4.1.1 too many snapshot copies, with the account's limit",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "ResourceLimitExceeded",
			"Too many snapshot copies in progress. The limit is 5 for this destination region."),
	},
	{
		"4.1.1 too many snapshot copies, with today's limit (A.3.2)",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "ResourceLimitExceeded",
			"Too many snapshot copies in progress. The limit is 20 for this destination region."),
	},
	{
		"4.1.2 too many image copies",
		inTarget(nil, "ec2:CopyImage", 400, "ResourceLimitExceeded", "Too many.").about(image),
	},
	{"4.1.4 too many images", inTarget(registerImage(), "ec2:RegisterImage", 400, "ResourceLimitExceeded", "")},
	{
		"4.1.4 too many snapshots",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "SnapshotLimitExceeded", ""),
	},
	{
		"4.1.4 too many pending snapshots",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "PendingSnapshotLimitExceeded", ""),
	},
	{
		"4.2.1 throttled",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 503, "RequestLimitExceeded",
			"Request limit exceeded."),
	},
	{
		"4.2.3 a token with another request",
		inTarget(nil, "ec2:CopyImage", 400, "IdempotentParameterMismatch",
			"Arguments on this idempotent request are inconsistent with arguments used in previous request(s).").about(image),
	},
	{
		"4.6.5 the source was not found",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "Source snapshot is not found"),
	},
	{
		"4.6.5 the source was not complete",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "Source snapshot is not complete"),
	},
	{
		"4.8.1 no time that a copy may take",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 400, "InvalidParameterValue",
			"'1' is not a valid value for completion duration. Specify a value between 15 and 2880 minutes, in 15 "+
				"minute increments only"),
	},

	{
		"5.1 a session longer than the role allows",
		inTarget(nil, "sts:AssumeRole", 400, "ValidationError",
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.").calledBy(packerRole).about(role),
	},
	{
		"5.2 a chained session longer than an hour",
		inTarget(nil, "sts:AssumeRole", 400, "ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit for roles "+
				"assumed by role chaining.").calledBy(packerRole).about(role),
	},
	{
		"5.4 EC2: the credentials expired",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:DescribeSnapshots", 400, "RequestExpired", "Request has expired."),
	},
	{
		"5.4 STS: the credentials expired",
		inTarget(nil, "sts:AssumeRole", 403, "ExpiredToken",
			"The security token included in the request is expired").calledBy(packerRole).about(role),
	},
	{
		"5.4 KMS: the credentials expired",
		inTarget(nil, "kms:DescribeKey", 400, "ExpiredTokenException",
			"The security token included in the request is expired").about(targetKey),
	},
	{
		"5.11 STS: the clock is behind",
		inTarget(nil, "sts:AssumeRole", 403, "SignatureDoesNotMatch",
			"Signature expired: 20261130T090000Z is now earlier than 20261130T091500Z (20261130T093000Z - 15 "+
				"min.)").calledBy(packerRole).about(role),
	},
	{
		"5.11 KMS: the clock is ahead",
		inTarget(nil, "kms:DescribeKey", 400, "InvalidSignatureException",
			"Signature not yet current: 20261130T094000Z is still later than 20261130T093500Z (20261130T093000Z + 5 "+
				"min.)").about(targetKey),
	},
	{
		"5.11 STS: the secret access key is wrong",
		inTarget(nil, "sts:GetCallerIdentity", 403, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided.").about(""),
	},
	{
		"5.5 an external id that is none",
		inTarget(nil, "sts:AssumeRole", 400, "ValidationError",
			"1 validation error detected: Value '(secret)' at 'externalId' failed to "+
				"satisfy constraint: Member must satisfy regular expression pattern: "+
				"[\\w+=,.@:\\/-]*").calledBy(packerRole).about(role),
	},
	{
		"5.5 a transitive tag passed again",
		inTarget(nil, "sts:AssumeRole", 400, "InvalidParameterValue",
			"One of the specified transitive tag keys can't be set because it "+
				"conflicts with a transitive tag key from the calling session.").calledBy(packerRole).about(role),
	},
	{
		"5.5 a tag given twice",
		inTarget(nil, "sts:AssumeRole", 400, "InvalidParameterValue",
			"Duplicate tag keys found. Please note that Tag keys are case insensitive.").calledBy(packerRole).about(role),
	},
	{
		"5.6 AssumeRole: trust, external id, MFA, tags or no such role",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role),
	},
	{
		"5.6 AssumeRole: session tags",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:TagSession on resource: "+role),
	},
	{
		"5.6 AssumeRole: a source identity",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:SetSourceIdentity on resource: "+role),
	},
	{
		"5.6 AssumeRole: the trust policy named",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+
				" because no role trust policy allows the sts:AssumeRole action"),
	},
	{
		"5.6 AssumeRole: the external id worked in another account",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role).
			withExternalIDOf(third),
	},
	{
		"5.6 AssumeRole: the trust policy named, the external id worked in another account",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+
				" because no role trust policy allows the sts:AssumeRole action").withExternalIDOf(third),
	},
	{
		"6.2 AssumeRole: the caller's own policy named",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+" "+
				noIdentityPolicy+"sts:AssumeRole action"),
	},
	{
		"6.2 AssumeRole: denied by the trust policy",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+
				" with an explicit deny in the role trust policy"),
	},
	{
		"5.6 AssumeRole as root",
		inTarget(nil, "sts:AssumeRole", 403, "AccessDenied",
			"Roles may not be assumed by root accounts.").calledBy("arn:aws:iam::111111111111:root").about(role),
	},
	{
		"5.6 a session policy that is none",
		inTarget(nil, "sts:AssumeRole", 400, "MalformedPolicyDocument",
			"Syntax errors in policy.").calledBy(packerRole).about(role),
	},
	{
		"5.6 session policies and tags that are too large",
		inTarget(nil, "sts:AssumeRole", 400, "PackedPolicyTooLarge",
			"Packed size of session policies and session tags consumes 114% of "+
				"allotted space.").calledBy(packerRole).about(role),
	},
	{
		"5.8 STS is off in the Region",
		inTarget(nil, "sts:AssumeRole", 403, "RegionDisabledException",
			"STS is not activated in this region for account:999999999999.").calledBy(packerRole).about(role),
	},
	{
		"5.8 the target does not use the Region",
		inTarget(nil, "ec2:DescribeImages", 401, "OptInRequired", "You are not subscribed to this service.").about(""),
	},
	{
		"5.8 EC2 does not know the token there",
		inTarget(nil, "ec2:DescribeImages", 401, "AuthFailure",
			"AWS was not able to validate the provided access credentials").about(""),
	},
	{
		"5.8 KMS does not know the token there",
		inTarget(nil, "kms:DescribeKey", 400, "UnrecognizedClientException",
			"The security token included in the request is invalid.").about(targetKey),
	},
	{
		"5.10 the credentials are another account's",
		inTarget(nil, "sts:AssumeRole", 0, "",
			"credentials for account 999999999999: they belong to account 333333333333").calledBy("").about(""),
	},

	{
		"6.2 no identity policy allows the copy",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:CopySnapshot", oneSnapshot, noIdentityPolicy+"ec2:CopySnapshot action")),
	},
	{
		"6.2 no identity policy allows the tags of the copy (6.5)",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:CreateTags", snapshots, noIdentityPolicy+"ec2:CreateTags action")),
	},
	{
		"6.2 no identity policy allows to register (2.5.5)",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images, noIdentityPolicy+"ec2:RegisterImage action")).about(image),
	},
	{
		"6.2 no identity policy allows to look",
		inTarget(nil, "ec2:DescribeImages", 403, "UnauthorizedOperation",
			"You are not authorized to perform this operation. User: "+targetRole+
				" is not authorized to perform: ec2:DescribeImages "+noIdentityPolicy+"ec2:DescribeImages action").about(""),
	},
	{
		"6.2 no identity policy allows, and the caller is a user",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 403, "UnauthorizedOperation",
			ec2Denial("arn:aws:iam::111111111111:user/ci/packer", "ec2:ModifySnapshotAttribute", oneSnapshot,
				noIdentityPolicy+"ec2:ModifySnapshotAttribute action")),
	},
	{
		"6.2 no identity policy allows, and the caller is a permission set",
		inSource(shareSnapshot(), "ec2:ModifySnapshotAttribute", 403, "UnauthorizedOperation",
			ec2Denial("arn:aws:sts::111111111111:assumed-role/AWSReservedSSO_Images_0123456789abcdef/ann",
				"ec2:ModifySnapshotAttribute", oneSnapshot,
				noIdentityPolicy+"ec2:ModifySnapshotAttribute action")),
	},
	{
		"6.2 no session policy allows",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:CopySnapshot", snapshots,
				"because no session policy allows the ec2:CopySnapshot action")),
	},
	{
		"6.2 no session policy of the source credentials allows",
		inSource(copyInSource(), "ec2:CopySnapshot", 403, "UnauthorizedOperation",
			ec2Denial(packerRole, "ec2:CopySnapshot", snapshots,
				"because no session policy allows the ec2:CopySnapshot action")),
	},
	{
		"6.2 no permissions boundary allows",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images,
				"because no permissions boundary allows the ec2:RegisterImage action")).about(image),
	},
	{
		"6.2 no service control policy allows",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images,
				"because no service control policy allows the ec2:RegisterImage action")).about(image),
	},
	{
		"6.2 no resource control policy allows",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+targetKey+
				" because no resource control policy allows the kms:DescribeKey action"),
	},
	{
		"6.2 no VPC endpoint policy allows",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images,
				"because no VPC endpoint policy allows the ec2:RegisterImage action")).about(image),
	},
	{
		"6.2 explicit deny in a service control policy",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:CopySnapshot", snapshots, "with an explicit deny in a service control policy")),
	},
	{
		"6.2 explicit deny in a resource control policy",
		inTarget(nil, "kms:DescribeKey", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+targetKey+
				" with an explicit deny in a resource control policy"),
	},
	{
		"6.2 explicit deny in a permissions boundary",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images, "with an explicit deny in a permissions boundary")).about(image),
	},
	{
		"6.2 explicit deny in a session policy",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images, "with an explicit deny in a session policy")).about(image),
	},
	{
		"6.2 explicit deny in an identity policy",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images,
				"with an explicit deny in an identity-based policy")).about(image),
	},
	{
		"6.2 explicit deny in a key policy",
		inTarget(nil, "kms:CreateGrant", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: kms:CreateGrant on resource: "+targetKey+
				" with an explicit deny in a resource-based policy"),
	},
	{
		"6.2 explicit deny in a VPC endpoint policy",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images, "with an explicit deny in a VPC endpoint policy")).about(image),
	},
	{
		"6.2 explicit deny in AWS's older words",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			ec2Denial(targetRole, "ec2:RegisterImage", images, "with an explicit deny")).about(image),
	},
	{
		"6.2 no policy named at all",
		inTarget(registerImage(), "ec2:RegisterImage", 403, "UnauthorizedOperation",
			"You are not authorized to perform this operation. Encoded authorization failure message: 3xY9kq").about(image),
	},

	{
		"6.2 ssm:PutParameter is not allowed (7.6)",
		inTarget(nil, "ssm:PutParameter", 400, "AccessDeniedException",
			"User: "+targetRole+" is not authorized to perform: ssm:PutParameter on resource: "+
				parameter+" "+noIdentityPolicy+"ssm:PutParameter action").about(parameter),
	},
	{
		"A.4.12 a launch template that is not there",
		inTarget(nil, "ec2:DescribeLaunchTemplates", 400, "InvalidLaunchTemplateName.NotFoundException",
			"At least one of the launch templates specified in the request does not exist.").about("web"),
	},
	{
		"A.4.12 a version that is not there",
		inTarget(nil, "ec2:DescribeLaunchTemplateVersions", 400, "InvalidLaunchTemplateId.VersionNotFound",
			"Could not find launch template version 9").about("web"),
	},
	{
		"7.2 a parameter that SSM took and did not write",
		inTarget(nil, "ssm:GetParameter", 400, "ParameterNotFound", "").about(parameter),
	},
	{
		"7.4 another data type, or an image as SecureString (7.1)",
		inTarget(nil, "ssm:PutParameter", 400, "ValidationException",
			"The data type of an existing parameter can't be changed.").about(parameter),
	},
	{
		"7.5 a launch template that resolves a parameter of type text",
		inTarget(nil, "autoscaling:StartInstanceRefresh", 400, "ValidationError",
			"Unsupported data type. The following parameter data types are supported: aws:ec2:image").about(parameter),
	},
	{
		"7.7 a reserved name",
		inTarget(nil, "ssm:PutParameter", 400, "AccessDeniedException",
			"No access to reserved parameter name: aws/golden.").about("/aws/golden"),
	},
	{
		"7.7 a name or value that is too long",
		inTarget(nil, "ssm:PutParameter", 400, "ValidationException",
			"Standard tier parameters support a maximum parameter value of 4096 characters.").about(parameter),
	},
	{
		"7.7 versions are used up",
		inTarget(nil, "ssm:PutParameter", 400, "ParameterMaxVersionLimitExceeded", "").about(parameter),
	},
	{
		"7.8 the parameter exists",
		inTarget(nil, "ssm:PutParameter", 400, "ParameterAlreadyExists",
			"The parameter already exists. To overwrite this value, set the overwrite option in the "+
				"request to true.").about(parameter),
	},
	{
		"7.8 tags with overwrite",
		inTarget(nil, "ssm:PutParameter", 400, "ValidationException",
			"Invalid request: tags and overwrite can't be used together.").about(parameter),
	},
	{"7.8 a key that SSM cannot use", inTarget(nil, "ssm:PutParameter", 400, "InvalidKeyId", "").about(targetKey)},
	{"7.8 too many parameters", inTarget(nil, "ssm:PutParameter", 400, "ParameterLimitExceeded", "").about(parameter)},
	{"7.8 several writers", inTarget(nil, "ssm:PutParameter", 400, "TooManyUpdates", "").about(parameter)},
	{
		"7.8 too many levels",
		inTarget(nil, "ssm:PutParameter", 400, "HierarchyLevelLimitExceededException", "").about(parameter),
	},
	{"7.8 another type", inTarget(nil, "ssm:PutParameter", 400, "HierarchyTypeMismatchException", "").about(parameter)},
	{
		"7.8 a pattern that is none",
		inTarget(nil, "ssm:PutParameter", 400, "InvalidAllowedPatternException", "").about(parameter),
	},
	{
		"7.8 a value that the pattern refuses",
		inTarget(nil, "ssm:PutParameter", 400, "ParameterPatternMismatchException", "").about(parameter),
	},
	{
		"7.8 a type that SSM does not know",
		inTarget(nil, "ssm:PutParameter", 400, "UnsupportedParameterType", "").about(parameter),
	},
	{"3.7 SSM is in trouble (7.8)", inTarget(nil, "ssm:PutParameter", 500, "InternalServerError", "").about(parameter)},
	{
		"7.9 SecureString, KMS refuses to encrypt",
		inTarget(nil, "ssm:PutParameter", 400, "AccessDeniedException", hiddenKeyText).about(targetKey),
	},
	{
		"7.10 SecureString, KMS refuses to decrypt",
		inTarget(nil, "ssm:GetParameter", 400, "AccessDeniedException", hiddenKeyText).about(targetKey),
	},

	{
		"8.5 a launch ends: Client.InvalidKMSKey.InvalidState, one's own role",
		inTarget(nil, "ec2:RunInstances", 0, "Client.InvalidKMSKey.InvalidState",
			"Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state").about(targetKey),
	},
	{
		"8.5 a launch ends: Client.InvalidKMSKey.InvalidState, Auto Scaling's role",
		inTarget(nil, "ec2:RunInstances", 0, "Client.InvalidKMSKey.InvalidState",
			"Client.InvalidKMSKey.InvalidState: The KMS key provided is in an "+
				"incorrect state").calledBy(scalingRole).about(targetKey),
	},
	{
		"9.0 a license configuration that is not there",
		inTarget(nil, "license-manager:UpdateLicenseSpecificationsForResource", 400, "InvalidParameterValueException",
			"The license configuration does not exist.").about(image),
	},
	{
		"9.0 a license configuration that has no license left",
		inTarget(nil, "license-manager:UpdateLicenseSpecificationsForResource", 400, "LicenseUsageException",
			"You do not have enough licenses available to support a new resource launch.").about(image),
	},
	{
		"9.18 a launch on a type that the image is not made for",
		inTarget(nil, "ec2:RunInstances", 400, "InvalidParameterCombination",
			"This AMI does not support the specified instance type").about(image),
	},
	{
		"9.18 a launch on a type that wants ENA (2.4.4)",
		inTarget(nil, "ec2:RunInstances", 400, "InvalidParameterCombination",
			"Enhanced networking with the Elastic Network Adapter (ENA) is required for the 't3.micro' "+
				"instance type. Ensure that you are using an AMI that is enabled for ENA.").about(image),
	},
	{
		"8.5 the same, with a key of another account",
		inTarget(nil, "ec2:RunInstances", 0, "Client.InvalidKMSKey.InvalidState",
			"Client.InvalidKMSKey.InvalidState: The KMS key provided is in an "+
				"incorrect state").calledBy(scalingRole).about(sourceKey),
	},
	{
		"8.5 a launch ends: Client.InternalError",
		inTarget(nil, "ec2:RunInstances", 0, "Client.InternalError",
			"Client.InternalError: Client error on launch").about(targetKey),
	},

	{
		"A.2.1 DeregisterImage of a protected image",
		inTarget(deregisterImage(), "ec2:DeregisterImage", 400, "OperationNotPermitted",
			"The image has deregistration protection enabled.").about(image),
	},
	{
		"9.3 DeleteSnapshot of a locked snapshot",
		inSource(deleteSnapshot(), "ec2:DeleteSnapshot", 400, "OperationNotPermitted", "The snapshot is locked."),
	},
	{
		"A.4.6 CreateVolume, unencrypted from encrypted",
		inTarget(nil, "ec2:CreateVolume", 400, "InvalidParameterCombination",
			"EncryptedVolume parameter [false] is inconsistent with snapshot encryption state [true]"),
	},
	{
		"A.4.7 CreateVolume from a pending snapshot",
		inTarget(nil, "ec2:CreateVolume", 400, "IncorrectState", "Snapshot is in invalid state - pending"),
	},
	{
		"2.5.4 CreateVolume from a snapshot that is not shared (A.4.7)",
		inTarget(nil, "ec2:CreateVolume", 400, "InvalidSnapshot.NotFound", "Snapshot does not exist"),
	},

	{
		"- a refusal that no rule names",
		inTarget(registerImage(), "ec2:RegisterImage", 400, "UnknownErrorCode",
			"The moon is in the wrong phase.").about(image),
	},
	{
		"- missing credentials: the profile does not exist",
		withoutCredentials(distribution.ProfileMissing, "failed to get shared config profile, prod"),
	},
	{
		"- missing credentials: the profile is incomplete",
		withoutCredentials(distribution.ProfileInvalid, "credential type credential_source requires role_arn, profile prod"),
	},
	{
		"- missing credentials: mfa_serial",
		withoutCredentials(distribution.MFARequired,
			"assume role with MFA enabled, but AssumeRoleTokenProvider session option not set."),
	},
	{
		"- missing credentials: no session of IAM Identity Center",
		withoutCredentials(distribution.SSOSignInRequired, "the SSO session has expired or is invalid"),
	},
	{
		"- missing credentials: the permission set is not assigned",
		withoutCredentials(
			distribution.SSORoleDenied,
			"operation error SSO: GetRoleCredentials, ForbiddenException: No access",
		),
	},
	{
		"- missing credentials: credential_process",
		withoutCredentials(distribution.ProcessFailed, "error in credential_process: exit status 3: vault is sealed"),
	},
	{
		"- missing credentials: web identity",
		withoutCredentials(distribution.WebIdentityTokenMissing, "failed to retrieve jwt from provide source"),
	},
	{
		"- missing credentials: no source of credentials",
		withoutCredentials(distribution.NoCredentials, "no EC2 IMDS role found"),
	},
	{
		"- a copy that failed for an unknown reason",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "The moon is in the wrong phase."),
	},
	{
		"- a call that did not come through",
		inTarget(copySnapshot(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "dial tcp: i/o timeout"),
	},
}
