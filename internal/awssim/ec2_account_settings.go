// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var settingOperations = []namedOperation{
	newOperation((*World).getEbsEncryptionByDefault),
	newOperation((*World).enableEbsEncryptionByDefault),
	newOperation((*World).disableEbsEncryptionByDefault),
	newOperation((*World).getEbsDefaultKmsKeyID),
	newOperation((*World).modifyEbsDefaultKmsKeyID),
	newOperation((*World).resetEbsDefaultKmsKeyID),
	newOperation((*World).getSnapshotBlockPublicAccessState),
	newOperation((*World).enableSnapshotBlockPublicAccess),
	newOperation((*World).disableSnapshotBlockPublicAccess),
	newOperation((*World).getImageBlockPublicAccessState),
	newOperation((*World).enableImageBlockPublicAccess),
	newOperation((*World).disableImageBlockPublicAccess),
	newOperation((*World).getAllowedImagesSettings),
	newOperation((*World).enableAllowedImagesSettings),
	newOperation((*World).disableAllowedImagesSettings),
	newOperation((*World).replaceImageCriteriaInAllowedImagesSettings),
}

// settings holds the EC2 settings of an account in a Region.
type settings struct {
	encryptByDefault bool
	defaultKey       string // ARN of the EBS default key; empty for aws/ebs
	blockSnapshots   types.SnapshotBlockPublicAccessState
	imagesBlocked    *bool // nil for the default of the account
	allowedImages    types.AllowedImagesSettingsEnabledState
	imageCriteria    []types.ImageCriterion
}

// settingsOf returns the settings of an account in a Region. It creates them at first use.
func (w *World) settingsOf(loc location) *settings {
	created, ok := w.accountSettings[loc]
	if !ok {
		created = &settings{blockSnapshots: types.SnapshotBlockPublicAccessStateUnblocked}
		w.accountSettings[loc] = created
	}
	return created
}

// blocksPublicImages reports whether images cannot be made public. New accounts block public images from the start
// (rule 2.2.13). Publishers of public images do not.
func (s *settings) blocksPublicImages(account string) bool {
	if s.imagesBlocked == nil {
		return ownerAlias(account) == nil
	}
	return *s.imagesBlocked
}

// authorizeSettings authorizes a call on a setting, which has no resource, and returns the settings.
func (w *World) authorizeSettings(c *Call) (*settings, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}
	return w.settingsOf(c.location()), nil
}

func (w *World) getEbsEncryptionByDefault(
	c *Call, _ *ec2.GetEbsEncryptionByDefaultInput,
) (*ec2.GetEbsEncryptionByDefaultOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	out := &ec2.GetEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: &s.encryptByDefault, SseType: types.SSETypeNone}
	if s.encryptByDefault {
		out.SseType = types.SSETypeSseKms
	}
	return out, nil
}

func (w *World) enableEbsEncryptionByDefault(
	c *Call, _ *ec2.EnableEbsEncryptionByDefaultInput,
) (*ec2.EnableEbsEncryptionByDefaultOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.encryptByDefault = true
	return &ec2.EnableEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: aws.Bool(true)}, nil
}

func (w *World) disableEbsEncryptionByDefault(
	c *Call, _ *ec2.DisableEbsEncryptionByDefaultInput,
) (*ec2.DisableEbsEncryptionByDefaultOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.encryptByDefault = false
	return &ec2.DisableEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: aws.Bool(false)}, nil
}

// defaultKeyName returns the EBS default key as the API shows it: an alias if no key was set, otherwise an ARN (rule
// 1.7.1).
func (w *World) defaultKeyName(c *Call, s *settings) *string {
	if w.violates(c, "1.7.1", s.defaultKey == "") {
		return aws.String("alias/aws/ebs")
	}
	return w.ebsDefaultKey(c.location()).Arn
}

func (w *World) getEbsDefaultKmsKeyID(
	c *Call, _ *ec2.GetEbsDefaultKmsKeyIdInput,
) (*ec2.GetEbsDefaultKmsKeyIdOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	return &ec2.GetEbsDefaultKmsKeyIdOutput{KmsKeyId: w.defaultKeyName(c, s)}, nil
}

