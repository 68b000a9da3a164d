// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// launchSubnet returns the subnet that the template names or its filters find. Empty for one of the default VPC, which
// AWS chooses.
func launchSubnet(d distribution.Destination, facts distribution.Facts) string {
	if len(d.LaunchCheck.SubnetFilters) > 0 {
		return facts.Sites[d.At].Subnet.ID
	}
	return d.LaunchCheck.SubnetID
}

// validateLaunchCheck returns findings for a launch check that AWS would refuse after all copies.
func validateLaunchCheck(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	if d.LaunchCheck == nil {
		return nil
	}
	return slices.Concat(validateSubnet(d, facts), validateInstanceType(d, facts))
}

// validateSubnet returns a finding if there is no subnet for the launch check.
func validateSubnet(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	subnet := facts.Sites[d.At].Subnet
	hasFilters := len(d.LaunchCheck.SubnetFilters) > 0
	option := "launch_check"
	switch {
	case hasFilters:
		option = "launch_check: subnet_filter"
	case d.LaunchCheck.SubnetID != "":
		option = "launch_check: subnet_id"
	}

	f := destinationFinding(d, facts, distribution.Refused, distribution.CodeSubnetMissing, "8.6", option)
	switch {
	case subnet.Err != nil:
		f.Operation = subnet.Err.Operation
		f.Summary = "the subnets cannot be listed"
		f.Detail = subnet.Err.Error()
		f.Remediation = "allow ec2:DescribeSubnets to " + f.Principal
		if !hasFilters { // the launch may succeed
			f.Level = distribution.Warning
		}
	case hasFilters && subnet.ID == "":
		f.Summary = "no subnet matches the filters"
		f.Detail = "the instance of the launch check needs a subnet"
		f.Remediation = "correct the filters, or create a subnet that matches them in each account and Region of the target"
	case subnet.IsMissing && d.LaunchCheck.SubnetID != "":
		f.Resource = d.LaunchCheck.SubnetID
		f.Summary = fmt.Sprintf("the subnet %s does not exist", d.LaunchCheck.SubnetID)
		f.Detail = fmt.Sprintf("account %s has no available subnet with this ID in %s", d.At.Account, d.At.Region)
		f.Remediation = "correct subnet_id, or set subnet_filter"
	case subnet.IsMissing:
		f.Summary = "there is no subnet for the launch check"
		f.Detail = fmt.Sprintf("account %s has no default VPC with a default subnet in %s", d.At.Account, d.At.Region)
		f.Remediation = "set subnet_filter in launch_check"
	case subnet.IsFull:
		f.Resource = subnet.ID
		f.Summary = "no subnet of the launch check has a free address"
		f.Detail = "the matching subnet with the most free addresses, " + subnet.ID + ", has none"
		f.Remediation = "free an address, or name another subnet"
	default:
		return nil
	}
	return []distribution.Finding{f}
}

// validateInstanceType returns a finding if the instance type cannot run the image.
func validateInstanceType(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	found := facts.Sites[d.At].InstanceType
	f := destinationFinding(
		d, facts, distribution.Refused, distribution.CodeInstanceTypeUnsupported, "2.4.4", "launch_check: instance_type")
	switch {
	case found.IsMissing:
		f.Summary = fmt.Sprintf("the instance type %q does not exist", d.LaunchCheck.InstanceType)
		f.Detail = d.At.Region + " has no such type"
		f.Remediation = "set instance_type to a type that " + d.At.Region + " has"
	case found.Err != nil:
		f.Level = distribution.Warning
		f.Operation = found.Err.Operation
		f.Summary = "the instance type cannot be looked up"
		f.Detail = found.Err.Error()
		f.Remediation = "allow ec2:DescribeInstanceTypes to " + f.Principal
	case found.Info == nil || facts.Images[d.FromRegion].Image == nil:
		return nil
	default:
		reason, remedy := unsupportedReason(*found.Info, *facts.Images[d.FromRegion].Image)
		if reason == "" {
			return nil
		}
		f.Summary = fmt.Sprintf("%s cannot run the AMI", d.LaunchCheck.InstanceType)
		f.Detail = reason
		f.Remediation = remedy
	}
	return []distribution.Finding{f}
}

