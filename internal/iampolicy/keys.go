// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"fmt"
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
	{name: "ec2:Add/organizationArn", of: arns},
	{name: "ec2:Add/organizationalUnitArn", of: arns},
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
	{name: "ec2:Remove/organizationArn", of: arns},
	{name: "ec2:Remove/organizationalUnitArn", of: arns},
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
	{name: "ec2:SourceRegion"},
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

// values of a condition key, by its name in lower case: those that are given, or else those that follow from the request.
func (e *evaluation) values(key string) []string {
	var given []string
	for name, values := range e.Context {
		if strings.EqualFold(name, key) {
			given = append(given, values...)
		}
	}
	if given == nil && !e.unsure(key) {
		return e.implied(key)
	}
	slices.Sort(given)
	return given
}

// unsure reports whether the caller does not know a key.
func (e *evaluation) unsure(key string) bool {
	return slices.ContainsFunc(e.Unsure, func(name string) bool {
		family := strings.HasSuffix(name, "/") || strings.HasSuffix(name, ":")
		return strings.EqualFold(name, key) || family && hasPrefix(key, name)
	})
}

// implied are the values of a key that follow from the request (IAM-UG:reference_policies_condition-keys,
// KMS-DG:conditions-kms).
func (e *evaluation) implied(key string) []string {
	who, grant := e.Principal, Grant{}
	kind, name, _ := strings.Cut(arnPart(who.ARN, 5), "/")
	if e.Action == "kms:CreateGrant" && e.Grant != nil {
		grant = *e.Grant
	}
	switch key {
	case "aws:principalaccount":
		return some(who.Account)
	case "aws:principalarn":
		if kind == "assumed-role" {
			return some(who.Role)
		} else if !who.service() {
			return some(who.ARN)
		}
	case "aws:principalisawsservice":
		return some(strconv.FormatBool(who.service()))
	case "aws:principalorgid":
		return some(who.Member.Organization)
	case "aws:principalorgpaths":
		return some(who.Member.Path)
	case "aws:principalservicename":
		if who.service() {
			return some(who.ARN)
		}
	case "aws:principaltype":
		return some(map[string]string{"root": "Account", "user": "User", "assumed-role": "AssumedRole", "federated-user": "FederatedUser"}[kind])
	case "aws:resourceaccount":
		return some(e.ResourceAccount)
	case "aws:resourceorgid":
		return some(e.ResourceMember.Organization)
	case "aws:resourceorgpaths":
		return some(e.ResourceMember.Path)
	case "aws:tagkeys":
		return e.Context.members("aws:RequestTag/")
	case "aws:userid":
		if kind == "root" {
			return some(who.Account)
		}
	case "aws:username":
		if kind == "user" {
			return some(path.Base(name))
		}
	case "aws:viaawsservice":
		return some("false")
	case "kms:calleraccount":
		if strings.HasPrefix(e.action, "kms:") {
			return some(who.Account)
		}
	case "kms:encryptioncontextkeys":
		return e.Context.members("kms:EncryptionContext:")
	case "kms:grantconstraintsourcearn":
		return some(grant.Constraints.SourceARN)
	case "kms:grantconstrainttype":
		return some(grant.Constraints.kind())
	case "kms:granteeprincipal":
		return ofForm(grant.Grantee, true)
	case "kms:granteeserviceprincipal":
		return ofForm(grant.Grantee, false)
	case "kms:grantoperations":
		return grant.Operations
	case "kms:retiringprincipal":
		return ofForm(grant.Retiring, true)
	case "kms:retiringserviceprincipal":
		return ofForm(grant.Retiring, false)
	}
	return nil
}

// some is a value as a list; "" is none.
func some(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// ofForm is a principal, if it is named by an ARN, or if it is not.
func ofForm(principal string, arn bool) []string {
	if strings.HasPrefix(principal, "arn:") != arn {
		return nil
	}
	return some(principal)
}

// members are the names in a family of keys that a context has, in their own case and sorted: the tags in aws:RequestTag/.
func (c Context) members(family string) []string {
	var names []string
	for name := range c {
		if hasPrefix(name, family) {
			names = append(names, name[len(family):])
		}
	}
	slices.Sort(names)
	return names
}

// hasPrefix ignores case, and wants more than the prefix.
func hasPrefix(name, prefix string) bool {
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}
