// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var imageOperations = []named{
	op((*World).registerImage),
	op((*World).copyImage),
	op((*World).createImage),
	op((*World).deregisterImage),
	op((*World).describeImages),
	op((*World).describeImageAttribute),
	op((*World).modifyImageAttribute),
	op((*World).resetImageAttribute),
	op((*World).enableImage),
	op((*World).disableImage),
	op((*World).enableImageDeprecation),
	op((*World).disableImageDeprecation),
	op((*World).enableImageDeregistrationProtection),
	op((*World).disableImageDeregistrationProtection),
	op((*World).describeImageReferences),
	op((*World).enableFastLaunch),
	op((*World).describeFastLaunchImages),
	op((*World).getImageAncestry),
}

// image is an AMI as it was made; what is seen of it is told by viewImage.
type image struct {
	id       string
	home     place
	made     time.Time
	about    types.Image // what time and viewer do not change; the block devices as registered
	parts    []*snapshot // it is available when these are complete; those of CreateImage and CopyImage
	copied   bool        // by CopyImage: nothing is told of its devices before it is available
	uefiData *string
	launch   []types.LaunchPermission
	platform platform

	gone         bool // deregistered
	disabled     bool
	deprecated   time.Time // zero: never
	protection   protection
	fastLaunch   *types.DescribeFastLaunchImagesSuccessItem // nil: off
	lastLaunched time.Time
}

func (i *image) of() place { return i.home }

// stateAt is the image's state; a reason goes with a failure.
func (i *image) stateAt(now time.Time) (types.ImageState, *types.StateReason) {
	state := types.ImageStateAvailable
	for _, part := range i.parts {
		switch part.state(now) {
		case types.SnapshotStateError:
			return types.ImageStateFailed, copyFailed()
		case types.SnapshotStatePending:
			state = types.ImageStatePending
		}
	}
	if i.disabled && state == types.ImageStateAvailable {
		state = types.ImageStateDisabled
	}
	return state, nil
}

// copyFailed is all that AWS tells of a failed copy (1.8.5).
func copyFailed() *types.StateReason {
	return &types.StateReason{Code: aws.String("Server.InternalError"), Message: aws.String("Copy image failed with an internal error")}
}

// publicImage reports whether all may launch an image.
func (w *World) publicImage(i *image) bool {
	return slices.ContainsFunc(i.launch, func(p types.LaunchPermission) bool { return p.Group == everybody }) && !i.disabled
}

// mayLaunch reports whether an account may launch an image and see it: its owner, whom it is shared with by account,
// organization or unit, and all if it is public (2.2.4). Allowed AMIs may hide what is not the account's own (2.2.14).
func (w *World) mayLaunch(c *Call, account string, i *image) bool {
	if i.home.account == account {
		return true
	}
	return !w.breaks(c, "2.2.14", w.hidden(place{account, i.home.region}, i)) && (w.publicImage(i) || w.sharedWith(account, i))
}

// sharedWith reports whether an account is among the launch permissions, itself or as a member of an organization.
func (w *World) sharedWith(account string, i *image) bool {
	if i.disabled {
		return false // disabling takes the permissions away (9.2)
	}
	member := w.account(account, partitionOf(i.home.region)).membership()
	return slices.ContainsFunc(i.launch, func(p types.LaunchPermission) bool {
		switch {
		case p.UserId != nil:
			return *p.UserId == account && w.hasArrived(shareKey(i.id, account))
		case p.OrganizationArn != nil:
			return member.Organization != "" && strings.HasSuffix(*p.OrganizationArn, "/"+member.Organization)
		case p.OrganizationalUnitArn != nil:
			unit := (*p.OrganizationalUnitArn)[strings.LastIndex(*p.OrganizationalUnitArn, "/")+1:]
			return strings.Contains(member.Path, "/"+unit+"/")
		}
		return false
	})
}

// imageFor finds an image of a Region that an account may launch.
func (w *World) imageFor(c *Call, region, id string) (*image, error) {
	if !wellFormed(id, "ami-") {
		return nil, malformedImage(id)
	}
	found, there := w.images.get(id)
	if !there || found.home.region != region || !w.mayLaunch(c, c.place().account, found) {
		return nil, noImage(id)
	}
	if w.breaks(c, "2.5.9", found.gone) {
		return nil, imageGone(id)
	}
	return found, nil
}

