// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Guards look at a step once more before its call, whatever the plan says: nothing public, nothing unencrypted, no other key's
// Region, no account but one.

var accountID = regexp.MustCompile(`^\d{12}$`)

// guardCopy lets through a copy that names its source and an explicit key in its own Region (1.3.9, 1.7.5).
func guardCopy(j *stepRun, source step.Ref, keyARN string) error {
	if j.id(source) == "" {
		return fmt.Errorf("there is nothing to copy: %s made nothing", source.From)
	}
	key, err := arn.Parse(keyARN)
	if err != nil || key.Service != "kms" || key.Region != j.base.Location.Region {
		return fmt.Errorf("%q is no ARN of a key in %s: nothing is copied without one", keyARN, j.base.Location.Region)
	}
	return nil
}

// guardAudience lets through launch permissions for accounts, organizations and units: never for "all".
func guardLaunchPermissions(a distribution.LaunchPermissions) error {
	for _, one := range slices.Concat(a.Organizations, a.Units) {
		if parsed, err := arn.Parse(one); err != nil || parsed.Service != "organizations" {
			return fmt.Errorf("%q is no organization or unit: nothing is shared with it", one)
		}
	}
	if len(a.Accounts) == 0 && !a.IsEmpty() {
		return nil
	}
	return guardShare(a.Accounts)
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
