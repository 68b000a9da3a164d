// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Three hundred accounts copy at once, each with a temporary and a permanent grant on the source key. The run calls AWS
// no faster than the rate limits allow (rules 3.2.9 and 4.2).
func TestThrottle_threeHundredTargets(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var accounts []string
				for i := range 300 {
					accounts = append(accounts, fmt.Sprint(200000000000+i))
				}
				h := build(t, mixed[:2], accounts, []string{home})
				h.with = func(req *distribution.Request) {
					byGrant(req)
					req.Targets[0].Method = method
					req.Targets[0].Grants = []distribution.Grant{{Grantee: "arn:aws:iam::{{ .AccountId }}:role/" + roleName}}
				}
				built := len(h.Records())
				_, result := h.run(t.Context(), h.request())
				throttled := map[string]int{}
				for _, r := range h.Records()[built:] {
					if r.Error == "RequestLimitExceeded" || r.Error == "ThrottlingException" || r.Error == "Throttling" { // 4.2.1, 3.7
						throttled[r.Action]++
					}
				}
				h.complete(result)
				for action, n := range throttled {
					if n > 3 { // a call arrives a little later than its token was taken, so a few may exceed the rate
						t.Errorf("%d calls of %s were throttled", n, action)
					}
				}
			})
		})
	}
}
