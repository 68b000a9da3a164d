// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// validatePage judges ids and MaxResults of a describe call (4.3.1).
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

// filterPage cuts a page and then filters it, so that a page may be short, even empty, and not be the last (4.3.2).
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

// matchesOwner judges one of a call's owners: an account, an alias of AWS's, or "self".
func matchesOwner(account, owner, caller string) bool {
	if owner == "self" {
		return account == caller
	}
	alias := ownerAlias(account)
	return account == owner || alias != nil && *alias == owner
}

// ownerAlias is the alias of an account whose images AWS vouches for.
func ownerAlias(account string) *string {
	alias, known := ownerAliases[account]
	if !known {
		return nil
	}
	return &alias
}

// Accounts that have published Amazon's and the Marketplace's images for years.
var ownerAliases = map[string]string{
	"137112412989": "amazon", // Amazon Linux
	"801119661308": "amazon", // Windows
	"679593333241": "aws-marketplace",
}

// optionalValues are the values of a member that may be missing.
func optionalValues(text *string) []string {
	if text == nil {
		return nil
	}
	return []string{*text}
}

// formatTime is a moment as EC2 writes it.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func joinIDs(ids []string) string { return strings.Join(ids, ", ") }

// regionOfARN is the Region that an ARN names.
func regionOfARN(arn string) string {
	parts := strings.SplitN(arn, ":", 5)
	if len(parts) < 5 {
		return ""
	}
	return parts[3]
}
