// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

func TestGuardCopy_keyOfOtherRegion(t *testing.T) { // 1.3.9, 1.7.5
	for key, passes := range map[string]bool{
		"arn:aws:kms:eu-west-1:222222222222:key/k":    true,
		"arn:aws:kms:eu-central-1:222222222222:key/k": false,
		"arn:aws:s3:eu-west-1:222222222222:key/k":     false,
		"alias/golden": false,
		"":             false,
	} {
		s := &CopySnapshot{
			Base:   Base{Location: distribution.Location{Account: "222222222222", Region: "eu-west-1"}},
			Source: Ref{Known: "snap-1"},
			KeyARN: key,
		}
		if err := guardCopy(&attempt{base: s.Meta()}, s.Source, s.KeyARN); (err == nil) != passes {
			t.Errorf("%q: %v", key, err)
		}
	}
	s := &CopySnapshot{
		Base:   Base{Location: distribution.Location{Region: "eu-west-1"}},
		Source: Ref{From: "stage"},
		KeyARN: "arn:aws:kms:eu-west-1:222222222222:key/k",
	}
	if guardCopy(&attempt{base: s.Meta()}, s.Source, s.KeyARN) == nil {
		t.Error("a copy of nothing was to be made")
	}
}

func TestGuardShare_allOrNone(t *testing.T) {
	for _, accounts := range [][]string{
		nil,
		{"all"},
		{"222222222222", ""},
		{"arn:aws:organizations::222222222222:organization/o-1"},
	} {
		if guardShare(accounts) == nil {
			t.Errorf("shared with %q", accounts)
		}
	}
	if err := guardShare([]string{"222222222222", "333333333333"}); err != nil {
		t.Error(err)
	}
}
