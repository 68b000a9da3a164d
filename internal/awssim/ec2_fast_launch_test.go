// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestEnableFastLaunch_onlyWindowsImages covers rule 9.0. Fast launch needs a Windows image and at least six parallel
// launches.
func TestEnableFastLaunch_onlyWindowsImages(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		linux := requireOutput(f.registerImage(f.ec2, f.createSnapshot("")))(f)
		windows := f.rebuildImage(f.createVendorImage("801119661308", "bp-0002"))
		enable := func(image string, launches int32) error {
			_, err := f.ec2.EnableFastLaunch(f.Context(), &ec2.EnableFastLaunchInput{
				ImageId: &image, MaxParallelLaunches: aws.Int32(launches),
			})
			return err
		}

		requireErrorCode(f, enable(linux, 6), "InvalidParameterValue")
		requireErrorCode(f, enable(windows, 5), "InvalidParameterValue")
		if err := enable(windows, 6); err != nil {
			t.Fatal(err)
		}

		seen := requireOutput(f.ec2.DescribeFastLaunchImages(
			f.Context(), &ec2.DescribeFastLaunchImagesInput{},
		))(f).FastLaunchImages
		if len(seen) != 1 || *seen[0].ImageId != windows || seen[0].State != types.FastLaunchStateCodeEnabling ||
			*seen[0].MaxParallelLaunches != 6 {
			t.Errorf("fast launch of %+v, want it of %s alone", seen, windows)
		}
	})
}
