// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awslimits

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// CheckSessionPolicies returns why STS refuses an inline session policy together with managed ones.
func CheckSessionPolicies(policy string, arns []string) error {
	n, most := utf8.RuneCountInString(policy), Number(SessionPolicies, Combination)
	for _, arn := range arns {
		n += utf8.RuneCountInString(arn)
	}
	if n > most {
		return fmt.Errorf("%d characters of policy and policy_arns together, AWS allows %d", n, most)
	}
	return nil
}

// CheckJSON returns an error if a policy is not JSON.
func CheckJSON(policy string) error {
	if !json.Valid([]byte(policy)) {
		return fmt.Errorf("is not JSON")
	}
	return nil
}

// CheckSessionTagKeys returns an error if two keys of session tags differ in upper and lower case only.
func CheckSessionTagKeys(keys []string) error {
	for i, key := range keys {
		if j := slices.IndexFunc(keys[:i], func(k string) bool { return strings.EqualFold(k, key) }); j >= 0 {
			return fmt.Errorf("%q and %q differ in upper and lower case only, which STS does not distinguish", keys[j], key)
		}
	}
	return nil
}
