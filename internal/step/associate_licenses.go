// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"strings"
)

// AssociateLicenses has AWS License Manager count launches of an image by license configurations; others that it has stay (SDK licensemanager,
// UpdateLicenseSpecificationsForResource).
type AssociateLicenseConfigurations struct {
	Base
	Image Ref
	Name  string   // for messages
	ARNs  []string // of license configurations in At's Region, sorted
}

// ImageARN is how License Manager names an image there.
func (s *AssociateLicenseConfigurations) ImageARN(id string) string { return s.Location.ImageARN(id) }

// Rights of the step.
func (s *AssociateLicenseConfigurations) Permissions() []Permission {
	var rights []Permission
	for _, arn := range s.ARNs {
		rights = append(rights, Permission{"license-manager:UpdateLicenseSpecificationsForResource", arn, "9.0"})
	}
	return append(rights, Permission{"license-manager:ListLicenseSpecificationsForResource", "*", "9.0"})
}

func (s *AssociateLicenseConfigurations) ResourceID() string { return s.Image.Known }

func (s *AssociateLicenseConfigurations) String() string {
	return fmt.Sprintf("associate %q in %s with %s", s.Name, s.Location, strings.Join(s.ARNs, ", "))
}
