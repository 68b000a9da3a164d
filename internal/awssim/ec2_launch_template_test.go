// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// createLaunchTemplate creates a launch template with data as its first version.
func (f fixture) createLaunchTemplate(data *types.RequestLaunchTemplateData) string {
	f.Helper()
	created := requireOutput(f.ec2.CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("fleet"), LaunchTemplateData: data,
	}))(f)
	return *created.LaunchTemplate.LaunchTemplateId
}

// TestCreateLaunchTemplateVersion_sourceVersion covers rule A.4.12. The image of a version is not checked. It is
// inherited only from an explicit source version.
func TestCreateLaunchTemplateVersion_sourceVersion(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.createLaunchTemplate(&types.RequestLaunchTemplateData{
			ImageId: aws.String("ami-00000000000000001"), InstanceType: types.InstanceTypeT3Nano,
		})

		for version, row := range map[string]struct {
			source *string
			image  string
		}{"inherits": {aws.String("1"), "ami-00000000000000001"}, "stands alone": {nil, ""}} {
			created := requireOutput(f.ec2.CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{
				LaunchTemplateId: &id, SourceVersion: row.source,
				LaunchTemplateData: &types.RequestLaunchTemplateData{
					MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{
						HttpTokens: types.LaunchTemplateHttpTokensStateRequired,
					},
				},
			}))(f).LaunchTemplateVersion
			if got := aws.ToString(created.LaunchTemplateData.ImageId); got != row.image || *created.DefaultVersion {
				t.Errorf("%s: image %q, default %t", version, got, *created.DefaultVersion)
			}
			if created.LaunchTemplateData.MetadataOptions.HttpTokens != types.LaunchTemplateHttpTokensStateRequired {
				t.Errorf("%s: metadata options %+v", version, created.LaunchTemplateData.MetadataOptions)
			}
		}
	})
}

// TestCreateLaunchTemplateVersion_clientToken covers rule 4.2.3. A client token makes a call idempotent.
func TestCreateLaunchTemplateVersion_clientToken(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.createLaunchTemplate(&types.RequestLaunchTemplateData{InstanceType: types.InstanceTypeT3Nano})
		in := &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: &id, ClientToken: aws.String("release-1"), LaunchTemplateData: &types.RequestLaunchTemplateData{
				InstanceType: types.InstanceTypeT3Micro,
			},
		}

		for range 2 {
			n := *requireOutput(f.ec2.CreateLaunchTemplateVersion(f.Context(), in))(f).LaunchTemplateVersion.VersionNumber
			if n != 2 {
				t.Errorf("version %d", n)
			}
		}

		in.LaunchTemplateData.InstanceType = types.InstanceTypeT3Small
		_, err := f.ec2.CreateLaunchTemplateVersion(f.Context(), in)
		requireErrorCode(t, err, "IdempotentParameterMismatch")
	})
}

// TestRunInstances_fromTemplate shows that a launch takes missing parameters from its template, by default from the
// default version.
func TestRunInstances_fromTemplate(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		old, fresh := f.createImage(""), f.createImage("")
		id := f.createLaunchTemplate(&types.RequestLaunchTemplateData{ImageId: &old, InstanceType: types.InstanceTypeT3Nano})
		requireOutput(f.ec2.CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: &id, SourceVersion: aws.String("$Default"), LaunchTemplateData: &types.RequestLaunchTemplateData{
				ImageId: &fresh,
			},
		}))(f)

		launched := func(version string) string {
			in := &ec2.RunInstancesInput{
				LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: &id}, MinCount: aws.Int32(1),
				MaxCount: aws.Int32(1),
			}
			if version != "" {
				in.LaunchTemplate.Version = &version
			}
			return *requireOutput(f.ec2.RunInstances(f.Context(), in))(f).Instances[0].ImageId
		}
		if launched("") != old || launched("$Latest") != fresh || launched("2") != fresh {
			t.Error("a version was mistaken for another")
		}

		time.Sleep(time.Minute)
		requireOutput(f.ec2.ModifyLaunchTemplate(f.Context(), &ec2.ModifyLaunchTemplateInput{
			LaunchTemplateId: &id, DefaultVersion: aws.String("2"),
		}))(f)

		if launched("") != fresh {
			t.Error("the new default version is not followed")
		}

		seen := requireOutput(f.ec2.DescribeLaunchTemplates(f.Context(), &ec2.DescribeLaunchTemplatesInput{
			LaunchTemplateNames: []string{"fleet"},
		}))(f).LaunchTemplates[0]
		if *seen.DefaultVersionNumber != 2 || *seen.LatestVersionNumber != 2 {
			t.Errorf("default %d, latest %d", *seen.DefaultVersionNumber, *seen.LatestVersionNumber)
		}

		versions := requireOutput(f.ec2.DescribeLaunchTemplateVersions(
			f.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id, Versions: []string{"$Latest"}},
		))(f)

		got := versions.LaunchTemplateVersions
		if len(got) != 1 || !*got[0].DefaultVersion || *got[0].LaunchTemplateData.ImageId != fresh {
			t.Errorf("latest version %+v", got)
		}
	})
}

// TestRunInstances_templateWithoutImage covers rule A.4.12. EC2 does not check the image of a launch template, and a
// version inherits only from its source version.
func TestRunInstances_templateWithoutImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.createLaunchTemplate(&types.RequestLaunchTemplateData{InstanceType: types.InstanceTypeT3Micro})
		_, err := f.ec2.RunInstances(f.Context(), &ec2.RunInstancesInput{
			LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: &id},
			MinCount:       aws.Int32(1),
			MaxCount:       aws.Int32(1),
			DryRun:         aws.Bool(true),
		})
		requireErrorCode(t, err, "MissingParameter")
	})
}

func TestDescribeLaunchTemplateVersions_byImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		old, fresh := f.createImage(""), f.createImage("")
		id := f.createLaunchTemplate(&types.RequestLaunchTemplateData{ImageId: &old})
		requireOutput(f.ec2.CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: &id, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &fresh},
		}))(f)

		out := requireOutput(f.ec2.DescribeLaunchTemplateVersions(f.Context(),
			&ec2.DescribeLaunchTemplateVersionsInput{
				LaunchTemplateId: &id,
				Filters:          []types.Filter{{Name: aws.String("image-id"), Values: []string{fresh}}},
			}))(f)
		if len(out.LaunchTemplateVersions) != 1 || *out.LaunchTemplateVersions[0].VersionNumber != 2 {
			t.Errorf("found %+v", out.LaunchTemplateVersions)
		}
	})
}
