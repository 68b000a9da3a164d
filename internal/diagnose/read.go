// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// met is a case, read: with all that the refusal's text and the step tell of it.
type match struct {
	Case
	asked     string // the resource as it was asked for, whatever the refusal calls it
	action    string // that IAM refused; "" where the text names none
	key       string // that encrypts, or that the call is about; ARN, or as asked for; "" for none
	sourceKey string // that the source is encrypted with; "" where it is not, or not with another key
}

// Beginnings of refusals that name who may not do what (6.2, A.4.11), and parts of other texts.
var (
	denied  = regexp.MustCompile(`User: (\S+) is not authorized to perform: ([\w:*-]+)(?: on resource: (\S+))?`)
	verdict = regexp.MustCompile(`because .*|with an explicit deny.*`)
	encoded = regexp.MustCompile(`\.? *Encoded authorization failure message:.*`)
	limit   = regexp.MustCompile(`[Ll]imit is (\d+)`)
)

func read(c Case) match {
	m := match{Case: c, asked: c.Resource}
	if c.Step != nil && m.At == (distribution.Location{}) {
		m.At = c.Step.Meta().Location
	}
	if found := denied.FindStringSubmatch(c.Refusal.Message); found != nil {
		m.Principal, m.action = found[1], found[2]
		m.Resource = cmp.Or(strings.TrimRight(found[3], ".,;"), m.Resource)
	}
	if c.Step != nil {
		for _, right := range c.Step.Permissions() {
			switch right.Action {
			case "kms:GenerateDataKeyWithoutPlaintext":
				m.key = right.Resource
			case "kms:Decrypt":
				m.sourceKey = right.Resource
			}
		}
	}
	if m.sourceKey == m.key {
		m.sourceKey = ""
	}
	if m.key == "" && isKey(m.Resource) || strings.HasPrefix(m.action, "kms:") && isKey(m.Resource) {
		m.key = m.Resource
	}
	return m
}

// entry is the first of the catalogue that knows the refusal.
func (m match) entry() *rule {
	for i := range catalogue {
		if catalogue[i].knows(m.Refusal) {
			return &catalogue[i]
		}
	}
	if m.Refusal.Code == "" {
		return &unanswered
	}
	return &unknown
}

// said is AWS's answer: of a refusal that names who may not do what, which the finding tells already, its verdict alone.
func (m match) said() string {
	text := strings.TrimSpace(m.Refusal.Message)
	if denied.MatchString(text) {
		text = encoded.ReplaceAllString(verdict.FindString(text), "")
	}
	return strings.Join(nonempty(m.Refusal.Code, strings.TrimPrefix(text, m.Refusal.Code+": ")), ": ")
}

// limit is the number that a text names, because accounts have limits of their own (4.1.1).
func (m match) limit() string {
	if found := limit.FindStringSubmatch(m.Refusal.Message); found != nil {
		return found[1]
	}
	return ""
}

// isKey reports whether a text can only be a key's ARN, its alias, or its id.
func isKey(text string) bool {
	return strings.Contains(text, ":key/") || strings.Contains(text, "alias/") || strings.HasPrefix(text, "mrk-") || keyID.MatchString(text)
}

var keyID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
