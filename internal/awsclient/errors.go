// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// errorCodes is a set of error codes. Errors are classified by code, because messages contain typographic apostrophes,
// outer blanks and limits (2.2.2, 4.1.1).
type errorCodes = map[string]struct{}

// throttlingCodes are the codes of throttled calls (rules 4.2.1, 3.7 and 7.8).
var throttlingCodes = newErrorCodes(
	"BandwidthLimitExceeded",
	"EC2ThrottledException",
	"PriorRequestNotComplete",
	"RateLimitExceededException",
	"RequestLimitExceeded",
	"RequestThrottled",
	"RequestThrottledException",
	"SlowDown",
	"Throttling",
	"ThrottlingException",
	"ThrottledException",
	"TooManyRequestsException",
	"TooManyUpdates",
)

// serverErrorCodes are the codes of errors inside AWS (rule 3.7).
var serverErrorCodes = newErrorCodes(
	"DependencyTimeoutException",
	"InternalError",
	"InternalFailure",
	"InternalServiceError",
	"KMSInternalException",
	"KeyUnavailableException",
	"ServerInternalException",
	"RequestTimeout",
	"RequestTimeoutException",
	"ServiceUnavailable",
	"Unavailable",
)

// notFoundCodes are the codes of missing resources (rules 2.5.4, 2.5.9, 2.5.10, 3.4.1 and 3.7).
var notFoundCodes = newErrorCodes(
	"InvalidGrantIdException",
	"InvalidAMIID.NotFound",
	"InvalidAMIID.Unavailable",
	"InvalidInstanceID.NotFound",
	"InvalidLaunchTemplateId.NotFound",
	"InvalidLaunchTemplateId.VersionNotFound",
	"InvalidLaunchTemplateName.NotFoundException",
	"InvalidSnapshot.NotFound",
	"InvalidSnapshotID.NotFound",
	"InvalidVolume.NotFound",
	"NotFoundException",
	"ParameterNotFound",
	"ParameterVersionNotFound",
)

// unauthorizedCodes are the codes of missing permissions (rules 1.8.3, 5.6, 5.8 and 6.2).
var unauthorizedCodes = newErrorCodes(
	"AccessDenied",
	"AccessDeniedException",
	"AuthFailure",
	"AuthorizationException",
	"OptInRequired",
	"UnauthorizedOperation",
)

var (
	expiredCodes = newErrorCodes("ExpiredToken", "ExpiredTokenException", "RequestExpired") // 5.4
	quotaCodes   = newErrorCodes("ResourceLimitExceeded")                                   // 4.1.1, A.3.1
	dryRunCodes  = newErrorCodes("DryRunOperation", "DryRunOperationException")             // 6.2, 6.6
)

func newErrorCodes(codes ...string) errorCodes {
	set := errorCodes{}
	for _, code := range codes {
		set[code] = struct{}{}
	}
	return set
}

// Code returns the error code of AWS. Empty if AWS returned none.
func Code(err error) string {
	var apiErr smithy.APIError
	if errors.As(err, &apiErr) {
		return apiErr.ErrorCode()
	}
	return ""
}

func hasCode(err error, codes errorCodes) bool {
	_, found := codes[Code(err)]
	return found
}

// IsThrottled reports whether AWS throttled the call (4.2.1).
func IsThrottled(err error) bool { return hasCode(err, throttlingCodes) }

// IsResourceLimit reports whether too many copies are in progress (4.1.1). The call can wait and be retried.
func IsResourceLimit(err error) bool { return hasCode(err, quotaCodes) }

// IsNotFound reports whether the resource does not exist, or is not visible yet (4.4.1).
func IsNotFound(err error) bool { return hasCode(err, notFoundCodes) }

// IsUnauthorized reports whether AWS denied the call for lack of permissions.
func IsUnauthorized(err error) bool { return hasCode(err, unauthorizedCodes) }

// IsExpired reports whether the session has expired (5.4).
func IsExpired(err error) bool { return hasCode(err, expiredCodes) }

