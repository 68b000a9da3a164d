// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// configurationError is an error of the template. Repeating the same command cannot help.
type configurationError struct{ err error }

func (e *configurationError) Error() string { return e.err.Error() }
func (e *configurationError) Unwrap() error { return e.err }

func isConfigurationError(err error) bool {
	var configuration *configurationError
	return errors.As(err, &configuration)
}

// canceledError is the error of a run that was canceled before its plan was ready.
type canceledError struct{ err error }

func (*canceledError) Error() string   { return "the run was canceled before its plan was ready" }
func (e *canceledError) Unwrap() error { return e.err }

// explainCancel replaces the error of a run that was canceled during a lookup, because it would blame the canceled
// call.
func explainCancel(err error) error {
	isCanceled := errors.Is(err, context.Canceled)
	if isCanceled && strings.HasSuffix(err.Error(), context.Canceled.Error()) {
		return &canceledError{err}
	}
	return err
}

// timeoutError is the error of a run that has reached its timeout. Unlike a cancel, a timeout is a failure of each
// destination that is not finished.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("timeout: the run has taken %s", e.limit) }

// isTimeout reports whether the context of a run ended because of its timeout.
func isTimeout(ctx context.Context) bool {
	_, ok := errors.AsType[*timeoutError](context.Cause(ctx))
	return ok
}