// ownImage finds an image for a call that only its owner may make.
func (w *World) ownImage(c *Call, id *string) (*image, error) {
	found, err := w.imageFor(c, c.Region, aws.ToString(id))
	if err != nil {
		return nil, err
	}
	if w.breaks(c, "2.2.11", found.home.account != c.place().account) {
		return nil, invalid("AuthFailure", "Not authorized for image:%s", found.id)
	}
	return found, nil
}

func malformedImage(id string) *Refusal {
	return invalid("InvalidAMIID.Malformed", "Invalid id: %q", id)
}

func noImage(id string) *Refusal {
	return invalid("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

func imageGone(id string) *Refusal {
	return invalid("InvalidAMIID.Unavailable", "The image ID '%s' is no longer available", id)
}

// imageName is what AWS takes for a name; its refusal tells less (2.5.3).
var imageName = regexp.MustCompile(`^[a-zA-Z0-9 ()\[\]./\-'@_]{3,128}$`)

// checkImageName judges the form of a name.
func (w *World) checkImageName(c *Call, name *string) error {
	if name == nil {
		return missing("Name")
	}
	if w.breaks(c, "2.5.3", !imageName.MatchString(*name)) {
		return invalid("InvalidAMIName.Malformed",
			"AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	return nil
}

// checkNameFree refuses a name that another image of the account has in the Region.
func (w *World) checkNameFree(c *Call, name string) error {
	for _, id := range w.namedImages[imageKey{c.place(), name}] {
		if i, there := w.images.get(id); there && w.breaks(c, "2.5.2", !i.gone) {
			return invalid("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, id)
		}
	}
	return nil
}

// imageKey is an image's name in its place.
type imageKey struct {
	at   place
	name string
}

// addImage keeps a new image of the caller.
func (w *World) addImage(c *Call, i *image, tags []types.TagSpecification) {
	i.home, i.made, i.id = c.place(), c.At, w.newID(c, "ami-")
	i.about.ImageLocation = aws.String(i.home.account + "/" + *i.about.Name)
	key := imageKey{i.home, *i.about.Name}
	w.namedImages[key] = append(w.namedImages[key], i.id)
	w.images.put(i.id, i)
	for _, device := range i.about.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			w.usedBy[*device.Ebs.SnapshotId] = append(w.usedBy[*device.Ebs.SnapshotId], i.id)
		}
	}
	w.tagNew(c, i.id, types.ResourceTypeImage, tags)
}

// imagesOf are the images that use a snapshot, for whatever device, the newest first (2.5.8).
func (w *World) imagesOf(snapshotID string) (ids []string) {
	for _, id := range slices.Backward(w.usedBy[snapshotID]) {
		if i, there := w.images.get(id); there && !i.gone {
			ids = append(ids, id)
		}
	}
	return ids
}

// viewImage is an image as the caller sees it.
func (w *World) viewImage(c *Call, i *image) types.Image {
	seen := i.about
	seen.ImageId, seen.OwnerId, seen.ImageOwnerAlias = &i.id, &i.home.account, ownerAlias(i.home.account)
	seen.CreationDate, seen.Public = aws.String(stamp(i.made.Truncate(time.Second))), aws.Bool(w.publicImage(i))
	seen.FreeTierEligible = aws.Bool(i.platform.operation() == "RunInstances")
	seen.State, seen.StateReason = i.stateAt(c.At)
	seen.PlatformDetails, seen.UsageOperation, seen.ProductCodes = aws.String(i.platform.details()), aws.String(i.platform.operation()), i.platform.codes
	if i.platform.windows() {
		seen.Platform = types.PlatformValuesWindows
	}
	if !i.deprecated.IsZero() {
		seen.DeprecationTime = aws.String(stamp(i.deprecated))
	}
	seen.BlockDeviceMappings = nil
	if !i.copied || seen.State == types.ImageStateAvailable || seen.State == types.ImageStateDisabled {
		seen.BlockDeviceMappings = w.viewDevices(i)
	}
	if w.setting(place{c.place().account, i.home.region}).allowedImages != "" {
		seen.ImageAllowed = aws.Bool(i.home.account == c.place().account || w.allowed(place{c.place().account, i.home.region}, i))
	}
	// A recipient sees neither tags nor protection (2.2.12), but for tags that are made to be shared (9.13).
	seen.Tags = w.tagsSeen(c, i.id)
	if w.breaks(c, "2.2.12", i.home.account != c.place().account) {
		seen.Tags = slices.DeleteFunc(seen.Tags, func(t types.Tag) bool { return !strings.HasPrefix(*t.Key, sharedTagPrefix) })
		return seen
	}
	seen.DeregistrationProtection = aws.String(i.protection.text(c.At))
	if !i.lastLaunched.IsZero() {
		seen.LastLaunchedTime = aws.String(stamp(i.lastLaunched))
	}
	return seen
}

// sharedTagPrefix begins the keys of tags that accounts an image is shared with see, and CopyImage takes along (9.13).
const sharedTagPrefix = "ec2:SharedTag/"

// viewDevices are the image's devices, with what their snapshots tell: encryption, but not the key (1.2.4).
func (w *World) viewDevices(i *image) []types.BlockDeviceMapping {
	devices := slices.Clone(i.about.BlockDeviceMappings)
	for n, device := range devices {
		if device.Ebs == nil {
			continue
		}
		ebs := *device.Ebs
		if ebs.SnapshotId != nil {
			if s, there := w.snapshots.get(*ebs.SnapshotId); there {
				ebs.Encrypted = aws.Bool(s.encrypted())
			}
		}
		devices[n].Ebs = &ebs
	}
	return devices
}

func (w *World) describeImages(c *Call, in *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error) {
	if err := w.checkPage(c, "imageIdsSet", len(in.ImageIds), in.MaxResults); err != nil {
		return nil, err
	}
	for _, id := range in.ImageIds {
		if w.breaks(c, "2.5.10", id == "") {
			return nil, missing("ImageId")
		}
		if w.breaks(c, "2.5.10", !wellFormed(id, "ami-")) {
			return nil, malformedImage(id)
		}
	}
	if err := w.authorise(c, anything(c)); err != nil {
		return nil, err
	}
	var seen []types.Image
	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.ImageIds))) {
		i, there := w.images.get(id)
		// An image that is not shared, or deregistered, is left out; one that never was is an error (2.2.12, 2.5.9, 2.5.10).
		if w.breaks(c, "2.5.10", !there || i.home.region != c.Region) || !there || !w.settled(c, i.made) {
			return nil, noImage(id)
		}
		if w.breaks(c, "2.2.14", i.home.account != c.place().account && w.hidden(c.place(), i)) {
			return nil, noImage(id)
		}
		if w.listed(c, i, in) {
			seen = append(seen, w.viewImage(c, i))
		}
	}
	if len(in.ImageIds) == 0 {
		for _, i := range w.images.by(in.Owners, c.place()) {
			if w.listed(c, i, in) && w.settled(c, i.made) {
				seen = append(seen, w.viewImage(c, i))
			}
		}
	}
	return answerPage(seen, in.MaxResults, in.NextToken, in.Filters, imageFacets, func(list []types.Image, next *string) *ec2.DescribeImagesOutput {
		return &ec2.DescribeImagesOutput{Images: list, NextToken: next}
	})
}

