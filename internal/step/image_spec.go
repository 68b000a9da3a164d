// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// ImageSpec describes the expected image of a destination. It equals the source image except for the name and the
// fields below.
type ImageSpec struct {
	Source      ec2types.Image      // image whose attributes are copied
	UEFIData    string              // base64. Empty for none
	Method      distribution.Method // BySnapshot or ByImage
	Abroad      bool                // the source is in another Region
	Name        string
	Description string
	Tags        map[string]string // set by the creating call
	Signing     Signing
}

// Digest returns 32 hexadecimal digits that depend only on the parts.
func Digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}

// Differences returns the attributes in which an image differs from its source, as "Attribute: source, target".
func (l ImageSpec) Differences(target ec2types.Image) []string {
	var found []string
	for _, a := range CarryTable {
		if a.By(l.Method) != distribution.Kept {
			continue
		}
		want, is := a.Text(l.Source), a.Text(target)
		if mapped := a.Regional && l.Abroad && want != "" && is != ""; want != is && !mapped {
			found = append(found, fmt.Sprintf("%s: %q in the source, %q in the target", a.Name, want, is))
		}
	}
	return found
}
