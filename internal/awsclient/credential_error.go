// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CredentialError means that this machine has no usable credentials. AWS was not called, or AWS refused the sign-in
// that the credentials depend on.
type CredentialError struct {
	Cause   distribution.CredentialCause
	Profile string // empty if no profile is known
	Err     error
}

func (e *CredentialError) Error() string { return redact(e.Err.Error()) }
func (e *CredentialError) Unwrap() error { return e.Err }

// explainCredentials returns a CredentialError if the error has a known cause of missing credentials. Otherwise it
// returns the error unchanged.
func explainCredentials(profile string, err error) error {
	var explained *CredentialError
	if err == nil || errors.As(err, &explained) {
		return err
	}
	cause := causeOf(err)
	if cause == "" {
		return err
	}
	return &CredentialError{Cause: cause, Profile: profile, Err: shortened(cause, err)}
}

// errMFA replaces the SDK's error, which addresses the developer of a program and not its user.
var errMFA = errors.New("it has mfa_serial, and Packer cannot ask for an MFA code; use a profile without mfa_serial, " +
	"or the environment variables that `aws configure export-credentials --format env` prints")

// shortened returns the error of the credentials without the names of the operations that needed them.
func shortened(cause distribution.CredentialCause, err error) error {
	if cause == distribution.MFARequired {
		return errMFA
	}
	if failed, ok := errors.AsType[*processError](err); ok {
		return failed
	}
	if invalid, ok := errors.AsType[*ssocreds.InvalidTokenError](err); ok {
		return invalid
	}
	missing, ok := errors.AsType[config.SharedConfigProfileNotExistError](err)
	if ok && cause == distribution.ProfileMissing {
		return missing
	}
	return err
}

// causeOf returns why there are no credentials. Empty for any other error.
func causeOf(err error) distribution.CredentialCause {
	var (
		noProfile    config.SharedConfigProfileNotExistError
		noToken      config.AssumeRoleTokenProviderNotSetError
		unreadable   config.SharedConfigLoadError
		badRole      config.SharedConfigAssumeRoleError
		noARN        config.CredentialRequiresARNError
		invalidToken *ssocreds.InvalidTokenError
	)
	text := err.Error()
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ""
	case errors.As(err, &badRole): // before its own cause
		return distribution.ProfileInvalid
	case errors.As(err, &noProfile):
		return distribution.ProfileMissing
	case errors.As(err, &noToken):
		return distribution.MFARequired
	case errors.As(err, &unreadable), errors.As(err, &noARN):
		return distribution.ProfileInvalid
	case errors.As(err, &invalidToken),
		strings.Contains(text, "cached SSO token"),
		Operation(err) == "sso-oidc:CreateToken":
		return distribution.SSOSignInRequired
	case Operation(err) == "sso:GetRoleCredentials" && Code(err) == "UnauthorizedException":
		return distribution.SSOSignInRequired
	case Operation(err) == "sso:GetRoleCredentials" && !IsTransient(err):
		return distribution.SSORoleDenied
	case isProcessError(err):
		return distribution.ProcessFailed
	case strings.Contains(text, "failed to retrieve jwt"):
		return distribution.WebIdentityTokenMissing
	case strings.Contains(text, "no EC2 IMDS role found"):
		return distribution.NoCredentials
	}
	return ""
}

// profileName returns the profile of the source credentials. Empty if they come from none.
func (a Access) profileName() string {
	if a.Profile != "" || a.AccessKey != "" {
		return a.Profile
	}
	return cmp.Or(os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"))
}
