// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// putSourceKeyPolicies writes the policies of the source keys. They permit the accounts of share blocks, and the
// targets unless the request uses grants.
func (h *testWorld) putSourceKeyPolicies() {
	h.t.Helper()
	permitted := slices.Clone(h.friends)
	if h.request().SourceKeyAccess != distribution.ByGrant {
		permitted = append(permitted, h.targets...)
	}
	policy := sourceKeyPolicy(partition(h.home), permitted)
	for _, region := range slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(h.regions), h.home)))) {
		client := kms.NewFromConfig(h.Config(source, region))
		key, err := client.DescribeKey(h.t.Context(), &kms.DescribeKeyInput{KeyId: aws.String(sourceAlias)})
		h.must(err)
		_, err = client.PutKeyPolicy(h.t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: &policy})
		h.must(err)
	}
}

func byGrant(req *distribution.Request) { req.SourceKeyAccess = distribution.ByGrant }

// closed returns a world whose source keys permit no other account.
func closed(t *testing.T, volumes []volume, targets, regions []string) *testWorld {
	h := build(t, volumes, targets, regions)
	h.with = byGrant
	h.putSourceKeyPolicies()
	return h
}

// temporary returns the temporary grants on the source key.
func (h *testWorld) temporary(region string) []kmstypes.GrantListEntry {
	h.t.Helper()
	return slices.DeleteFunc(h.grants(source, region, sourceAlias), func(g kmstypes.GrantListEntry) bool {
		return !strings.HasPrefix(aws.ToString(g.Name), "encrypted-ami:ami-")
	})
}

// A target that may not use the source key gets a grant for its role alone. The grant ends with the copies (rule
// 3.2.6).
func TestSourceKeyGrant_revokedAfterCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := closed(t, mixed, []string{"222222222222", "333333333333"}, []string{home, away})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		seen := map[string]kmstypes.GrantListEntry{}
		result := runPlan(t.Context(), pool, p, options(h.request()), func(e distribution.Event) {
			if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "copy/") {
				for _, g := range append(h.temporary(home), h.temporary(away)...) {
					seen[*g.GrantId] = g
				}
			}
		})
		h.complete(result)
		h.unshared()
		if left := append(h.temporary(home), h.temporary(away)...); len(left) > 0 {
			t.Errorf("grants stay: %+v", left)
		}
		if len(seen) != 4 {
			t.Errorf("%d grants, want one for each account on the key of each Region", len(seen))
		}
		for _, g := range seen {
			account := strings.Split(*g.GranteePrincipal, ":")[4]
			if !strings.HasPrefix(*g.Name, "encrypted-ami:"+h.images[0].ImageID+":run-1:") ||
				*g.GranteePrincipal != "arn:aws:iam::"+account+":role/"+roleName ||
				*g.RetiringPrincipal != "arn:aws:iam::"+source+":user/builder" ||
				!slices.Equal(g.Operations, []kmstypes.GrantOperation{"CreateGrant", "Decrypt", "DescribeKey", "ReEncryptFrom"}) {
				t.Errorf("grant %+v", g)
			}
		}
	})
}

// For a copy to another account and Region, the run polls for the grant in the Region of the key, not in that of the
// copy.
func TestSourceKeyGrant_visibleInKeyRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := closed(t, mixed[1:2], []string{"222222222222"}, []string{away})
		h.with = func(req *distribution.Request) {
			byGrant(req)
			req.KMSKeyID, req.RegionKMSKeyIDs = "", map[string]string{home: sourceAlias}
		}
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
		asked := h.Records().Calls("kms:DescribeKey").ByAccount("222222222222")
		if !slices.ContainsFunc(asked, func(r awssim.Record) bool { return r.Region == home && r.Error == "" }) {
			t.Errorf("the target asked %+v", asked)
		}
	})
}

// Without its grant, a target cannot copy (rule 1.8.4).
func TestSourceKeyGrant_missing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := closed(t, mixed[1:2], []string{"222222222222"}, []string{home})
		req := h.request()
		req.SourceKeyAccess = distribution.ByPolicy
		_, result := h.run(t.Context(), req)
		if len(result.Images) > 0 || len(result.Findings) != 1 || result.Findings[0].Reference != "1.8.4" {
			t.Errorf("images %+v, findings %+v", result.Images, result.Findings)
		}
	})
}

