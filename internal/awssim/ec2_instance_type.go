// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// instanceFamily is a family of instance types with its requirements on an image.
type instanceFamily struct {
	name         string
	architecture types.ArchitectureValues
	nitro        bool // requires ENA (rule 2.4.4) and HVM
	paravirtual  bool // also runs paravirtual images
}

var instanceFamilies = []instanceFamily{
	{"m1", types.ArchitectureValuesX8664, false, true},
	{"m3", types.ArchitectureValuesX8664, false, true},
	{"t1", types.ArchitectureValuesX8664, false, true},
	{"c3", types.ArchitectureValuesX8664, false, true},
	{"t2", types.ArchitectureValuesX8664, false, false},
	{"m4", types.ArchitectureValuesX8664, false, false},
	{"c4", types.ArchitectureValuesX8664, false, false},
	{"t3", types.ArchitectureValuesX8664, true, false},
	{"t3a", types.ArchitectureValuesX8664, true, false},
	{"m5", types.ArchitectureValuesX8664, true, false},
	{"c5", types.ArchitectureValuesX8664, true, false},
	{"m6i", types.ArchitectureValuesX8664, true, false},
	{"m7i", types.ArchitectureValuesX8664, true, false},
	{"t4g", types.ArchitectureValuesArm64, true, false},
	{"m6g", types.ArchitectureValuesArm64, true, false},
	{"m7g", types.ArchitectureValuesArm64, true, false},
	{"m8g", types.ArchitectureValuesArm64, true, false},
	{"mac1", types.ArchitectureValuesX8664Mac, true, false},
	{"mac2", types.ArchitectureValuesArm64Mac, true, false},
}

// needsHost reports whether instances of the family run on dedicated hosts only.
func (f instanceFamily) needsHost() bool { return strings.HasPrefix(f.name, "mac") }

// sizes returns the sizes of the family.
func (f instanceFamily) sizes() []string {
	if f.needsHost() {
		return []string{"metal"}
	}
	return instanceSizes
}

var instanceSizes = []string{"nano", "micro", "small", "medium", "large", "xlarge", "2xlarge"}

// findInstanceFamily returns the family of an instance type. It reports false for an unknown type.
func findInstanceFamily(instanceType types.InstanceType) (instanceFamily, bool) {
	name, size, _ := strings.Cut(string(instanceType), ".")
	i := slices.IndexFunc(instanceFamilies, func(f instanceFamily) bool { return f.name == name })
	if i < 0 || !slices.Contains(instanceFamilies[i].sizes(), size) {
		return instanceFamily{}, false
	}
	return instanceFamilies[i], true
}

// allInstanceTypes returns all sizes of all families.
func allInstanceTypes() (all []types.InstanceType) {
	for _, f := range instanceFamilies {
		for _, size := range f.sizes() {
			all = append(all, types.InstanceType(f.name+"."+size))
		}
	}
	return all
}

func (w *World) describeInstanceTypes(
	c *Call, in *ec2.DescribeInstanceTypesInput,
) (*ec2.DescribeInstanceTypesOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	asked := in.InstanceTypes
	if len(asked) == 0 {
		asked = allInstanceTypes()
	}

	var seen []types.InstanceTypeInfo
	for _, one := range asked {
		f, known := findInstanceFamily(one)
		if !known {
			return nil, badRequest("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", one)
		}

		info := types.InstanceTypeInfo{
			InstanceType:                  one,
			CurrentGeneration:             aws.Bool(!f.paravirtual),
			BurstablePerformanceSupported: aws.Bool(strings.HasPrefix(f.name, "t") && f.name != "t1"),
			Hypervisor:                    types.InstanceTypeHypervisorXen,
			SupportedVirtualizationTypes:  []types.VirtualizationType{types.VirtualizationTypeHvm},
			SupportedRootDeviceTypes:      []types.RootDeviceType{types.RootDeviceTypeEbs},
			ProcessorInfo: &types.ProcessorInfo{
				SupportedArchitectures: []types.ArchitectureType{types.ArchitectureType(f.architecture)},
			},
			NetworkInfo: &types.NetworkInfo{EnaSupport: types.EnaSupportUnsupported},
		}

		if f.nitro {
			info.Hypervisor, info.NetworkInfo.EnaSupport = types.InstanceTypeHypervisorNitro, types.EnaSupportRequired
		}
		if f.paravirtual {
			info.SupportedVirtualizationTypes = append(info.SupportedVirtualizationTypes, types.VirtualizationTypeParavirtual)
		}
		seen = append(seen, info)
	}

	look := filterFields[types.InstanceTypeInfo]{values: map[string]func(types.InstanceTypeInfo) []string{
		"hypervisor":    func(t types.InstanceTypeInfo) []string { return []string{string(t.Hypervisor)} },
		"instance-type": func(t types.InstanceTypeInfo) []string { return []string{string(t.InstanceType)} },
	}}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, look,
		func(list []types.InstanceTypeInfo, next *string) *ec2.DescribeInstanceTypesOutput {
			return &ec2.DescribeInstanceTypesOutput{InstanceTypes: list, NextToken: next}
		})
}

func (w *World) describeInstanceTypeOfferings(
	c *Call, in *ec2.DescribeInstanceTypeOfferingsInput,
) (*ec2.DescribeInstanceTypeOfferingsOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	locations, kind := []string{c.Region}, types.LocationTypeRegion
	switch in.LocationType {
	case "", types.LocationTypeRegion:
	case types.LocationTypeAvailabilityZone:
		locations, kind = zonesOf(c.Region), in.LocationType
	default:
		return nil, badRequest("InvalidParameterValue", "The location type '%s' is not modeled", in.LocationType)
	}

	var seen []types.InstanceTypeOffering
	for _, location := range locations {
		for _, one := range allInstanceTypes() {
			seen = append(seen, types.InstanceTypeOffering{InstanceType: one, Location: &location, LocationType: kind})
		}
	}

	look := filterFields[types.InstanceTypeOffering]{values: map[string]func(types.InstanceTypeOffering) []string{
		"instance-type": func(o types.InstanceTypeOffering) []string { return []string{string(o.InstanceType)} },
		"location":      func(o types.InstanceTypeOffering) []string { return []string{*o.Location} },
	}}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, look,
		func(list []types.InstanceTypeOffering, next *string) *ec2.DescribeInstanceTypeOfferingsOutput {
			return &ec2.DescribeInstanceTypeOfferingsOutput{InstanceTypeOfferings: list, NextToken: next}
		})
}
