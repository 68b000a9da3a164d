// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// Level is the severity of a finding.
type Level string

// Levels of findings. A plan with an error does not run.
const (
	Refused Level = "error"
	Warning Level = "warning"
	Note    Level = "note"
)

// Finding is an error, a warning or a note about the plan, or the explanation of an AWS error.
type Finding struct {
	Level            Level
	Code             string   // stable name of the problem: "kms_create_grant_denied"; empty if it has none
	Reference        string   // number of the AWS rule that explains the problem
	Field            string   // option of the template: `target "prod": kms_key_id`
	Location         Location // zero if it concerns no single location
	Operation        string   // "ec2:CopySnapshot"
	Principal        string   // ARN
	Resource         string
	Summary          string     // subject and problem
	Detail           string     // the fact about AWS
	AWSCode          string     // of the error that AWS returned. Empty without one
	AWSMessage       string     // message of AWS for AWSCode, without the caller and without an encoded message
	Remediation      string     // the next step
	PolicyStatements []Addition // missing statements; none if adding them does not help
	Also             []Failure  // further failures with the same cause
	Refusals         []Finding  // denied dry runs that a note sums up
}

// Failure is a failed step.
type Failure struct {
	At      Location
	Summary string
}
