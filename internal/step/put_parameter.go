// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
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

// Rights of the step (7.6, 7.9). Whether the image is there is AWS's look where the parameter is of its data type, and ours where it is not.
func (s *PutParameter) Permissions() []Permission {
	parameter := s.Location.ParameterARN(s.Name)
	rights := []Permission{{"ssm:PutParameter", parameter, "7.6"}, {"ssm:GetParameter", parameter, "7.6"}, {"ec2:DescribeImages", "*", "7.6"}}
	if len(s.Tags) > 0 {
		rights = append(rights, Permission{"ssm:AddTagsToResource", parameter, "7.6"})
	}
	if s.Type == distribution.SecureString {
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
