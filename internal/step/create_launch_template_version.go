// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"reflect"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// AddTemplateVersion makes a version of a launch template that names an image and has all else of another version (A.4.12), and reads
// it back. A version that is such a one already is taken instead.
type CreateLaunchTemplateVersion struct {
	Base
	Template    string // as the target names it: lt-..., or a name
	TemplateID  string // lt-...
	From        string // the version that the new one is made from: "$Default", "$Latest" or a number, looked up when it is made
	Source      int64  // its number when the plan was made
	Version     int64  // that an earlier run made, and that will do unless From is another by then; 0: none
	SetDefault  bool   // make it the version that launches without a version take
	Description string
	Image       Ref
}

// Rights of the step.
func (s *CreateLaunchTemplateVersion) Permissions() []Permission {
	template := s.Location.LaunchTemplateARN(s.TemplateID)
	rights := []Permission{{"ec2:DescribeLaunchTemplateVersions", "*", "A.4.12"}, {"ec2:DescribeImages", "*", "4.4.1"}}
	if s.Version == 0 {
		rights = append(rights, Permission{"ec2:CreateLaunchTemplateVersion", template, "A.4.12"})
	}
	if s.SetDefault {
		rights = append(rights, Permission{"ec2:ModifyLaunchTemplate", template, "A.4.12"}, Permission{"ec2:DescribeLaunchTemplates", "*", "A.4.12"})
	}
	return rights
}

// AlikeButForTheImage reports versions of a launch template that launch in the same way.
func DiffersOnlyInImage(a, b *ec2types.ResponseLaunchTemplateData) bool {
	if a == nil || b == nil {
		return a == b
	}
	one, other := *a, *b
	one.ImageId, other.ImageId = nil, nil
	return reflect.DeepEqual(one, other)
}

func (s *CreateLaunchTemplateVersion) ResourceID() string { return s.TemplateID }

func (s *CreateLaunchTemplateVersion) String() string {
	what := fmt.Sprintf("give the launch template %s in %s a version with the image, from version %d", s.Template, s.Location, s.Source)
	switch {
	case s.Version > 0:
		return fmt.Sprintf("make version %d, which an earlier run made, the default of the launch template %s in %s", s.Version, s.Template, s.Location)
	case s.SetDefault:
		return what + ", and make it the default"
	}
	return what
}
