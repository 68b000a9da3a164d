// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// maxKeyGrants is the maximum number of grants on a customer managed key (rule 3.2.7).
const maxKeyGrants = 50_000

// validateGrantCount returns a finding for each Region in which a key would have more grants than AWS allows. A run
// creates one grant on each source key for each account that copies.
func validateGrantCount(req distribution.Request, sources []*shareSource) []distribution.Finding {
	if req.SourceKeyAccess != distribution.ByGrant {
		return nil
	}

	var found []distribution.Finding
	for _, s := range sources {
		accounts := map[string]bool{}
		for _, d := range s.consumers {
			if d.At.Account != s.location.Account {
				accounts[d.At.Account] = true
			}
		}
		if len(accounts) > maxKeyGrants {
			found = append(found, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeTooManyGrants,
				Reference:   "3.2.7",
				Field:       "source_key_access",
				Location:    s.location,
				Summary:     fmt.Sprintf("the source key cannot have %d grants", len(accounts)),
				Detail:      fmt.Sprintf("AWS allows %d grants on a key", maxKeyGrants),
				Remediation: `set source_key_access = "key_policy", and permit the organization in the key policy`,
			})
		}
	}
	return found
}
