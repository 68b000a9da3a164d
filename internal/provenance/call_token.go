// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// CallToken is evidence of one creating call: a nonce with a MAC. A run puts it where it cannot be changed after the
// creation: into the description of a snapshot, the client token of an instance, or the name of a grant. Therefore an
// existing resource cannot get a token. A token has at most 64 characters, the limit of client tokens (rule 4.2.3).
type CallToken string

const nonceLength = 8 // bytes

// Call identifies the creating call of a CallToken.
type Call struct {
	Kind    Kind
	Account string // that owns the new resource. The owner of the key, for a grant
	Region  string
	Source  SourceImage
	Run     string
	// distinguishes the calls of one run: the step's id, and the attempt if it creates again after a failure
	Purpose string
}

// CallToken returns the token of one call. A repeated call has the same token.
func (k SigningKey) CallToken(c Call) CallToken {
	sum := sha256.Sum256([]byte(c.Purpose))
	nonce := hex.EncodeToString(sum[:nonceLength])
	return CallToken(k.ID + "-" + nonce + "-" + k.mac(c.fields(nonce)...))
}

func (c Call) fields(nonce string) []string {
	return []string{"call", string(c.Kind), c.Account, c.Region, c.Source.String(), c.Run, nonce}
}

const tokenPattern = `([0-9a-f]{8})-([0-9a-f]{16})-([0-9a-f]{32})`

var (
	wholeToken       = regexp.MustCompile(`^` + tokenPattern + `$`)
	tokenAtEnd       = regexp.MustCompile(`\[(` + tokenPattern + `)\]$`)
	grantNamePattern = regexp.MustCompile(`^` + TagPrefix + `(ami-[0-9a-f]+):([0-9A-Za-z-]+):(` + tokenPattern + `)$`)
)

// verifyToken reports whether a token belongs to such a call, whatever its purpose.
func (ks SigningKeys) verifyToken(token CallToken, c Call) bool {
	found := wholeToken.FindStringSubmatch(string(token))
	return found != nil && ks.hasMAC(found[1], found[3], c.fields(found[2])...)
}

// Description returns the description of a snapshot: a readable text, shortened if necessary, and the token.
func (t CallToken) Description(text string) string {
	const limit = 255
	end := " [" + string(t) + "]"
	if len(text)+len(end) > limit {
		text = strings.ToValidUTF8(text[:limit-len(end)], "")
	}
	return text + end
}

// tokenOfDescription returns the token at the end of a snapshot's description. Empty if there is none.
func tokenOfDescription(description string) CallToken {
	found := tokenAtEnd.FindStringSubmatch(description)
	if found == nil {
		return ""
	}
	return CallToken(found[1])
}

// IsIn reports whether a description ends with this token. If the response of a call was lost, the calling process may
// sign a snapshot with its token.
func (t CallToken) IsIn(description string) bool {
	return t != "" && tokenOfDescription(description) == t
}

// GrantName returns the name of a grant. It names the source image and the run, because a grant has no tags.
func (t CallToken) GrantName(source SourceImage, run string) string {
	return TagPrefix + source.ImageID + ":" + run + ":" + string(t)
}

// parseGrantName returns what the name of a grant says.
func parseGrantName(name string) (imageID, run string, token CallToken, ok bool) {
	found := grantNamePattern.FindStringSubmatch(name)
	if found == nil {
		return "", "", "", false
	}
	return found[1], found[2], CallToken(found[3]), true
}

// IsGrantOf reports whether the name of a grant names a source image. That is no proof of its creator.
func IsGrantOf(source SourceImage, name string) bool {
	imageID, _, _, ok := parseGrantName(name)
	return ok && imageID == source.ImageID
}
