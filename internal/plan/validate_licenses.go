// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// licenseARN matches the ARN of a license configuration, with its Region as a group.
var licenseARN = regexp.MustCompile(`^arn:[\w-]+:license-manager:([\w-]+):\d{12}:license-configuration:lic-[0-9a-f]+$`)

// IsLicenseConfiguration reports whether a text is the ARN of a license configuration.
func IsLicenseConfiguration(arn string) bool { return licenseARN.MatchString(arn) }

// validateLicenses returns findings for license configurations that a destination cannot use.
func validateLicenses(d distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	for _, arn := range d.Licenses {
		f := distribution.Finding{
			Level:       distribution.Refused,
			Reference:   "9.0",
			Field:       field(d.Target, "license_configuration_arns"),
			Location:    d.At,
			Resource:    arn,
			Remediation: "name one of " + d.At.Region + ", by {{ .Region }} where they differ by nothing else",
		}
		switch region := licenseARN.FindStringSubmatch(arn); {
		case region == nil:
			f.Summary = fmt.Sprintf("%q is no ARN of a license configuration", arn)
			f.Detail = "it is not like arn:aws:license-manager:" + d.At.Region + ":" + d.At.Account +
				":license-configuration:lic-0123456789abcdef0123456789abcdef"
		case region[1] != d.At.Region:
			f.Summary = "the license configuration is of another Region"
			f.Detail = arn + " is not in " + d.At.Region
		default:
			continue
		}
		found = append(found, f)
	}
	return found
}
