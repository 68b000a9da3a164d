// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// Level of a finding.
type Level string

const (
	Refused Level = "refusal"
	Warning Level = "warning"
	Note    Level = "note"
)

// Finding is a refusal before the run, a warning, or an AWS error explained.
type Finding struct {
	Level            Level
	Reference        string   // number of the AWS rule it rests on
	Field            string   // option of the template: `target "prod": kms_key_id`
	Location         Location // zero: not bound to a place
	Operation        string   // "ec2:CopySnapshot"
	Principal        string   // ARN
	Resource         string
	Summary          string     // what is so
	Detail           string     // why
	Remediation      string     // what to do
	PolicyStatements []Addition // what policies lack; none where adding does not help
}
