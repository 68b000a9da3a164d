// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Guards check a step right before its call, in case the plan is wrong. They prevent public shares, unencrypted
// copies, keys of other Regions and malformed account IDs.

var accountID = regexp.MustCompile(`^\d{12}$`)

// guardCopy returns an error unless a copy has a source and an explicit key in its own Region (rule 1.3.9, default
// encryption keys).
func guardCopy(a *attempt, source Ref, keyARN string) error {
	if a.id(source) == "" {
		return fmt.Errorf("there is nothing to copy: %s made nothing", source.From)
	}
	key, err := arn.Parse(keyARN)
	if err != nil || key.Service != "kms" || key.Region != a.base.Location.Region {
		return fmt.Errorf("%q is no ARN of a key in %s: nothing is copied without one", keyARN, a.base.Location.Region)
	}
	return nil
}

// guardLaunchPermissions returns an error unless all grantees are accounts, organizations or organizational units.
// It never accepts the group "all".
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

// guardShare returns an error unless all grantees are account IDs. It never accepts "all".
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
