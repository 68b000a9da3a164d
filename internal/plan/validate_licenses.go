// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// validateLicenses returns findings for license configurations that a destination cannot use.
func validateLicenses(d distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	for _, arn := range d.Licenses {
		f := distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeLicenseInvalid,
			Reference:   "9.0",
			Field:       field(d.Target, "license_configuration_arns"),
			Location:    d.At,
			Resource:    arn,
			Remediation: "name one of " + d.At.Region + ", by {{ .Region }} where they differ by nothing else",
		}

		switch region := awslimits.Match(awslimits.LicenseARN, arn); {
		case region == nil:
			f.Summary = fmt.Sprintf("%q is not the ARN of a license configuration", arn)
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
