// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Guards look at a step once more before its call, whatever the plan says: nothing public, nothing unencrypted, no other key's
// Region, no account but one.

var accountID = regexp.MustCompile(`^\d{12}$`)

// guardCopy lets through a copy that names its source and an explicit key in its own Region (1.3.9, 1.7.5).
func guardCopy(j *job, s *plan.CopySnapshot) error {
	if j.id(s.Source) == "" {
		return fmt.Errorf("there is no snapshot to copy: %s made none", s.Source.From)
	}
	key, err := arn.Parse(s.KeyARN)
	if err != nil || key.Service != "kms" || key.Region != s.At.Region {
		return fmt.Errorf("%q is no ARN of a key in %s: nothing is copied without one", s.KeyARN, s.At.Region)
	}
	return nil
}

// guardShare lets through a share with accounts: never with "all".
func guardShare(accounts []string) error {
	for _, account := range accounts {
		if !accountID.MatchString(account) {
			return fmt.Errorf("%q is no account id: nothing is shared with it", account)
		}
	}
	if len(accounts) == 0 {
		return fmt.Errorf("there is no account to share with")
	}
	return nil
}
