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

func TestCredentialsThatCannotBeRenewedHaveEnded(t *testing.T) { // 5.3, 5.4
	expired := &smithy.GenericAPIError{Code: "ExpiredToken"}
	signIn := errors.New("the session is over, sign in again")
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"AWS says so", expired, true},
		{"STS says so, asked for a role", &SessionError{"999999999999", "sts:AssumeRole", expired}, true},
		{"a command gives none any more", &SessionError{"111111111111", "", signIn}, true},
		{"a role is refused", &SessionError{"999999999999", "sts:AssumeRole", &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &smithy.GenericAPIError{Code: "AccessDenied"}}}, false},
		{"they are another account's", &SessionError{"999999999999", "", otherAccount("333333333333")}, false},
		{"the run was cancelled", &SessionError{"111111111111", "", fmt.Errorf("no credentials: %w", context.Canceled)}, false},
		{"an error of something else", signIn, false},
	} {
		if got := HasEnded(c.err); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
