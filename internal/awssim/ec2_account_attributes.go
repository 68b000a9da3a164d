// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var accountAttributeOperations = []namedOperation{
	newOperation((*World).describeAccountAttributes),
	newOperation((*World).listImagesInRecycleBin),
}

// describeAccountAttributes returns the account's limits and its default VPC, which is "none" if there is none.
func (w *World) describeAccountAttributes(
	c *Call, in *ec2.DescribeAccountAttributesInput,
) (*ec2.DescribeAccountAttributesOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	vpc := w.network(c.location()).vpc
	if vpc == "" {
		vpc = "none"
	}

	out := &ec2.DescribeAccountAttributesOutput{}
	for _, one := range []struct{ name, value string }{
		{"supported-platforms", "VPC"},
		{"vpc-max-security-groups-per-interface", "5"},
		{"max-elastic-ips", "5"},
		{"max-instances", "20"},
		{"vpc-max-elastic-ips", "5"},
		{"default-vpc", vpc},
	} {
		if len(in.AttributeNames) > 0 && !slices.Contains(in.AttributeNames, types.AccountAttributeName(one.name)) {
			continue
		}
		out.AccountAttributes = append(out.AccountAttributes, types.AccountAttribute{
			AttributeName:   aws.String(one.name),
			AttributeValues: []types.AccountAttributeValue{{AttributeValue: aws.String(one.value)}},
		})
	}

	return out, nil
}

// listImagesInRecycleBin returns no images, because the simulator has no retention rules.
func (w *World) listImagesInRecycleBin(
	c *Call, in *ec2.ListImagesInRecycleBinInput,
) (*ec2.ListImagesInRecycleBinOutput, error) {
	for _, id := range in.ImageIds {
		if !isValidID(id, "ami-") {
			return nil, malformedImageID(id)
		}
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}
	if len(in.ImageIds) > 0 {
		return nil, imageNotFound(in.ImageIds[0])
	}
	return &ec2.ListImagesInRecycleBinOutput{}, nil
}
