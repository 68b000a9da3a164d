// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"net/http"
	"time"
)

// signingState holds the options for signing times.
type signingState struct {
	authFailure    bool // EC2 returns AuthFailure for a request outside the window
	anySigningTime bool // no request is refused for its signing time, while a world is built
}

// WithClientSkew sets the clock of all clients ahead of AWS's clock. A negative skew sets it behind. Everything that
// AWS returns is in AWS's time: the Date header, creation times and the end of sessions. The clients use the real
// clock, so the option moves AWS's clock. WithClock must come before it.
func WithClientSkew(ahead time.Duration) Option {
	return func(w *World) {
		unskewed := w.now
		w.now = func() time.Time { return unskewed().Add(-ahead) }
	}
}

// WithAuthFailureForSkew makes EC2 return AuthFailure for a request outside the window, as users report
// (terraform-provider-aws#1102, aws-sdk-java#519). The documented error is RequestExpired.
func WithAuthFailureForSkew() Option {
	return func(w *World) { w.authFailure = true }
}

// Now returns the time of AWS's clock.
func (w *World) Now() time.Time { return w.now() }

// signatureWindow returns how far a signature may be from AWS's clock (rule 5.11).
func signatureWindow(service string) time.Duration {
	switch service {
	case "ec2", "sts", "iam":
		return 15 * time.Minute
	}
	return 5 * time.Minute
}

// checkSigningTime refuses a request that was signed too long ago or in the future (rule 5.11).
func (w *World) checkSigningTime(c *Call) error {
	window, now := signatureWindow(c.Service), w.clientTime(c.At)
	age := now.Sub(c.request.SignedAt)
	outside := age > window+c.request.Expires || age < -window
	if w.anySigningTime || !w.violates(c, "5.11", outside) {
		return nil
	}

	if c.Service == "ec2" {
		if w.authFailure {
			return unknownCredentials(c)
		}
		return badRequest("RequestExpired", "Request has expired.")
	}

	text := skewText(c.request.SignedAt, now, window)
	if c.Service == "sts" || c.Service == "iam" {
		return newAPIError(http.StatusForbidden, "SignatureDoesNotMatch", "%s", text)
	}

	status := http.StatusBadRequest
	if c.Service == "ebs" {
		status = http.StatusForbidden
	}

	return newAPIError(status, "InvalidSignatureException", "%s", text)
}

// skewText returns the error message for the signing time.
func skewText(signed, now time.Time, window time.Duration) string {
	const basic = "20060102T150405Z"
	relation, sign, limit := "Signature expired: %s is now earlier than", "-", now.Add(-window)
	if signed.After(now) {
		relation, sign, limit = "Signature not yet current: %s is still later than", "+", now.Add(window)
	}
	return fmt.Sprintf(relation+" %s (%s %s %d min.)", signed.UTC().Format(basic), limit.UTC().Format(basic),
		now.UTC().Format(basic), sign, int(window.Minutes()))
}

// setDate adds the Date header, from which the SDK learns the skew of its clock (rule 5.12).
func (w *World) setDate(c *Call, answer *http.Response) {
	if w.anySigningTime {
		return // the clock of a build lies in the past
	}
	answer.Header.Set("Date", w.clientTime(c.At).UTC().Format(http.TimeFormat))
}
