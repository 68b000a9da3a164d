// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package origin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Key is a sealing key. It prints as "(secret)"; nil seals nothing.
type Key []byte

func (Key) String() string               { return "(secret)" }
func (Key) GoString() string             { return "(secret)" }
func (Key) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

const sealLength = 16 // bytes of the HMAC that are kept, and of the key

// NewKey draws a sealing key.
func NewKey() Key {
	key := make(Key, sealLength)
	_, _ = rand.Read(key) // never fails
	return key
}

// Tag is the key as the value of SealKey.
func (k Key) Tag() string { return hex.EncodeToString(k) }

// ParseKey reads the value of SealKey; nil when it is none.
func ParseKey(tag string) Key {
	key, err := hex.DecodeString(tag)
	if err != nil || len(key) != sealLength {
		return nil
	}
	return key
}

// seal is over what a thing is: source, place, device, key, run.
func (k Key) seal(m Mark) string { return k.over(m.Source(), m.Place, m.Device, m.KeyARN, m.Run) }

// SealID is the second seal of a thing, over its id and its first seal.
func (k Key) SealID(id, seal string) string { return k.over(id, seal) }

// over is HMAC-SHA-256 of fields, cut to 128 bits.
func (k Key) over(fields ...string) string {
	mac := hmac.New(sha256.New, k)
	for _, field := range fields {
		fmt.Fprintf(mac, "%d:%s", len(field), field) // no two lists of fields read alike
	}
	return hex.EncodeToString(mac.Sum(nil)[:sealLength])
}

func (k Key) right(given, wanted string) bool {
	return hmac.Equal([]byte(strings.ToLower(given)), []byte(wanted))
}

// Token is evidence of one creating call: a digest of its purpose, and a seal over that, the source, the run and the place. It stands where AWS
// lets no caller change it later: the description of a snapshot, the client token of an instance. No existing resource can acquire one.
func (k Key) Token(m Mark, purpose string) string {
	if k == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(purpose))
	nonce := hex.EncodeToString(sum[:sealLength/2])
	return nonce + "-" + k.over("call", m.Source(), m.Place, m.Run, nonce)
}

// Description returns a text with the token of a call at its end, in the 255 characters of a description.
func (k Key) Description(text string, m Mark, purpose string) string {
	token := k.Token(m, purpose)
	if token == "" {
		return text
	}
	end := " [" + token + "]"
	if len(text)+len(end) > 255 {
		text = strings.ToValidUTF8(text[:255-len(end)], "")
	}
	return text + end
}

var tokenPattern = regexp.MustCompile(`([0-9a-f]{16})-([0-9a-f]{32})\]?$`)

// WasCalled reports whether a description or a client token proves that a run created a resource: it may be deleted, and never adopted. The run is
// taken from the tags.
func (m Mark) WasCalled(key Key, text string, tags map[string]string) bool {
	found := tokenPattern.FindStringSubmatch(text)
	m.Run = tags[Run]
	return key != nil && found != nil && tags[SealedID] == "" && tags[Source] == m.Source() && key.right(found[2], key.over("call", m.Source(), m.Place, m.Run, found[1]))
}
