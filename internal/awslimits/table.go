// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awslimits

// Subjects of the table.
const (
	AccountID              Subject = "account ID"
	Region                 Subject = "Region"
	RootOrUnitID           Subject = "root or organizational unit ID"
	OrganizationARN        Subject = "organization ARN"
	OrganizationalUnitARN  Subject = "organizational unit ARN"
	RoleARN                Subject = "role ARN"
	RoleName               Subject = "role name"
	RolePath               Subject = "role path"
	RoleSessionName        Subject = "role session name"
	ExternalID             Subject = "external ID"
	SourceIdentity         Subject = "source identity"
	SessionDuration        Subject = "session duration in seconds"
	ChainedSessionDuration Subject = "session duration in seconds with role chaining"
	SessionPolicy          Subject = "session policy"
	SessionPolicyARN       Subject = "session policy ARN"
	SessionPolicyARNs      Subject = "session policy ARNs"
	SessionPolicies        Subject = "session policies together"
	SessionTags            Subject = "session tags"
	SessionTagKey          Subject = "session tag key"
	SessionTagValue        Subject = "session tag value"
	TransitiveTagKeys      Subject = "transitive tag keys"

	KeyID          Subject = "KMS key"
	KeyAlias       Subject = "KMS alias"
	GrantName      Subject = "KMS grant name"
	Grantee        Subject = "KMS grantee principal"
	GrantOperation Subject = "KMS grant operation"
	ImageID        Subject = "image ID"
	ImageName      Subject = "image name"
	Description    Subject = "image description"
	UEFIData       Subject = "UEFI data"
	SnapshotText   Subject = "snapshot description"
	CopyToken      Subject = "client token of CopyImage"
	LaunchToken    Subject = "client token of RunInstances"
	// InitializationRate is the rate at which EBS loads the blocks of a volume.
	InitializationRate Subject = "volume initialization rate in MiB/s"
	CopyMinutes        Subject = "completion duration of a copy in minutes"
	DeprecationTime    Subject = "deprecation time"
	Tags               Subject = "tags"
	TagKey             Subject = "tag key"
	TagValue           Subject = "tag value"
	ShareBatch         Subject = "accounts of one sharing call"
	ImageShares        Subject = "launch permissions of an image"
	LicenseARN         Subject = "license configuration ARN"
	Watermarks         Subject = "watermarks of an image"
	WatermarkName      Subject = "watermark name"
	FilterNames        Subject = "filters"
	FilterName         Subject = "filter name"
	FilterValue        Subject = "filter value"

	InstanceType       Subject = "instance type"
	SubnetID           Subject = "subnet ID"
	TemplateID         Subject = "launch template ID"
	TemplateName       Subject = "launch template name"
	TemplateVersion    Subject = "launch template version"
	VersionDescription Subject = "launch template version description"
	FastLaunchVersion  Subject = "launch template version of fast launch"
	ParallelLaunches   Subject = "parallel launches of fast launch"
)

// Sources that several limits share. "Model" is the API model that AWS publishes with its SDKs.
const (
	assumeRole       = "STS API reference and model, AssumeRole"
	createRole       = "IAM API reference and model, CreateRole"
	sessionLimits    = "STS API reference, AssumeRole: inline and managed session policies"
	createGrant      = "KMS API reference and model, CreateGrant"
	createAlias      = "KMS API reference and model, CreateAlias"
	organizations    = "Organizations API reference and model"
	registerImage    = "EC2 API reference and model, RegisterImage and CopyImage"
	deprecation      = "EC2 API reference, EnableImageDeprecation; rule 9.21"
	timeBasedCopies  = "EBS user guide, time-based copies; rule 4.8.1, recorded refusal of 1 minute"
	tagRestrictions  = "EC2 user guide, tag restrictions"
	launchTemplate   = "EC2 API model, CreateLaunchTemplateVersion"
	attachWatermark  = "EC2 API reference, AttachImageWatermark; rule 9.17"
	fastLaunch       = "EC2 API reference, EnableFastLaunch"
	filterLimits     = "EC2 user guide, list and filter your resources"
	ec2ResourceID    = "EC2 user guide, resource IDs: 8 or 17 hexadecimal digits"
	sessionCharacter = "letters, digits and _+=,.@-"
	tagCharacters    = "letters, digits, spaces and _.:/=+-@"
)

