// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"regexp"
	"strings"
)

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