// HasEnded reports whether the credentials have expired and cannot be renewed (5.3, 5.4). Either the renewed session is
// expired too, or its source (a command, a token file, SSO) no longer issues credentials.
func HasEnded(err error) bool {
	if IsExpired(err) {
		return true
	}
	var sessionErr *SessionError
	var wrongAccount wrongAccountError
	if !errors.As(err, &sessionErr) || errors.As(err, &wrongAccount) {
		return false
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return Operation(sessionErr.Err) == "" && !IsTransient(sessionErr.Err)
}

// IsInUse reports whether a snapshot still belongs to an image (2.5.8).
func IsInUse(err error) bool { return Code(err) == "InvalidSnapshot.InUse" }

// IsNameTaken reports whether an image of this name exists in the account and Region (2.5.2).
func IsNameTaken(err error) bool { return Code(err) == "InvalidAMIName.Duplicate" }

// WouldSucceed reports whether a dry run was allowed (6.2, 6.6).
func WouldSucceed(err error) bool { return hasCode(err, dryRunCodes) }

// IsTransient reports whether a retry may succeed: after throttling, a server error (5xx) or a broken connection.
func IsTransient(err error) bool { return transientErrors.IsErrorRetryable(err).Bool() }

// deserializationError returns the error of a truncated or unreadable response, whatever its status. Nil if the
// response was complete.
func deserializationError(err error) error {
	var incomplete *smithy.DeserializationError
	if errors.As(err, &incomplete) {
		return incomplete
	}
	return nil
}

// IsOutcomeUnknown reports whether the call may have had its effect although it failed (rule 4.2.3). That is so after
// an incomplete response and after a server error (5xx).
func IsOutcomeUnknown(err error) bool {
	if err == nil || IsThrottled(err) || wasNotSent(err) {
		return false
	}
	status := httpStatus(err)
	return status == 0 || status >= http.StatusInternalServerError || deserializationError(err) != nil
}

// wasNotSent reports whether the request was not sent because of the error.
func wasNotSent(err error) bool {
	var sessionErr *SessionError
	var blocked *BlockedError
	var serialization *smithy.SerializationError
	var params smithy.InvalidParamsError
	return errors.As(err, &sessionErr) || errors.As(err, &blocked) ||
		errors.As(err, &serialization) || errors.As(err, &params)
}

// externalIDPattern matches the external id, which is a secret, in the message of STS about its format (5.5).
var externalIDPattern = regexp.MustCompile(`(?is)Value '.*?' at 'externalId'`)

func redact(text string) string {
	return externalIDPattern.ReplaceAllString(text, "Value '(secret)' at 'externalId'")
}

// redactedError is an error without the external id in its text.
type redactedError struct{ error }

func (e redactedError) Error() string { return redact(e.error.Error()) }
func (e redactedError) Unwrap() error { return e.error }

// Refused returns an error as a distribution.APIError, without an external ID in its message. operation is the
// operation of the call, such as "ec2:CopySnapshot".
func Refused(operation string, err error) *distribution.APIError {
	var sessionErr *SessionError
	if errors.As(err, &sessionErr) {
		operation = cmp.Or(sessionErr.Operation, "sts:AssumeRole")
	}
	if explained, ok := errors.AsType[*CredentialError](err); ok {
		return &distribution.APIError{
			Message: explained.Error(),
			Cause:   explained.Cause,
			Profile: explained.Profile,
		}
	}
	message := err.Error()
	var apiErr smithy.APIError
	if errors.As(err, &apiErr) {
		message = apiErr.ErrorMessage()
	} else if sendErr := (*smithyhttp.RequestSendError)(nil); errors.As(err, &sendErr) {
		message = sendErr.Err.Error()
	}
	var unanswered *UnansweredError
	if errors.As(err, &unanswered) {
		message += fmt.Sprintf(" (no answer for %v)", unanswered.lasted())
	}
	return &distribution.APIError{
		Operation:  operation,
		Code:       Code(err),
		Message:    redact(message),
		Status:     httpStatus(err),
		Unanswered: unanswered != nil,
	}
}

// httpStatus returns the status of the response. 0 if there was none.
func httpStatus(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// Operation returns the operation of the failed call as policies name it, such as "ec2:CopySnapshot". Empty if the
// error is not from a call.
func Operation(err error) string {
	var operation *smithy.OperationError
	if !errors.As(err, &operation) {
		return ""
	}
	return operationName(operation.ServiceID, operation.OperationName)
}

// operationName returns an operation as policies name it.
func operationName(serviceID, operation string) string {
	service := strings.ReplaceAll(strings.ToLower(serviceID), " ", "-") // "License Manager"
	return service + ":" + operation
}