// unsupportedReason returns why an instance type cannot run an image, and what to do. Empty if it can.
func unsupportedReason(info ec2types.InstanceTypeInfo, image ec2types.Image) (reason, remedy string) {
	architecture := string(image.Architecture)
	if architecture == string(ec2types.ArchitectureValuesI386) { // x86_64 runs it too
		architecture = string(ec2types.ArchitectureValuesX8664)
	}
	has := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }

	var architectures []string
	var isENARequired bool
	if info.ProcessorInfo != nil {
		architectures = textsOf(info.ProcessorInfo.SupportedArchitectures)
	}
	if info.NetworkInfo != nil {
		isENARequired = info.NetworkInfo.EnaSupport == ec2types.EnaSupportRequired
	}

	switch {
	case !has(architectures, architecture):
		return fmt.Sprintf("the AMI is for %s, the type runs %s", image.Architecture, strings.Join(architectures, ", ")),
			"set instance_type to a type for " + string(image.Architecture)
	case !has(textsOf(info.SupportedVirtualizationTypes), string(image.VirtualizationType)):
		return fmt.Sprintf("the AMI has the virtualization type %s", image.VirtualizationType),
			"set instance_type to a type that supports it"
	case image.BootMode != "" && image.BootMode != ec2types.BootModeValuesUefiPreferred &&
		!has(textsOf(info.SupportedBootModes), string(image.BootMode)):
		return fmt.Sprintf("the AMI has the boot mode %s", image.BootMode), "set instance_type to a type that supports it"
	case isENARequired && !aws.ToBool(image.EnaSupport):
		return "the type needs enhanced networking (ENA), which the AMI does not have",
			"build the AMI with ena_support = true, or set instance_type to a type without ENA, such as \"t2.micro\""
	case image.TpmSupport != "" && info.NitroTpmSupport == ec2types.NitroTpmSupportUnsupported:
		return "the AMI needs a TPM, which the type does not have", "set instance_type to a type with NitroTPM"
	}
	return "", ""
}

func textsOf[T ~string](values []T) []string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return texts
}

// launchTime is the expected duration of a launch check.
const launchTime = time.Minute

// isUnfinished reports whether an earlier run has a record, so it failed or is active. Only then an existing image
// may lack its launch check.
func (b *builder) isUnfinished() bool { return b.facts.HasUnfinishedRuns(b.req.RunID) }

// addLaunchCheck adds the launch check. It always terminates the instance, even after a failure.
func (b *builder) addLaunchCheck(g *destinationState) {
	if g.LaunchCheck == nil || g.image != nil && !b.isUnfinished() {
		return
	}

	image := b.facts.Images[g.FromRegion]
	signing := b.newSigning(g.At, g.FromRegion, provenance.Instance)
	run := &step.RunInstance{
		Base: step.Base{
			ID:               step.NewID("launch", g.At.Account, g.At.Region),
			Location:         g.At,
			Destination:      g.At,
			DependsOn:        slices.Clone(g.verifications),
			ExpectedDuration: launchTime,
		},
		Image:        g.imageRef,
		Name:         g.Name,
		InstanceType: g.LaunchCheck.InstanceType,
		SubnetID:     launchSubnet(g.Destination, b.facts),
		KeyARN:       g.keyARN,
		Tags:         joined(g.RunTags, signing.CreationTags()),
		PartTags:     g.RunTags,
		Signing:      signing,
	}

	if g.imageRef.From != "" {
		run.DependsOn = append(run.DependsOn, g.imageRef.From)
	}

	for _, m := range image.Image.BlockDeviceMappings {
		if m.Ebs != nil {
			run.Devices = append(run.Devices, aws.ToString(m.DeviceName))
		}
	}

	slices.Sort(run.Devices)
	g.verifications = append(g.verifications, b.add(run))
	b.add(&step.TerminateInstance{
		Base: step.Base{
			ID:               step.NewID("terminate", g.At.Account, g.At.Region),
			Location:         g.At,
			RunsAfter:        []distribution.StepID{run.ID},
			ExpectedDuration: callTime,
		},
		Instance:    step.Ref{From: run.ID},
		ClientToken: run.ClientToken(),
	})
}
