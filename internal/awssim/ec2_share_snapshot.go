// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// groupAll is the only group. Sharing with it makes a resource public.
const groupAll = "all"

// snapshotSharing holds the create volume permissions of a snapshot (rule 2.1.4).
type snapshotSharing struct {
	accounts []string // sorted, without the owner (rule 2.1.5)
	public   bool
}

func (s snapshotSharing) includes(account string) bool { return slices.Contains(s.accounts, account) }

// maxPermissionChanges is the maximum number of items in a change of permissions (rule 2.1.6).
const maxPermissionChanges = 500

// permissionChange is a change of create volume permissions.
type permissionChange struct {
	add   bool
	items []types.CreateVolumePermission
}

func (w *World) modifySnapshotAttribute(
	c *Call, in *ec2.ModifySnapshotAttributeInput,
) (*ec2.ModifySnapshotAttributeOutput, error) {
	wanted, err := w.parsePermissionChange(c, in)
	if err != nil {
		return nil, err
	}
	shared, err := w.authorizeSnapshot(c, in.SnapshotId, permissionChangeContext(wanted))
	if err != nil {
		return nil, err
	}
	return &ec2.ModifySnapshotAttributeOutput{}, w.changeSharing(c, shared, wanted)
}

// parsePermissionChange returns the change in a request, in the structured or the flat form. The structured form takes
// precedence (rule A.4.3).
func (w *World) parsePermissionChange(c *Call, in *ec2.ModifySnapshotAttributeInput) (permissionChange, error) {
	parse := w.parseFlatPermissions
	if m := in.CreateVolumePermission; m != nil && len(m.Add)+len(m.Remove) > 0 {
		parse = w.parseStructuredPermissions
	}

	wanted, err := parse(c, in)
	if err != nil {
		return wanted, err
	}
	return wanted, w.validatePermissionItems(c, wanted.items)
}

// parseStructuredPermissions returns the change in CreateVolumePermission.
func (w *World) parseStructuredPermissions(c *Call, in *ec2.ModifySnapshotAttributeInput) (permissionChange, error) {
	add, remove := in.CreateVolumePermission.Add, in.CreateVolumePermission.Remove
	if w.violates(c, "2.1.6", len(add) > 0 && len(remove) > 0) {
		return permissionChange{}, badRequest(
			"InvalidParameterCombination", "One and only one operation type may be specified for createVolumePermissions",
		)
	}

	wanted := permissionChange{len(add) > 0, append(add, remove...)}
	wanted.items = slices.DeleteFunc(wanted.items, func(item types.CreateVolumePermission) bool {
		return item.UserId == nil && item.Group == ""
	})

	if w.violates(c, "2.1.6", len(wanted.items) == 0) {
		return wanted, noAttributesSpecified()
	}

	return wanted, nil
}

// parseFlatPermissions returns the change in OperationType, UserIds and GroupNames.
func (w *World) parseFlatPermissions(
	c *Call, in *ec2.ModifySnapshotAttributeInput,
) (wanted permissionChange, err error) {
	if w.violates(c, "2.1.6", in.Attribute == "") {
		return wanted, noAttributesSpecified()
	}

	known := in.OperationType == types.OperationTypeAdd || in.OperationType == types.OperationTypeRemove
	if w.violates(c, "A.4.3", !known) {
		return wanted, badRequest(
			"InvalidParameterCombination", "No operation specified for createVolumePermission attribute.",
		)
	}

	wanted.add = in.OperationType == types.OperationTypeAdd
	for _, user := range in.UserIds {
		wanted.items = append(wanted.items, types.CreateVolumePermission{UserId: &user})
	}

	for _, group := range in.GroupNames {
		wanted.items = append(wanted.items, types.CreateVolumePermission{Group: types.PermissionGroup(group)})
	}

	return wanted, nil
}

// validatePermissionItems checks the number and the syntax of accounts and groups.
func (w *World) validatePermissionItems(c *Call, items []types.CreateVolumePermission) error {
	if w.violates(c, "2.1.6", len(items) > maxPermissionChanges) {
		return badRequest(
			"InvalidParameterValue", "Modification size must not be greater than %d.", maxPermissionChanges,
		)
	}

	for _, item := range items {
		if w.violates(c, "A.4.3", item.UserId != nil && !accountNumber.MatchString(*item.UserId)) {
			return badRequest("InvalidAMIAttributeItemValue", "UserId %s", *item.UserId)
		}
		if w.violates(c, "A.4.3", item.Group != "" && item.Group != groupAll) {
			return badRequest("InvalidAMIAttributeItemValue", "UserGroup %s", item.Group)
		}
	}

	return nil
}

func noAttributesSpecified() *APIError {
	return badRequest("InvalidParameterCombination", "No attributes specified.")
}

// changeSharing changes create volume permissions. It creates no grant on the key (rule 2.1.8), also works for a
// pending snapshot, and accepts a change without effect (rule 2.1.5).
func (w *World) changeSharing(c *Call, s *snapshot, wanted permissionChange) error {
	public := slices.ContainsFunc(wanted.items, func(item types.CreateVolumePermission) bool {
		return item.Group == groupAll
	})

	if wanted.add {
		if err := w.validateSnapshotSharing(c, s, public); err != nil {
			return err
		}
	}

	if public {
		s.sharing.public = wanted.add
	}

	for _, item := range wanted.items {
		if item.UserId != nil && !w.violates(c, "2.1.5", *item.UserId == s.location.account) {
			w.changeAccountSharing(c, s, *item.UserId, wanted.add)
		}
	}

	slices.Sort(s.sharing.accounts)
	c.changedIDs = append(c.changedIDs, s.id)
	return nil
}