func (w *World) modifyEbsDefaultKmsKeyID(
	c *Call, in *ec2.ModifyEbsDefaultKmsKeyIdInput,
) (*ec2.ModifyEbsDefaultKmsKeyIdOutput, error) {
	if in.KmsKeyId == nil {
		return nil, missingParameter("KmsKeyId")
	}

	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}

	found, ok := w.findKeyInRegion(c, *in.KmsKeyId)
	if w.violates(c, "1.7.4", !ok || !isSymmetric(found)) || !ok {
		return nil, badRequest("InvalidParameterValue", "The specified keyId %s is invalid", *in.KmsKeyId)
	}

	s.defaultKey = *found.Arn
	return &ec2.ModifyEbsDefaultKmsKeyIdOutput{KmsKeyId: found.Arn}, nil
}

func (w *World) resetEbsDefaultKmsKeyID(
	c *Call, _ *ec2.ResetEbsDefaultKmsKeyIdInput,
) (*ec2.ResetEbsDefaultKmsKeyIdOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.defaultKey = ""
	return &ec2.ResetEbsDefaultKmsKeyIdOutput{KmsKeyId: w.defaultKeyName(c, s)}, nil
}

func (w *World) getSnapshotBlockPublicAccessState(
	c *Call, _ *ec2.GetSnapshotBlockPublicAccessStateInput,
) (*ec2.GetSnapshotBlockPublicAccessStateOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	return &ec2.GetSnapshotBlockPublicAccessStateOutput{State: s.blockSnapshots, ManagedBy: types.ManagedByAccount}, nil
}

func (w *World) enableSnapshotBlockPublicAccess(
	c *Call, in *ec2.EnableSnapshotBlockPublicAccessInput,
) (*ec2.EnableSnapshotBlockPublicAccessOutput, error) {
	if in.State != types.SnapshotBlockPublicAccessStateBlockAllSharing &&
		in.State != types.SnapshotBlockPublicAccessStateBlockNewSharing {
		return nil, missingParameter("State")
	}

	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}

	s.blockSnapshots = in.State
	return &ec2.EnableSnapshotBlockPublicAccessOutput{State: in.State}, nil
}

func (w *World) disableSnapshotBlockPublicAccess(
	c *Call, _ *ec2.DisableSnapshotBlockPublicAccessInput,
) (*ec2.DisableSnapshotBlockPublicAccessOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.blockSnapshots = types.SnapshotBlockPublicAccessStateUnblocked
	return &ec2.DisableSnapshotBlockPublicAccessOutput{State: s.blockSnapshots}, nil
}

func (w *World) getImageBlockPublicAccessState(
	c *Call, _ *ec2.GetImageBlockPublicAccessStateInput,
) (*ec2.GetImageBlockPublicAccessStateOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}

	state := "unblocked"
	if s.blocksPublicImages(c.location().account) {
		state = "block-new-sharing"
	}

	return &ec2.GetImageBlockPublicAccessStateOutput{
		ImageBlockPublicAccessState: &state, ManagedBy: types.ManagedByAccount,
	}, nil
}

func (w *World) enableImageBlockPublicAccess(
	c *Call, _ *ec2.EnableImageBlockPublicAccessInput,
) (*ec2.EnableImageBlockPublicAccessOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.imagesBlocked = aws.Bool(true)
	return &ec2.EnableImageBlockPublicAccessOutput{
		ImageBlockPublicAccessState: types.ImageBlockPublicAccessEnabledStateBlockNewSharing,
	}, nil
}

func (w *World) disableImageBlockPublicAccess(
	c *Call, _ *ec2.DisableImageBlockPublicAccessInput,
) (*ec2.DisableImageBlockPublicAccessOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.imagesBlocked = aws.Bool(false)
	return &ec2.DisableImageBlockPublicAccessOutput{
		ImageBlockPublicAccessState: types.ImageBlockPublicAccessDisabledStateUnblocked,
	}, nil
}

func (w *World) getAllowedImagesSettings(
	c *Call, _ *ec2.GetAllowedImagesSettingsInput,
) (*ec2.GetAllowedImagesSettingsOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}

	state := string(s.allowedImages)
	if state == "" {
		state = "disabled"
	}

	return &ec2.GetAllowedImagesSettingsOutput{
		State: &state, ImageCriteria: s.imageCriteria, ManagedBy: types.ManagedByAccount,
	}, nil
}

