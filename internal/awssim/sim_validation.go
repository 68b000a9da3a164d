// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxDescription is the maximum length of the description of an image or snapshot in characters.
const maxDescription = 255

// validateDescription checks the description of an image or a snapshot.
func (w *World) validateDescription(c *Call, description *string) error {
	text := aws.ToString(description)
	isASCII := !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
	switch {
	case w.violates(c, "B.8.1", utf8.RuneCountInString(text) > maxDescription):
		return badRequest(
			"InvalidParameterValue", "Value (%s) for parameter description is invalid. It exceeds %d characters", text,
			maxDescription,
		)
	case w.violates(c, "B.8.2", !isASCII):
		return badRequest(
			"InvalidParameterValue",
			"Value (%s) for parameter description is invalid. Character sets beyond ASCII are not supported.", text,
		)
	}
	return nil
}

// matchesPattern reports whether a text is present and matches a pattern.
func matchesPattern(text *string, form *regexp.Regexp) bool {
	return text != nil && form.MatchString(*text)
}

// validationError returns the error for an invalid member of an input. Query services use the code ValidationError,
// JSON services ValidationException.
func validationError(c *Call, member string, value any, constraint string) *APIError {
	code := "ValidationException"
	if c.Service == "iam" || c.Service == "sts" {
		code = "ValidationError"
	}
	return badRequest(code, "1 validation error detected: Value %s at '%s%s' failed to satisfy constraint: %s",
		formatValue(value), strings.ToLower(member[:1]), member[1:], constraint)
}

// validateRange checks the value of an optional number. Each bound has a message of its own.
func validateRange(c *Call, member string, value *int32, least, most int32) error {
	switch {
	case value == nil:
		return nil
	case *value < least:
		return validationError(c, member, value, fmt.Sprintf("Member must have value greater than or equal to %d", least))
	case *value > most:
		return validationError(c, member, value, fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
	return nil
}

// validateLength checks the length of an optional text in characters. Each bound has a message of its own.
func validateLength(c *Call, member string, text *string, least, most int) error {
	length := utf8.RuneCountInString(aws.ToString(text))
	switch {
	case text == nil:
		return nil
	case length < least:
		return validationError(
			c, member, text, fmt.Sprintf("Member must have length greater than or equal to %d", least),
		)
	case length > most:
		return validationError(c, member, text, fmt.Sprintf("Member must have length less than or equal to %d", most))
	}
	return nil
}

func formatValue(value any) string {
	switch v := value.(type) {
	case *string:
		if v == nil {
			return "null"
		}
		return "'" + *v + "'"
	case *int32:
		if v == nil {
			return "null"
		}
		return fmt.Sprintf("'%d'", *v)
	}

	return fmt.Sprintf("'%v'", value)
}
