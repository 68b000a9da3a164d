// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
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