// validateSnapshotSharing checks whether a snapshot can be shared, or made public.
func (w *World) validateSnapshotSharing(c *Call, s *snapshot, public bool) error {
	if w.violates(c, "2.1.2", public && s.isEncrypted()) {
		return badRequest("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly.")
	}

	k := w.findStorageKey(s.location, s.keyARN)
	if w.violates(c, "2.1.1", k != nil && k.KeyManager == kmstypes.KeyManagerTypeAws) {
		return badRequest("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
	}

	blocked := w.settingsOf(s.location).blockSnapshots != types.SnapshotBlockPublicAccessStateUnblocked
	if w.violates(c, "2.1.3", public && blocked) {
		return badRequest("OperationNotPermitted", "Public sharing of snapshots is blocked for this account.")
	}
	if w.violates(c, "2.1.10", public && s.platform.isMarketplace()) {
		return badRequest("OperationNotPermitted", "Snapshots with AWS Marketplace product codes cannot be shared publicly.")
	}

	return nil
}

// changeAccountSharing adds or removes an account. A new permission takes effect after its propagation.
func (w *World) changeAccountSharing(c *Call, s *snapshot, account string, add bool) {
	if add && !s.sharing.includes(account) {
		w.startPropagation(c, shareKey(s.id, account))
	}

	s.sharing.accounts = slices.DeleteFunc(s.sharing.accounts, func(other string) bool { return other == account })
	if add {
		s.sharing.accounts = append(s.sharing.accounts, account)
	}
}

func (w *World) describeSnapshotAttribute(
	c *Call, in *ec2.DescribeSnapshotAttributeInput,
) (*ec2.DescribeSnapshotAttributeOutput, error) {
	if in.Attribute != types.SnapshotAttributeNameCreateVolumePermission &&
		in.Attribute != types.SnapshotAttributeNameProductCodes {
		return nil, invalidRequest()
	}

	s, err := w.authorizeSnapshot(c, in.SnapshotId, nil)
	if err != nil {
		return nil, err
	}

	out := &ec2.DescribeSnapshotAttributeOutput{SnapshotId: &s.id}
	if in.Attribute == types.SnapshotAttributeNameProductCodes {
		out.ProductCodes = append([]types.ProductCode{}, s.platform.productCodes...)
		return out, nil
	}

	out.CreateVolumePermissions = []types.CreateVolumePermission{}

	if s.sharing.public {
		out.CreateVolumePermissions = append(out.CreateVolumePermissions, types.CreateVolumePermission{Group: groupAll})
	}

	for _, account := range s.sharing.accounts {
		out.CreateVolumePermissions = append(out.CreateVolumePermissions, types.CreateVolumePermission{UserId: &account})
	}

	return out, nil
}

func (w *World) resetSnapshotAttribute(
	c *Call, in *ec2.ResetSnapshotAttributeInput,
) (*ec2.ResetSnapshotAttributeOutput, error) {
	if in.Attribute != types.SnapshotAttributeNameCreateVolumePermission {
		return nil, invalidRequest()
	}

	s, err := w.authorizeSnapshot(c, in.SnapshotId, nil)
	if err != nil {
		return nil, err
	}

	s.sharing = snapshotSharing{}
	c.changedIDs = append(c.changedIDs, s.id)
	return &ec2.ResetSnapshotAttributeOutput{}, nil
}

func invalidRequest() *APIError {
	return badRequest("InvalidRequest", "The request received was invalid.")
}

// authorizeSnapshot authorizes an operation on a snapshot's attributes and returns the snapshot. A snapshot of another
// account is not found even before authorization. A dry run does not show this, so it proves nothing about the snapshot
// (rules 2.1.7 and A.4.4).
func (w *World) authorizeSnapshot(c *Call, id *string, context iampolicy.Context) (*snapshot, error) {
	if id == nil {
		return nil, missingParameter("SnapshotId")
	}
	if s, ok := w.snapshots.get(*id); ok && !c.DryRun && w.violates(c, "2.1.7", s.location != c.location()) {
		return nil, snapshotNotFound(*id)
	}
	if err := w.authorize(c, w.newSnapshotAuthorization(c, *id).withContext(context)); err != nil {
		return nil, err
	}
	if w.violates(c, "2.5.10", !hasIDFormat(*id, "snap-")) {
		return nil, invalidSnapshotID(*id)
	}
	if w.violates(c, "2.5.10", !isValidID(*id, "snap-")) {
		return nil, malformedSnapshotID(*id)
	}

	return w.findOwnSnapshot(c, id)
}

// permissionChangeContext returns the condition keys of a change, such as ec2:Add/userId.
func permissionChangeContext(wanted permissionChange) iampolicy.Context {
	verb := "ec2:Remove/"
	if wanted.add {
		verb = "ec2:Add/"
	}

	context := iampolicy.Context{"ec2:Attribute": {"CreateVolumePermission"}}
	for _, item := range wanted.items {
		if item.UserId != nil {
			context[verb+"userId"] = append(context[verb+"userId"], aws.ToString(item.UserId))
		}
		if item.Group != "" {
			context[verb+"group"] = append(context[verb+"group"], string(item.Group))
		}
	}

	return context
}
