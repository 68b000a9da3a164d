// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits of the accounts in tags. A resource has at most 50 tags with 256 characters each, and an account ID with its
// comma takes 13 characters.
const (
	accountsPerTag   = 19
	maxBaselineTags  = 3
	maxPermanentTags = 5
)

// TooManyAccountsError means that the accounts with a permission do not fit into tags. Such a snapshot or image must be
// staged.
type TooManyAccountsError struct{ Count, Limit int }

func (e TooManyAccountsError) Error() string {
	return fmt.Sprintf("%d accounts have a permission; tags can remember %d", e.Count, e.Limit)
}

// BaselineTags returns the tags that store which accounts had a permission on a resource before any run. Write them
// once, before the first share. If they were written later, temporary permissions would count as older ones.
func BaselineTags(accounts []string) (map[string]string, error) {
	accounts = sortedSet(accounts)
	if limit := accountsPerTag * maxBaselineTags; len(accounts) > limit {
		return nil, TooManyAccountsError{len(accounts), limit}
	}
	tags := map[string]string{TagBaseline: "0"}
	for i, chunk := range slices.Collect(slices.Chunk(accounts, accountsPerTag)) {
		tags[baselineKey(i)] = strconv.Itoa(len(accounts)) + " " + strings.Join(chunk, ",")
	}
	return tags, nil
}

// Baseline returns the accounts in the tags of BaselineTags, without those that RemovedTags names. It returns an error
// if the tags are incomplete. No permission may be withdrawn then.
func Baseline(tags map[string]string) (accounts []string, known bool, err error) {
	first, known := tags[TagBaseline]
	if !known {
		return nil, false, nil
	}
	text, _, _ := strings.Cut(first, " ")
	count, err := strconv.Atoi(text)
	if err != nil {
		return nil, true, fmt.Errorf("tag %s cannot be read: %q", TagBaseline, first)
	}
	for i := range maxBaselineTags {
		if head, list, ok := strings.Cut(tags[baselineKey(i)], " "); ok && head == text {
			accounts = append(accounts, strings.Split(list, ",")...)
		}
	}
	if len(accounts) != count {
		return nil, true, fmt.Errorf("tag %s names %d accounts of %d", TagBaseline, len(accounts), count)
	}
	removed := accountsOf(tags, tagRemoved)
	return slices.DeleteFunc(accounts, func(account string) bool { return slices.Contains(removed, account) }), true, nil
}

// RemovedTags returns the tags that name accounts of the baseline whose permission was removed later. Write them before
// a run gives such an account a temporary permission. Otherwise the permission would count as older than all runs and
// would never be removed. The key of a tag is a hash of its value, so a tag never changes.
func RemovedTags(sharedWith, permitted []string, existing map[string]string) (map[string]string, error) {
	baseline, _, err := Baseline(existing)
	if err != nil {
		return nil, err
	}
	removed := slices.DeleteFunc(sortedSet(sharedWith), func(account string) bool {
		return !slices.Contains(baseline, account) || slices.Contains(permitted, account)
	})
	return hashedTags(tagRemoved, removed), nil
}

func baselineKey(i int) string {
	if i == 0 {
		return TagBaseline
	}
	return fmt.Sprintf("%s:%d", TagBaseline, i+1)
}

// PermanentTags returns the tags that store the accounts to which a share block gives a permission. Write them before
// the permission. The key of a tag is a hash of its value, so no run changes the tags of another one. existing are the
// current tags of the image.
func PermanentTags(accounts []string, existing map[string]string) (map[string]string, error) {
	missing := slices.DeleteFunc(sortedSet(accounts), func(account string) bool {
		return slices.Contains(Permanent(existing), account)
	})
	tags := hashedTags(tagPermanent, missing)
	if used := countPermanentTags(existing); used+len(tags) > maxPermanentTags {
		return nil, TooManyAccountsError{len(missing), accountsPerTag * max(maxPermanentTags-used, 0)}
	}
	return tags, nil
}

// Permanent returns the sorted accounts in the tags of PermanentTags.
func Permanent(tags map[string]string) []string { return accountsOf(tags, tagPermanent) }

// hashedTags returns tags that name accounts. The key of each is a prefix and a hash of its value.
func hashedTags(prefix string, accounts []string) map[string]string {
	tags := map[string]string{}
	for chunk := range slices.Chunk(accounts, accountsPerTag) {
		value := strings.Join(chunk, ",")
		sum := sha256.Sum256([]byte(value))
		tags[prefix+hex.EncodeToString(sum[:8])] = value
	}
	return tags
}

// accountsOf returns the sorted accounts in the tags of hashedTags.
func accountsOf(tags map[string]string, prefix string) []string {
	var accounts []string
	for key, value := range tags {
		if strings.HasPrefix(key, prefix) {
			accounts = append(accounts, strings.Split(value, ",")...)
		}
	}
	return sortedSet(accounts)
}

// WithoutBaseline returns the tags of a source image that also apply to its snapshots. Permanent permissions are stored
// on the image only, but each snapshot has its own baseline.
func WithoutBaseline(tags map[string]string) map[string]string {
	rest := maps.Clone(tags)
	maps.DeleteFunc(rest, func(key, _ string) bool { return strings.HasPrefix(key, TagBaseline) })
	return rest
}

func countPermanentTags(tags map[string]string) (count int) {
	for key := range tags {
		if strings.HasPrefix(key, tagPermanent) {
			count++
		}
	}
	return count
}

// Withdrawable returns the accounts whose permission is temporary: neither in the baseline nor permanent. Empty without
// a baseline, because then all permissions may be older than our runs.
func Withdrawable(permitted []string, owner string, tags map[string]string) ([]string, error) {
	baseline, known, err := Baseline(tags)
	if err != nil || !known {
		return nil, err
	}
	stay := slices.Concat(baseline, Permanent(tags), []string{owner})
	return slices.DeleteFunc(
		sortedSet(permitted),
		func(account string) bool { return slices.Contains(stay, account) },
	), nil
}

func sortedSet(accounts []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(accounts)))
}
