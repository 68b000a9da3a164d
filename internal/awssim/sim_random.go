// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
)

// randomText returns n uppercase letters and digits, as in the unique IDs of principals.
func (w *World) randomText(n int, what ...string) string {
	text := ""
	for len(text) < n {
		var bytes [10]byte
		binary.BigEndian.PutUint64(bytes[:], w.random(what...))
		binary.BigEndian.PutUint16(bytes[8:], uint16(w.random(what...)))
		text += base32.StdEncoding.EncodeToString(bytes[:])
	}
	return text[:n]
}

func (w *World) randomBytes(n int, what ...string) []byte {
	var bytes []byte
	for len(bytes) < n {
		bytes = binary.BigEndian.AppendUint64(bytes, w.random(what...))
	}
	return bytes[:n]
}

// randomLowercase returns n lowercase letters and digits.
func (w *World) randomLowercase(n int, what ...string) string {
	return strings.ToLower(w.randomText(n, what...))
}

// randomUUID returns a string in the format of a UUID.
func (w *World) randomUUID(what ...string) string {
	b := w.randomBytes(16, what...)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
