// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package policy

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// conditionKey is a condition key that can be judged. A name that ends in / or : is a family: aws:RequestTag/ and any tag.
type conditionKey struct {
	name string
	of   valueType
	many bool // a request may have several values of it
}

type valueType int

const (
	texts valueType = iota
	arns
	bools
	numbers
	dates
	addresses
)

// Sources: IAM-UG:reference_policies_condition-keys, KMS-DG:conditions-kms, and the Service Authorization Reference of
// Amazon EC2, AWS STS, IAM and Systems Manager.
var conditionKeys = index([]conditionKey{
	{name: "aws:CalledVia", many: true},
	{name: "aws:CalledViaFirst"},
	{name: "aws:CalledViaLast"},
	{name: "aws:CurrentTime", of: dates},
	{name: "aws:EpochTime", of: dates},
	{name: "aws:FederatedProvider"},
	{name: "aws:MultiFactorAuthAge", of: numbers},
	{name: "aws:MultiFactorAuthPresent", of: bools},
	{name: "aws:PrincipalAccount"},
	{name: "aws:PrincipalArn", of: arns},
	{name: "aws:PrincipalIsAWSService", of: bools},
	{name: "aws:PrincipalOrgID"},
	{name: "aws:PrincipalOrgPaths", many: true},
	{name: "aws:PrincipalServiceName"},
	{name: "aws:PrincipalServiceNamesList", many: true},
	{name: "aws:PrincipalTag/"},
	{name: "aws:PrincipalType"},
	{name: "aws:RequestTag/"},
	{name: "aws:RequestedRegion"},
	{name: "aws:ResourceAccount"},
	{name: "aws:ResourceOrgID"},
	{name: "aws:ResourceOrgPaths", many: true},
	{name: "aws:ResourceTag/"},
	{name: "aws:SecureTransport", of: bools},
	{name: "aws:SourceAccount"},
	{name: "aws:SourceArn", of: arns},
	{name: "aws:SourceIdentity"},
	{name: "aws:SourceIp", of: addresses},
	{name: "aws:SourceOrgID"},
	{name: "aws:SourceOrgPaths", many: true},
	{name: "aws:SourceVpc"},
	{name: "aws:SourceVpce"},
	{name: "aws:TagKeys", many: true},
	{name: "aws:TokenIssueTime", of: dates},
	{name: "aws:UserAgent"},
	{name: "aws:ViaAWSService", of: bools},
	{name: "aws:userid"},
	{name: "aws:username"},

	{name: "ec2:Add/group"},
	{name: "ec2:Add/userId"},
	{name: "ec2:Attribute"},
	{name: "ec2:Attribute/"},
	{name: "ec2:AvailabilityZone"},
	{name: "ec2:CreateAction"},
	{name: "ec2:EbsOptimized", of: bools},
	{name: "ec2:Encrypted", of: bools},
	{name: "ec2:ImageID"},
	{name: "ec2:ImageType"},
	{name: "ec2:InstanceID"},
	{name: "ec2:InstanceProfile", of: arns},
	{name: "ec2:InstanceType"},
	{name: "ec2:IsLaunchTemplateResource", of: bools},
	{name: "ec2:KmsKeyId"},
	{name: "ec2:LaunchTemplate", of: arns},
	{name: "ec2:Location"},
	{name: "ec2:MetadataHttpEndpoint"},
	{name: "ec2:MetadataHttpPutResponseHopLimit", of: numbers},
	{name: "ec2:MetadataHttpTokens"},
	{name: "ec2:OutpostArn", of: arns},
	{name: "ec2:Owner"},
	{name: "ec2:ParentSnapshot", of: arns},
	{name: "ec2:ParentVolume", of: arns},
	{name: "ec2:ProductCode"},
	{name: "ec2:Public", of: bools},
	{name: "ec2:Region"},
	{name: "ec2:Remove/group"},
	{name: "ec2:Remove/userId"},
	{name: "ec2:ResourceTag/"},
	{name: "ec2:RootDeviceType"},
	{name: "ec2:SnapshotCoolOffPeriod", of: numbers},
	{name: "ec2:SnapshotID"},
	{name: "ec2:SnapshotLockDuration", of: numbers},
	{name: "ec2:SnapshotTime"},
	{name: "ec2:SourceAvailabilityZone"},
	{name: "ec2:SourceInstanceARN", of: arns},
	{name: "ec2:SourceOutpostArn", of: arns},
	{name: "ec2:Tenancy"},
	{name: "ec2:VolumeID"},
	{name: "ec2:VolumeInitializationRate", of: numbers},
	{name: "ec2:VolumeIops", of: numbers},
	{name: "ec2:VolumeSize", of: numbers},
	{name: "ec2:VolumeThroughput", of: numbers},
	{name: "ec2:VolumeType"},
	{name: "ec2:Vpc", of: arns},

	{name: "iam:AWSServiceName"},
	{name: "iam:PassedToService"},
	{name: "iam:PermissionsBoundary", of: arns},
	{name: "iam:PolicyARN", of: arns},
	{name: "iam:ResourceTag/"},

	{name: "kms:BypassPolicyLockoutSafetyCheck", of: bools},
	{name: "kms:CallerAccount"},
	{name: "kms:CustomerMasterKeySpec"},
	{name: "kms:CustomerMasterKeyUsage"},
	{name: "kms:EncryptionAlgorithm"},
	{name: "kms:EncryptionContext:"},
	{name: "kms:EncryptionContextKeys", many: true},
	{name: "kms:ExpirationModel"},
	{name: "kms:GrantConstraintSourceArn", of: arns},
	{name: "kms:GrantConstraintType"},
	{name: "kms:GrantIsForAWSResource", of: bools},
	{name: "kms:GrantOperations", many: true},
	{name: "kms:GranteePrincipal"},
	{name: "kms:GranteeServicePrincipal"},
	{name: "kms:KeyOrigin"},
	{name: "kms:KeySpec"},
	{name: "kms:KeyUsage"},
	{name: "kms:MultiRegion", of: bools},
	{name: "kms:MultiRegionKeyType"},
	{name: "kms:PrimaryRegion"},
	{name: "kms:ReEncryptOnSameKey", of: bools},
	{name: "kms:ReplicaRegion"},
	{name: "kms:RequestAlias"},
	{name: "kms:ResourceAliases", many: true},
	{name: "kms:RetiringPrincipal"},
	{name: "kms:RetiringServicePrincipal"},
	{name: "kms:RotationPeriodInDays", of: numbers},
	{name: "kms:ScheduleKeyDeletionPendingWindowInDays", of: numbers},
	{name: "kms:ValidTo", of: dates},
	{name: "kms:ViaService"},
	{name: "kms:WrappingAlgorithm"},
	{name: "kms:WrappingKeySpec"},

	{name: "ssm:Overwrite"},
	{name: "ssm:Policies"},
	{name: "ssm:Recursive"},
	{name: "ssm:resourceTag/"},

	{name: "sts:ExternalId"},
	{name: "sts:RoleSessionName"},
	{name: "sts:SourceIdentity"},
	{name: "sts:TransitiveTagKeys", many: true},
})

