// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"reflect"
	"slices"
	"strings"
)

// isSent reports whether a response contains a member of an SDK struct. AWS sends some lists even if they are empty. A
// client such as boto3 has no key for a list that is missing.
func isSent(owner reflect.Type, field reflect.StructField, v reflect.Value) bool {
	return !isAbsent(v) || isList(v) && isSentEmpty(owner.Name(), field.Name)
}

// isList reports whether a member is a list. A blob is not a list.
func isList(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8
}

// isSentEmpty reports whether AWS sends a list without items. Calls that read resources always send their lists. A call
// that describes one attribute sends the list of this attribute only.
func isSentEmpty(owner, field string) bool {
	if operation, isOutput := strings.CutSuffix(owner, "Output"); isOutput && !strings.HasSuffix(operation, "Attribute") {
		for _, verb := range []string{"Describe", "Get", "List"} {
			if strings.HasPrefix(operation, verb) {
				return true
			}
		}
	}
	return slices.Contains(emptyLists[owner], field)
}

// emptyLists holds the other lists that AWS sends without items, by struct (output examples of the AWS CLI).
var emptyLists = map[string][]string{
	"AvailabilityZone":     {"Messages"},
	"CreateSnapshotOutput": {"Tags"},
	"CreateVolumeOutput":   {"Attachments", "Tags"},
	"DeleteLaunchTemplateVersionsOutput": {
		"SuccessfullyDeletedLaunchTemplateVersions", "UnsuccessfullyDeletedLaunchTemplateVersions",
	},
	"DeregisterImageOutput": {"DeleteSnapshotResults"},
	"Image":                 {"BlockDeviceMappings"},
	"Instance":              {"BlockDeviceMappings", "NetworkInterfaces", "ProductCodes", "SecurityGroups"},
	"InstanceProfile":       {"Roles"},
	"IpPermission":          {"IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs"},
	"KeyPairInfo":           {"Tags"},
	"Reservation":           {"Groups"},
	"Root":                  {"PolicyTypes"},
	"RunInstancesOutput":    {"Groups"},
	"SecurityGroup":         {"IpPermissions", "IpPermissionsEgress"},
	"Subnet":                {"Ipv6CidrBlockAssociationSet"},
	"Volume":                {"Attachments"},
}
