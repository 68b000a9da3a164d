// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/smithy-go"
)

// Credentials have ended if they expired or were revoked (rules 5.3 and 5.4).
func TestHasEnded(t *testing.T) {
	expired := &smithy.GenericAPIError{Code: "ExpiredToken"}
	denied := &smithy.OperationError{
		ServiceID:     "STS",
		OperationName: "AssumeRole",
		Err:           &smithy.GenericAPIError{Code: "AccessDenied"},
	}
	signIn := errors.New("the session is over, sign in again")
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"session expired", expired, true},
		{"session expired, in AssumeRole", &SessionError{"999999999999", "sts:AssumeRole", expired}, true},
		{"credential command fails", &SessionError{"111111111111", "", signIn}, true},
		{"role denied", &SessionError{"999999999999", "sts:AssumeRole", denied}, false},
		{"wrong account", &SessionError{"999999999999", "", wrongAccountError("333333333333")}, false},
		{"run canceled", &SessionError{"111111111111", "", fmt.Errorf("no credentials: %w", context.Canceled)}, false},
		{"other error", signIn, false},
	} {
		if got := HasEnded(c.err); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}
