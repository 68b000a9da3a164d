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

// CheckParameterName returns why the Parameter Store refuses a name, as words that follow the name in a message. Of the
// ARN that the parameter will have, it takes the characters before the name; empty if they are not known.
func CheckParameterName(name, arnBeforeName string) error {
	levels := strings.Split(strings.TrimPrefix(name, "/"), "/")
	switch most := Number(ParameterLevels, MaxCount); {
	case len(levels) > 1 && !strings.HasPrefix(name, "/"):
		return fmt.Errorf("has levels and does not begin with a slash")
	case len(levels) > most:
		return fmt.Errorf("has %d levels, AWS allows %d", len(levels), most)
	}
	if err := Check(ParameterName, name); err != nil {
		return err
	}
	most := Number(ParameterNameAndARN, Combination)
	if n := len(arnBeforeName) + len(strings.TrimPrefix(name, "/")); n > most {
		return fmt.Errorf("has %d characters with its ARN, AWS allows %d", n, most)
	}
	return nil
}

// CheckParameterType returns an error if a parameter of a type cannot have a data type.
func CheckParameterType(parameterType, dataType string) error {
	if dataType == "aws:ec2:image" && parameterType != "String" {
		return fmt.Errorf("is a data type of String parameters only")
	}
	return nil
}
