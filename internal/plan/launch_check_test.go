// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// An instance type runs an image only if both have the same properties.
func TestValidateLaunchCheck_instanceType(t *testing.T) {
	typical := func() ec2types.InstanceTypeInfo {
		return ec2types.InstanceTypeInfo{
			ProcessorInfo: &ec2types.ProcessorInfo{
				SupportedArchitectures: []ec2types.ArchitectureType{ec2types.ArchitectureTypeX8664},
			},
			NetworkInfo:                  &ec2types.NetworkInfo{EnaSupport: ec2types.EnaSupportRequired},
			SupportedBootModes:           []ec2types.BootModeType{ec2types.BootModeTypeLegacyBios},
			SupportedVirtualizationTypes: []ec2types.VirtualizationType{ec2types.VirtualizationTypeHvm},
			NitroTpmSupport:              ec2types.NitroTpmSupportUnsupported,
		}
	}
	image := func() ec2types.Image {
		return ec2types.Image{
			Architecture:       ec2types.ArchitectureValuesX8664,
			VirtualizationType: ec2types.VirtualizationTypeHvm,
			EnaSupport:         aws.Bool(true),
		}
	}
	for want, change := range map[string]func(*ec2types.InstanceTypeInfo, *ec2types.Image){
		"": func(*ec2types.InstanceTypeInfo, *ec2types.Image) {},
		"the AMI is for arm64, the type runs x86_64": func(_ *ec2types.InstanceTypeInfo, i *ec2types.Image) {
			i.Architecture = ec2types.ArchitectureValuesArm64
		},
		"the AMI has the virtualization type paravirtual": func(_ *ec2types.InstanceTypeInfo, i *ec2types.Image) {
			i.VirtualizationType = ec2types.VirtualizationTypeParavirtual
		},
		"the AMI has the boot mode uefi": func(_ *ec2types.InstanceTypeInfo, i *ec2types.Image) {
			i.BootMode = ec2types.BootModeValuesUefi
		},
		"the type needs enhanced networking": func(_ *ec2types.InstanceTypeInfo, i *ec2types.Image) { i.EnaSupport = nil },
		"the AMI needs a TPM": func(_ *ec2types.InstanceTypeInfo, i *ec2types.Image) {
			i.TpmSupport = ec2types.TpmSupportValuesV20
		},
	} {
		info, ami := typical(), image()
		change(&info, &ami)
		reason, remedy := unsupportedReason(info, ami)
		if !strings.HasPrefix(reason, want) || (reason == "") != (want == "") || (reason == "") != (remedy == "") {
			t.Errorf("got %q and %q, want %q", reason, remedy, want)
		}
	}

	old, preferred := image(), image()
	old.Architecture, preferred.BootMode = ec2types.ArchitectureValuesI386, ec2types.BootModeValuesUefiPreferred
	for _, ami := range []ec2types.Image{old, preferred} {
		if reason, _ := unsupportedReason(typical(), ami); reason != "" {
			t.Errorf("%s, %s: got %q, want that it runs", ami.Architecture, ami.BootMode, reason)
		}
	}
}

// A lookup that is denied does not fail a launch that may succeed. A missing or full subnet does.
func TestValidateLaunchCheck_subnet(t *testing.T) {
	denied := &distribution.APIError{Operation: "ec2:DescribeSubnets", Code: "UnauthorizedOperation"}
	at := distribution.Location{Account: "999999999999", Region: "eu-west-1"}
	for name, c := range map[string]struct {
		launch distribution.LaunchCheck
		facts  distribution.SubnetFacts
		level  distribution.Level
	}{
		"found": {
			facts: distribution.SubnetFacts{ID: "subnet-0a"},
		},
		"full": {
			facts: distribution.SubnetFacts{ID: "subnet-0a", IsFull: true},
			level: distribution.Refused,
		},
		"no default VPC": {
			facts: distribution.SubnetFacts{IsMissing: true},
			level: distribution.Refused,
		},
		"missing": {
			launch: distribution.LaunchCheck{SubnetID: "subnet-0a"},
			facts:  distribution.SubnetFacts{IsMissing: true},
			level:  distribution.Refused,
		},
		"denied, default VPC": {
			facts: distribution.SubnetFacts{Err: denied},
			level: distribution.Warning,
		},
		"denied, named by its ID": {
			launch: distribution.LaunchCheck{SubnetID: "subnet-0a"},
			facts:  distribution.SubnetFacts{Err: denied},
			level:  distribution.Warning,
		},
		"denied, filters": {
			launch: distribution.LaunchCheck{SubnetFilters: map[string]string{"tag:a": "b"}},
			facts:  distribution.SubnetFacts{Err: denied},
			level:  distribution.Refused,
		},
	} {
		options := distribution.TargetOptions{LaunchCheck: &c.launch}
		d := distribution.Destination{At: at, Target: "prod", TargetOptions: options}
		facts := distribution.Facts{Sites: map[distribution.Location]distribution.DestinationFacts{at: {Subnet: c.facts}}}
		found := validateLaunchCheck(d, facts)
		switch {
		case c.level == "" && len(found) > 0:
			t.Errorf("%s: got %+v, want none", name, found)
		case c.level != "" && (len(found) != 1 || found[0].Level != c.level || found[0].Remediation == ""):
			t.Errorf("%s: got %+v, want one with the level %s and a next step", name, found, c.level)
		}
	}
}
