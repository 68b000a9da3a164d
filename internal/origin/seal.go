// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package origin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
