// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// volume is a snapshot of a source image, with the devices that use it.
type volume struct {
	devices  []string // sorted; usually one
	snapshot distribution.Snapshot
}

func (v volume) device() string { return v.devices[0] }

// stepName returns the name of the device in the IDs of steps. It is unique, although an image may have the devices
// /dev/xvdb and xvdb. If a response lacks the names of devices, stepName contains the ID of the snapshot instead.
func (v volume) stepName() string {
	if name, found := strings.CutPrefix(v.device(), "/dev/"); found {
		return name
	}
	return "name=" + cmp.Or(v.device(), v.id())
}

func (v volume) id() string  { return aws.ToString(v.snapshot.SnapshotId) }
func (v volume) gib() int64  { return int64(aws.ToInt32(v.snapshot.VolumeSize)) }
func (v volume) key() string { return aws.ToString(v.snapshot.KmsKeyId) }

// volumes returns the snapshots of an image, each once, sorted by device because AWS guarantees no order (4.3.2).
func volumes(image distribution.Image) []volume {
	var all []volume
	if image.Image == nil {
		return nil
	}

	mappings := slices.Clone(image.Image.BlockDeviceMappings)
	slices.SortFunc(mappings, func(a, b ec2types.BlockDeviceMapping) int {
		return strings.Compare(aws.ToString(a.DeviceName), aws.ToString(b.DeviceName))
	})
	for _, m := range mappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		device, id := aws.ToString(m.DeviceName), aws.ToString(m.Ebs.SnapshotId)
		if i := slices.IndexFunc(all, func(v volume) bool { return v.id() == id }); i >= 0 {
			all[i].devices = append(all[i].devices, device)
			continue
		}
		if snapshot, seen := image.Snapshots[id]; seen {
			all = append(all, volume{devices: []string{device}, snapshot: snapshot})
		}
	}

	return all
}

// unavailableNextStep returns what to do about an image that is not available.
func unavailableNextStep(source distribution.SourceImage, state ec2types.ImageState) string {
	image := " --region " + source.Region + " --image-id " + source.ImageID
	switch state {
	case ec2types.ImageStatePending:
		return "wait with `aws ec2 wait image-available" + strings.Replace(image, "--image-id", "--image-ids", 1) +
			"`, then run again"
	case ec2types.ImageStateDisabled:
		return "enable it with `aws ec2 enable-image" + image + "`, then run again"
	}
	return "build it again"
}

// validateImage returns findings for an image that cannot be shared or copied to any target.
func validateImage(
	source distribution.SourceImage, image distribution.Image, account string, targets []distribution.Target,
) []distribution.Finding {
	at := distribution.Location{Account: account, Region: source.Region}
	refuse := func(code, rule, summary, detail, remediation string) distribution.Finding {
		return distribution.Finding{
			Level:       distribution.Refused,
			Code:        code,
			Reference:   rule,
			Location:    at,
			Resource:    source.ImageID,
			Summary:     summary,
			Detail:      detail,
			Remediation: remediation,
		}
	}

	i := image.Image
	isOfAccount := func(t distribution.Target) bool { return slices.Contains(t.AccountIDs, account) }
	if target := slices.IndexFunc(targets, isOfAccount); i == nil && target >= 0 {
		return []distribution.Finding{
			refuse(
				distribution.CodeSourceCredentialsOfTarget,
				"2.2.12",
				"the source credentials are those of a target account",
				fmt.Sprintf(
					"target %q copies to account %s, to which AWS shows no image of this id",
					targets[target].Name,
					account,
				),
				"use the credentials of the account that built the image",
			),
		}
	}

	if i == nil {
		return []distribution.Finding{
			refuse(
				distribution.CodeSourceAMIMissing,
				"2.2.12",
				"the image is not there",
				"AWS shows no image of this id to the "+
					"source credentials: it was deregistered, or belongs to another account or Region",
				"check the region and the credentials of the post-processor against the builder's",
			),
		}
	}

	var found []distribution.Finding
	if owner := aws.ToString(i.OwnerId); owner != account {
		found = append(
			found,
			refuse(
				distribution.CodeImageNotOwned,
				"2.1.7",
				"the image belongs to another account",
				"its owner is "+owner+"; only an owner can share its snapshots",
				"use the credentials of account "+owner,
			),
		)
	}

	if i.State != ec2types.ImageStateAvailable {
		detail := "its state is " + string(i.State)
		if i.StateReason != nil {
			detail += ": " + aws.ToString(i.StateReason.Message)
		}
		found = append(
			found,
			refuse(
				distribution.CodeAMIUnavailable,
				"4.5.4",
				"the image is not available",
				detail,
				unavailableNextStep(source, i.State),
			),
		)
	}

	if i.RootDeviceType != ec2types.DeviceTypeEbs {
		found = append(
			found,
			refuse(
				distribution.CodeAMINotEBSBacked,
				"2.4",
				"the image is not backed by EBS",
				"its root device is of type "+string(i.RootDeviceType)+"; there is no snapshot to copy",
				"build it with amazon-ebs",
			),
		)
		return found
	}

	isUnnamed := func(m ec2types.BlockDeviceMapping) bool { return aws.ToString(m.DeviceName) == "" }
	if slices.ContainsFunc(i.BlockDeviceMappings, isUnnamed) {
		found = append(
			found,
			refuse(
				distribution.CodeDeviceUnnamed,
				"1.5.1",
				"a device of the image has no name",
				"AWS shows a block device without a name, so no copy can have the same one",
				"look at the image with `aws ec2 describe-images --region "+source.Region+" --image-ids "+source.ImageID+"`",
			),
		)
	}

	if i.State == ec2types.ImageStateAvailable && isRootWithoutSnapshot(*i) {
		found = append(
			found,
			refuse(
				distribution.CodeAMINotEBSBacked,
				"2.4",
				"the root device of the image has no snapshot",
				"AWS shows no snapshot of it; there is nothing to copy",
				"look at the image with `aws ec2 describe-images --region "+source.Region+" --image-ids "+source.ImageID+"`",
			),
		)
	}

	for _, m := range i.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		id := aws.ToString(m.Ebs.SnapshotId)
		snapshot, seen := image.Snapshots[id]
		found = append(found, validateSnapshot(at, aws.ToString(m.DeviceName), id, snapshot, seen)...)
	}

	return found
}

