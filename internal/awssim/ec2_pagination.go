// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// validatePage checks the IDs and MaxResults of a describe call (rule 4.3.1).
func (w *World) validatePage(c *Call, idParameter string, ids int, limit *int32) error {
	switch {
	case limit == nil:
		return nil
	case w.violates(c, "4.3.1", ids > 0):
		return badRequest(
			"InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", idParameter,
		)
	case w.violates(c, "4.3.1", *limit < 5):
		return badRequest(
			"InvalidParameterValue", "Invalid value '%d' for maxResults. Expecting a value greater than 5.", *limit,
		)
	}

	return nil
}

// filterPage cuts a page and filters it afterwards. A page may be short or empty without being the last (rule 4.3.2).
func filterPage[T, Out any](
	all []T, limit *int32, token *string, filters []types.Filter, look filterFields[T], out func([]T, *string) *Out,
) (*Out, error) {
	list, next, err := paginate(all, limit, token)
	if err != nil {
		return nil, err
	}
	list, err = look.filter(list, filters)
	if err != nil {
		return nil, err
	}
	return out(list, next), nil
}

// matchesOwner reports whether an account matches an owner of a request: an account, an alias of AWS or "self".
func matchesOwner(account, owner, caller string) bool {
	if owner == "self" {
		return account == caller
	}
	alias := ownerAlias(account)
	return account == owner || alias != nil && *alias == owner
}

// ownerAlias returns the owner alias of an account. Nil if it has none.
func ownerAlias(account string) *string {
	alias, known := ownerAliases[account]
	if !known {
		return nil
	}
	return &alias
}

// ownerAliases maps publishers of public images to their alias.
var ownerAliases = map[string]string{
	"137112412989": "amazon", // Amazon Linux
	"801119661308": "amazon", // Windows
	"679593333241": "aws-marketplace",
}

// optionalValues returns the value of an optional member as a list.
func optionalValues(text *string) []string {
	if text == nil {
		return nil
	}
	return []string{*text}
}

// formatTime returns a time in the format of EC2.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func joinIDs(ids []string) string { return strings.Join(ids, ", ") }

func regionOfARN(arn string) string {
	parts := strings.SplitN(arn, ":", 5)
	if len(parts) < 5 {
		return ""
	}
	return parts[3]
}
