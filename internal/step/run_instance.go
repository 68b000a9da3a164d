// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// RunInstance is the launch check. It launches one instance of a destination's image and ends when it runs (rules
// 8.5 and 8.6). TerminateInstance always follows.
type RunInstance struct {
	Base
	Image        Ref
	Name         string // of the image, for messages
	InstanceType string
	SubnetID     string   // empty for one of the default VPC
	Devices      []string // EBS devices whose volumes must be deleted with the instance
	KeyARN       string   // key of the volumes
	Tags         map[string]string
	PartTags     map[string]string // for volumes and network interfaces
	Signing      Signing
}

// ClientToken returns the client token of the launch. It proves which run launched the instance, and makes a
// repeated call safe (rule 4.2.3).
func (s *RunInstance) ClientToken() string { return string(s.Signing.Token(string(s.ID))) }

// Permissions include all resources of a launch. The KMS permissions are the documented set (rules 3.1.5 and
// 3.1.10).
func (s *RunInstance) Permissions() []Permission {
	subnet := "*"
	if s.SubnetID != "" {
		subnet = s.SubnetID
	}

	permissions := []Permission{
		{"ec2:RunInstances", s.Location.ImageARN(s.Image.Known), "8.6"},
		{"ec2:RunInstances", s.Location.OwnedARN("subnet", subnet), "8.6"},
		{"ec2:CreateTags", s.Location.OwnedARN("instance", "*"), "9.4"},
		{"ec2:DescribeInstances", "*", "8.7"},
	}

	for _, kind := range []string{"instance", "network-interface", "security-group", "volume"} {
		permissions = append(permissions, Permission{"ec2:RunInstances", s.Location.OwnedARN(kind, "*"), "8.6"})
	}

	if len(s.PartTags) > 0 {
		for _, kind := range []string{"volume", "network-interface"} {
			permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.OwnedARN(kind, "*"), "9.4"})
		}
	}

	for _, action := range []string{
		"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom",
		"kms:ReEncryptTo",
	} {
		permissions = append(permissions, Permission{action, s.KeyARN, "3.1.5"})
	}

	return permissions
}

func (s *RunInstance) ResourceID() string { return s.Image.Known }

func (s *RunInstance) String() string {
	return fmt.Sprintf("launch one %s of %q in %s, and wait until it runs", s.InstanceType, s.Name, s.Location)
}
