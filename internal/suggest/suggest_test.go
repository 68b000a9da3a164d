// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package suggest_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/suggest"
)

func TestClosest(t *testing.T) {
	names := []string{"account_ids", "kms_key_id", "region_kms_key_ids", "AccountId", "AMI"}
	for misspelled, want := range map[string]string{
		"account_id": "account_ids",
		"kms_key":    "kms_key_id",
		"AccountID":  "AccountId",
		"Account":    "AccountId",
		"ami":        "",
		"AMIs":       "AMI",
		"assume":     "",
		"":           "",
	} {
		if got := suggest.Closest(misspelled, names); got != want {
			t.Errorf("%q: got %q, want %q", misspelled, got, want)
		}
	}
}