// listed reports whether an image belongs in the answer to a describe call.
func (w *World) listed(c *Call, i *image, in *ec2.DescribeImagesInput) bool {
	caller := c.place().account
	own := i.home.account == caller
	switch {
	case i.home.region != c.Region || !w.mayLaunch(c, caller, i):
		return false
	case w.breaks(c, "2.5.9", i.gone):
		return false
	case w.breaks(c, "9.2", i.disabled && !aws.ToBool(in.IncludeDisabled)):
		return false
	case w.breaks(c, "9.21", i.isDeprecated(c.At) && !own && len(in.ImageIds) == 0 && !aws.ToBool(in.IncludeDeprecated)):
		return false
	}
	return (len(in.Owners) == 0 || slices.ContainsFunc(in.Owners, func(owner string) bool { return isOwner(i.home.account, owner, caller) })) &&
		(len(in.ExecutableUsers) == 0 || slices.ContainsFunc(in.ExecutableUsers, func(user string) bool { return w.executableBy(user, caller, i) }))
}

// executableBy judges one of ExecutableUsers: those with a launch permission of their own, or "all".
func (w *World) executableBy(user, caller string, i *image) bool {
	switch user {
	case everybody:
		return w.publicImage(i)
	case "self", caller:
		return w.sharedWith(caller, i)
	}
	return i.home.account == caller && w.sharedWith(user, i)
}

