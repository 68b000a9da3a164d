// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// filterFields are what the filters of a Describe call look at: the values of a thing by the name of the filter.
// "tag:<key>" and "tag-key" look at what tags tells.
type filterFields[T any] struct {
	tags   func(T) []types.Tag
	values map[string]func(T) []string
}

// filter keeps the things that pass every filter; a filter passes on any of its values, in which * and ? are wildcards.
func (f filterFields[T]) filter(items []T, filters []types.Filter) ([]T, error) {
	for _, one := range filters {
		look, err := f.valuesFor(aws.ToString(one.Name))
		if err != nil {
			return nil, err
		}
		items = slices.DeleteFunc(slices.Clone(items), func(item T) bool {
			return !slices.ContainsFunc(look(item), func(value string) bool {
				return slices.ContainsFunc(one.Values, func(pattern string) bool { return matchesWildcard(pattern, value) })
			})
		})
	}

	return items, nil
}

func (f filterFields[T]) valuesFor(name string) (func(T) []string, error) {
	if key, ok := strings.CutPrefix(name, "tag:"); ok && f.tags != nil {
		return func(item T) (values []string) {
			for _, tag := range f.tags(item) {
				if aws.ToString(tag.Key) == key {
					values = append(values, aws.ToString(tag.Value))
				}
			}
			return values
		}, nil
	}
	if name == "tag-key" && f.tags != nil {
		return func(item T) (keys []string) {
			for _, tag := range f.tags(item) {
				keys = append(keys, aws.ToString(tag.Key))
			}
			return keys
		}, nil
	}
	if look, known := f.values[name]; known {
		return look, nil
	}

	return nil, badRequest("InvalidParameterValue", "The filter '%s' is invalid", name)
}

// matchesWildcard reports whether a value matches a filter's value: * is any text, ? any character, \ takes the next
// one as it is.
func matchesWildcard(pattern, value string) bool {
	if !strings.ContainsAny(pattern, `*?\`) {
		return pattern == value
	}
	// path.Match knows classes and stops at slashes; filters do neither.
	pattern = strings.NewReplacer(`\[`, `\[`, "[", `\[`, "/", "\x00").Replace(pattern)
	matched, err := path.Match(pattern, strings.ReplaceAll(value, "/", "\x00"))
	return err == nil && matched
}

// paginate cuts a list as MaxResults and NextToken ask. The token is the place in the list, so that pages stay stable.
func paginate[T any](all []T, limit *int32, token *string) ([]T, *string, error) {
	from := 0
	if token != nil {
		n, err := strconv.Atoi(*token)
		if err != nil || n < 0 || n > len(all) {
			return nil, nil, badRequest("InvalidNextToken", "The token '%s' is invalid", *token)
		}
		from = n
	}

	all = all[from:]
	if limit == nil || len(all) <= int(*limit) {
		return all, nil, nil
	}

	return all[:*limit], aws.String(strconv.Itoa(from + int(*limit))), nil
}