// A grant may take minutes to be visible, and the copy waits for it (rule 4.4.4). After five minutes the copy fails,
// and the run revokes the grant.
func TestSourceKeyGrant_visibleLate(t *testing.T) {
	for _, late := range []time.Duration{4 * time.Minute, 7 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			h := closed(t, mixed[1:2], []string{"222222222222"}, []string{home})
			pool := h.pool(t.Context(), h.World)
			p := h.decide(t.Context(), pool, h.request())
			h.forbid("222222222222", "kms:DescribeKey")
			time.AfterFunc(late, func() { h.forgive("222222222222") })
			begun := time.Now()
			result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
			if late < 5*time.Minute {
				h.complete(result)
				if n := h.calls("ec2:CopySnapshot"); n != 1 || time.Since(begun) < late {
					t.Errorf("%d copies, the first before the key could be used", n)
				}
				return
			}
			if len(result.Findings) != 1 || result.Findings[0].Operation != "kms:DescribeKey" || len(result.Images) > 0 ||
				h.calls("ec2:CopySnapshot") > 0 {
				t.Errorf("findings %+v", result.Findings)
			}
			if left := h.temporary(home); len(left) > 0 || len(result.Left) > 0 {
				t.Errorf("grants stay: %+v; reported: %+v", left, result.Left)
			}
			time.Sleep(late)
		})
	}
}

// The run revokes its grants whatever its outcome. It lists a grant that it cannot revoke.
func TestSourceKeyGrant_everyOutcome(t *testing.T) {
	for name, spoil := range map[string]func(h *testWorld, cancel context.CancelCauseFunc){
		"a copy is refused": func(h *testWorld, _ context.CancelCauseFunc) { h.forbid("222222222222", "ec2:CopySnapshot") },
		"canceled": func(_ *testWorld, cancel context.CancelCauseFunc) {
			time.AfterFunc(100*time.Second, func() { cancel(errors.New("stopped by hand")) })
		},
		"canceled while it is made": func(_ *testWorld, cancel context.CancelCauseFunc) {
			time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("stopped by hand")) })
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := closed(t, mixed, []string{"222222222222"}, []string{home})
			ctx, cancel := context.WithCancelCause(t.Context())
			pool := h.pool(ctx, h.World)
			p := h.decide(ctx, pool, h.request())
			spoil(h, cancel)
			result := runPlan(ctx, pool, p, options(h.request()), func(distribution.Event) {})
			if left := h.temporary(home); len(left) > 0 {
				t.Errorf("%s: grants stay: %+v", name, left)
			}
			if len(result.Images) > 0 ||
				slices.ContainsFunc(result.Left, func(l distribution.RetainedResource) bool { return l.Kind == "grant" }) {
				t.Errorf("%s: images %+v, left behind: %+v", name, result.Images, result.Left)
			}
			time.Sleep(10 * time.Minute)
		})
	}
}

// An account with a temporary grant may have created grants for others, which outlive it. The run reports each with the
// command that revokes it.
func TestSourceKeyGrants_grantToOthersReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := closed(t, mixed[1:2], []string{"222222222222", "333333333333"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		child := ""
		result := runPlan(t.Context(), pool, p, options(h.request()), func(e distribution.Event) {
			if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "copy/222222222222") {
				key := h.temporary(home)[0].KeyId
				made, err := pool.KMS(distribution.Location{Account: "222222222222", Region: home}).
					CreateGrant(t.Context(), &kms.CreateGrantInput{
						KeyId:            key,
						GranteePrincipal: aws.String("arn:aws:iam::333333333333:root"),
						Operations:       []kmstypes.GrantOperation{"Decrypt"},
					})
				h.must(err)
				child = *made.GrantId
			}
		})
		if len(result.Images) != 2 || len(result.Findings) != 1 {
			t.Fatalf("images %+v, findings %+v", result.Images, result.Findings)
		}
		f := result.Findings[0]
		if f.Level != distribution.Warning || f.Principal != "arn:aws:iam::333333333333:root" ||
			!strings.Contains(f.Summary, "222222222222") || !strings.Contains(f.Remediation, child) {
			t.Errorf("finding %+v", f)
		}
	})
}
