// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// SourceKey is the key that the request names for a Region of the source account, as asked for. An alias, a key id and a
// multi-Region key's id are looked up in every Region, an ARN only in its own (rules 1.7.6, 3.6.4). "" is none.
func SourceKey(req distribution.Request, region string) string {
	key := req.KMSKeyID
	if own, given := req.RegionKMSKeyIDs[region]; given {
		key = own
	}
	if parsed, err := arn.Parse(key); err == nil && parsed.Region != region {
		return ""
	}
	return key
}

// DestinationKey is the key of a destination, as it has to be asked for there.
func DestinationKey(d distribution.Destination, facts distribution.Facts) string {
	if d.KMSKeyID == distribution.DefaultKey {
		return facts.Defaults[d.At].KMSKeyID
	}
	return d.KMSKeyID
}

// trouble is why a key cannot encrypt EBS snapshots, and the rule that says so; "" when it can. The one table of key usability.
func keyUnusableReason(k distribution.Key) (why, rule string) {
	m := k.Metadata
	switch {
	case m == nil && k.Err != nil:
		return k.Err.Error(), "3.4.1"
	case m == nil:
		return "there is no such key there", "1.8.2"
	case m.KeySpec != kmstypes.KeySpecSymmetricDefault || m.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt:
		return fmt.Sprintf("it is a %s key for %s; EBS takes symmetric encryption keys only", m.KeySpec, m.KeyUsage), "3.4.2"
	case m.KeyState == kmstypes.KeyStateDisabled:
		return "it is disabled", "1.8.1"
	case m.KeyState == kmstypes.KeyStatePendingImport:
		return "it waits for its key material to be imported", "3.5.1"
	case m.KeyState == kmstypes.KeyStatePendingDeletion:
		return "it is going to be deleted", "3.4"
	case m.KeyState != kmstypes.KeyStateEnabled:
		return "its state is " + string(m.KeyState), "3.4"
	}
	return "", ""
}

// expiresSoon is how long before its end imported key material is warned of (3.5.4).
const expiresSoon = 30 * 24 * time.Hour

// expiry warns of imported key material that is about to expire: what is encrypted under the key cannot be used from then on (3.5.1).
func keyExpiryFindings(
	k distribution.Key,
	field string,
	at distribution.Location,
	now time.Time,
) []distribution.Finding {
	if k.Metadata == nil || k.Metadata.ValidTo == nil || k.Metadata.ValidTo.Sub(now) > expiresSoon {
		return nil
	}
	date := k.Metadata.ValidTo.UTC().Format("2006-01-02 15:04 MST")
	return []distribution.Finding{{
		Level:       distribution.Warning,
		Reference:   "3.5.4",
		Field:       field,
		Location:    at,
		Resource:    k.ARN(),
		Summary:     "the imported material of the key " + k.ARN() + " expires on " + date,
		Detail:      "from then on nothing that is encrypted under it can be copied or launched",
		Remediation: "import the material again, with a later date or none",
	}}
}

// remedy is what to do about a key that trouble names.
func keyRemedy(k distribution.Key) string {
	if k.Metadata == nil {
		return "check the id, its account and Region, and that kms:DescribeKey is allowed"
	}
	switch k.Metadata.KeyState {
	case kmstypes.KeyStateDisabled:
		return "enable it with `aws kms enable-key`, or name another key"
	case kmstypes.KeyStatePendingImport:
		return "import its key material, or name another key"
	case kmstypes.KeyStatePendingDeletion:
		return "cancel its deletion with `aws kms cancel-key-deletion` and enable it, or name another key"
	}
	return "name another key"
}
