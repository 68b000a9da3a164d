// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestAttachImageWatermark_limits covers rules 9.17 and 9.27: names, the number, and a second attachment.
func TestAttachImageWatermark_limits(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		attach := func(name string) error {
			_, err := f.ec2.AttachImageWatermark(
				f.Context(), &ec2.AttachImageWatermarkInput{ImageId: &image, WatermarkName: &name},
			)
			return err
		}

		for _, name := range []string{"ab", "golden:1", strings.Repeat("a", 129)} {
			requireErrorCode(f, attach(name), "InvalidParameterValue")
		}
		for _, name := range []string{"abc", "abc", "b (1)", "c[1]", "d/e", "f.g@h'i_j-k"} {
			requireNoError(0, attach(name))(f)
		}
		requireErrorCode(f, attach("the sixth"), "ResourceLimitExceeded")
		expectEqual(f, "watermarks", len(f.describeImage(f.ec2, image).ImageWatermarks), 5)
	})
}

// TestAllowedImages_watermarkFilters covers rule 9.28. All fields of one filter match one watermark, and one filter is
// enough.
func TestAllowedImages_watermarkFilters(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		f.shareImage(image)
		for _, name := range []string{"golden", "hardened"} {
			requireOutput(f.ec2.AttachImageWatermark(
				f.Context(), &ec2.AttachImageWatermarkInput{ImageId: &image, WatermarkName: &name},
			))(f)
			time.Sleep(3 * 24 * time.Hour)
		}

		others := f.ec2At(member, home)
		requireOutput(others.EnableAllowedImagesSettings(f.Context(), &ec2.EnableAllowedImagesSettingsInput{
			AllowedImagesSettingsState: types.AllowedImagesSettingsEnabledStateEnabled,
		}))(f)
		key := func(name string) types.ImageWatermarkFilterRequest {
			return types.ImageWatermarkFilterRequest{WatermarkKey: &name}
		}
		days := func(filter types.ImageWatermarkFilterRequest, since int32) types.ImageWatermarkFilterRequest {
			filter.MaximumDaysSinceWatermarkCreated = &since
			return filter
		}

		type filters []types.ImageWatermarkFilterRequest
		for _, c := range []struct {
			filters   filters
			isAllowed bool
		}{
			{nil, true},
			{filters{key(owner + ":golden")}, true},
			{filters{key("*:gold?n")}, true},
			{filters{key(owner + ":gold")}, false},
			{filters{key(member + ":golden"), key("*:hardened")}, true},
			{filters{days(key("*:hardened"), 4)}, true},
			{filters{days(key("*:golden"), 4)}, false}, // only the other one is young enough
			{filters{{SourceImageRegion: aws.String(home)}}, true},
			{filters{{SourceImageRegion: aws.String("eu-*")}}, false},
			{filters{{MaximumDaysSinceSourceImageCreated: aws.Int32(30)}}, true},
			{filters{{MaximumDaysSinceSourceImageCreated: aws.Int32(5)}}, false},
		} {
			requireOutput(others.ReplaceImageCriteriaInAllowedImagesSettings(f.Context(),
				&ec2.ReplaceImageCriteriaInAllowedImagesSettingsInput{
					ImageCriteria: []types.ImageCriterionRequest{{ImageProviders: []string{owner}, ImageWatermarks: c.filters}},
				}))(f)
			_, err := others.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
			if (err == nil) != c.isAllowed {
				t.Errorf("filters %+v: got %v, want that the image is allowed: %t", c.filters, err, c.isAllowed)
			}
		}

		settings := requireOutput(others.GetAllowedImagesSettings(f.Context(), &ec2.GetAllowedImagesSettingsInput{}))(f)
		stored := settings.ImageCriteria[0].ImageWatermarks[0]
		expectEqual(f, "days of the stored filter", aws.ToInt32(stored.MaximumDaysSinceSourceImageCreated), 5)
	})
}
