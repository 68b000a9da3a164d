// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// clientTokenKey identifies a client token of an operation in an account and Region.
type clientTokenKey struct {
	location         location
	operation, token string
}

// idempotencyRecord holds the request and the output of a call with a client token.
type idempotencyRecord struct {
	request string
	output  any
}

// runIdempotent executes a call once for each client token. A repeated request gets the first output. Another request
// with the same token is refused (rule 4.2.3). Without a token every call is executed.
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
			return nil, badRequest("IdempotentParameterMismatch", "%s", tokenMismatchMessage(c.Operation))
		}
		return before.output.(*Out), nil
	}

	out, err := do()
	if err == nil {
		w.clientTokens[key] = idempotencyRecord{string(asked), out}
	}

	return out, err
}

// tokenMismatchMessage returns the message for a client token that another request used. It depends on the operation.
func tokenMismatchMessage(operation string) string {
	switch operation {
	case "CreateLaunchTemplate":
		return "Client token already used before."
	case "CreateLaunchTemplateVersion":
		return "Client token already used before"
	}
	return "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
}
