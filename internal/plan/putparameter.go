// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"strings"
)

// PutParameter makes an SSM parameter name an image, and reads it back: AWS checks an image after it has answered, and writes nothing
// where it does not see it (7.2).
type PutParameter struct {
	Base
	Name        string
	Type        string // "String" or "SecureString"
	DataType    string // "aws:ec2:image" or "text"
	KeyID       string // of a SecureString: ARN, or as asked for; "": alias/aws/ssm
	Tier        string // "": the account's default
	Description string
	Tags        map[string]string
	Overwrite   bool
	Image       Ref
}

// ImageParameter is the data type of parameters that launch templates can name (7.5).
const ImageParameter = "aws:ec2:image"

// Rights of the step (7.6, 7.9). Whether the image is there is AWS's look where the parameter is of its data type, and ours where it is not.
func (s *PutParameter) Permissions() []Permission {
	parameter := s.Location.parameter(s.Name)
	rights := []Permission{{"ssm:PutParameter", parameter, "7.6"}, {"ssm:GetParameter", parameter, "7.6"}, {"ec2:DescribeImages", "*", "7.6"}}
	if len(s.Tags) > 0 {
		rights = append(rights, Permission{"ssm:AddTagsToResource", parameter, "7.6"})
	}
	if s.Type == SecureString {
		action := "kms:Encrypt"
		if s.Tier == "Advanced" {
			action = "kms:GenerateDataKey"
		}
		rights = append(rights, Permission{action, cmp.Or(s.KeyID, "alias/aws/ssm"), "7.9"})
	}
	return rights
}

func (s *PutParameter) ResourceID() string { return s.Name }

func (s *PutParameter) String() string {
	return fmt.Sprintf("let the SSM parameter %s in %s name the image", s.Name, s.Location)
}

// SecureString is the type of encrypted parameters.
const SecureString = "SecureString"

// parameter is the ARN of an SSM parameter there: one whose name begins with a slash brings it along.
func (p Location) parameter(name string) string {
	return "arn:" + PartitionOf(p.Region) + ":ssm:" + p.Region + ":" + p.Account + ":parameter/" + strings.TrimPrefix(name, "/")
}
