// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"reflect"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Guard checks every call of a Pool right before it is sent, and sees its response. No other code enforces conditions
// for all mutating calls.
type Guard struct {
	// Fence returns why a mutating call must not be sent. input is the input of the SDK, and signed is the date of the
	// signature. Nil if every call may be sent.
	Fence func(input any, signed time.Time) error
	// Observe receives AWS's time from each response. Nil if it is not needed.
	Observe func(awsTime time.Time)
	// Audience limits sharing. Nil if a run may share with everyone but the public.
	Audience *Audience
}

// BlockedError is the reason why a call was not sent.
type BlockedError struct {
	Operation string
	Err       error
}

func (e *BlockedError) Error() string { return e.Operation + " was not sent: " + e.Err.Error() }
func (e *BlockedError) Unwrap() error { return e.Err }

type inputKey struct{}

// addTo adds the guard to the middleware stack of a call.
func (g Guard) addTo(stack *middleware.Stack) error {
	storeInput := middleware.InitializeMiddlewareFunc("encrypted-ami:input", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		return next.HandleInitialize(middleware.WithStackValue(ctx, inputKey{}, in.Parameters), in)
	})
	if err := stack.Initialize.Add(storeInput, middleware.Before); err != nil {
		return err
	}
	return stack.Finalize.Insert(guardMiddleware{g}, "Signing", middleware.After)
}

// guardMiddleware asks the Guard about every attempt, after it is signed and before it is sent.
type guardMiddleware struct{ Guard }

func (guardMiddleware) ID() string { return "encrypted-ami:guard" }

func (g guardMiddleware) HandleFinalize(
	ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	if err := g.check(ctx, in.Request); err != nil {
		return out, metadata, &BlockedError{awsmiddleware.GetOperationName(ctx), err}
	}
	sent := time.Now().Round(0) // the wall clock, which also runs while a machine is suspended
	out, metadata, err = next.HandleFinalize(ctx, in)

	// A response without a request id is not from AWS but from a proxy, whose clock may be wrong. A response that took
	// too long was received before a suspension, so its date is old.
	_, isFromAWS := awsmiddleware.GetRequestIDMetadata(metadata)
	isFresh := time.Now().Round(0).Sub(sent) <= longestAttempt
	if date, ok := awsmiddleware.GetServerTime(metadata); ok && isFromAWS && isFresh && g.Observe != nil {
		g.Observe(date)
	}
	return out, metadata, err
}

// check returns why a call must not be sent.
func (g guardMiddleware) check(ctx context.Context, request any) error {
	input := middleware.GetStackValue(ctx, inputKey{})
	if isRead(awsmiddleware.GetOperationName(ctx)) || !changesResources(awsmiddleware.GetServiceID(ctx)) {
		return nil
	}
	if err := checkEncryption(input); err != nil {
		return err
	}
	if err := g.Audience.check(input); err != nil {
		return err
	}
	if g.Fence == nil || isDryRun(input) {
		return nil
	}
	return g.Fence(input, signingTime(request))
}

// isRead reports whether an operation changes nothing.
func isRead(operation string) bool {
	for _, prefix := range []string{"Describe", "Get", "List"} {
		if strings.HasPrefix(operation, prefix) {
			return true
		}
	}
	return false
}

// changesResources reports whether a service has resources that the guard protects. STS, for credentials, has none.
func changesResources(service string) bool {
	switch service {
	case "EBS", "EC2", "KMS", "SSM", "License Manager":
		return true
	}
	return false
}

// isDryRun reports whether the DryRun member of an input is set, so that the call changes nothing.
func isDryRun(input any) bool {
	value := reflect.Indirect(reflect.ValueOf(input))
	if value.Kind() != reflect.Struct || !value.FieldByName("DryRun").IsValid() {
		return false
	}
	flag, ok := value.FieldByName("DryRun").Interface().(*bool)
	return ok && flag != nil && *flag
}

// signingTime returns the date in the signature of a request, which AWS rejects 15 minutes later. It returns the local
// time if the request has no valid date.
func signingTime(request any) time.Time {
	if r, ok := request.(*smithyhttp.Request); ok {
		if date, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err == nil {
			return date
		}
	}
	return time.Now()
}
