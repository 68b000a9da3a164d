// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// authorizationFailure is the content of an encoded authorization message (STS API reference,
// DecodeAuthorizationMessage).
type authorizationFailure struct {
	Allowed           bool                `json:"allowed"`
	ExplicitDeny      bool                `json:"explicitDeny"`
	MatchedStatements failureItems[any]   `json:"matchedStatements"`
	Failures          failureItems[any]   `json:"failures"`
	Context           authorizationDetail `json:"context"`
}

// failureItems is a list in an authorization message.
type failureItems[T any] struct {
	Items []T `json:"items"`
}

// authorizationDetail is the request that was denied.
type authorizationDetail struct {
	Principal struct {
		ID  string `json:"id"`
		ARN string `json:"arn"`
	} `json:"principal"`
	Action     string                         `json:"action"`
	Resource   string                         `json:"resource"`
	Conditions failureItems[failureCondition] `json:"conditions"`
}

// failureCondition is a condition key of the denied request.
type failureCondition struct {
	Key    string                     `json:"key"`
	Values failureItems[failureValue] `json:"values"`
}

type failureValue struct {
	Value string `json:"value"`
}

// encodeAuthorizationFailure returns the encoded message of a refusal. The caller's account can decode it.
func (w *World) encodeAuthorizationFailure(
	c *Call, request AuthorizationRequest, decision iampolicy.Decision,
) string {
	content := authorizationFailure{
		ExplicitDeny:      decision.Explicit,
		MatchedStatements: failureItems[any]{[]any{}},
		Failures:          failureItems[any]{[]any{}},
	}
	content.Context.Principal.ID, content.Context.Principal.ARN = c.caller.userID(), c.caller.principal.ARN
	content.Context.Action, content.Context.Resource = request.Action, request.Resource
	content.Context.Conditions.Items = []failureCondition{}
	for _, key := range sortedKeys(request.Context) {
		condition := failureCondition{Key: key}
		for _, value := range request.Context[key] {
			condition.Values.Items = append(condition.Values.Items, failureValue{value})
		}
		content.Context.Conditions.Items = append(content.Context.Conditions.Items, condition)
	}

	text, err := json.Marshal(content)
	if err != nil {
		panic(err) // only texts and lists
	}

	encoded := base64.RawURLEncoding.EncodeToString(w.randomBytes(
		96, "authorization failure", c.caller.principal.ARN, request.Action, request.Resource,
	))
	w.authorizationFailures[encoded] = string(text)
	return encoded
}

func (w *World) decodeAuthorizationMessage(
	c *Call, in *sts.DecodeAuthorizationMessageInput,
) (*sts.DecodeAuthorizationMessageOutput, error) {
	err := w.authorize(c, AuthorizationRequest{Action: "sts:DecodeAuthorizationMessage", Resource: "*"})
	if err != nil {
		return nil, err
	}
	text, known := w.authorizationFailures[aws.ToString(in.EncodedMessage)]
	if !known {
		return nil, badRequest("InvalidAuthorizationMessageException", "Message is not valid")
	}
	return &sts.DecodeAuthorizationMessageOutput{DecodedMessage: &text}, nil
}
