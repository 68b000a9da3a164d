// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance

import (
	"errors"
	"regexp"
	"time"
)

// Role is the purpose of a resource. It never changes, so a resource with another role is not adopted.
type Role string

// The roles.
const (
	Temporary Role = "temporary" // deleted once no run needs it
	Delivery  Role = "delivery"  // an image that was delivered, or that a share block shares
)

// Statement is what a signature says about one resource.
type Statement struct {
	ResourceID string
	Account    string // that owns the resource
	Region     string
	Source     SourceImage
	Run        string // that owns the resource
	Role       Role
	Release    time.Time
	KeyARN     string // that encrypts the resource. Empty for an image whose snapshots have different keys
	Device     string // of the source image. Empty for an image, or SharedImage
}

// SharedImage replaces the device in the signature of an image of the source account that belongs to share blocks.
const SharedImage = "shared"

// SignedTags returns the tags that prove which run created a resource. They are written in one call after the creation,
// and again for an adoption.
func (k SigningKey) SignedTags(s Statement) map[string]string {
	tags := CreationTags(s.Source, s.Run)
	tags[TagSignature] = "kid=" + k.ID + " mac=" + k.mac(s.fields()...) + " role=" + string(s.Role) +
		" release=" + formatTime(s.Release) + " key=" + s.KeyARN + " device=" + s.Device
	return tags
}

// fields returns what the MAC of a signature covers.
func (s Statement) fields() []string {
	return []string{
		"signature", s.ResourceID, s.Account, s.Region, s.Source.String(), s.Run,
		string(s.Role), formatTime(s.Release), s.KeyARN, s.Device,
	}
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

var signature = regexp.MustCompile(`^kid=(\S+) mac=(\S+) role=(\S+) release=(\S+) key=(\S*) device=(.*)$`)

var (
	errNoSignature    = errors.New("it has no signature")
	errWrongSignature = errors.New("its signature is wrong or belongs to another resource")
	errOtherKey       = errors.New("it is encrypted with another key than its signature says")
)

// verify returns what the signature of a resource says.
func (ks SigningKeys) verify(source SourceImage, r Resource) (Statement, error) {
	value, ok := r.Tags[TagSignature]
	if !ok {
		return Statement{}, errNoSignature
	}
	found := signature.FindStringSubmatch(value)
	if found == nil || r.Tags[TagSource] != source.String() {
		return Statement{}, errWrongSignature
	}

	release, err := time.Parse(time.RFC3339, found[4])
	s := Statement{
		ResourceID: r.ID,
		Account:    r.Account,
		Region:     r.Region,
		Source:     source,
		Run:        r.Tags[TagRun],
		Role:       Role(found[3]),
		Release:    release,
		KeyARN:     found[5],
		Device:     found[6],
	}
	switch {
	case err != nil || !ks.hasMAC(found[1], found[2], s.fields()...):
		return Statement{}, errWrongSignature
	case r.KeyARN != "" && s.KeyARN != "" && r.KeyARN != s.KeyARN:
		return Statement{}, errOtherKey
	}
	return s, nil
}
