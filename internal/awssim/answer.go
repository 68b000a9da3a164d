// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim/wire"
)

// answer encodes what came of a call. An error that is no answer of AWS's, such as a connection cut by a fault, is returned.
func (w *World) answer(c *Call, out any, err error) (*http.Response, error) {
	var refusal *Refusal
	var malformed *wire.Error
	switch {
	case err == nil:
		c.status = http.StatusOK
		return c.request.Answer(c.ID, out), nil
	case errors.As(err, &malformed):
		refusal = &Refusal{malformed.Status, malformed.Code, malformed.Message}
	case !errors.As(err, &refusal):
		return nil, err
	}
	c.status, c.outcome = refusal.Status, refusal.Code
	return c.request.Refuse(c.ID, refusal.Status, refusal.Code, refusal.Message), nil
}

// copyAnswer writes an answer to a server's connection.
func copyAnswer(out http.ResponseWriter, answer *http.Response) {
	maps.Copy(out.Header(), answer.Header)
	out.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(out, answer.Body) // a client that is gone has no use for the rest
	_ = answer.Body.Close()
}
