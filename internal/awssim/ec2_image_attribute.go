// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// Limits of launch permissions (rule 2.2.5).
const (
	maxLaunchPermissions       = 1000
	maxLaunchPermissionChanges = 10000
)

func (w *World) describeImageAttribute(
	c *Call, in *ec2.DescribeImageAttributeInput,
) (*ec2.DescribeImageAttributeOutput, error) {
	if in.ImageId == nil {
		return nil, missingParameter("ImageId")
	}
	if err := w.authorize(c, w.newImageAuthorization(c, c.Region, *in.ImageId)); err != nil {
		return nil, err
	}

	i, err := w.findOwnImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	out := &ec2.DescribeImageAttributeOutput{ImageId: &i.id}
	switch in.Attribute {
	case types.ImageAttributeNameLaunchPermission:
		out.LaunchPermissions = append([]types.LaunchPermission{}, i.launchPermissions...)
	case types.ImageAttributeNameProductCodes:
		out.ProductCodes = append([]types.ProductCode{}, i.platform.productCodes...)
	case types.ImageAttributeNameBlockDeviceMapping: // refused even for the owner (rule A.4.1)
		if w.violates(c, "A.4.1", true) {
			return nil, badRequest("AuthFailure", "Unauthorized attempt to access restricted resource")
		}
		out.BlockDeviceMappings = w.viewDevices(i)
	default:
		if !showAttributeValue(out, i, in.Attribute, c.At) {
			return nil, invalidRequest()
		}
	}

	return out, nil
}

// showAttributeValue sets an attribute that is a single value. It reports false for an unknown attribute.
func showAttributeValue(
	out *ec2.DescribeImageAttributeOutput, i *image, name types.ImageAttributeName, now time.Time,
) bool {
	value := func(text string) *types.AttributeValue { return &types.AttributeValue{Value: nonZero(&text)} }
	switch name {
	case types.ImageAttributeNameDescription:
		out.Description = value(aws.ToString(i.attributes.Description))
	case types.ImageAttributeNameKernel:
		out.KernelId = value(aws.ToString(i.attributes.KernelId))
	case types.ImageAttributeNameRamdisk:
		out.RamdiskId = value(aws.ToString(i.attributes.RamdiskId))
	case types.ImageAttributeNameSriovNetSupport:
		out.SriovNetSupport = value(aws.ToString(i.attributes.SriovNetSupport))
	case types.ImageAttributeNameBootMode:
		out.BootMode = value(string(i.attributes.BootMode))
	case types.ImageAttributeNameTpmSupport:
		out.TpmSupport = value(string(i.attributes.TpmSupport))
	case types.ImageAttributeNameUefiData:
		out.UefiData = value(aws.ToString(i.uefiData))
	case types.ImageAttributeNameImdsSupport:
		out.ImdsSupport = value(string(i.attributes.ImdsSupport))
	case types.ImageAttributeNameLastLaunchedTime:
		out.LastLaunchedTime = value("")
		if !i.lastLaunched.IsZero() {
			out.LastLaunchedTime = value(formatTime(i.lastLaunched))
		}
	case types.ImageAttributeNameDeregistrationProtection:
		out.DeregistrationProtection = value(i.protection.status(now))
	default:
		return false
	}

	return true
}

func (w *World) modifyImageAttribute(
	c *Call, in *ec2.ModifyImageAttributeInput,
) (*ec2.ModifyImageAttributeOutput, error) {
	if in.ImageId == nil {
		return nil, missingParameter("ImageId")
	}

	add, remove := launchPermissionChange(in)
	if err := w.validateAttributeChange(c, in, add, remove); err != nil {
		return nil, err
	}

	request := w.newImageAuthorization(c, c.Region, *in.ImageId).withContext(launchPermissionContext(
		"ec2:Add/", add,
	)).withContext(
		launchPermissionContext("ec2:Remove/", remove),
	)

	if err := w.authorize(c, request); err != nil {
		return nil, err
	}

	i, err := w.findOwnImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	switch {
	case len(add)+len(remove) > 0:
		err = w.changeLaunchPermissions(c, i, add, remove)
	case in.ImdsSupport != nil:
		i.attributes.ImdsSupport = types.ImdsSupportValuesV20
	default:
		i.attributes.Description = aws.String(newDescription(in))
	}

	c.changedIDs = append(c.changedIDs, i.id)
	return &ec2.ModifyImageAttributeOutput{}, err
}

