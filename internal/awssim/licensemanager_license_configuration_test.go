// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager/types"
)

// TestLicenseConfiguration_associateImage shows that an account associates its own images with its own license
// configurations. Lists have pages.
func TestLicenseConfiguration_associateImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		manager := licensemanager.NewFromConfig(f.world.Config(owner, home))
		image := "arn:aws:ec2:" + home + "::image/" + requireOutput(f.registerImage(f.ec2, f.createSnapshot("")))(f)
		license := func() string {
			created := requireOutput(manager.CreateLicenseConfiguration(
				f.Context(),
				&licensemanager.CreateLicenseConfigurationInput{
					Name: aws.String("cores"), LicenseCountingType: types.LicenseCountingTypeCore,
				},
			))(f)
			return *created.LicenseConfigurationArn
		}

		update := func(image string, in licensemanager.UpdateLicenseSpecificationsForResourceInput, add ...string) error {
			in.ResourceArn = &image
			for _, arn := range add {
				in.AddLicenseSpecifications = append(in.AddLicenseSpecifications, types.LicenseSpecification{
					LicenseConfigurationArn: aws.String(arn),
				})
			}
			_, err := manager.UpdateLicenseSpecificationsForResource(f.Context(), &in)
			return err
		}

		first, second := license(), license()
		var none licensemanager.UpdateLicenseSpecificationsForResourceInput
		requireErrorCode(f, update(image, none, first[:len(first)-4]+"ffff"), "InvalidParameterValueException")
		requireErrorCode(f, update(strings.Replace(image, "ami-", "ami-0", 1), none, first), "InvalidParameterValueException")
		requireErrorCode(f, update(image, none), "UnsupportedOperation")
		requireErrorCode(
			f,
			update(image, licensemanager.UpdateLicenseSpecificationsForResourceInput{
				RemoveLicenseSpecifications: []types.LicenseSpecification{{LicenseConfigurationArn: &first}},
			}),
			"UnsupportedOperation",
		)

		for _, arn := range []string{second, first, second} {
			if err := update(image, none, arn); err != nil {
				t.Fatal(err)
			}
		}

		var seen []string
		in := &licensemanager.ListLicenseSpecificationsForResourceInput{ResourceArn: &image}
		for more := true; more; more = in.NextToken != nil {
			out := requireOutput(manager.ListLicenseSpecificationsForResource(f.Context(), in))(f)
			for _, has := range out.LicenseSpecifications {
				seen = append(seen, *has.LicenseConfigurationArn)
			}
			in.NextToken = out.NextToken
		}

		want := []string{first, second}
		if slices.Sort(want); !slices.Equal(seen, want) {
			t.Errorf("associated with %v, want %v", seen, want)
		}
	})
}
