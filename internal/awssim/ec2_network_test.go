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

// TestDescribeRegions_optIn covers rule 5.8.
// An opt-in Region works for an account when it has enabled it, and is listed then (5.8).
func TestDescribeRegions_optIn(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		const optIn = "eu-south-1"
		listed := func() bool {
			return slices.ContainsFunc(ok(b.ec2.DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{}))(b).Regions, func(r types.Region) bool { return *r.RegionName == optIn })
		}
		there := ec2.NewFromConfig(b.world.Config(owner, optIn), noRetries)
		_, err := there.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{})
		requireErrorCode(t, err, "AuthFailure")
		if listed() {
			t.Error("a Region that is not enabled is listed")
		}
		b.world.EnableRegion(owner, optIn)
		ok(there.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{}))(b)
		if !listed() {
			t.Error("an enabled Region is not listed")
		}
		_, err = ec2.NewFromConfig(b.world.Config(member, optIn), noRetries).DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{})
		requireErrorCode(t, err, "AuthFailure")
	})
}

func TestNetwork_defaultVPC(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		vpcs := ok(b.ec2.DescribeVpcs(b.Context(), &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}))(b).Vpcs
		subnets := ok(b.ec2.DescribeSubnets(b.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{*vpcs[0].VpcId}}}}))(b).Subnets
		zones := ok(b.ec2.DescribeAvailabilityZones(b.Context(), &ec2.DescribeAvailabilityZonesInput{}))(b).AvailabilityZones
		if len(vpcs) != 1 || len(subnets) != len(zones) || *zones[0].ZoneName != home+"a" {
			t.Errorf("%d VPCs, %d subnets, %d zones", len(vpcs), len(subnets), len(zones))
		}
		_, err := b.ec2.DescribeVpcs(b.Context(), &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("no-such-filter"), Values: []string{"x"}}}})
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}

// What the amazon-ebs builder makes and takes away round an instance.
func TestNetwork_temporaryBuildResources(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		pair := ok(b.ec2.CreateKeyPair(b.Context(), &ec2.CreateKeyPairInput{KeyName: aws.String("packer"), KeyType: types.KeyTypeEd25519}))(b)
		if *pair.KeyMaterial == "" {
			t.Error("no private key")
		}
		group := ok(b.ec2.CreateSecurityGroup(b.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("packer"), Description: aws.String("temporary")}))(b)
		ok(b.ec2.AuthorizeSecurityGroupIngress(b.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: group.GroupId, IpPermissions: []types.IpPermission{{
				FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpProtocol: aws.String("tcp"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
			}},
		}))(b)
		id := b.launch(b.ec2, b.image(""), func(in *ec2.RunInstancesInput) {
			in.KeyName, in.SecurityGroupIds, in.SubnetId, in.UserData = aws.String("packer"), []string{*group.GroupId}, aws.String(""), aws.String("")
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("")}
			in.Placement = &types.Placement{AvailabilityZone: aws.String("")}
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("for"), Value: aws.String("build")}}}}
		})
		time.Sleep(time.Minute)
		if tags := b.rootVolume(b.ec2, id).Tags; len(tags) != 1 || *tags[0].Key != "for" {
			t.Errorf("tags of the volume: %v", tags)
		}
		_, err := b.ec2.DeleteSecurityGroup(b.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
		requireErrorCode(t, err, "DependencyViolation")
		ok(b.ec2.StopInstances(b.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}))(b)
		time.Sleep(time.Minute)
		if state := b.instance(b.ec2, id).State.Name; state != types.InstanceStateNameStopped {
			t.Errorf("the instance is %s", state)
		}
		ok(b.ec2.TerminateInstances(b.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(b)
		time.Sleep(time.Minute)
		ok(b.ec2.DeleteSecurityGroup(b.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId}))(b)
		ok(b.ec2.DeleteKeyPair(b.Context(), &ec2.DeleteKeyPairInput{KeyName: aws.String("packer")}))(b)
		if pairs := ok(b.ec2.DescribeKeyPairs(b.Context(), &ec2.DescribeKeyPairsInput{}))(b).KeyPairs; len(pairs) != 0 {
			t.Errorf("key pairs are left: %v", pairs)
		}
	})
}
