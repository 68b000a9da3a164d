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

// filterFields maps the filter names of a describe operation to the values of a resource. The filters "tag:<key>" and
// "tag-key" use tags.
type filterFields[T any] struct {
	tags   func(T) []types.Tag
	values map[string]func(T) []string
}

// filter returns the items that match every filter. An item matches a filter if it matches one of the filter's values.
func (f filterFields[T]) filter(items []T, filters []types.Filter) ([]T, error) {
	for _, filter := range filters {
		look, err := f.valuesFor(aws.ToString(filter.Name))
		if err != nil {
			return nil, err
		}
		items = slices.DeleteFunc(slices.Clone(items), func(item T) bool {
			return !slices.ContainsFunc(look(item), func(value string) bool {
				return slices.ContainsFunc(filter.Values, func(pattern string) bool { return matchesWildcard(pattern, value) })
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

// matchesWildcard reports whether a value matches a filter value. In a filter value, * matches any text and ? any
// character. A backslash escapes the next character.
func matchesWildcard(pattern, value string) bool {
	if !strings.ContainsAny(pattern, `*?\`) {
		return pattern == value
	}
	// path.Match supports character classes and stops at slashes; EC2 filters do neither.
	pattern = strings.NewReplacer(`\[`, `\[`, "[", `\[`, "/", "\x00").Replace(pattern)
	matched, err := path.Match(pattern, strings.ReplaceAll(value, "/", "\x00"))
	return err == nil && matched
}

// paginate returns the page for MaxResults and NextToken. The token is the index of the next item, so pages are stable.
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
