// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Who and what is in the cases.
const (
	source = "111111111111"
	target = "999999999999"
	third  = "222222222222"

	packerRole = "arn:aws:sts::111111111111:assumed-role/packer/build-7"
	targetRole = "arn:aws:sts::999999999999:assumed-role/golden-image-target/encrypted-ami"
	scaling    = "arn:aws:iam::999999999999:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

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

// Steps that meet refusals.
func copyUnder(key, from string) *step.CopySnapshot {
	return &step.CopySnapshot{Base: step.Base{ID: "copy/999999999999/eu-west-1/xvda", Location: atTarget, Destination: atTarget},
		Source: step.Ref{Known: snapshot}, FromRegion: "eu-west-1", FromKeyARN: from, Device: "/dev/xvda", KeyARN: key, GiB: 8}
}

func stage() *step.CopySnapshot {
	return &step.CopySnapshot{Base: step.Base{ID: "stage/eu-west-1/xvda", Location: atSource}, Source: step.Ref{Known: snapshot},
		FromRegion: "eu-west-1", FromKeyARN: sourceKey, Device: "/dev/xvda", KeyARN: sourceKey, GiB: 8}
}

// copyImage is a step that diagnose has never seen: what it has to know stands in the step's rights.
type copyImage struct{ step.Base }

func (*copyImage) Permissions() []step.Permission {
	return copyUnder(targetKey, sourceKey).Permissions()
}
func (*copyImage) ResourceID() string { return "" }

func (*copyImage) String() string { return "copy " + image + " to " + atTarget.String() }

func share() *step.ShareSnapshot {
	return &step.ShareSnapshot{Base: step.Base{ID: "share/eu-west-1/xvda", Location: atSource}, Snapshot: step.Ref{Known: snapshot}, Accounts: []string{target}}
}

func register() *step.RegisterImage {
	return &step.RegisterImage{Base: step.Base{ID: "register/999999999999/eu-west-1", Location: atTarget, Destination: atTarget},
		ImageSpec: step.ImageSpec{Name: "golden-2026-11-21"}, Snapshots: map[string]step.Ref{"/dev/xvda": {Known: snapshot}}}
}

func deregister() *step.DeregisterImage {
	return &step.DeregisterImage{Base: step.Base{ID: "deregister/999999999999/eu-west-1", Location: atTarget, Destination: atTarget}, Image: step.Ref{Known: image}}
}

func remove() *step.DeleteSnapshot {
	return &step.DeleteSnapshot{Base: step.Base{ID: "delete/eu-west-1/xvda", Location: atSource}, Snapshot: step.Ref{Known: snapshot}}
}

// In the target, with its role; in the source account, with the build's role.
func there(step step.Step, operation string, status int, code, message string) Case {
	return Case{Refusal: distribution.APIError{Operation: operation, Status: status, Code: code, Message: message}, Step: step, At: atTarget,
		Principal: targetRole, Resource: snapshot, SourceAccount: source}
}

func here(step step.Step, operation string, status int, code, message string) Case {
	c := there(step, operation, status, code, message)
	c.At, c.Principal = atSource, packerRole
	return c
}

func (c Case) by(principal string) Case { c.Principal = principal; return c }

func (c Case) on(resource string) Case { c.Resource = resource; return c }

// refusing is how EC2 words a refusal of IAM (6.2).
func refusing(principal, action, resource, why string) string {
	return "You are not authorized to perform this operation. User: " + principal + " is not authorized to perform: " + action + " on resource: " + resource + " " + why +
		". Encoded authorization failure message: 3xY9kq"
}

const (
	snapshots   = "arn:aws:ec2:eu-west-1::snapshot/*"
	oneSnapshot = "arn:aws:ec2:eu-west-1::snapshot/" + snapshot
	images      = "arn:aws:ec2:eu-west-1::image/*"
	role        = "arn:aws:iam::999999999999:role/golden-image-target"
	parameter   = "arn:aws:ssm:eu-west-1:999999999999:parameter/golden/ami"
	notShown    = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."
	untold      = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
	noIdentity  = "because no identity-based policy allows the "
)

type titled struct {
	title string
	Case
}

// cases are refusals as the rules word them. A title begins with the rule that the finding has to rest on.
var cases = []titled{
	{"1.8.1 CopySnapshot, the key of the copy is disabled", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "InvalidParameterValue", "The specified keyId "+targetKey+" is disabled")},
	{"1.8.2 CopySnapshot, the key of the copy does not exist", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "InvalidParameterValue", "The specified keyId "+targetKey+" is invalid")},
	{"1.8.3 CopySnapshot, caller lacks kms:DescribeKey on the key of the copy", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 403, "AuthFailure", "Not authorized to use key "+targetKey+" ")},
	{"1.8.3 the same, the key is a third account's", there(copyUnder(thirdKey, sourceKey), "ec2:CopySnapshot", 403, "AuthFailure", "Not authorized to use key "+thirdKey+" ")},
	{"1.8.4 CopySnapshot in the target, a right is missing on one of two keys", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible")},
	{"1.8.4 CopySnapshot in the target, the source is not encrypted", there(copyUnder(targetKey, ""), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible")},
	{"1.8.4 CopySnapshot in the target, its key is a third account's", there(copyUnder(thirdKey, sourceKey), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible")},
	{"1.8.4 CopySnapshot in the source account, both keys are one", here(stage(), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible")},
	{"1.8.4 CopySnapshot, nobody told who called", there(copyUnder(targetKey, ""), "ec2:CopySnapshot", 0, "", "Given key ID is not accessible").by("")},
	{"1.8.5 CopyImage with an unusable key", there(&copyImage{step.Base{Location: atTarget}}, "ec2:CopyImage", 0, "", "Copy image failed with an internal error").on(image)},
	{"1.8.6 CreateVolume with an unusable key", there(nil, "ec2:DescribeVolumes", 400, "InvalidVolume.NotFound", "The volume 'vol-0a1b2c3d4e5f60718' does not exist.").on(targetKey)},
	{"1.1.11 a key without Encrypted", there(nil, "ec2:RunInstances", 400, "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.").on(image)},
	{"1.1.11 a key without Encrypted, as CreateVolume words it (A.4.5)", there(nil, "ec2:CreateVolume", 400, "InvalidParameterDependency", "The parameter [KmsKeyId] requires the parameter Encrypted to be set.")},
	{"1.4.8 CopyImage with Encrypted=false", there(nil, "ec2:CopyImage", 400, "InvalidRequest", "Snapshot "+snapshot+" is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.").on(image)},
	{"1.5.1 RegisterImage with Encrypted beside a snapshot", there(register(), "ec2:RegisterImage", 400, "InvalidParameter", "Parameter encrypted is invalid. You cannot specify the encrypted flag if specifying a snapshot id in a block device mapping.").on(image)},
	{"1.5.1 the same in other words", there(register(), "ec2:RegisterImage", 400, "InvalidBlockDeviceMapping", "the encrypted flag cannot be specified since device /dev/sda1 has a snapshot specified.").on(image)},
	{"1.5.6 RegisterImage with a snapshot that is only shared", there(register(), "ec2:RegisterImage", 400, "InvalidParameterValue", "Invalid value '"+snapshot+"' for snapshotId. Snapshot does not belong to 999999999999").on(image)},

	{"2.1.1 sharing a snapshot under aws/ebs", here(share(), "ec2:ModifySnapshotAttribute", 400, "OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")},
	{"2.1.2 making an encrypted snapshot public", here(share(), "ec2:ModifySnapshotAttribute", 400, "OperationNotPermitted", "Encrypted snapshots cannot be shared publicly.")},
	{"2.1.3 making a snapshot public where that is blocked", here(share(), "ec2:ModifySnapshotAttribute", 400, "OperationNotPermitted", "Public sharing of snapshots is blocked for this account.")},
	{"2.1.6 sharing with more than 500 accounts at once", here(share(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterValue", "Modification size must not be greater than 500.")},
	{"2.1.6 adding and removing in one call", here(share(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterCombination", "One and only one operation type may be specified for createVolumePermissions")},
	{"2.1.6 changing nothing", here(share(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterCombination", "No attributes specified.")},
	{"2.1.6 no operation in the old parameters (A.4.3)", here(share(), "ec2:ModifySnapshotAttribute", 400, "InvalidParameterCombination", "No operation specified for createVolumePermission attribute.")},
	{"2.1.6 sharing with what is no account (A.4.3)", here(share(), "ec2:ModifySnapshotAttribute", 400, "InvalidAMIAttributeItemValue", "UserId 9999-9999-9999")},
	{"2.1.7 sharing another account's snapshot", here(share(), "ec2:ModifySnapshotAttribute", 400, "InvalidSnapshot.NotFound", "The snapshot '"+snapshot+"' does not exist.")},
	{"2.2.2 sharing an image with a snapshot under aws/ebs (typographic apostrophe)", here(nil, "ec2:ModifyImageAttribute", 400, "InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot.").on(image)},
	{"2.2.3 making an image with an encrypted snapshot public (typographic apostrophe)", here(nil, "ec2:ModifyImageAttribute", 400, "UnsupportedOperation", "Encrypted snapshots can’t be shared publicly. Specify another snapshot.").on(image)},
	{"2.2.8 copying a shared image whose snapshots are not shared", there(nil, "ec2:CopyImage", 400, "InvalidRequest", "You do not have permission to access the storage of this ami").on(image)},
	{"2.1.6 two attributes of an image in one call (2.2.10)", here(nil, "ec2:ModifyImageAttribute", 400, "InvalidParameterCombination", "Fields for multiple attribute types specified: description, imdsSupport").on(image)},
	{"2.1.6 a bad account for an image (2.2.10)", here(nil, "ec2:ModifyImageAttribute", 400, "InvalidAMIAttributeItemValue", `Invalid attribute item value "123 " for userId item type.`).on(image)},
	{"2.2.10 an empty description", here(nil, "ec2:ModifyImageAttribute", 400, "MissingParameter", "The request must contain the parameter description").on(image)},
	{"2.2.10 taking back that IMDSv2 is required", here(nil, "ec2:ModifyImageAttribute", 400, "MissingParameter", "The request must contain the parameter imdsSupport with value v2.0").on(image)},
	{"2.2.11 reading an attribute of another account's image", there(nil, "ec2:DescribeImageAttribute", 400, "AuthFailure", "Not authorized for image:"+image).on(image)},
	{"2.2.11 reading an attribute that is shown to nobody", here(nil, "ec2:DescribeImageAttribute", 400, "AuthFailure", "Unauthorized attempt to access restricted resource").on(image)},
	{"2.3.1 copying an image from AWS Marketplace", there(nil, "ec2:CopyImage", 400, "InvalidRequest", "Images from AWS Marketplace cannot be copied to another AWS account").on(image)},
	{"2.3.1 copying an image with a billing code, as AWS worded it before", there(nil, "ec2:CopyImage", 400, "InvalidRequest", "Images with EC2 BillingProduct codes cannot be copied to another AWS account").on(image)},
	{"2.3.3 giving billing products", there(register(), "ec2:RegisterImage", 400, "AuthFailure", "Not authorized to use billing products.").on(image)},
	{"2.5.1 RegisterImage without a root snapshot", there(register(), "ec2:RegisterImage", 400, "InvalidBlockDeviceMapping", "No root snapshot specified in device mapping.").on(image)},
	{"2.5.2 RegisterImage under a taken name", there(register(), "ec2:RegisterImage", 400, "InvalidAMIName.Duplicate", "AMI name golden-2026-11-21 is already in use by AMI "+image).on(image)},
	{"2.5.3 RegisterImage under no name", there(register(), "ec2:RegisterImage", 400, "InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'").on(image)},
	{"2.5.4 RegisterImage with a snapshot that is gone", there(register(), "ec2:RegisterImage", 400, "InvalidSnapshotID.NotFound", "The snapshot ID '"+snapshot+"' does not exist").on(image)},
	{"2.5.8 DeleteSnapshot, an image uses it", here(remove(), "ec2:DeleteSnapshot", 400, "InvalidSnapshot.InUse", "The snapshot "+snapshot+" is currently in use by "+image)},
	{"2.5.9 DeregisterImage of what is deregistered", there(deregister(), "ec2:DeregisterImage", 400, "InvalidAMIID.Unavailable", "The image ID '"+image+"' is no longer available").on(image)},
	{"2.5.10 an image that is not there, or that Allowed AMIs hide (2.2.14)", there(nil, "ec2:DescribeImages", 400, "InvalidAMIID.NotFound", "The image id '["+image+"]' does not exist").on(image)},
	{"2.5.10 an id that was made up", here(nil, "ec2:DescribeImages", 400, "InvalidAMIID.Malformed", `Invalid id: "ami-00000000000000000"`).on("ami-00000000000000000")},

	{"6.2 a look at the target's key by ARN, the role lacks kms:DescribeKey", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+targetKey+" "+noIdentity+"kms:DescribeKey action").on(targetKey)},
	{"6.2 a look at another account's key, the role lacks kms:DescribeKey", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on this resource "+noIdentity+"kms:DescribeKey action").on(sourceKey)},
	{"6.2 a key by its alias, the role lacks kms:DescribeKey", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on this resource "+noIdentity+"kms:DescribeKey action").on("alias/golden-target")},
	{"3.2.1 the source key's policy does not admit the target role", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on this resource "+untold).on(sourceKey)},
	{"3.2.1 the policy of a third account's key does not admit the target role", there(nil, "kms:CreateGrant", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:CreateGrant on this resource "+untold).on(thirdKey)},
	{"3.2.1 the target key's policy does not admit its own account's role", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+targetKey+" because no resource-based policy allows the kms:DescribeKey action").on(targetKey)},
	{"3.4 DisabledException", there(nil, "kms:CreateGrant", 400, "DisabledException", targetKey+" is disabled.").on(targetKey)},
	{"3.4 pending deletion", there(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is pending deletion.").on(targetKey)},
	{"3.4 pending import", there(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is pending import.").on(targetKey)},
	{"3.4 unavailable, creating, updating", there(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is unavailable.").on(targetKey)},
	{"3.4 pending replica deletion", there(nil, "kms:CreateGrant", 400, "KMSInvalidStateException", targetKey+" is pending replica deletion.").on(targetKey)},
	{"3.4.1 a key that does not exist", there(nil, "kms:DescribeKey", 400, "NotFoundException", "Alias arn:aws:kms:eu-west-1:999999999999:alias/golden-target is not found.").on("alias/golden-target")},
	{"3.4.1 an ARN that is none", there(nil, "kms:DescribeKey", 400, "InvalidArnException", "Invalid arn eu-west-9").on("arn:aws:kms:eu-west-9:999999999999:key/1")},
	{"8.3 a grant for a role that does not exist", there(nil, "kms:CreateGrant", 400, "InvalidArnException", "ARN does not refer to a valid principal: "+scaling).on(targetKey)},
	{"3.4.2 a key of another kind", there(nil, "kms:CreateGrant", 400, "InvalidKeyUsageException", targetKey+" key usage is SIGN_VERIFY which is not valid for CreateGrant.").on(targetKey)},
	{"3.4.3 KMS hides whether there is a key", there(nil, "kms:Decrypt", 400, "AccessDeniedException", notShown).on(targetKey)},
	{"3.2.7 too many grants on a key", there(nil, "kms:CreateGrant", 400, "LimitExceededException", "Grants limit exceeded.").on(targetKey)},
	{"3.7 a grant that is gone", here(nil, "kms:RevokeGrant", 400, "InvalidGrantIdException", "Invalid grant id").on(sourceKey)},
	{"3.7 what KMS does not take", here(nil, "kms:ListGrants", 400, "InvalidMarkerException", "Could not deserialize marker").on(sourceKey)},
	{"3.7 KMS is in trouble", here(nil, "kms:DescribeKey", 500, "KMSInternalException", "").on(sourceKey)},

	{"4.1.1 too many snapshot copies, with the account's limit", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is 5 for this destination region.")},
	{"4.1.1 too many snapshot copies, with today's limit (A.3.2)", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is 20 for this destination region.")},
	{"4.1.2 too many image copies", there(nil, "ec2:CopyImage", 400, "ResourceLimitExceeded", "Too many.").on(image)},
	{"4.1.4 too many images", there(register(), "ec2:RegisterImage", 400, "ResourceLimitExceeded", "")},
	{"4.1.4 too many snapshots", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "SnapshotLimitExceeded", "")},
	{"4.1.4 too many pending snapshots", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "PendingSnapshotLimitExceeded", "")},
	{"4.2.1 throttled", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 503, "RequestLimitExceeded", "Request limit exceeded.")},
	{"4.2.3 a token with another request", there(nil, "ec2:CopyImage", 400, "IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).").on(image)},
	{"4.6.5 the source was not found", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "Source snapshot is not found")},
	{"4.6.5 the source was not complete", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "Source snapshot is not complete")},
	{"4.8.1 no time that a copy may take", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 400, "InvalidParameterValue", "'1' is not a valid value for completion duration. Specify a value between 15 and 2880 minutes, in 15 minute increments only")},

	{"5.1 a session longer than the role allows", there(nil, "sts:AssumeRole", 400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.").by(packerRole).on(role)},
	{"5.2 a chained session longer than an hour", there(nil, "sts:AssumeRole", 400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.").by(packerRole).on(role)},
	{"5.4 EC2: the credentials expired", there(copyUnder(targetKey, sourceKey), "ec2:DescribeSnapshots", 400, "RequestExpired", "Request has expired.")},
	{"5.4 STS: the credentials expired", there(nil, "sts:AssumeRole", 403, "ExpiredToken", "The security token included in the request is expired").by(packerRole).on(role)},
	{"5.4 KMS: the credentials expired", there(nil, "kms:DescribeKey", 400, "ExpiredTokenException", "The security token included in the request is expired").on(targetKey)},
	{"5.5 an external id that is none", there(nil, "sts:AssumeRole", 400, "ValidationError", "1 validation error detected: Value '(secret)' at 'externalId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]*").by(packerRole).on(role)},
	{"5.5 a transitive tag passed again", there(nil, "sts:AssumeRole", 400, "InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.").by(packerRole).on(role)},
	{"5.5 a tag given twice", there(nil, "sts:AssumeRole", 400, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.").by(packerRole).on(role)},
	{"5.6 AssumeRole: trust, external id, MFA, tags or no such role", there(nil, "sts:AssumeRole", 403, "AccessDenied", "User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role)},
	{"5.6 AssumeRole: session tags", there(nil, "sts:AssumeRole", 403, "AccessDenied", "User: "+packerRole+" is not authorized to perform: sts:TagSession on resource: "+role)},
	{"5.6 AssumeRole: the trust policy named", there(nil, "sts:AssumeRole", 403, "AccessDenied", "User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+" because no role trust policy allows the sts:AssumeRole action")},
	{"6.2 AssumeRole: the caller's own policy named", there(nil, "sts:AssumeRole", 403, "AccessDenied", "User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+" "+noIdentity+"sts:AssumeRole action")},
	{"6.2 AssumeRole: denied by the trust policy", there(nil, "sts:AssumeRole", 403, "AccessDenied", "User: "+packerRole+" is not authorized to perform: sts:AssumeRole on resource: "+role+" with an explicit deny in the role trust policy")},
	{"5.6 AssumeRole as root", there(nil, "sts:AssumeRole", 403, "AccessDenied", "Roles may not be assumed by root accounts.").by("arn:aws:iam::111111111111:root").on(role)},
	{"5.6 a session policy that is none", there(nil, "sts:AssumeRole", 400, "MalformedPolicyDocument", "Syntax errors in policy.").by(packerRole).on(role)},
	{"5.6 session policies and tags that are too large", there(nil, "sts:AssumeRole", 400, "PackedPolicyTooLarge", "Packed size of session policies and session tags consumes 114% of allotted space.").by(packerRole).on(role)},
	{"5.8 STS is off in the Region", there(nil, "sts:AssumeRole", 403, "RegionDisabledException", "STS is not activated in this region for account:999999999999.").by(packerRole).on(role)},
	{"5.8 the target does not use the Region", there(nil, "ec2:DescribeImages", 401, "OptInRequired", "You are not subscribed to this service.").on("")},
	{"5.8 EC2 does not know the token there", there(nil, "ec2:DescribeImages", 401, "AuthFailure", "AWS was not able to validate the provided access credentials").on("")},
	{"5.8 KMS does not know the token there", there(nil, "kms:DescribeKey", 400, "UnrecognizedClientException", "The security token included in the request is invalid.").on(targetKey)},
	{"5.10 the credentials are another account's", there(nil, "sts:AssumeRole", 0, "", "credentials for account 999999999999: they belong to account 333333333333").by("").on("")},

	{"6.2 no identity policy allows the copy", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:CopySnapshot", oneSnapshot, noIdentity+"ec2:CopySnapshot action"))},
	{"6.2 no identity policy allows the tags of the copy (6.5)", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:CreateTags", snapshots, noIdentity+"ec2:CreateTags action"))},
	{"6.2 no identity policy allows to register (2.5.5)", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, noIdentity+"ec2:RegisterImage action")).on(image)},
	{"6.2 no identity policy allows to look", there(nil, "ec2:DescribeImages", 403, "UnauthorizedOperation", "You are not authorized to perform this operation. User: "+targetRole+" is not authorized to perform: ec2:DescribeImages "+noIdentity+"ec2:DescribeImages action").on("")},
	{"6.2 no identity policy allows, and the caller is a user", here(share(), "ec2:ModifySnapshotAttribute", 403, "UnauthorizedOperation", refusing("arn:aws:iam::111111111111:user/ci/packer", "ec2:ModifySnapshotAttribute", oneSnapshot, noIdentity+"ec2:ModifySnapshotAttribute action"))},
	{"6.2 no identity policy allows, and the caller is a permission set", here(share(), "ec2:ModifySnapshotAttribute", 403, "UnauthorizedOperation", refusing("arn:aws:sts::111111111111:assumed-role/AWSReservedSSO_Images_0123456789abcdef/ann", "ec2:ModifySnapshotAttribute", oneSnapshot, noIdentity+"ec2:ModifySnapshotAttribute action"))},
	{"6.2 no session policy allows", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:CopySnapshot", snapshots, "because no session policy allows the ec2:CopySnapshot action"))},
	{"6.2 no session policy of the source credentials allows", here(stage(), "ec2:CopySnapshot", 403, "UnauthorizedOperation", refusing(packerRole, "ec2:CopySnapshot", snapshots, "because no session policy allows the ec2:CopySnapshot action"))},
	{"6.2 no permissions boundary allows", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "because no permissions boundary allows the ec2:RegisterImage action")).on(image)},
	{"6.2 no service control policy allows", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "because no service control policy allows the ec2:RegisterImage action")).on(image)},
	{"6.2 no resource control policy allows", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+targetKey+" because no resource control policy allows the kms:DescribeKey action")},
	{"6.2 no VPC endpoint policy allows", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "because no VPC endpoint policy allows the ec2:RegisterImage action")).on(image)},
	{"6.2 explicit deny in a service control policy", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:CopySnapshot", snapshots, "with an explicit deny in a service control policy"))},
	{"6.2 explicit deny in a resource control policy", there(nil, "kms:DescribeKey", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:DescribeKey on resource: "+targetKey+" with an explicit deny in a resource control policy")},
	{"6.2 explicit deny in a permissions boundary", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "with an explicit deny in a permissions boundary")).on(image)},
	{"6.2 explicit deny in a session policy", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "with an explicit deny in a session policy")).on(image)},
	{"6.2 explicit deny in an identity policy", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "with an explicit deny in an identity-based policy")).on(image)},
	{"6.2 explicit deny in a key policy", there(nil, "kms:CreateGrant", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: kms:CreateGrant on resource: "+targetKey+" with an explicit deny in a resource-based policy")},
	{"6.2 explicit deny in a VPC endpoint policy", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "with an explicit deny in a VPC endpoint policy")).on(image)},
	{"6.2 explicit deny in AWS's older words", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", refusing(targetRole, "ec2:RegisterImage", images, "with an explicit deny")).on(image)},
	{"6.2 no policy named at all", there(register(), "ec2:RegisterImage", 403, "UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: 3xY9kq").on(image)},

	{"6.2 ssm:PutParameter is not allowed (7.6)", there(nil, "ssm:PutParameter", 400, "AccessDeniedException", "User: "+targetRole+" is not authorized to perform: ssm:PutParameter on resource: "+parameter+" "+noIdentity+"ssm:PutParameter action").on(parameter)},
	{"A.4.12 a launch template that is not there", there(nil, "ec2:DescribeLaunchTemplates", 400, "InvalidLaunchTemplateName.NotFoundException", "At least one of the launch templates specified in the request does not exist.").on("web")},
	{"A.4.12 a version that is not there", there(nil, "ec2:DescribeLaunchTemplateVersions", 400, "InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version 9").on("web")},
	{"7.2 a parameter that SSM took and did not write", there(nil, "ssm:GetParameter", 400, "ParameterNotFound", "").on(parameter)},
	{"7.4 another data type, or an image as SecureString (7.1)", there(nil, "ssm:PutParameter", 400, "ValidationException", "The data type of an existing parameter can't be changed.").on(parameter)},
	{"7.5 a launch template that resolves a parameter of type text", there(nil, "autoscaling:StartInstanceRefresh", 400, "ValidationError", "Unsupported data type. The following parameter data types are supported: aws:ec2:image").on(parameter)},
	{"7.7 a reserved name", there(nil, "ssm:PutParameter", 400, "AccessDeniedException", "No access to reserved parameter name: aws/golden.").on("/aws/golden")},
	{"7.7 a name or value that is too long", there(nil, "ssm:PutParameter", 400, "ValidationException", "Standard tier parameters support a maximum parameter value of 4096 characters.").on(parameter)},
	{"7.7 versions are used up", there(nil, "ssm:PutParameter", 400, "ParameterMaxVersionLimitExceeded", "").on(parameter)},
	{"7.8 the parameter exists", there(nil, "ssm:PutParameter", 400, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.").on(parameter)},
	{"7.8 tags with overwrite", there(nil, "ssm:PutParameter", 400, "ValidationException", "Invalid request: tags and overwrite can't be used together.").on(parameter)},
	{"7.8 a key that SSM cannot use", there(nil, "ssm:PutParameter", 400, "InvalidKeyId", "").on(targetKey)},
	{"7.8 too many parameters", there(nil, "ssm:PutParameter", 400, "ParameterLimitExceeded", "").on(parameter)},
	{"7.8 several writers", there(nil, "ssm:PutParameter", 400, "TooManyUpdates", "").on(parameter)},
	{"7.8 too many levels", there(nil, "ssm:PutParameter", 400, "HierarchyLevelLimitExceededException", "").on(parameter)},
	{"7.8 another type", there(nil, "ssm:PutParameter", 400, "HierarchyTypeMismatchException", "").on(parameter)},
	{"7.8 a pattern that is none", there(nil, "ssm:PutParameter", 400, "InvalidAllowedPatternException", "").on(parameter)},
	{"7.8 a value that the pattern refuses", there(nil, "ssm:PutParameter", 400, "ParameterPatternMismatchException", "").on(parameter)},
	{"7.8 a type that SSM does not know", there(nil, "ssm:PutParameter", 400, "UnsupportedParameterType", "").on(parameter)},
	{"3.7 SSM is in trouble (7.8)", there(nil, "ssm:PutParameter", 500, "InternalServerError", "").on(parameter)},
	{"7.9 SecureString, KMS refuses to encrypt", there(nil, "ssm:PutParameter", 400, "AccessDeniedException", notShown).on(targetKey)},
	{"7.10 SecureString, KMS refuses to decrypt", there(nil, "ssm:GetParameter", 400, "AccessDeniedException", notShown).on(targetKey)},

	{"8.5 a launch ends: Client.InvalidKMSKey.InvalidState, one's own role", there(nil, "ec2:RunInstances", 0, "Client.InvalidKMSKey.InvalidState", "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state").on(targetKey)},
	{"8.5 a launch ends: Client.InvalidKMSKey.InvalidState, Auto Scaling's role", there(nil, "ec2:RunInstances", 0, "Client.InvalidKMSKey.InvalidState", "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state").by(scaling).on(targetKey)},
	{"9.0 a license configuration that is not there", there(nil, "license-manager:UpdateLicenseSpecificationsForResource", 400, "InvalidParameterValueException", "The license configuration does not exist.").on(image)},
	{"9.0 a license configuration that has no license left", there(nil, "license-manager:UpdateLicenseSpecificationsForResource", 400, "LicenseUsageException", "You do not have enough licenses available to support a new resource launch.").on(image)},
	{"9.18 a launch on a type that the image is not made for", there(nil, "ec2:RunInstances", 400, "InvalidParameterCombination", "This AMI does not support the specified instance type").on(image)},
	{"9.18 a launch on a type that wants ENA (2.4.4)", there(nil, "ec2:RunInstances", 400, "InvalidParameterCombination", "Enhanced networking with the Elastic Network Adapter (ENA) is required for the 't3.micro' instance type. Ensure that you are using an AMI that is enabled for ENA.").on(image)},
	{"8.5 the same, with a key of another account", there(nil, "ec2:RunInstances", 0, "Client.InvalidKMSKey.InvalidState", "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state").by(scaling).on(sourceKey)},
	{"8.5 a launch ends: Client.InternalError", there(nil, "ec2:RunInstances", 0, "Client.InternalError", "Client.InternalError: Client error on launch").on(targetKey)},

	{"A.2.1 DeregisterImage of a protected image", there(deregister(), "ec2:DeregisterImage", 400, "OperationNotPermitted", "The image has deregistration protection enabled.").on(image)},
	{"9.3 DeleteSnapshot of a locked snapshot", here(remove(), "ec2:DeleteSnapshot", 400, "OperationNotPermitted", "The snapshot is locked.")},
	{"A.4.6 CreateVolume, unencrypted from encrypted", there(nil, "ec2:CreateVolume", 400, "InvalidParameterCombination", "EncryptedVolume parameter [false] is inconsistent with snapshot encryption state [true]")},
	{"A.4.7 CreateVolume from a pending snapshot", there(nil, "ec2:CreateVolume", 400, "IncorrectState", "Snapshot is in invalid state - pending")},
	{"2.5.4 CreateVolume from a snapshot that is not shared (A.4.7)", there(nil, "ec2:CreateVolume", 400, "InvalidSnapshot.NotFound", "Snapshot does not exist")},

	{"- a refusal that no rule names", there(register(), "ec2:RegisterImage", 400, "NobodyKnowsThis", "The moon is in the wrong house.").on(image)},
	{"- a copy that failed for an unknown reason", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "The moon is in the wrong house.")},
	{"- a call that did not come through", there(copyUnder(targetKey, sourceKey), "ec2:CopySnapshot", 0, "", "dial tcp: i/o timeout")},
}
