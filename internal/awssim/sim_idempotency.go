// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// clientTokenKey names a client token: each operation of an account in a Region has its own.
type clientTokenKey struct {
	location         location
	operation, token string
}

// idempotencyRecord is what a call with a client token asked, and what it was answered.
type idempotencyRecord struct {
	request string
	output  any
}

// runIdempotent makes an effect once for each client token: the same request again gets the first answer, another
// request with the same token is refused (4.2.3). Without a token the effect is made each time.
func runIdempotent[Out any](w *World, c *Call, token *string, do func() (*Out, error)) (*Out, error) {
	if aws.ToString(token) == "" {
		return do()
	}

	asked, err := json.Marshal(c.In)
	if err != nil {
		return nil, err
	}

	key := clientTokenKey{c.location(), c.Operation, *token}
	if before, ok := w.clientTokens[key]; ok {
		if w.violates(c, "4.2.3", before.request != string(asked)) {
			return nil, badRequest(
				"IdempotentParameterMismatch",
				"Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
			)
		}
		return before.output.(*Out), nil
	}

	out, err := do()
	if err == nil {
		w.clientTokens[key] = idempotencyRecord{string(asked), out}
	}

	return out, err
}
