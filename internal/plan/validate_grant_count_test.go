// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

func TestSourceKeyGrants_moreThanAKeyCanHave(t *testing.T) {
	at := distribution.Location{Account: "111111111111", Region: "eu-west-1"}
	req := distribution.Request{SourceKeyAccess: distribution.ByGrant}
	source := &shareSource{location: at, consumers: []distribution.Destination{{At: at}}} // the owner needs no grant
	for i := range 50_000 {
		source.consumers = append(source.consumers, distribution.Destination{
			At: distribution.Location{Account: fmt.Sprintf("2%011d", i), Region: at.Region},
		})
	}
	if found := validateGrantCount(req, []*shareSource{source}); len(found) > 0 {
		t.Errorf("50000 grants: %+v", found)
	}

	source.consumers = append(source.consumers, distribution.Destination{
		At: distribution.Location{Account: "999999999999", Region: at.Region},
	})
	if found := validateGrantCount(req, []*shareSource{source}); len(found) != 1 ||
		found[0].Level != distribution.Refused {
		t.Errorf("50001 grants: %+v", found)
	}

	req.SourceKeyAccess = ""
	if found := validateGrantCount(req, []*shareSource{source}); len(found) > 0 {
		t.Errorf("a key policy has no such limit: %+v", found)
	}
}