var imageFacets = facets[types.Image]{
	tags: func(i types.Image) []types.Tag { return i.Tags },
	values: map[string]func(types.Image) []string{
		"architecture": func(i types.Image) []string { return []string{string(i.Architecture)} },
		"block-device-mapping.delete-on-termination": func(i types.Image) []string {
			return ofDevices(i, func(e *types.EbsBlockDevice) string { return strconv.FormatBool(aws.ToBool(e.DeleteOnTermination)) })
		},
		"block-device-mapping.device-name": func(i types.Image) (names []string) {
			for _, device := range i.BlockDeviceMappings {
				names = append(names, aws.ToString(device.DeviceName))
			}
			return names
		},
		"block-device-mapping.encrypted": func(i types.Image) []string {
			return ofDevices(i, func(e *types.EbsBlockDevice) string { return strconv.FormatBool(aws.ToBool(e.Encrypted)) })
		},
		"block-device-mapping.snapshot-id": func(i types.Image) []string {
			return ofDevices(i, func(e *types.EbsBlockDevice) string { return aws.ToString(e.SnapshotId) })
		},
		"block-device-mapping.volume-size": func(i types.Image) []string {
			return ofDevices(i, func(e *types.EbsBlockDevice) string { return strconv.Itoa(int(aws.ToInt32(e.VolumeSize))) })
		},
		"block-device-mapping.volume-type": func(i types.Image) []string {
			return ofDevices(i, func(e *types.EbsBlockDevice) string { return string(e.VolumeType) })
		},
		"creation-date":     func(i types.Image) []string { return texts(i.CreationDate) },
		"description":       func(i types.Image) []string { return texts(i.Description) },
		"ena-support":       func(i types.Image) []string { return []string{strconv.FormatBool(aws.ToBool(i.EnaSupport))} },
		"hypervisor":        func(i types.Image) []string { return []string{string(i.Hypervisor)} },
		"image-id":          func(i types.Image) []string { return texts(i.ImageId) },
		"image-type":        func(i types.Image) []string { return []string{string(i.ImageType)} },
		"is-public":         func(i types.Image) []string { return []string{strconv.FormatBool(*i.Public)} },
		"kernel-id":         func(i types.Image) []string { return texts(i.KernelId) },
		"manifest-location": func(i types.Image) []string { return texts(i.ImageLocation) },
		"name":              func(i types.Image) []string { return texts(i.Name) },
		"owner-alias":       func(i types.Image) []string { return texts(i.ImageOwnerAlias) },
		"owner-id":          func(i types.Image) []string { return texts(i.OwnerId) },
		"platform":          func(i types.Image) []string { return []string{string(i.Platform)} },
		"product-code": func(i types.Image) []string {
			return ofCodes(i, func(p types.ProductCode) string { return *p.ProductCodeId })
		},
		"product-code.type": func(i types.Image) []string {
			return ofCodes(i, func(p types.ProductCode) string { return string(p.ProductCodeType) })
		},
		"ramdisk-id":           func(i types.Image) []string { return texts(i.RamdiskId) },
		"root-device-name":     func(i types.Image) []string { return texts(i.RootDeviceName) },
		"root-device-type":     func(i types.Image) []string { return []string{string(i.RootDeviceType)} },
		"source-image-id":      func(i types.Image) []string { return texts(i.SourceImageId) },
		"source-image-region":  func(i types.Image) []string { return texts(i.SourceImageRegion) },
		"source-instance-id":   func(i types.Image) []string { return texts(i.SourceInstanceId) },
		"sriov-net-support":    func(i types.Image) []string { return texts(i.SriovNetSupport) },
		"state":                func(i types.Image) []string { return []string{string(i.State)} },
		"usage-operation":      func(i types.Image) []string { return texts(i.UsageOperation) },
		"virtualization-type":  func(i types.Image) []string { return []string{string(i.VirtualizationType)} },
		"state-reason-message": func(i types.Image) []string { return ofReason(i.StateReason) },
	},
}

func ofDevices(i types.Image, value func(*types.EbsBlockDevice) string) (all []string) {
	for _, device := range i.BlockDeviceMappings {
		if device.Ebs != nil {
			all = append(all, value(device.Ebs))
		}
	}
	return all
}

func ofCodes(i types.Image, value func(types.ProductCode) string) (all []string) {
	for _, code := range i.ProductCodes {
		all = append(all, value(code))
	}
	return all
}

func ofReason(reason *types.StateReason) []string {
	if reason == nil {
		return nil
	}
	return texts(reason.Message)
}
