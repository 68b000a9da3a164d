// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestEnableFastLaunch_onlyWindowsImages covers rule 9.0.
// Fast launch is for Windows images, with six launches at once or more (9.0).
func TestEnableFastLaunch_onlyWindowsImages(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		linux := ok(b.register(b.ec2, b.snapshot("")))(b)
		windows := b.rebuilt(b.vendorImage("801119661308", "bp-0002"))
		enable := func(image string, launches int32) error {
			_, err := b.ec2.EnableFastLaunch(b.Context(), &ec2.EnableFastLaunchInput{ImageId: &image, MaxParallelLaunches: aws.Int32(launches)})
			return err
		}
		requireErrorCode(b, enable(linux, 6), "InvalidParameterValue")
		requireErrorCode(b, enable(windows, 5), "InvalidParameterValue")
		if err := enable(windows, 6); err != nil {
			t.Fatal(err)
		}
		seen := ok(b.ec2.DescribeFastLaunchImages(b.Context(), &ec2.DescribeFastLaunchImagesInput{}))(b).FastLaunchImages
		if len(seen) != 1 || *seen[0].ImageId != windows || seen[0].State != types.FastLaunchStateCodeEnabling || *seen[0].MaxParallelLaunches != 6 {
			t.Errorf("fast launch of %+v, want it of %s alone", seen, windows)
		}
	})
}
