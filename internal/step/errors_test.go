// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"errors"
	"testing"
)

// TestNewQuotaExceeded_limit reads the limit in AWS's message. The runner never starts more copies than that.
func TestNewQuotaExceeded_limit(t *testing.T) {
	text := "ResourceLimitExceeded: Too many snapshot copies in progress. The limit is 5 for this destination " +
		"region." // 4.1.1
	if got := newQuotaExceeded(errors.New(text)).Limit; got != 5 {
		t.Errorf("limit %d, want 5", got)
	}
	if got := newQuotaExceeded(errors.New("ResourceLimitExceeded: too many")).Limit; got != 0 {
		t.Errorf("limit %d, want none", got)
	}
}
