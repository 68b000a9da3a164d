// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package limitsamples makes values at a limit of AWS and one step beyond it, for tests.
package limitsamples

import (
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
)

// typical holds a text that AWS accepts, for each subject that has a format.
var typical = map[awslimits.Subject]string{
	awslimits.AccountID:             "999999999999",
	awslimits.Region:                "eu-west-1",
	awslimits.RootOrUnitID:          "ou-ab12-cdef3456",
	awslimits.OrganizationARN:       "arn:aws:organizations::111111111111:organization/o-1234567890",
	awslimits.OrganizationalUnitARN: "arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890",
	awslimits.RoleARN:               "arn:aws:iam::999999999999:role/golden-image-target",
	awslimits.RolePath:              "/ci/",
	awslimits.SessionPolicyARN:      "arn:aws:iam::aws:policy/ReadOnlyAccess",
	awslimits.KeyID:                 "alias/golden",
	awslimits.KeyAlias:              "alias/golden",
	awslimits.Grantee:               "arn:aws:iam::999999999999:role/app",
	awslimits.GrantOperation:        "Decrypt",
	awslimits.ImageID:               "ami-0123456789abcdef0",
	awslimits.LicenseARN: "arn:aws:license-manager:eu-west-1:999999999999:" +
		"license-configuration:lic-0123456789abcdef",
	awslimits.InstanceType:      "t3.micro",
	awslimits.SubnetID:          "subnet-0123456789abcdef0",
	awslimits.TemplateID:        "lt-0123456789abcdef0",
	awslimits.TemplateVersion:   "$Latest",
	awslimits.ParameterName:     "/golden/ami",
	awslimits.ParameterType:     "String",
	awslimits.ParameterDataType: "aws:ec2:image",
	awslimits.ParameterTier:     "Standard",
}

// ends holds the first and the last characters of texts of a subject, whatever their length.
var ends = map[awslimits.Subject][2]string{
	awslimits.RolePath:         {"/", "/"},
	awslimits.SessionPolicy:    {`"`, `"`},
	awslimits.SessionPolicyARN: {"arn:aws:iam::aws:policy/", ""},
	awslimits.KeyAlias:         {"alias/", ""},
	awslimits.ParameterKeyID:   {"alias/", ""},
	awslimits.Grantee:          {"arn:aws:iam::999999999999:role/", "/app"},
	awslimits.InstanceType:     {"", ".micro"},
}

// Text returns a text of a subject with n characters. Apart from its length, AWS accepts it.
func Text(subject awslimits.Subject, n int) string {
	end := ends[subject]
	if n < len(end[0])+len(end[1]) {
		return strings.Repeat("a", n)
	}
	return end[0] + strings.Repeat("a", n-len(end[0])-len(end[1])) + end[1]
}

// Typical returns a text of a subject that AWS accepts.
func Typical(subject awslimits.Subject) string {
	if text, given := typical[subject]; given {
		return text
	}
	return Text(subject, 10)
}

// Texts returns a text at a limit and one beyond it. The result is false if the limit is not one of texts.
func Texts(limit awslimits.Limit) (within, beyond string, ok bool) {
	switch limit.Kind {
	case awslimits.MinLength:
		return Text(limit.Subject, limit.Number), Text(limit.Subject, limit.Number-1), true
	case awslimits.MaxLength:
		return Text(limit.Subject, limit.Number), Text(limit.Subject, limit.Number+1), true
	case awslimits.Prefix:
		return Typical(limit.Subject), limit.Words + "golden", true
	case awslimits.Characters, awslimits.Format, awslimits.OneOf:
		return Typical(limit.Subject), limit.Refused, true
	}
	return "", "", false
}

// Numbers returns a number at a limit and one beyond it. The result is false if the limit is not one of numbers or
// counts.
func Numbers(limit awslimits.Limit) (within, beyond int, ok bool) {
	switch limit.Kind {
	case awslimits.MinNumber:
		return limit.Number, limit.Number - 1, true
	case awslimits.MaxNumber, awslimits.MaxCount:
		return limit.Number, limit.Number + 1, true
	case awslimits.MultipleOf:
		return 2 * limit.Number, 2*limit.Number + 1, true
	}
	return 0, 0, false
}
