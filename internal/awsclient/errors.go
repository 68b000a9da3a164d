// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

type codes = map[string]struct{}

// Sets of error codes. Codes, never texts: those carry typographic apostrophes, blanks at their ends and limits (2.2.2, 4.1.1).
var (
	throttles = set("BandwidthLimitExceeded", "EC2ThrottledException", "PriorRequestNotComplete", "RateLimitExceededException", "RequestLimitExceeded", "RequestThrottled",
		"RequestThrottledException", "SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "TooManyUpdates") // 4.2.1, 3.7, 7.8
	serverErrorCodes = set("DependencyTimeoutException", "InternalError", "InternalFailure", "InternalServiceError", "KMSInternalException", "KeyUnavailableException", "ServerInternalException",
		"RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "Unavailable") // 3.7
	notFound = set("InvalidGrantIdException", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidInstanceID.NotFound", "InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound",
		"InvalidLaunchTemplateName.NotFoundException", "InvalidSnapshot.NotFound", "InvalidSnapshotID.NotFound", "InvalidVolume.NotFound", "NotFoundException",
		"ParameterNotFound", "ParameterVersionNotFound") // 2.5.4, 2.5.9, 2.5.10, 3.4.1, 3.7
	unauthorized = set("AccessDenied", "AccessDeniedException", "AuthFailure", "AuthorizationException", "OptInRequired", "UnauthorizedOperation") // 1.8.3, 5.6, 5.8, 6.2
	expired      = set("ExpiredToken", "ExpiredTokenException", "RequestExpired")                                                                  // 5.4
	limits       = set("ResourceLimitExceeded")                                                                                                    // 4.1.1, A.3.1
	dryRun       = set("DryRunOperation", "DryRunOperationException")                                                                              // 6.2, 6.6
)

func set(names ...string) codes {
	all := codes{}
	for _, name := range names {
		all[name] = struct{}{}
	}
	return all
}

// Code is the error code that AWS answered, "" where it answered none.
func Code(err error) string {
	var answered smithy.APIError
	if errors.As(err, &answered) {
		return answered.ErrorCode()
	}
	return ""
}

func has(err error, among codes) bool {
	_, yes := among[Code(err)]
	return yes
}

// IsThrottled reports that AWS wants the call later (4.2.1).
func IsThrottled(err error) bool { return has(err, throttles) }

// IsResourceLimit reports that too many copies are on their way (4.1.1): never a failure, but a reason to wait.
func IsResourceLimit(err error) bool { return has(err, limits) }

// IsNotFound reports that the thing is not there, or not there yet (4.4.1).
func IsNotFound(err error) bool { return has(err, notFound) }

// IsUnauthorized reports a refusal for want of rights.
func IsUnauthorized(err error) bool { return has(err, unauthorized) }

// IsExpired reports that the session is over (5.4).
func IsExpired(err error) bool { return has(err, expired) }

// HasEnded reports that credentials are over and new ones cannot be had: AWS calls the session expired although it was renewed, or what
// they come from (a command, a token's file, single sign-on) gives none any more (5.3, 5.4).
func HasEnded(err error) bool {
	var session *SessionError
	var other otherAccount
	switch {
	case IsExpired(err):
		return true
	case !errors.As(err, &session), errors.As(err, &other), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	}
	return Operation(session.Err) == "" && !IsTransient(session.Err)
}

// IsInUse reports that a snapshot still belongs to an image (2.5.8).
func IsInUse(err error) bool { return Code(err) == "InvalidSnapshot.InUse" }

// IsNameTaken reports that an image of this name exists in the account and Region (2.5.2).
func IsNameTaken(err error) bool { return Code(err) == "InvalidAMIName.Duplicate" }

// IsParameterTaken reports that an SSM parameter of this name exists, and was not to be overwritten (7.8).
func IsParameterTaken(err error) bool { return Code(err) == "ParameterAlreadyExists" }

// WouldSucceed reports the answer of a dry run that was allowed (6.2, 6.6).
func WouldSucceed(err error) bool { return has(err, dryRun) }

// IsWeather reports an error that passes: throttling, 5xx, a connection that broke, if in the middle of an answer.
func IsTransient(err error) bool { return weather.IsErrorRetryable(err).Bool() }

// tornIn is what an error says of an answer that broke off, or that nobody can read: what it said is lost, whatever its status. nil: it was whole.
func deserializationError(err error) error {
	var torn *smithy.DeserializationError
	if errors.As(err, &torn) {
		return torn
	}
	return nil
}

// IsUnclear reports that nobody knows whether the call had its effect: no whole answer came, or one of 5xx (design of *once* calls, 4.2.3).
func IsOutcomeUnknown(err error) bool {
	var session *SessionError
	var blocked *BlockedError
	var serialization *smithy.SerializationError
	var parameters smithy.InvalidParamsError
	switch {
	case err == nil, IsThrottled(err), errors.As(err, &session), errors.As(err, &blocked), errors.As(err, &serialization), errors.As(err, &parameters):
		return false
	}
	status := status(err)
	return status == 0 || status >= http.StatusInternalServerError || deserializationError(err) != nil
}

// quoted is where STS repeats an external id, which is a secret, because of its form (5.5).
var quoted = regexp.MustCompile(`(?is)Value '.*?' at 'externalId'`)

func redacted(text string) string {
	return quoted.ReplaceAllString(text, "Value '(secret)' at 'externalId'")
}

// discreet is an error whose text holds no external id.
type redactedError struct{ error }

func (e redactedError) Error() string { return redacted(e.error.Error()) }
func (e redactedError) Unwrap() error { return e.error }

// Refused makes a fact of an error: of AWS's refusal, or of the call that did not come through. The operation is "ec2:CopySnapshot".
// Its message holds no external id.
func Refused(operation string, err error) *distribution.APIError {
	refusal := &distribution.APIError{Operation: operation, Code: Code(err), Message: redacted(err.Error())}
	var session *SessionError
	if errors.As(err, &session) {
		refusal.Operation = "sts:AssumeRole"
		if session.Operation != "" {
			refusal.Operation = session.Operation
		}
	}
	var answered smithy.APIError
	if errors.As(err, &answered) {
		refusal.Message = redacted(answered.ErrorMessage())
	}
	refusal.Status = status(err)
	return refusal
}

// status is the HTTP status of the answer; 0 where none came.
func status(err error) int {
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) {
		return answered.HTTPStatusCode()
	}
	return 0
}

// Operation names the call of an error as policies do: "ec2:CopySnapshot"; "" where it is no error of a call.
func Operation(err error) string {
	var operation *smithy.OperationError
	if !errors.As(err, &operation) {
		return ""
	}
	return strings.ReplaceAll(strings.ToLower(operation.ServiceID), " ", "-") + ":" + operation.OperationName // "License Manager"
}