// Patterns that several limits share.
var (
	sessionText = pattern(`^[\w+=,.@-]*$`)
	tagText     = pattern(`^[\p{L}\p{Z}\p{N}_.:/=+@-]*$`)
	keyText     = pattern(`^[a-zA-Z0-9:/_-]*$`)
)

// Table holds every limit, by service. A limit that AWS does not document is omitted, or copied from a similar value.
// Its source then says so.
var Table = []Limit{
	// Accounts, Regions and Organizations.
	{
		Subject: AccountID, Kind: Format, Words: "12 digits", Pattern: pattern(`^\d{12}$`),
		Refused: "12345678901", Source: organizations + ", AccountId",
	},
	{
		Subject: Region, Kind: Format, Words: "the name of a Region, such as eu-west-1",
		Pattern: pattern(`^[a-z]{2,4}(?:-[a-z]+)+-\d+$`), Refused: "eu-west",
		Source: "AWS SDK, partitions: regular expressions of Region names",
	},
	{
		Subject: RootOrUnitID, Kind: Format,
		Words:   "the ID of an organizational unit or a root, such as ou-ab12-cdef3456",
		Pattern: pattern(`^(?:ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32})$`),
		Refused: "ou-ab12-cdef345", Source: organizations + ", ListAccountsForParent, ParentId",
	},
	{
		Subject: OrganizationARN, Kind: Format, Words: "the ARN of an organization",
		Pattern: pattern(`^arn:(aws[a-z-]*):organizations::\d{12}:organization/o-[a-z0-9]{10,32}$`),
		Refused: "arn:aws:organizations::111111111111:organization/o-123456789",
		Source:  organizations + ", OrganizationArn",
	},
	{
		Subject: OrganizationalUnitARN, Kind: Format, Words: "the ARN of an organizational unit",
		Pattern: pattern(`^arn:(aws[a-z-]*):organizations::\d{12}:ou/o-[a-z0-9]{10,32}` +
			`/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}$`),
		Refused: "arn:aws:organizations::111111111111:ou/ou-ab12-34567890",
		Source:  organizations + ", OrganizationalUnitArn",
	},

	// STS and IAM.
	{
		Subject: RoleARN,
		Kind:    Format,
		Words:   "the ARN of a role, such as arn:aws:iam::123456789012:role/golden-image-target",
		Pattern: pattern(`^arn:(aws[a-z-]*):iam::(\d{12}):role/(?:[!-~]+/)?[\w+=,.@-]+$`),
		Refused: "arn:aws:iam::12345678901:role/golden-image-target",
		Source:  assumeRole + ", RoleArn",
	},
	{Subject: RoleName, Kind: MinLength, Number: 1, Source: createRole + ", RoleName"},
	{Subject: RoleName, Kind: MaxLength, Number: 64, Source: createRole + ", RoleName"},
	{
		Subject: RoleName, Kind: Characters, Words: sessionCharacter, Pattern: sessionText,
		Refused: "golden image", Source: createRole + ", RoleName",
	},
	{Subject: RolePath, Kind: MaxLength, Number: 512, Source: createRole + ", Path"},
	{
		Subject: RolePath, Kind: Format, Words: "a path that begins and ends with a slash",
		Pattern: pattern(`^(?:/|/[!-~]+/)$`), Refused: "/golden image/", Source: createRole + ", Path",
	},
	{Subject: RoleSessionName, Kind: MinLength, Number: 2, Source: assumeRole + ", RoleSessionName; rule 5.5"},
	{Subject: RoleSessionName, Kind: MaxLength, Number: 64, Source: assumeRole + ", RoleSessionName; rule 5.5"},
	{
		Subject: RoleSessionName, Kind: Characters, Words: sessionCharacter, Pattern: sessionText,
		Refused: "Session1:2", Source: assumeRole + ", RoleSessionName; recorded refusal of \"Session1:2\"",
	},
	{Subject: ExternalID, Kind: MinLength, Number: 2, Source: assumeRole + ", ExternalId; rule 5.5"},
	{Subject: ExternalID, Kind: MaxLength, Number: 1224, Source: assumeRole + ", ExternalId; rule 5.5"},
	{
		Subject: ExternalID, Kind: Characters, Words: "letters, digits and _+=,.@:/-",
		Pattern: pattern(`^[\w+=,.@:/-]*$`), Refused: "two words", Source: assumeRole + ", ExternalId; rule 5.5",
	},
	{Subject: SourceIdentity, Kind: MinLength, Number: 2, Source: assumeRole + ", SourceIdentity; rule 5.5"},
	{Subject: SourceIdentity, Kind: MaxLength, Number: 64, Source: assumeRole + ", SourceIdentity; rule 5.5"},
	{
		Subject: SourceIdentity, Kind: Prefix, Words: "aws:", Source: assumeRole + ", SourceIdentity; rule 5.5",
	},
	{
		Subject: SourceIdentity, Kind: Characters, Words: sessionCharacter, Pattern: sessionText,
		Refused: "ci:build", Source: assumeRole + ", SourceIdentity; rule 5.5",
	},
	{Subject: SessionDuration, Kind: MinNumber, Number: 900, Source: assumeRole + ", DurationSeconds; rule 5.1"},
	{Subject: SessionDuration, Kind: MaxNumber, Number: 43200, Source: assumeRole + ", DurationSeconds; rule 5.1"},
	{
		Subject: ChainedSessionDuration, Kind: MaxNumber, Number: 3600,
		Words:  "the most that AWS allows where a role's session assumes the next role",
		Source: assumeRole + ", DurationSeconds: role chaining; rule 5.2",
	},
	{Subject: SessionPolicy, Kind: MinLength, Number: 1, Source: assumeRole + ", Policy"},
	{Subject: SessionPolicy, Kind: MaxLength, Number: 2048, Source: sessionLimits + "; rule 5.5"},
	{
		Subject: SessionPolicy, Kind: Characters, Words: "tabs, line feeds, carriage returns and U+0020 to U+00FF",
		Pattern: pattern(`^[\t\n\r -ÿ]*$`), Refused: `{"Sid":"—"}`, Source: assumeRole + ", Policy",
	},
	{
		Subject: SessionPolicy, Kind: Combination, Refused: "not JSON",
		Source: "STS API reference, MalformedPolicyDocument; recorded refusal \"contains invalid Json\"",
	},
	{
		Subject: SessionPolicyARN, Kind: Format, Words: "the ARN of a managed policy",
		Pattern: pattern(`^arn:aws[a-z-]*:iam::(?:\d{12}|aws):policy/[!-~]+$`), Refused: "ReadOnlyAccess",
		Source: assumeRole + ", PolicyArns; recorded refusal \"Invalid ARN\"",
	},
	{Subject: SessionPolicyARN, Kind: MaxLength, Number: 2048, Source: assumeRole + ", PolicyArns"},
	{
		Subject: SessionPolicyARNs, Kind: MaxCount, Number: 10, Words: "ARNs",
		Source: assumeRole + ", PolicyArns: up to 10; rule 5.5",
	},
	{Subject: SessionPolicies, Kind: Combination, Number: 2048, Source: sessionLimits},
	{Subject: SessionTags, Kind: MaxCount, Number: 50, Words: "tags", Source: assumeRole + ", Tags; rule 5.5"},
	{
		Subject: SessionTags, Kind: Combination, Refused: "department",
		Source: assumeRole + ", Tags: Department and department are not separate tags",
	},
	{Subject: SessionTagKey, Kind: MinLength, Number: 1, Source: assumeRole + ", Tags; rule 5.5"},
	{Subject: SessionTagKey, Kind: MaxLength, Number: 128, Source: assumeRole + ", Tags; rule 5.5"},
	{
		Subject: SessionTagKey, Kind: Prefix, Words: "aws:",
		Source: "IAM user guide, rules for tagging in IAM and STS",
	},
	{
		Subject: SessionTagKey, Kind: Characters, Words: tagCharacters, Pattern: tagText, Refused: "cost*",
		Source: assumeRole + ", Tags",
	},
	{Subject: SessionTagValue, Kind: MaxLength, Number: 256, Source: assumeRole + ", Tags; rule 5.5"},
	{
		Subject: SessionTagValue, Kind: Prefix, Words: "aws:",
		Source: "IAM user guide, rules for tagging in IAM and STS",
	},
	{
		Subject: SessionTagValue, Kind: Characters, Words: tagCharacters, Pattern: tagText, Refused: "a,b",
		Source: assumeRole + ", Tags",
	},
	{
		Subject: TransitiveTagKeys, Kind: MaxCount, Number: 50, Words: "keys", Source: assumeRole + ", TransitiveTagKeys",
	},

	// KMS.
	{
		Subject: KeyID, Kind: Format, Words: "a key: write an alias (alias/golden), a key ID, or the ARN of either",
		Pattern: pattern(`^(?:(?:arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:)?(alias/.+)|` +
			`(?:arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:key/)?` +
			`(mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))$`),
		Refused: "golden", Source: "EC2 API reference, CopySnapshot and CopyImage, KmsKeyId; rules 1.7.5, 3.6.1",
	},
	{Subject: KeyAlias, Kind: MaxLength, Number: 256, Source: createAlias + ", AliasName"},
	{
		Subject: KeyAlias, Kind: Format, Words: "an alias: letters, digits and /_- after alias/",
		Pattern: pattern(`^alias/[\w/-]+$`), Refused: "alias/golden image", Source: createAlias + ", AliasName",
	},
	{Subject: GrantName, Kind: MinLength, Number: 1, Source: createGrant + ", Name"},
	{Subject: GrantName, Kind: MaxLength, Number: 256, Source: createGrant + ", Name"},
	{
		Subject: GrantName, Kind: Characters, Words: "letters, digits and :/_-", Pattern: keyText, Refused: "a b",
		Source: createGrant + ", Name",
	},
	{
		Subject: Grantee, Kind: Format, Words: "the ARN of a role, a user or an account's root",
		Pattern: pattern(`^arn:(aws[a-z-]*):iam::\d{12}:(?:root|user/\S+|role/\S+)$`),
		Refused: "AWSServiceRoleForAutoScaling", Source: createGrant + ", GranteePrincipal",
	},
	{Subject: Grantee, Kind: MaxLength, Number: 256, Source: createGrant + ", GranteePrincipal"},
	{
		Subject: Grantee, Kind: Characters, Words: "letters, digits and _+=,.@:/-",
		Pattern: pattern(`^[\w+=,.@:/-]*$`), Refused: "arn:aws:iam::999999999999:role/a*",
		Source: createGrant + ", GranteePrincipal",
	},
	{
		Subject: GrantOperation, Kind: OneOf, Refused: "Sign", Source: createGrant + ", Operations of a symmetric key",
		Values: []string{
			"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair",
			"GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo",
			"RetireGrant",
		},
	},

	// EC2: images and snapshots.
	{
		Subject: ImageID, Kind: Format, Words: "the ID of an image, such as ami-0123456789abcdef0",
		Pattern: pattern(`^ami-[0-9a-f]{8}(?:[0-9a-f]{9})?$`), Refused: "ami-1",
		Source: ec2ResourceID + "; recorded refusal of \"not_an_ami_id\"",
	},
	{Subject: ImageName, Kind: MinLength, Number: 3, Source: registerImage + ", Name; rule 2.5.3"},
	{Subject: ImageName, Kind: MaxLength, Number: 128, Source: registerImage + ", Name; rule 2.5.3"},
	{
		Subject: ImageName, Kind: Characters, Words: "letters, digits, spaces and ( ) [ ] . / - ' @ _",
		Pattern: pattern(`^[A-Za-z0-9 ()\[\]./\-'@_]*$`), Refused: "golden*",
		Source: "EC2 API reference, RegisterImage, Name; rule 2.5.3",
	},
	{Subject: Description, Kind: MaxLength, Number: 255, Source: registerImage + ", Description"},
	{
		Subject: Description, Kind: Characters, Words: "ASCII characters", Pattern: pattern(`^[\x00-\x7f]*$`),
		Refused: "Golden — image",
		Source:  "refusal of a dash in the description of an image, metadist/synaplan#1546; not in the API reference",
	},
	{Subject: UEFIData, Kind: MaxLength, Number: 64000, Source: "EC2 API model, RegisterImage, UefiData"},
	{
		Subject: SnapshotText, Kind: MaxLength, Number: 255,
		Source: "EBS direct APIs, StartSnapshot, Description: CopySnapshot and CreateSnapshot document none of their own",
	},
	{
		Subject: CopyToken, Kind: MaxLength, Number: 64,
		Source: "EC2 developer guide, idempotency; rule 4.2.3; the model of CopyImage says 128",
	},
	{Subject: LaunchToken, Kind: MaxLength, Number: 64, Source: "EC2 API reference, RunInstances, ClientToken"},
	{Subject: CopyMinutes, Kind: MinNumber, Number: 15, Source: timeBasedCopies},
	{Subject: CopyMinutes, Kind: MaxNumber, Number: 2880, Source: timeBasedCopies},
	{Subject: CopyMinutes, Kind: MultipleOf, Number: 15, Source: timeBasedCopies},
	{Subject: InitializationRate, Kind: MinNumber, Number: 100, Source: "EC2 API model, EbsBlockDevice; rule 9.10"},
	{Subject: InitializationRate, Kind: MaxNumber, Number: 300, Source: "EC2 API model, EbsBlockDevice; rule 9.10"},
	{Subject: DeprecationTime, Kind: Future, Source: deprecation},
	{Subject: DeprecationTime, Kind: MaxYears, Number: 10, Source: deprecation},
	{
		Subject: Tags,
		Kind:    MaxCount,
		Number:  50,
		Words:   "tags",
		Source:  tagRestrictions + "; EC2 API reference, CreateTags",
	},
	{
		Subject: TagKey,
		Kind:    MinLength,
		Number:  1,
		Source:  "KMS and Systems Manager API models, TagKey: EC2 documents none of its own",
	},
	{
		Subject: TagKey, Kind: MaxLength, Number: 128,
		Source: tagRestrictions + "; the EC2 API reference, Tag, says 127",
	},
	{Subject: TagKey, Kind: Prefix, Words: "aws:", Source: tagRestrictions},
	{Subject: TagValue, Kind: MaxLength, Number: 256, Source: tagRestrictions},
	{
		Subject: ShareBatch, Kind: MaxCount, Number: 500, Words: "accounts",
		Source: "rule 2.1.6, recorded refusal \"Modification size must not be greater than 500\"",
	},
	{
		Subject: ImageShares, Kind: MaxCount, Number: 1000, Words: "accounts, organizations and organizational units",
		Source: "EC2 user guide, AMI quotas; rule 2.2.5",
	},
	{
		Subject: LicenseARN, Kind: Format, Words: "the ARN of a license configuration",
		Pattern: pattern(`^arn:[\w-]+:license-manager:([\w-]+):\d{12}:license-configuration:lic-[0-9a-f]+$`),
		Refused: "lic-1", Source: "License Manager API reference, LicenseConfigurationArn, and the examples of its guide",
	},
	{
		Subject: Watermarks, Kind: MaxCount, Number: 5, Words: "watermarks",
		Source: "EC2 user guide, AMI watermarks; rule 9.17",
	},
	{Subject: WatermarkName, Kind: MinLength, Number: 3, Source: attachWatermark},
	{Subject: WatermarkName, Kind: MaxLength, Number: 128, Source: attachWatermark},
	{
		Subject: WatermarkName, Kind: Characters, Words: "letters, digits, spaces and ()[]./-'@_",
		Pattern: pattern(`^[a-zA-Z0-9()\[\] ./'@_-]*$`), Refused: "golden:1", Source: attachWatermark,
	},
	{Subject: FilterNames, Kind: MaxCount, Number: 50, Words: "filters", Source: filterLimits},
	{Subject: FilterName, Kind: MaxLength, Number: 255, Source: filterLimits},
	{Subject: FilterValue, Kind: MaxLength, Number: 255, Source: filterLimits},

	// EC2: instances and launch templates.
	{
		Subject: InstanceType, Kind: MaxLength, Number: 30,
		Source: "EC2 API model, ExcludedInstanceType: RunInstances documents none of its own",
	},
	{
		Subject: InstanceType, Kind: Format, Words: "the type of an instance, such as t3.micro",
		Pattern: pattern(`^[a-z0-9-]+\.[a-z0-9-]+$`), Refused: "huge",
		Source: "EC2 API model, InstanceType: the form of all its values",
	},
	{
		Subject: SubnetID, Kind: Format, Words: "the ID of a subnet, such as subnet-0123456789abcdef0",
		Pattern: pattern(`^subnet-[0-9a-f]{8}(?:[0-9a-f]{9})?$`), Refused: "vpc-0123456789abcdef0",
		Source: ec2ResourceID,
	},
	{
		Subject: TemplateID, Kind: Format, Words: "the ID of a launch template, such as lt-0123456789abcdef0",
		Pattern: pattern(`^lt-[0-9a-f]{8}(?:[0-9a-f]{9})?$`), Refused: "lt-web", Source: ec2ResourceID,
	},
	{Subject: TemplateName, Kind: MinLength, Number: 3, Source: launchTemplate + ", LaunchTemplateName; recorded refusal"},
	{
		Subject: TemplateName,
		Kind:    MaxLength,
		Number:  128,
		Source:  launchTemplate + ", LaunchTemplateName; recorded refusal",
	},
	{
		Subject: TemplateName, Kind: Characters, Words: "letters, digits and ( ) . / - _",
		Pattern: pattern(`^[a-zA-Z0-9().\-/_]*$`), Refused: "web servers",
		Source: launchTemplate + ", LaunchTemplateName; recorded refusal",
	},
	{
		Subject: TemplateVersion, Kind: Format, Words: "a version: write a number, $Default or $Latest",
		Pattern: pattern(`^(?:[1-9][0-9]{0,9}|\$Default|\$Latest)$`), Refused: "$Newest",
		Source: "recorded refusal \"either '$Default', '$Latest', or a numeric version are allowed\"",
	},
	{Subject: VersionDescription, Kind: MaxLength, Number: 255, Source: launchTemplate + ", VersionDescription"},
	{
		Subject: FastLaunchVersion,
		Kind:    MinNumber,
		Number:  1,
		Source:  fastLaunch + ": versions of launch templates begin at 1",
	},
	{Subject: ParallelLaunches, Kind: MinNumber, Number: 6, Source: fastLaunch + ", MaxParallelLaunches"},
}

// add adds the limits of one option, which has a file of its own.
func add(limits []Limit) struct{} {
	Table = append(Table, limits...)
	for _, limit := range limits {
		limitsOf[limit.Subject] = append(limitsOf[limit.Subject], limit)
	}
	return struct{}{}
}
