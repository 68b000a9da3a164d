// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestDescribeRegions_optIn covers rule 5.8. An opt-in Region must be enabled before the account can use it.
func TestDescribeRegions_optIn(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		const optIn = "eu-south-1"
		listed := func() bool {
			return slices.ContainsFunc(
				requireOutput(f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f).Regions,
				func(r types.Region) bool { return *r.RegionName == optIn },
			)
		}

		remote := ec2.NewFromConfig(f.world.Config(owner, optIn), withoutEC2Retries)
		_, err := remote.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{})
		requireErrorCode(t, err, "AuthFailure")
		if listed() {
			t.Error("a Region that is not enabled is listed")
		}

		f.world.EnableRegion(owner, optIn)
		requireOutput(remote.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{}))(f)
		if !listed() {
			t.Error("an enabled Region is not listed")
		}

		_, err = ec2.NewFromConfig(f.world.Config(member, optIn), withoutEC2Retries).DescribeVolumes(
			f.Context(), &ec2.DescribeVolumesInput{},
		)

		requireErrorCode(t, err, "AuthFailure")
	})
}

func TestNetwork_defaultVPC(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		vpcs := requireOutput(f.ec2.DescribeVpcs(f.Context(), &ec2.DescribeVpcsInput{
			Filters: []types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}},
		}))(f).Vpcs

		subnets := requireOutput(f.ec2.DescribeSubnets(f.Context(), &ec2.DescribeSubnetsInput{
			Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{*vpcs[0].VpcId}}},
		}))(f).Subnets

		zones := requireOutput(f.ec2.DescribeAvailabilityZones(
			f.Context(), &ec2.DescribeAvailabilityZonesInput{},
		))(f).AvailabilityZones
		if len(vpcs) != 1 || len(subnets) != len(zones) || *zones[0].ZoneName != home+"a" {
			t.Errorf("%d VPCs, %d subnets, %d zones", len(vpcs), len(subnets), len(zones))
		}

		_, err := f.ec2.DescribeVpcs(f.Context(), &ec2.DescribeVpcsInput{
			Filters: []types.Filter{{Name: aws.String("no-such-filter"), Values: []string{"x"}}},
		})

		requireErrorCode(t, err, "InvalidParameterValue")
	})
}

// TestNetwork_temporaryBuildResources creates and deletes what the amazon-ebs builder needs besides an instance.
func TestNetwork_temporaryBuildResources(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		pair := requireOutput(f.ec2.CreateKeyPair(f.Context(), &ec2.CreateKeyPairInput{
			KeyName: aws.String("packer"), KeyType: types.KeyTypeEd25519,
		}))(f)
		if *pair.KeyMaterial == "" {
			t.Error("no private key")
		}

		group := requireOutput(f.ec2.CreateSecurityGroup(f.Context(), &ec2.CreateSecurityGroupInput{
			GroupName: aws.String("packer"), Description: aws.String("temporary"),
		}))(f)

		requireOutput(f.ec2.AuthorizeSecurityGroupIngress(f.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: group.GroupId, IpPermissions: []types.IpPermission{{
				FromPort:   aws.Int32(22),
				ToPort:     aws.Int32(22),
				IpProtocol: aws.String("tcp"),
				IpRanges:   []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
			}},
		}))(f)

		id := f.launch(f.ec2, f.createImage(""), func(in *ec2.RunInstancesInput) {
			in.KeyName = aws.String("packer")
			in.SecurityGroupIds = []string{*group.GroupId}
			in.SubnetId = aws.String("")
			in.UserData = aws.String("")
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("")}
			in.Placement = &types.Placement{AvailabilityZone: aws.String("")}
			in.TagSpecifications = []types.TagSpecification{
				{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("for"), Value: aws.String("build")}}},
			}
		})

		time.Sleep(time.Minute)
		if tags := f.rootVolume(f.ec2, id).Tags; len(tags) != 1 || *tags[0].Key != "for" {
			t.Errorf("tags of the volume: %v", tags)
		}

		_, err := f.ec2.DeleteSecurityGroup(f.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
		requireErrorCode(t, err, "DependencyViolation")
		requireOutput(f.ec2.StopInstances(f.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		if state := f.describeInstance(f.ec2, id).State.Name; state != types.InstanceStateNameStopped {
			t.Errorf("the instance is %s", state)
		}

		requireOutput(f.ec2.TerminateInstances(f.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(f)
		time.Sleep(time.Minute)
		requireOutput(f.ec2.DeleteSecurityGroup(f.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId}))(f)
		requireOutput(f.ec2.DeleteKeyPair(f.Context(), &ec2.DeleteKeyPairInput{KeyName: aws.String("packer")}))(f)
		pairs := requireOutput(f.ec2.DescribeKeyPairs(f.Context(), &ec2.DescribeKeyPairsInput{}))(f).KeyPairs
		if len(pairs) != 0 {
			t.Errorf("key pairs are left: %v", pairs)
		}
	})
}

// TestRunInstances_withoutDefaultVPC covers rule B.12.1. A launch without a subnet needs a default VPC.
func TestRunInstances_withoutDefaultVPC(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		f.world.RemoveDefaultVPC(owner, home)
		_, err := f.ec2.RunInstances(f.Context(), oneInstance(image))
		requireErrorCode(f, err, "VPCIdNotSpecified")
		vpcs := requireOutput(f.ec2.DescribeVpcs(f.Context(), &ec2.DescribeVpcsInput{}))(f).Vpcs
		expectEqual(f, "the VPCs", len(vpcs), 0)
		attributes := requireOutput(f.ec2.DescribeAccountAttributes(f.Context(), &ec2.DescribeAccountAttributesInput{
			AttributeNames: []types.AccountAttributeName{types.AccountAttributeNameDefaultVpc},
		}))(f).AccountAttributes
		expectEqual(f, "the default VPC", *attributes[0].AttributeValues[0].AttributeValue, "none")
	})
}

// TestRunInstances_macNeedsHost covers rules B.12.2 and B.12.3. Mac instances run on dedicated hosts only. A launch
// on a dedicated host needs an allocated host of the instance type.
func TestRunInstances_macNeedsHost(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("", func(in *ec2.RegisterImageInput) {
			in.Architecture = types.ArchitectureValuesArm64Mac
		})
		in := oneInstance(image)
		in.InstanceType = "mac2.metal"
		_, err := f.ec2.RunInstances(f.Context(), in)
		requireErrorCode(f, err, "Unsupported") // B.12.2
		in.Placement = &types.Placement{Tenancy: types.TenancyHost}
		_, err = f.ec2.RunInstances(f.Context(), in)
		requireErrorCode(f, err, "InsufficientHostCapacity") // B.12.3
		f.world.AllocateHost(owner, home, "mac2.metal")
		created := requireOutput(f.ec2.RunInstances(f.Context(), in))(f).Instances[0]
		expectEqual(f, "the tenancy", created.Placement.Tenancy, types.TenancyHost)
	})
}
