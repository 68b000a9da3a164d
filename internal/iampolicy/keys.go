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

// conditionKey is a condition key that can be evaluated. A name that ends in / or : is a family of keys, such as
// aws:RequestTag/ for the tags in a request.
type conditionKey struct {
	name string
	of   valueType
	many bool // a request may have several values
}

// valueType is the type of a condition key's values.
type valueType int

const (
	texts valueType = iota
	arns
	bools
	numbers
	dates
	addresses
)

// conditionKeys are the known condition keys by their name in lower case.
//
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

// findKey returns a condition key by its name in any case. The name of the key it returns is complete and in lower
// case.
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

// values returns the values of a condition key by its name in lower case.
// They are in the context, or they follow from the request.
func (e *evaluation) values(key string) []string {
	var given []string
	for name, values := range e.Context {
		if strings.EqualFold(name, key) {
			given = append(given, values...)
		}
	}

	if given == nil && !e.isUnsure(key) {
		return e.derivedValues(key)
	}
	slices.Sort(given)
	return given
}

// isUnsure reports whether the caller does not know if the request has a key.
func (e *evaluation) isUnsure(key string) bool {
	return slices.ContainsFunc(e.Unsure, func(name string) bool {
		family := strings.HasSuffix(name, "/") || strings.HasSuffix(name, ":")
		return strings.EqualFold(name, key) || family && hasPrefix(key, name)
	})
}

// derivedValues returns the values of a key that follow from the request
// (IAM-UG:reference_policies_condition-keys, KMS-DG:conditions-kms).
func (e *evaluation) derivedValues(key string) []string {
	switch key {
	case "aws:resourceaccount":
		return listOf(e.ResourceAccount)
	case "aws:resourceorgid":
		return listOf(e.ResourceMember.Organization)
	case "aws:resourceorgpaths":
		return listOf(e.ResourceMember.Path)
	case "aws:tagkeys":
		return e.Context.members("aws:RequestTag/")
	case "aws:viaawsservice":
		return listOf("false")
	case "kms:calleraccount":
		if strings.HasPrefix(e.action, "kms:") {
			return listOf(e.Principal.Account)
		}
		return nil
	case "kms:encryptioncontextkeys":
		return e.Context.members("kms:EncryptionContext:")
	}

	if e.Action == "kms:CreateGrant" && e.Grant != nil {
		if values := e.Grant.values(key); values != nil {
			return values
		}
	}
	return e.Principal.values(key)
}

// values returns the values of a key that follow from the principal.
func (p Principal) values(key string) []string {
	kind, name, _ := strings.Cut(arnPart(p.ARN, 5), "/")

	switch key {
	case "aws:principalaccount":
		return listOf(p.Account)
	case "aws:principalarn":
		return listOf(p.principalARN(kind))
	case "aws:principalisawsservice":
		return listOf(strconv.FormatBool(p.isService()))
	case "aws:principalorgid":
		return listOf(p.Member.Organization)
	case "aws:principalorgpaths":
		return listOf(p.Member.Path)
	case "aws:principalservicename":
		if p.isService() {
			return listOf(p.ARN)
		}
	case "aws:principaltype":
		return listOf(principalTypes[kind])
	case "aws:userid":
		if kind == "root" {
			return listOf(p.Account)
		}
	case "aws:username":
		if kind == "user" {
			return listOf(path.Base(name))
		}
	}
	return nil
}

// principalTypes are the values of aws:PrincipalType by the type in an ARN.
var principalTypes = map[string]string{
	"root":           "Account",
	"user":           "User",
	"assumed-role":   "AssumedRole",
	"federated-user": "FederatedUser",
}

// principalARN returns the value of aws:PrincipalArn: the role of a session. Empty for a service.
func (p Principal) principalARN(kind string) string {
	switch {
	case kind == "assumed-role":
		return p.Role
	case p.isService():
		return ""
	}
	return p.ARN
}

// values returns the values of a key that follow from the grant that a request creates.
func (g Grant) values(key string) []string {
	switch key {
	case "kms:grantconstraintsourcearn":
		return listOf(g.Constraints.SourceARN)
	case "kms:grantconstrainttype":
		return listOf(g.Constraints.kind())
	case "kms:granteeprincipal":
		return onlyARN(g.Grantee)
	case "kms:granteeserviceprincipal":
		return onlyService(g.Grantee)
	case "kms:grantoperations":
		return g.Operations
	case "kms:retiringprincipal":
		return onlyARN(g.Retiring)
	case "kms:retiringserviceprincipal":
		return onlyService(g.Retiring)
	}
	return nil
}

// listOf returns a list with the value. Nil if the value is empty.
func listOf(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// onlyARN returns a list with the principal. Nil if the principal is not an ARN.
func onlyARN(principal string) []string {
	if !strings.HasPrefix(principal, "arn:") {
		return nil
	}
	return listOf(principal)
}

// onlyService returns a list with the principal. Nil if the principal is an ARN.
func onlyService(principal string) []string {
	if strings.HasPrefix(principal, "arn:") {
		return nil
	}
	return listOf(principal)
}

// members returns the sorted names in a family of keys, in their own case: the tags in aws:RequestTag/.
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

// hasPrefix reports whether the name continues after the prefix, in any case.
func hasPrefix(name, prefix string) bool {
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}