// launchPermissionChange returns the launch permissions of a request, in the structured or the flat form.
func launchPermissionChange(in *ec2.ModifyImageAttributeInput) (add, remove []types.LaunchPermission) {
	said := func(p types.LaunchPermission) bool {
		return p.UserId != nil || p.Group != "" || p.OrganizationArn != nil || p.OrganizationalUnitArn != nil
	}

	keep := func(list []types.LaunchPermission) []types.LaunchPermission {
		return slices.DeleteFunc(slices.Clone(list), func(p types.LaunchPermission) bool { return !said(p) })
	}

	if in.LaunchPermission != nil {
		return keep(in.LaunchPermission.Add), keep(in.LaunchPermission.Remove)
	}

	var list []types.LaunchPermission
	for _, id := range in.UserIds {
		list = append(list, types.LaunchPermission{UserId: &id})
	}

	for _, group := range in.UserGroups {
		list = append(list, types.LaunchPermission{Group: types.PermissionGroup(group)})
	}

	for _, arn := range in.OrganizationArns {
		list = append(list, types.LaunchPermission{OrganizationArn: &arn})
	}

	for _, arn := range in.OrganizationalUnitArns {
		list = append(list, types.LaunchPermission{OrganizationalUnitArn: &arn})
	}

	if in.OperationType == types.OperationTypeRemove {
		return nil, list
	}

	return list, nil
}

// validateAttributeChange checks what ModifyImageAttribute refuses before it authorizes the call. A call changes one
// attribute (rule 2.2.10).
func (w *World) validateAttributeChange(
	c *Call, in *ec2.ModifyImageAttributeInput, add, remove []types.LaunchPermission,
) error {
	named := changedAttributes(in, len(add)+len(remove))
	switch {
	case w.violates(c, "2.3.6", len(in.ProductCodes) > 0):
		return badRequest("InvalidParameterValue", "Product codes cannot be set.")
	case in.OperationType != "" && in.OperationType != types.OperationTypeAdd &&
		in.OperationType != types.OperationTypeRemove:
		return badRequest("InvalidParameterValue", "Value (%s) for parameter operationType is invalid.", in.OperationType)
	case w.violates(c, "2.2.10", len(named) == 0):
		return noAttributesSpecified()
	case w.violates(c, "2.2.10", len(named) > 1):
		return badRequest("InvalidParameterCombination", "Fields for multiple attribute types specified: %s", joinIDs(named))
	case w.violates(c, "2.2.10", slices.Contains(named, "description") && newDescription(in) == ""):
		return missingParameter("description")
	case w.violates(c, "2.2.10", in.ImdsSupport != nil && aws.ToString(in.ImdsSupport.Value) != "v2.0"):
		return missingParameter("imdsSupport with value v2.0")
	case w.violates(c, "2.2.5", len(add)+len(remove) > maxLaunchPermissionChanges):
		return badRequest(
			"InvalidParameterValue", "Modification size must not be greater than %d.", maxLaunchPermissionChanges,
		)
	}

	if err := w.validateDescription(c, aws.String(newDescription(in))); err != nil {
		return err
	}

	for _, p := range slices.Concat(add, remove) {
		if err := w.validateLaunchPermission(c, p); err != nil {
			return err
		}
	}

	return nil
}

// changedAttributes returns the names of the attributes that a request changes.
func changedAttributes(in *ec2.ModifyImageAttributeInput, permissions int) (named []string) {
	if in.Description != nil || aws.ToString(in.Attribute) == "description" {
		named = append(named, "description")
	}
	if in.ImdsSupport != nil {
		named = append(named, "imdsSupport")
	}
	if permissions > 0 {
		named = append(named, "launchPermission")
	}
	return named
}

// validateLaunchPermission checks the syntax of a launch permission (rules 2.2.4 and 2.2.10).
func (w *World) validateLaunchPermission(c *Call, p types.LaunchPermission) error {
	switch {
	case w.violates(c, "2.2.10", p.UserId != nil && !accountNumber.MatchString(*p.UserId)):
		return badRequest(
			"InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s \" for userId item type.", *p.UserId,
		)
	case w.violates(c, "2.2.10", p.Group != "" && p.Group != groupAll):
		return badRequest("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for group item type.", p.Group)
	case w.violates(c, "2.2.4", p.OrganizationArn != nil && !strings.Contains(*p.OrganizationArn, ":organization/o-")):
		return badRequest(
			"InvalidAMIAttributeItemValue", "Invalid attribute item value %q for organizationArn item type.",
			*p.OrganizationArn,
		)
	case w.violates(c, "2.2.4", p.OrganizationalUnitArn != nil && !strings.Contains(*p.OrganizationalUnitArn, ":ou/o-")):
		return badRequest(
			"InvalidAMIAttributeItemValue", "Invalid attribute item value %q for organizationalUnitArn item type.",
			*p.OrganizationalUnitArn,
		)
	}

	return nil
}

