// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// Limits on sharing an image (2.2.5).
const (
	maxLaunchPermissions = 1000
	maxLaunchChange      = 10000
)

func (w *World) describeImageAttribute(c *Call, in *ec2.DescribeImageAttributeInput) (*ec2.DescribeImageAttributeOutput, error) {
	if in.ImageId == nil {
		return nil, missing("ImageId")
	}
	if err := w.authorise(c, w.askImage(c, c.Region, *in.ImageId)); err != nil {
		return nil, err
	}
	i, err := w.ownImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	value := func(text string) *types.AttributeValue { return &types.AttributeValue{Value: given(&text)} }
	out := &ec2.DescribeImageAttributeOutput{ImageId: &i.id}
	switch in.Attribute {
	case types.ImageAttributeNameDescription:
		out.Description = value(aws.ToString(i.about.Description))
	case types.ImageAttributeNameKernel:
		out.KernelId = value(aws.ToString(i.about.KernelId))
	case types.ImageAttributeNameRamdisk:
		out.RamdiskId = value(aws.ToString(i.about.RamdiskId))
	case types.ImageAttributeNameLaunchPermission:
		out.LaunchPermissions = i.launch
	case types.ImageAttributeNameProductCodes:
		out.ProductCodes = i.platform.codes
	case types.ImageAttributeNameBlockDeviceMapping: // closed even to the owner (A.4.1)
		if w.breaks(c, "A.4.1", true) {
			return nil, invalid("AuthFailure", "Unauthorized attempt to access restricted resource")
		}
		out.BlockDeviceMappings = w.viewDevices(i)
	case types.ImageAttributeNameSriovNetSupport:
		out.SriovNetSupport = value(aws.ToString(i.about.SriovNetSupport))
	case types.ImageAttributeNameBootMode:
		out.BootMode = value(string(i.about.BootMode))
	case types.ImageAttributeNameTpmSupport:
		out.TpmSupport = value(string(i.about.TpmSupport))
	case types.ImageAttributeNameUefiData:
		out.UefiData = value(aws.ToString(i.uefiData))
	case types.ImageAttributeNameImdsSupport:
		out.ImdsSupport = value(string(i.about.ImdsSupport))
	case types.ImageAttributeNameLastLaunchedTime:
		out.LastLaunchedTime = value("")
		if !i.lastLaunched.IsZero() {
			out.LastLaunchedTime = value(stamp(i.lastLaunched))
		}
	case types.ImageAttributeNameDeregistrationProtection:
		out.DeregistrationProtection = value(i.protection.text(c.At))
	default:
		return nil, invalidRequest()
	}
	return out, nil
}

func (w *World) modifyImageAttribute(c *Call, in *ec2.ModifyImageAttributeInput) (*ec2.ModifyImageAttributeOutput, error) {
	if in.ImageId == nil {
		return nil, missing("ImageId")
	}
	add, remove := launchChange(in)
	if err := w.checkAttributeChange(c, in, add, remove); err != nil {
		return nil, err
	}
	question := w.askImage(c, c.Region, *in.ImageId).with(launchContext("ec2:Add/", add)).with(launchContext("ec2:Remove/", remove))
	if err := w.authorise(c, question); err != nil {
		return nil, err
	}
	i, err := w.ownImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	switch {
	case len(add)+len(remove) > 0:
		err = w.changeLaunch(c, i, add, remove)
	case in.ImdsSupport != nil:
		i.about.ImdsSupport = types.ImdsSupportValuesV20
	default:
		i.about.Description = aws.String(newDescription(in))
	}
	c.made = append(c.made, i.id)
	return &ec2.ModifyImageAttributeOutput{}, err
}