// isRootWithoutSnapshot reports whether AWS shows no snapshot of an image's root device. Other devices may have none.
func isRootWithoutSnapshot(i ec2types.Image) bool {
	hasSnapshot := func(m ec2types.BlockDeviceMapping) bool { return m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) != "" }
	isRoot := func(m ec2types.BlockDeviceMapping) bool {
		return aws.ToString(m.DeviceName) == aws.ToString(i.RootDeviceName)
	}
	if root := slices.IndexFunc(i.BlockDeviceMappings, isRoot); root >= 0 {
		return !hasSnapshot(i.BlockDeviceMappings[root])
	}
	return !slices.ContainsFunc(i.BlockDeviceMappings, hasSnapshot)
}

// isFromMarketplace reports whether an image has a product code of AWS Marketplace.
func isFromMarketplace(i ec2types.Image) bool {
	return slices.ContainsFunc(i.ProductCodes, func(c ec2types.ProductCode) bool {
		return c.ProductCodeType == ec2types.ProductCodeValuesMarketplace
	})
}

func validateSnapshot(
	at distribution.Location,
	device, id string,
	s distribution.Snapshot,
	seen bool,
) []distribution.Finding {
	refuse := func(code, rule, summary, detail, remediation string) []distribution.Finding {
		return []distribution.Finding{{
			Level:       distribution.Refused,
			Code:        code,
			Reference:   rule,
			Location:    at,
			Resource:    id,
			Summary:     "the snapshot of " + device + " " + summary,
			Detail:      detail,
			Remediation: remediation,
		}}
	}

	switch {
	case !seen:
		return refuse(
			distribution.CodeSnapshotNotFound,
			"2.5.4",
			"is not there",
			"AWS shows no snapshot of this id to the source credentials",
			"allow ec2:DescribeSnapshots, or build the image again",
		)
	case s.OutpostArn != nil:
		return refuse(
			distribution.CodeSnapshotOnOutpost,
			"9.0",
			"is on an Outpost",
			"snapshots on an Outpost cannot be shared or copied to "+
				"another account",
			"build the image in the Region",
		)
	case s.StorageTier == ec2types.StorageTierArchive:
		return refuse(
			distribution.CodeSnapshotArchived,
			"4.7.1",
			"is in the archive tier",
			"an archived snapshot cannot be copied",
			"restore it with `aws ec2 restore-snapshot-tier` and run again",
		)
	case s.State != ec2types.SnapshotStateCompleted:
		return refuse(
			distribution.CodeSnapshotPending,
			"4.6.5",
			"is not complete",
			fmt.Sprintf("its state is %s %s", s.State, aws.ToString(s.StateMessage)),
			"build the image again",
		)
	}

	return nil
}
