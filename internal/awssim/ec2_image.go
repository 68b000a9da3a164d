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

var imageOperations = []namedOperation{
	newOperation((*World).registerImage),
	newOperation((*World).copyImage),
	newOperation((*World).createImage),
	newOperation((*World).deregisterImage),
	newOperation((*World).describeImages),
	newOperation((*World).describeImageAttribute),
	newOperation((*World).modifyImageAttribute),
	newOperation((*World).resetImageAttribute),
	newOperation((*World).enableImage),
	newOperation((*World).disableImage),
	newOperation((*World).enableImageDeprecation),
	newOperation((*World).disableImageDeprecation),
	newOperation((*World).enableImageDeregistrationProtection),
	newOperation((*World).disableImageDeregistrationProtection),
	newOperation((*World).attachImageWatermark),
	newOperation((*World).detachImageWatermark),
	newOperation((*World).describeImageReferences),
	newOperation((*World).createImageUsageReport),
	newOperation((*World).describeImageUsageReports),
	newOperation((*World).describeImageUsageReportEntries),
	newOperation((*World).enableFastLaunch),
	newOperation((*World).describeFastLaunchImages),
	newOperation((*World).getImageAncestry),
}

// image is an AMI. viewImage returns what the caller sees of it.
type image struct {
	id                string
	location          location
	created           time.Time
	attributes        types.Image // independent of time and caller; block devices as registered
	snapshots         []*snapshot // created by CreateImage or CopyImage; the image is available when all are complete
	isCopy            bool        // created by CopyImage; its devices are hidden until it is available
	uefiData          *string
	launchPermissions []types.LaunchPermission
	platform          platform

	deregistered bool
	disabled     bool
	deprecateAt  time.Time // zero if not set
	protection   protection
	fastLaunch   *types.DescribeFastLaunchImagesSuccessItem // nil if off
	lastLaunched time.Time
}

func (i *image) getLocation() location { return i.location }

// stateAt returns the image's state and, for a failed image, the reason.
func (i *image) stateAt(now time.Time) (types.ImageState, *types.StateReason) {
	state := types.ImageStateAvailable
	for _, part := range i.snapshots {
		switch part.state(now) {
		case types.SnapshotStateError:
			return types.ImageStateFailed, copyFailedReason()
		case types.SnapshotStatePending:
			state = types.ImageStatePending
		}
	}

	if i.disabled && state == types.ImageStateAvailable {
		state = types.ImageStateDisabled
	}

	return state, nil
}

// copyFailedReason returns the only reason that AWS gives for a failed copy (rule 1.8.5).
func copyFailedReason() *types.StateReason {
	return &types.StateReason{
		Code: aws.String("Server.InternalError"), Message: aws.String("Copy image failed with an internal error"),
	}
}

// isPublicImage reports whether all accounts may launch an image.
func (w *World) isPublicImage(i *image) bool {
	return slices.ContainsFunc(i.launchPermissions, func(p types.LaunchPermission) bool { return p.Group == groupAll }) &&
		!i.disabled
}

// canLaunch reports whether an account can see and launch an image. The owner can. Other accounts need launch
// permission as account, organization or organizational unit, or a public image (rule 2.2.4). Allowed AMIs can hide
// images of other accounts (rule 2.2.14).
func (w *World) canLaunch(c *Call, account string, i *image) bool {
	if i.location.account == account {
		return true
	}
	return !w.violates(c, "2.2.14", w.isHiddenByAllowedImages(c, location{account, i.location.region}, i)) &&
		(w.isPublicImage(i) || w.isSharedWith(account, i))
}