// launchChange reads the launch permissions of the new form, or of the old one.
func launchChange(in *ec2.ModifyImageAttributeInput) (add, remove []types.LaunchPermission) {
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

// checkAttributeChange is what ModifyImageAttribute refuses before it asks IAM: one attribute a call (2.2.10).
func (w *World) checkAttributeChange(c *Call, in *ec2.ModifyImageAttributeInput, add, remove []types.LaunchPermission) error {
	var named []string
	if in.Description != nil || aws.ToString(in.Attribute) == "description" {
		named = append(named, "description")
	}
	if in.ImdsSupport != nil {
		named = append(named, "imdsSupport")
	}
	if len(add)+len(remove) > 0 {
		named = append(named, "launchPermission")
	}
	switch {
	case w.breaks(c, "2.3.6", len(in.ProductCodes) > 0):
		return invalid("InvalidParameterValue", "Product codes cannot be set.")
	case in.OperationType != "" && in.OperationType != types.OperationTypeAdd && in.OperationType != types.OperationTypeRemove:
		return invalid("InvalidParameterValue", "Value (%s) for parameter operationType is invalid.", in.OperationType)
	case w.breaks(c, "2.2.10", len(named) == 0):
		return noAttributes()
	case w.breaks(c, "2.2.10", len(named) > 1):
		return invalid("InvalidParameterCombination", "Fields for multiple attribute types specified: %s", commas(named))
	case w.breaks(c, "2.2.10", slices.Contains(named, "description") && newDescription(in) == ""):
		return missing("description")
	case w.breaks(c, "2.2.10", in.ImdsSupport != nil && aws.ToString(in.ImdsSupport.Value) != "v2.0"):
		return missing("imdsSupport with value v2.0")
	case w.breaks(c, "2.2.5", len(add)+len(remove) > maxLaunchChange):
		return invalid("InvalidParameterValue", "Modification size must not be greater than %d.", maxLaunchChange)
	}
	for _, p := range slices.Concat(add, remove) {
		switch {
		case w.breaks(c, "2.2.10", p.UserId != nil && !accountNumber.MatchString(*p.UserId)):
			return invalid("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s \" for userId item type.", *p.UserId)
		case w.breaks(c, "2.2.10", p.Group != "" && p.Group != everybody):
			return invalid("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for group item type.", p.Group)
		case w.breaks(c, "2.2.4", p.OrganizationArn != nil && !strings.Contains(*p.OrganizationArn, ":organization/o-")):
			return invalid("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for organizationArn item type.", *p.OrganizationArn)
		case w.breaks(c, "2.2.4", p.OrganizationalUnitArn != nil && !strings.Contains(*p.OrganizationalUnitArn, ":ou/o-")):
			return invalid("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for organizationalUnitArn item type.", *p.OrganizationalUnitArn)
		}
	}
	return nil
}

// newDescription is the description that a request sets, in the new form or the old one.
func newDescription(in *ec2.ModifyImageAttributeInput) string {
	if in.Description != nil {
		return aws.ToString(in.Description.Value)
	}
	return aws.ToString(in.Value)
}

// launchContext is what a change of launch permissions says to conditions: there are keys for accounts and groups, none for
// organizations and units.
func launchContext(verb string, list []types.LaunchPermission) iampolicy.Context {
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

// changeLaunch changes whom an image is shared with. Every snapshot in it decides: none may be under aws/ebs (2.2.2), and
// an encrypted one cannot be public (2.2.3). The owner, once added, stays in the list (A.4.2).
func (w *World) changeLaunch(c *Call, i *image, add, remove []types.LaunchPermission) error {
	if w.breaks(c, "9.2", i.disabled && len(add) > 0) {
		return invalid("InvalidAMIID.Unavailable", "The image ID '%s' is disabled and cannot be shared", i.id)
	}
	public := slices.ContainsFunc(add, func(p types.LaunchPermission) bool { return p.Group == everybody })
	for _, part := range w.storageOf(i) {
		if len(add) == 0 {
			break
		}
		if w.breaks(c, "2.2.3", public && part.encrypted()) {
			return invalid("UnsupportedOperation", "Encrypted snapshots can’t be shared publicly. Specify another snapshot.")
		}
		if k := w.keyOf(part.home, part.keyARN); w.breaks(c, "2.2.2", k != nil && k.KeyManager == kmstypes.KeyManagerTypeAws) {
			return invalid("InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot.")
		}
	}
	if w.breaks(c, "2.2.13", public && w.setting(i.home).blocksImages(i.home.account)) {
		return invalid("OperationNotPermitted", "You can’t publicly share this AMI because block public access for AMIs is enabled for this Region.")
	}
	if w.breaks(c, "2.3.5", public && i.platform.marketplace()) {
		return invalid("OperationNotPermitted", "Images with AWS Marketplace product codes cannot be shared publicly.")
	}
	launch := slices.DeleteFunc(slices.Clone(i.launch), func(p types.LaunchPermission) bool {
		return slices.ContainsFunc(remove, func(r types.LaunchPermission) bool { return samePermission(p, r) })
	})
	for _, p := range add {
		if !slices.ContainsFunc(launch, func(l types.LaunchPermission) bool { return samePermission(l, p) }) {
			launch = append(launch, p)
			w.propagate(c, shareKey(i.id, aws.ToString(p.UserId)))
		}
	}
	if w.breaks(c, "2.2.5", len(launch) > maxLaunchPermissions) {
		return invalid("ResourceLimitExceeded", "An image can be shared with %d entities.", maxLaunchPermissions)
	}
	i.launch = launch
	return nil
}

func samePermission(a, b types.LaunchPermission) bool {
	return aws.ToString(a.UserId) == aws.ToString(b.UserId) && a.Group == b.Group &&
		aws.ToString(a.OrganizationArn) == aws.ToString(b.OrganizationArn) && aws.ToString(a.OrganizationalUnitArn) == aws.ToString(b.OrganizationalUnitArn)
}

func (w *World) resetImageAttribute(c *Call, in *ec2.ResetImageAttributeInput) (*ec2.ResetImageAttributeOutput, error) {
	if in.ImageId == nil {
		return nil, missing("ImageId")
	}
	if in.Attribute != types.ResetImageAttributeNameLaunchPermission {
		return nil, invalidRequest()
	}
	if err := w.authorise(c, w.askImage(c, c.Region, *in.ImageId)); err != nil {
		return nil, err
	}
	i, err := w.ownImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	i.launch = nil
	return &ec2.ResetImageAttributeOutput{}, nil
}