// newDescription returns the new description in a request, in either form.
func newDescription(in *ec2.ModifyImageAttributeInput) string {
	if in.Description != nil {
		return aws.ToString(in.Description.Value)
	}
	return aws.ToString(in.Value)
}

// launchPermissionContext returns the condition keys of a launch permission change. Accounts and groups have keys,
// organizations and organizational units have none.
func launchPermissionContext(verb string, list []types.LaunchPermission) iampolicy.Context {
	context := iampolicy.Context{}
	note := func(name, value string) {
		if value != "" {
			context[verb+name] = append(context[verb+name], value)
		}
	}
	for _, p := range list {
		note("userId", aws.ToString(p.UserId))
		note("group", string(p.Group))
	}
	return context
}

// changeLaunchPermissions adds or removes launch permissions. No snapshot may be encrypted with aws/ebs (rule 2.2.2),
// and an image with an encrypted snapshot cannot be public (rule 2.2.3). The owner stays in the list once added (rule
// A.4.2).
func (w *World) changeLaunchPermissions(c *Call, i *image, add, remove []types.LaunchPermission) error {
	if w.violates(c, "9.2", i.disabled && len(add) > 0) {
		return badRequest("InvalidAMIID.Unavailable", "The image ID '%s' is disabled and cannot be shared", i.id)
	}

	if len(add) > 0 {
		if err := w.validateSharing(c, i, add); err != nil {
			return err
		}
	}

	launch := slices.DeleteFunc(slices.Clone(i.launchPermissions), func(p types.LaunchPermission) bool {
		return slices.ContainsFunc(remove, func(r types.LaunchPermission) bool { return isSamePermission(p, r) })
	})

	for _, p := range add {
		if !slices.ContainsFunc(launch, func(l types.LaunchPermission) bool { return isSamePermission(l, p) }) {
			launch = append(launch, p)
			w.startPropagation(c, shareKey(i.id, aws.ToString(p.UserId)))
		}
	}

	if w.violates(c, "2.2.5", len(launch) > maxLaunchPermissions) {
		return badRequest("ResourceLimitExceeded", "An image can be shared with %d entities.", maxLaunchPermissions)
	}

	i.launchPermissions = launch
	return nil
}

// validateSharing checks whether an image can get launch permissions.
func (w *World) validateSharing(c *Call, i *image, add []types.LaunchPermission) error {
	public := slices.ContainsFunc(add, func(p types.LaunchPermission) bool { return p.Group == groupAll })
	for _, part := range w.snapshotsOf(i) {
		if w.violates(c, "2.2.3", public && part.isEncrypted()) {
			return badRequest(
				"UnsupportedOperation", "Encrypted snapshots can’t be shared publicly. Specify another snapshot.",
			)
		}

		k := w.findStorageKey(part.location, part.keyARN)
		if w.violates(c, "2.2.2", k != nil && k.KeyManager == kmstypes.KeyManagerTypeAws) {
			return badRequest(
				"InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot.",
			)
		}
	}

	if w.violates(c, "2.2.13", public && w.settingsOf(i.location).blocksPublicImages(i.location.account)) {
		return badRequest(
			"OperationNotPermitted",
			"You can’t publicly share this AMI because block public access for AMIs is enabled for this Region.",
		)
	}
	if w.violates(c, "9.17", public && len(i.attributes.ImageWatermarks) > 0) {
		return badRequest("OperationNotPermitted", "The image %s has watermarks and cannot be public.", i.id)
	}
	if w.violates(c, "2.3.5", public && i.platform.isMarketplace()) {
		return badRequest("OperationNotPermitted", "Images with AWS Marketplace product codes cannot be shared publicly.")
	}

	return nil
}

func isSamePermission(a, b types.LaunchPermission) bool {
	return aws.ToString(a.UserId) == aws.ToString(b.UserId) && a.Group == b.Group &&
		aws.ToString(a.OrganizationArn) == aws.ToString(b.OrganizationArn) &&
		aws.ToString(a.OrganizationalUnitArn) == aws.ToString(b.OrganizationalUnitArn)
}

func (w *World) resetImageAttribute(c *Call, in *ec2.ResetImageAttributeInput) (*ec2.ResetImageAttributeOutput, error) {
	if in.ImageId == nil {
		return nil, missingParameter("ImageId")
	}
	if in.Attribute != types.ResetImageAttributeNameLaunchPermission {
		return nil, invalidRequest()
	}
	if err := w.authorize(c, w.newImageAuthorization(c, c.Region, *in.ImageId)); err != nil {
		return nil, err
	}

	i, err := w.findOwnImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	i.launchPermissions = nil
	return &ec2.ResetImageAttributeOutput{}, nil
}