// isSharedWith reports whether an account has launch permission, itself or as a member of an organization.
func (w *World) isSharedWith(account string, i *image) bool {
	if i.disabled {
		return false // DisableImage removes the launch permissions (rule 9.2)
	}

	member := w.account(account, partitionOf(i.location.region)).membership()
	return slices.ContainsFunc(i.launchPermissions, func(p types.LaunchPermission) bool {
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

// findLaunchableImage returns an image that the caller can launch in a Region.
func (w *World) findLaunchableImage(c *Call, region, id string) (*image, error) {
	if !isValidID(id, "ami-") {
		return nil, malformedImageID(id)
	}
	found, ok := w.images.get(id)
	if !ok || found.location.region != region || !w.canLaunch(c, c.location().account, found) {
		return nil, imageNotFound(id)
	}
	if w.violates(c, "2.5.9", found.deregistered) {
		return nil, imageUnavailable(id)
	}
	return found, nil
}

// findOwnImage returns an image of the caller, for an operation that only the owner may perform.
func (w *World) findOwnImage(c *Call, id *string) (*image, error) {
	found, err := w.findLaunchableImage(c, c.Region, aws.ToString(id))
	if err != nil {
		return nil, err
	}
	if w.violates(c, "2.2.11", found.location.account != c.location().account) {
		return nil, badRequest("AuthFailure", "Not authorized for image:%s", found.id)
	}
	return found, nil
}

func malformedImageID(id string) *APIError {
	if !hasIDFormat(id, "ami-") {
		return badRequest("InvalidAMIID.Malformed", `Invalid id: %q (expecting "ami-...")`, id)
	}
	return badRequest("InvalidAMIID.Malformed", "Invalid id: %q", id)
}

func imageNotFound(id string) *APIError {
	return badRequest("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

func imageUnavailable(id string) *APIError {
	return badRequest("InvalidAMIID.Unavailable", "The image ID '%s' is no longer available", id)
}

// imageNamePattern matches valid image names. The error message lists fewer characters (rule 2.5.3).
var imageNamePattern = regexp.MustCompile(`^[a-zA-Z0-9 ()\[\]./\-'@_]{3,128}$`)

// validateImageName checks the syntax of an image name.
func (w *World) validateImageName(c *Call, name *string) error {
	if name == nil {
		return missingParameter("Name")
	}
	if w.violates(c, "2.5.3", !imageNamePattern.MatchString(*name)) {
		return badRequest("InvalidAMIName.Malformed",
			"AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' "+
				"and '_'")
	}
	return nil
}

// validateNameAvailable refuses a name that another image of the account in the Region has.
func (w *World) validateNameAvailable(c *Call, name string) error {
	for _, id := range w.imagesByName[imageNameKey{c.location(), name}] {
		if i, ok := w.images.get(id); ok && w.violates(c, "2.5.2", !i.deregistered) {
			return badRequest("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, id)
		}
	}
	return nil
}

// imageNameKey is the name of an image within an account and Region.
type imageNameKey struct {
	location location
	name     string
}

// addImage stores a new image of the caller.
func (w *World) addImage(c *Call, i *image, tags []types.TagSpecification) {
	i.location, i.created, i.id = c.location(), c.At, w.newID(c, "ami-")
	i.attributes.ImageLocation = aws.String(i.location.account + "/" + *i.attributes.Name)
	key := imageNameKey{i.location, *i.attributes.Name}
	w.imagesByName[key] = append(w.imagesByName[key], i.id)
	w.images.put(i.id, i)
	for _, device := range i.attributes.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			w.imagesBySnapshot[*device.Ebs.SnapshotId] = append(w.imagesBySnapshot[*device.Ebs.SnapshotId], i.id)
		}
	}
	w.tagNewResource(c, i.id, types.ResourceTypeImage, tags)
}

// imagesUsing returns the images that use a snapshot, newest first (rule 2.5.8).
func (w *World) imagesUsing(snapshotID string) (ids []string) {
	for _, id := range slices.Backward(w.imagesBySnapshot[snapshotID]) {
		if i, ok := w.images.get(id); ok && !i.deregistered {
			ids = append(ids, id)
		}
	}
	return ids
}

// viewImage returns an image as the caller sees it.
func (w *World) viewImage(c *Call, i *image) types.Image {
	view := i.attributes
	view.ImageId, view.OwnerId, view.ImageOwnerAlias = &i.id, &i.location.account, ownerAlias(i.location.account)
	view.CreationDate, view.Public = aws.String(formatTime(i.created.Truncate(time.Second))), aws.Bool(w.isPublicImage(i))
	view.FreeTierEligible = aws.Bool(i.platform.operation() == "RunInstances")
	view.State, view.StateReason = i.stateAt(c.At)
	view.PlatformDetails = aws.String(i.platform.details())
	view.UsageOperation = aws.String(i.platform.operation())
	view.ProductCodes = i.platform.productCodes
	if i.platform.isWindows() {
		view.Platform = types.PlatformValuesWindows
	}
	if !i.deprecateAt.IsZero() {
		view.DeprecationTime = aws.String(formatTime(i.deprecateAt))
	}

	view.BlockDeviceMappings = nil
	if !i.isCopy || view.State == types.ImageStateAvailable || view.State == types.ImageStateDisabled {
		view.BlockDeviceMappings = w.viewDevices(i)
	}

	if w.settingsOf(location{c.location().account, i.location.region}).allowedImages != "" {
		view.ImageAllowed = aws.Bool(i.location.account == c.location().account || w.meetsImageCriteria(
			c, location{c.location().account, i.location.region}, i,
		))
	}

	// Other accounts see neither protection nor tags, except for shared tags and their own (rules 2.2.12, 9.13 and B.7.2).
	view.Tags = w.tagsSeen(c, i.id)
	if w.violates(c, "2.2.12", i.location.account != c.location().account) {
		shared := slices.DeleteFunc(w.tagsOf(i.id), func(t types.Tag) bool {
			return !strings.HasPrefix(*t.Key, sharedTagPrefix)
		})
		view.Tags = append(shared, view.Tags...)
		return view
	}

	view.DeregistrationProtection = aws.String(i.protection.status(c.At))
	if !i.lastLaunched.IsZero() {
		view.LastLaunchedTime = aws.String(formatTime(i.lastLaunched))
	}

	return view
}

// sharedTagPrefix starts the keys of shared tags. Accounts with launch permission see them, and CopyImage copies them
// (rule 9.13).
const sharedTagPrefix = "ec2:SharedTag/"

// viewDevices returns the block devices of an image. They show whether a snapshot is encrypted, but not its key (rule
// 1.2.4).
func (w *World) viewDevices(i *image) []types.BlockDeviceMapping {
	devices := slices.Clone(i.attributes.BlockDeviceMappings)
	for n, device := range devices {
		if device.Ebs == nil {
			continue
		}
		ebs := *device.Ebs
		if ebs.SnapshotId != nil {
			if s, ok := w.snapshots.get(*ebs.SnapshotId); ok {
				ebs.Encrypted = aws.Bool(s.isEncrypted())
			}
		}
		devices[n].Ebs = &ebs
	}

	return devices
}

func (w *World) describeImages(c *Call, in *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error) {
	if err := w.validatePage(c, "imageIdsSet", len(in.ImageIds), in.MaxResults); err != nil {
		return nil, err
	}

	for _, id := range in.ImageIds {
		if w.violates(c, "2.5.10", id == "") {
			return nil, missingParameter("ImageId")
		}
		if w.violates(c, "2.5.10", !isValidID(id, "ami-")) {
			return nil, malformedImageID(id)
		}
	}

	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	seen, err := w.findImages(c, in)
	if err != nil {
		return nil, err
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, imageFilters,
		func(list []types.Image, next *string) *ec2.DescribeImagesOutput {
			return &ec2.DescribeImagesOutput{Images: list, NextToken: next}
		})
}

// findImages returns the images with the IDs in a request, or all that the caller can launch.
func (w *World) findImages(c *Call, in *ec2.DescribeImagesInput) (seen []types.Image, err error) {
	if len(in.ImageIds) == 0 {
		for _, i := range w.images.ownedBy(in.Owners, c.location()) {
			if w.isListed(c, i, in) && w.isVisible(c, i.created) {
				seen = append(seen, w.viewImage(c, i))
			}
		}
		return seen, nil
	}

	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.ImageIds))) {
		i, ok := w.images.get(id)
		// An image that is deregistered or not shared is left out. An ID that never existed is an error (rules 2.2.12, 2.5.9
		// and 2.5.10).
		if w.violates(c, "2.5.10", !ok || i.location.region != c.Region) || !ok || !w.isVisible(c, i.created) {
			return nil, imageNotFound(id)
		}

		foreign := i.location.account != c.location().account
		if w.violates(c, "2.2.14", foreign && w.isHiddenByAllowedImages(c, c.location(), i)) {
			return nil, imageNotFound(id)
		}
		if w.isListed(c, i, in) {
			seen = append(seen, w.viewImage(c, i))
		}
	}

	return seen, nil
}

// isListed reports whether DescribeImages returns an image.
func (w *World) isListed(c *Call, i *image, in *ec2.DescribeImagesInput) bool {
	caller := c.location().account
	own := i.location.account == caller
	switch {
	case i.location.region != c.Region || !w.canLaunch(c, caller, i):
		return false
	case w.violates(c, "2.5.9", i.deregistered):
		return false
	case w.violates(c, "9.2", i.disabled && !aws.ToBool(in.IncludeDisabled)):
		return false
	case w.violates(c, "9.21", i.isDeprecated(c.At) && !own && len(in.ImageIds) == 0 && !aws.ToBool(in.IncludeDeprecated)):
		return false
	}

	return (len(in.Owners) == 0 ||
		slices.ContainsFunc(in.Owners, func(owner string) bool { return matchesOwner(i.location.account, owner, caller) })) &&
		(len(in.ExecutableUsers) == 0 ||
			slices.ContainsFunc(in.ExecutableUsers, func(user string) bool { return w.isExecutableBy(user, caller, i) }))
}

// isExecutableBy reports whether an image matches one of ExecutableUsers.
func (w *World) isExecutableBy(user, caller string, i *image) bool {
	switch user {
	case groupAll:
		return w.isPublicImage(i)
	case "self", caller:
		return w.isSharedWith(caller, i)
	}
	return i.location.account == caller && w.isSharedWith(user, i)
}

var imageFilters = filterFields[types.Image]{
	tags: func(i types.Image) []types.Tag { return i.Tags },
	values: map[string]func(types.Image) []string{
		"architecture": func(i types.Image) []string { return []string{string(i.Architecture)} },
		"block-device-mapping.delete-on-termination": func(i types.Image) []string {
			return deviceValues(i, func(e *types.EbsBlockDevice) string {
				return strconv.FormatBool(aws.ToBool(e.DeleteOnTermination))
			})
		},
		"block-device-mapping.device-name": func(i types.Image) (names []string) {
			for _, device := range i.BlockDeviceMappings {
				names = append(names, aws.ToString(device.DeviceName))
			}
			return names
		},
		"block-device-mapping.encrypted": func(i types.Image) []string {
			return deviceValues(i, func(e *types.EbsBlockDevice) string { return strconv.FormatBool(aws.ToBool(e.Encrypted)) })
		},
		"block-device-mapping.snapshot-id": func(i types.Image) []string {
			return deviceValues(i, func(e *types.EbsBlockDevice) string { return aws.ToString(e.SnapshotId) })
		},
		"block-device-mapping.volume-size": func(i types.Image) []string {
			return deviceValues(i, func(e *types.EbsBlockDevice) string { return strconv.Itoa(int(aws.ToInt32(e.VolumeSize))) })
		},
		"block-device-mapping.volume-type": func(i types.Image) []string {
			return deviceValues(i, func(e *types.EbsBlockDevice) string { return string(e.VolumeType) })
		},
		"creation-date":     func(i types.Image) []string { return optionalValues(i.CreationDate) },
		"description":       func(i types.Image) []string { return optionalValues(i.Description) },
		"ena-support":       func(i types.Image) []string { return []string{strconv.FormatBool(aws.ToBool(i.EnaSupport))} },
		"hypervisor":        func(i types.Image) []string { return []string{string(i.Hypervisor)} },
		"image-id":          func(i types.Image) []string { return optionalValues(i.ImageId) },
		"image-type":        func(i types.Image) []string { return []string{string(i.ImageType)} },
		"is-public":         func(i types.Image) []string { return []string{strconv.FormatBool(*i.Public)} },
		"kernel-id":         func(i types.Image) []string { return optionalValues(i.KernelId) },
		"manifest-location": func(i types.Image) []string { return optionalValues(i.ImageLocation) },
		"name":              func(i types.Image) []string { return optionalValues(i.Name) },
		"owner-alias":       func(i types.Image) []string { return optionalValues(i.ImageOwnerAlias) },
		"owner-id":          func(i types.Image) []string { return optionalValues(i.OwnerId) },
		"platform":          func(i types.Image) []string { return []string{string(i.Platform)} },
		"product-code": func(i types.Image) []string {
			return productCodeValues(i, func(p types.ProductCode) string { return *p.ProductCodeId })
		},
		"product-code.type": func(i types.Image) []string {
			return productCodeValues(i, func(p types.ProductCode) string { return string(p.ProductCodeType) })
		},
		"ramdisk-id":           func(i types.Image) []string { return optionalValues(i.RamdiskId) },
		"root-device-name":     func(i types.Image) []string { return optionalValues(i.RootDeviceName) },
		"root-device-type":     func(i types.Image) []string { return []string{string(i.RootDeviceType)} },
		"source-image-id":      func(i types.Image) []string { return optionalValues(i.SourceImageId) },
		"source-image-region":  func(i types.Image) []string { return optionalValues(i.SourceImageRegion) },
		"source-instance-id":   func(i types.Image) []string { return optionalValues(i.SourceInstanceId) },
		"sriov-net-support":    func(i types.Image) []string { return optionalValues(i.SriovNetSupport) },
		"state":                func(i types.Image) []string { return []string{string(i.State)} },
		"usage-operation":      func(i types.Image) []string { return optionalValues(i.UsageOperation) },
		"virtualization-type":  func(i types.Image) []string { return []string{string(i.VirtualizationType)} },
		"state-reason-message": func(i types.Image) []string { return reasonValues(i.StateReason) },
	},
}

func deviceValues(i types.Image, value func(*types.EbsBlockDevice) string) (all []string) {
	for _, device := range i.BlockDeviceMappings {
		if device.Ebs != nil {
			all = append(all, value(device.Ebs))
		}
	}
	return all
}

func productCodeValues(i types.Image, value func(types.ProductCode) string) (all []string) {
	for _, code := range i.ProductCodes {
		all = append(all, value(code))
	}
	return all
}

func reasonValues(reason *types.StateReason) []string {
	if reason == nil {
		return nil
	}
	return optionalValues(reason.Message)
}
