// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// clean runs a clean-up.
func (h *testWorld) clean() (plan.Plan, distribution.Result) {
	h.t.Helper()
	req := h.request()
	req.CleansUp = true
	pool := h.pool(h.t.Context(), h.World)
	facts, err := discover.Look(h.t.Context(), pool, req)
	h.must(err)
	p := plan.Assess(req, facts).CleanUp()
	return p, runPlan(h.t.Context(), pool, p, options(req), func(distribution.Event) {})
}

// A run cannot sign the snapshots that CopyImage creates. Once their image is deregistered, nothing proves that a run
// created them.
func TestCleanUp_snapshotsOfACopiedImageThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{target}, []string{home})
		if _, result := h.run(t.Context(), byImage(h.request())); len(result.Images) != 1 {
			t.Fatalf("%+v", result.Findings)
		}
		_, err := h.ec2(target, home).
			DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: h.ownImages(target, home)[0].ImageId})
		h.must(err)
		time.Sleep(time.Hour)
		left := h.ownSnapshots(target, home)
		p, _ := h.clean()
		listed := slices.ContainsFunc(
			p.Findings,
			func(f distribution.Finding) bool { return f.Resource == *left[0].SnapshotId },
		)
		if now := h.ownSnapshots(target, home); len(now) != len(left) || !listed {
			t.Errorf("%d of %d stay, listed: %v", len(now), len(left), listed)
		}
	})
}

// A clean-up revokes the grants of a crashed run, even if the template no longer creates grants. If the build role may
// not list grants, the plan has a warning.
func TestCleanUp_grantsOfCrashedRun(t *testing.T) {
	for _, blind := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := closed(t, mixed[1:2], []string{target}, []string{home})
			h.killed(h.request(), 0)
			time.Sleep(time.Hour)
			if len(h.temporary(home)) != 1 {
				t.Fatal(h.temporary(home))
			}
			h.with = func(req *distribution.Request) { req.SourceKeyAccess = distribution.ByPolicy }
			if blind {
				_, err := iam.NewFromConfig(h.Config(source, home)).PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
					UserName:   aws.String("builder"),
					PolicyName: aws.String("blind"),
					PolicyDocument: aws.String(
						`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "kms:ListGrants", "Resource": "*"}]}`,
					),
				})
				h.must(err)
				time.Sleep(time.Minute)
			}
			p, result := h.clean()
			reported := slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
				return f.Level == distribution.Warning && f.Operation == "kms:ListGrants"
			})
			if stays := len(h.temporary(home)) > 0; p.Refused() || stays != blind || reported != blind {
				t.Errorf("no permission to look: %v, stays: %v, reported: %v; %+v %+v", blind, stays, reported, p.Findings, result)
			}
		})
	}
}
