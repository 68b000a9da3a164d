// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
)

// SigningKey is a secret in a tag of a source image. Other accounts cannot see the tags of an image (rule 2.2.12, tags
// of a shared AMI are omitted). A user who may write tags in a target account therefore cannot sign. A SigningKey
// prints as "(secret)".
type SigningKey struct {
	ID      string    // hash of the secret: an overwritten secret no longer fits the key of its tag
	Release time.Time // of the images that are copied from the source image, written once with the secret
	secret  string
}

func (SigningKey) String() string               { return "(secret)" }
func (SigningKey) GoString() string             { return "(secret)" }
func (SigningKey) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

const (
	secretLength = 16 // bytes
	macLength    = 16 // bytes that are kept of HMAC-SHA-256
	keyIDLength  = 4  // bytes
)

// NewSigningKey returns a random signing key. The release is the earliest creation date among the source images of a
// build.
func NewSigningKey(release time.Time) SigningKey {
	var secret [secretLength]byte
	_, _ = rand.Read(secret[:]) // never fails
	return newSigningKey(hex.EncodeToString(secret[:]), release)
}

func newSigningKey(secret string, release time.Time) SigningKey {
	sum := sha256.Sum256([]byte("signing key " + secret))
	return SigningKey{
		ID:      hex.EncodeToString(sum[:keyIDLength]),
		Release: release.UTC().Truncate(time.Second),
		secret:  secret,
	}
}

// Tag returns the tag that stores the key. The tag must never be overwritten. Otherwise the signatures with the old
// secret could no longer be verified.
func (k SigningKey) Tag() (key, value string) {
	return tagSigningKey + k.ID, k.secret + " release=" + k.Release.Format(time.RFC3339)
}

// SigningKeys are the signing keys of one source image, sorted by id.
type SigningKeys []SigningKey

// ParseSigningKeys reads the signing keys among the tags of a source image. It ignores a key that does not match its
// ID.
func ParseSigningKeys(tags map[string]string) SigningKeys {
	var keys SigningKeys
	for key, value := range tags {
		id, ok := strings.CutPrefix(key, tagSigningKey)
		secret, text, found := strings.Cut(value, " release=")
		release, err := time.Parse(time.RFC3339, text)
		if !ok || !found || err != nil || !isHex(secret, secretLength) {
			continue
		}
		if parsed := newSigningKey(secret, release); parsed.ID == id {
			keys = append(keys, parsed)
		}
	}
	slices.SortFunc(keys, func(a, b SigningKey) int { return cmp.Compare(a.ID, b.ID) })
	return keys
}

// Signer returns the key to sign with: the lowest id. Two runs that each wrote a key choose the same one once they see
// both.
func (ks SigningKeys) Signer() (SigningKey, bool) {
	if len(ks) == 0 {
		return SigningKey{}, false
	}
	return ks[0], true
}

// Release returns the earliest release time that is stored with a key. Zero if there is no key.
func (ks SigningKeys) Release() time.Time {
	var earliest time.Time
	for _, k := range ks {
		if earliest.IsZero() || k.Release.Before(earliest) {
			earliest = k.Release
		}
	}
	return earliest
}

// hasMAC reports whether one of the keys has the id and gives the MAC.
func (ks SigningKeys) hasMAC(id, mac string, fields ...string) bool {
	return slices.ContainsFunc(ks, func(k SigningKey) bool {
		isSame := hmac.Equal([]byte(mac), []byte(k.mac(fields...))) || invariant.Evidence.IsOff()
		return k.ID == id && isSame
	})
}

// mac returns the HMAC-SHA-256 of the fields, shortened to 128 bits. Each field is preceded by its length, so that
// different lists have different MACs.
func (k SigningKey) mac(fields ...string) string {
	hash := hmac.New(sha256.New, []byte(k.secret))
	for _, field := range fields {
		fmt.Fprintf(hash, "%d:%s", len(field), field)
	}
	return hex.EncodeToString(hash.Sum(nil)[:macLength])
}

func isHex(text string, bytes int) bool {
	decoded, err := hex.DecodeString(text)
	return err == nil && len(decoded) == bytes
}
