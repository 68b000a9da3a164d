// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"cmp"
	"net/http"
	"regexp"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// match is a case with everything that the message of AWS and the step reveal about it.
type match struct {
	Case
	requestedResource string // Case.Resource before the message replaced it
	action            string // that IAM denied; empty if the message names none
	key               string // that encrypts or that the call is about, as an ARN or as requested; empty if none
	sourceKey         string // of the encrypted source; empty if it is not encrypted or has the same key
}

// Parts of messages. IAM names the principal, the action and often the resource (6.2, A.4.11).
var (
	deniedPattern  = regexp.MustCompile(`User: (\S+) is not authorized to perform: ([\w:*-]+)(?: on resource: (\S+))?`)
	reasonPattern  = regexp.MustCompile(`because .*|with an explicit deny.*`)
	encodedPattern = regexp.MustCompile(`\.? *Encoded authorization failure message:.*`)
	quotaPattern   = regexp.MustCompile(`[Ll]imit is (\d+)`)
)

func newMatch(c Case) match {
	m := match{Case: c, requestedResource: c.Resource}
	if found := deniedPattern.FindStringSubmatch(c.Refusal.Message); found != nil {
		m.Principal, m.action = found[1], found[2]
		m.Resource = cmp.Or(strings.TrimRight(found[3], ".,;"), m.Resource)
	}
	if c.Step != nil {
		if m.At == (distribution.Location{}) {
			m.At = c.Step.Meta().Location
		}
		m.findStepKeys()
	}

	isKeyCall := m.key == "" || strings.HasPrefix(m.action, "kms:")
	if isKeyCall && isKey(m.Resource) {
		m.key = m.Resource
	}
	return m
}

// findStepKeys sets the keys that the permissions of the step name.
func (m *match) findStepKeys() {
	for _, permission := range m.Step.Permissions() {
		switch permission.Action {
		case "kms:GenerateDataKeyWithoutPlaintext":
			m.key = permission.Resource
		case "kms:Decrypt":
			m.sourceKey = permission.Resource
		}
	}
	if m.sourceKey == m.key {
		m.sourceKey = ""
	}
}

// rule returns the first rule that matches the error.
func (m match) rule() *rule {
	isNotImplemented := m.Refusal.Status == http.StatusNotImplemented // emulators of AWS use different error codes
	if isNotImplemented || foreignEndpoint.matches(m.Refusal) {
		return &foreignEndpoint
	}

	for i := range rules {
		if !rules[i].matches(m.Refusal) {
			continue
		}
		if rules[i].externalIDWorked != nil && m.WorkedIn != "" {
			return rules[i].externalIDWorked
		}
		return &rules[i]
	}
	if m.Refusal.Code == "" {
		return &noCode
	}
	return &unknownCode
}

// awsMessage returns the message of AWS. From a denial of IAM it omits the principal and the resource, which the
// finding names. The findings of several resources then have the same message. The dots show that a part is missing.
func (m match) awsMessage() string {
	if m.Refusal.Cause != "" { // the message is not from AWS
		return ""
	}
	text := strings.TrimSpace(m.Refusal.Message)
	if deniedPattern.MatchString(text) {
		text = encodedPattern.ReplaceAllString(reasonPattern.FindString(text), "")
		text = strings.TrimPrefix(text, "because ")
		if strings.HasPrefix(text, "with an explicit deny") {
			text = "not authorized to perform: " + m.action + " ... " + text
		}
	}
	return strings.TrimPrefix(text, m.Refusal.Code+": ")
}

// quota returns the limit that the message names, because it varies by account (4.1.1). Empty if it names none.
func (m match) quota() string {
	if found := quotaPattern.FindStringSubmatch(m.Refusal.Message); found != nil {
		return found[1]
	}
	return ""
}

// isKey reports whether a text can only be the ARN, an alias or the id of a key.
func isKey(text string) bool {
	hasKeyPrefix := strings.Contains(text, ":key/") || strings.Contains(text, "alias/") || strings.HasPrefix(text, "mrk-")
	return hasKeyPrefix || keyIDPattern.MatchString(text)
}

var keyIDPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