func (w *World) enableAllowedImagesSettings(
	c *Call, in *ec2.EnableAllowedImagesSettingsInput,
) (*ec2.EnableAllowedImagesSettingsOutput, error) {
	if in.AllowedImagesSettingsState == "" {
		return nil, missingParameter("AllowedImagesSettingsState")
	}
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.allowedImages = in.AllowedImagesSettingsState
	return &ec2.EnableAllowedImagesSettingsOutput{AllowedImagesSettingsState: s.allowedImages}, nil
}

func (w *World) disableAllowedImagesSettings(
	c *Call, _ *ec2.DisableAllowedImagesSettingsInput,
) (*ec2.DisableAllowedImagesSettingsOutput, error) {
	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}
	s.allowedImages = ""
	return &ec2.DisableAllowedImagesSettingsOutput{
		AllowedImagesSettingsState: types.AllowedImagesSettingsDisabledStateDisabled,
	}, nil
}

func (w *World) replaceImageCriteriaInAllowedImagesSettings(
	c *Call, in *ec2.ReplaceImageCriteriaInAllowedImagesSettingsInput,
) (*ec2.ReplaceImageCriteriaInAllowedImagesSettingsOutput, error) {
	for _, criterion := range in.ImageCriteria {
		if err := refuseUnmodeled(&criterion, "ImageProviders", "ImageNames", "ImageWatermarks"); err != nil {
			return nil, err
		}
	}

	s, err := w.authorizeSettings(c)
	if err != nil {
		return nil, err
	}

	s.imageCriteria = nil
	for _, criterion := range in.ImageCriteria {
		stored := types.ImageCriterion{ImageProviders: criterion.ImageProviders, ImageNames: criterion.ImageNames}
		for _, filter := range criterion.ImageWatermarks {
			stored.ImageWatermarks = append(stored.ImageWatermarks, types.ImageWatermarkFilterResponse(filter))
		}
		s.imageCriteria = append(s.imageCriteria, stored)
	}

	return &ec2.ReplaceImageCriteriaInAllowedImagesSettingsOutput{ReturnValue: aws.Bool(true)}, nil
}

// meetsImageCriteria reports whether an image of another account meets one of the criteria of Allowed AMIs. An image
// must match every member of a criterion. No image matches the provider "none".
func (w *World) meetsImageCriteria(c *Call, loc location, i *image) bool {
	return slices.ContainsFunc(w.settingsOf(loc).imageCriteria, func(one types.ImageCriterion) bool {
		provided := len(one.ImageProviders) == 0 || slices.ContainsFunc(one.ImageProviders, func(owner string) bool {
			return matchesOwner(i.location.account, owner, loc.account)
		})
		called := len(one.ImageNames) == 0 ||
			slices.ContainsFunc(one.ImageNames, func(name string) bool { return matchesWildcard(name, *i.attributes.Name) })
		return provided && called && !w.violates(c, "9.28", !i.meetsWatermarkFilters(one.ImageWatermarks, c.At))
	})
}

// meetsWatermarkFilters reports whether one watermark of an image matches all fields of a filter (rule 9.28). Without
// filters, every image does.
func (i *image) meetsWatermarkFilters(filters []types.ImageWatermarkFilterResponse, now time.Time) bool {
	isYoung := func(since *time.Time, days *int32) bool {
		return days == nil || now.Sub(aws.ToTime(since)) <= time.Duration(*days)*24*time.Hour
	}
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f types.ImageWatermarkFilterResponse) bool {
		return slices.ContainsFunc(i.attributes.ImageWatermarks, func(has types.ImageWatermark) bool {
			return (f.WatermarkKey == nil || matchesWildcard(*f.WatermarkKey, aws.ToString(has.WatermarkKey))) &&
				(f.SourceImageRegion == nil || matchesWildcard(*f.SourceImageRegion, aws.ToString(has.SourceImageRegion))) &&
				isYoung(has.WatermarkCreationTime, f.MaximumDaysSinceWatermarkCreated) &&
				isYoung(has.SourceImageCreationTime, f.MaximumDaysSinceSourceImageCreated)
		})
	})
}

// isHiddenByAllowedImages reports whether Allowed AMIs hides an image from an account. It never hides the account's own
// images (rule 2.2.14).
func (w *World) isHiddenByAllowedImages(c *Call, loc location, i *image) bool {
	return i.location.account != loc.account &&
		w.settingsOf(loc).allowedImages == types.AllowedImagesSettingsEnabledStateEnabled && !w.meetsImageCriteria(c, loc, i)
}