func index(keys []conditionKey) map[string]conditionKey {
	byName := make(map[string]conditionKey, len(keys))
	for _, k := range keys {
		k.name = strings.ToLower(k.name)
		byName[k.name] = k
	}
	return byName
}

// findKey knows a condition key by its name in any case. The name in the answer is in lower case, and whole.
func findKey(name string) (conditionKey, error) {
	lower := strings.ToLower(name)
	family := lower[:strings.Index(lower, "/")+1]
	if strings.HasPrefix(lower, "kms:encryptioncontext:") {
		family = "kms:encryptioncontext:"
	}
	k, known := conditionKeys[lower]
	if !known {
		k, known = conditionKeys[family]
	}
	if !known || lower == family {
		return conditionKey{}, fmt.Errorf("unknown condition key %q", name)
	}
	k.name = lower
	return k, nil
}

// implied are the condition keys that follow from a request (IAM-UG:reference_policies_condition-keys).
func (r Request) implied() Context {
	who := r.Principal
	c := Context{
		"aws:PrincipalAccount":      {who.Account},
		"aws:PrincipalIsAWSService": {strconv.FormatBool(who.service())},
		"aws:PrincipalOrgID":        {who.Member.Organization},
		"aws:PrincipalOrgPaths":     {who.Member.Path},
		"aws:ResourceAccount":       {r.ResourceAccount},
		"aws:ResourceOrgID":         {r.ResourceMember.Organization},
		"aws:ResourceOrgPaths":      {r.ResourceMember.Path},
		"aws:TagKeys":               r.Context.members("aws:RequestTag/"),
		"aws:ViaAWSService":         {"false"},
	}
	kind, name, _ := strings.Cut(arnPart(who.ARN, 5), "/")
	switch {
	case who.service():
		c["aws:PrincipalServiceName"] = []string{who.ARN}
	case kind == "root":
		c["aws:PrincipalArn"], c["aws:PrincipalType"], c["aws:userid"] = []string{who.ARN}, []string{"Account"}, []string{who.Account}
	case kind == "user":
		c["aws:PrincipalArn"], c["aws:PrincipalType"], c["aws:username"] = []string{who.ARN}, []string{"User"}, []string{path.Base(name)}
	case kind == "assumed-role":
		c["aws:PrincipalArn"], c["aws:PrincipalType"] = []string{who.Role}, []string{"AssumedRole"}
	case kind == "federated-user":
		c["aws:PrincipalArn"], c["aws:PrincipalType"] = []string{who.ARN}, []string{"FederatedUser"}
	}
	if strings.HasPrefix(r.Action, "kms:") {
		c["kms:CallerAccount"] = []string{who.Account}
		c["kms:EncryptionContextKeys"] = r.Context.members("kms:EncryptionContext:")
	}
	if r.Action == "kms:CreateGrant" && r.Grant != nil {
		maps.Copy(c, r.Grant.implied())
	}
	return c
}

// members are the names in a family of keys that a context has, sorted: the tags in aws:RequestTag/.
func (c Context) members(family string) []string {
	var names []string
	for name := range c {
		if len(name) > len(family) && strings.EqualFold(name[:len(family)], family) {
			names = append(names, name[len(family):])
		}
	}
	slices.Sort(names)
	return names
}

// encryptionContext are the pairs in kms:EncryptionContext: as the request has them: their case counts.
func (e *evaluation) encryptionContext() map[string]string {
	pairs := map[string]string{}
	const family = "kms:EncryptionContext:"
	for name, values := range e.Context {
		if len(name) > len(family) && strings.EqualFold(name[:len(family)], family) && len(values) > 0 {
			pairs[name[len(family):]] = values[0]
		}
	}
	return pairs
}
