// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// manyCopies returns a request whose targets copy the image with CopyImage, in one Region.
func manyCopies(targets int) (distribution.Request, distribution.Facts) {
	req, facts := world()
	req.TestCopy = aws.Bool(false)
	req.Targets[0].Method = distribution.ByImage
	req.Targets[0].Regions, req.Targets[0].AccountIDs = []string{tokyo}, nil
	for i := range targets {
		account := fmt.Sprintf("2%011d", i)
		at := distribution.Location{Account: account, Region: tokyo}
		req.Targets[0].AccountIDs = append(req.Targets[0].AccountIDs, account)
		facts.Keys[at] = map[string]distribution.Key{"alias/golden-" + tokyo: key(account, tokyo, "own")}
		facts.Sites[at] = distribution.DestinationFacts{
			Identity: distribution.CallerIdentity{
				Account:   account,
				ARN:       "arn:aws:sts::" + account + ":assumed-role/golden-image-target/s",
				Partition: "aws",
			},
		}
	}
	return req, facts
}

// underConfiguredKey encrypts all snapshots of the source image with the key of kms_key_id.
func underConfiguredKey(facts distribution.Facts) {
	for id, s := range facts.Images[tokyo].Snapshots {
		facts.Images[tokyo].Snapshots[id] = snapshot(id, *s.VolumeSize, keyARN(source, tokyo, "cust"))
	}
}

// imageEntities walks through the steps in the order of the plan, and returns the most accounts that an image is shared
// with at once. It fails the test if a copy starts without a permission, or if a permission stays.
func imageEntities(t *testing.T, steps []step.Step, permanent int) (most, batches int) {
	t.Helper()
	shared, copied := map[string]bool{}, 0
	for _, s := range steps {
		switch s := s.(type) {
		case *step.ShareImage:
			if s.Lasting {
				continue
			}
			batches++
			for _, account := range s.With.Accounts {
				shared[account] = true
			}
			most = max(most, len(shared)+permanent)
		case *step.UnshareImage:
			for _, account := range s.Accounts {
				delete(shared, account)
			}
		case *step.CopyImage:
			if s.Location.Account == source {
				continue
			}
			copied++
			if !shared[s.Location.Account] {
				t.Errorf("%s begins before the image is shared with its account", s.ID)
			}
		}
	}
	if len(shared) > 0 {
		t.Errorf("at the end the image is shared with %d accounts", len(shared))
	}
	if copied == 0 {
		t.Error("no copies")
	}
	return most, batches
}

func TestShareImage_inBatches(t *testing.T) {
	for _, c := range []struct {
		name    string
		targets int
		change  func(*distribution.Request, distribution.Facts)
		batches int
	}{
		{"as many as AWS allows", 1000, nil, 1},
		{"one more", 1001, nil, 2},
		{"2500", 2500, nil, 3},
		{"an image that could be shared as it is", 1001, func(_ *distribution.Request, f distribution.Facts) {
			underConfiguredKey(f)
		}, 2},
	} {
		req, facts := manyCopies(c.targets)
		if c.change != nil {
			c.change(&req, facts)
		}
		p := plan.Assess(req, facts).Decide()
		if p.Refused() {
			t.Fatalf("%s: %+v", c.name, p.Findings)
		}

		most, batches := imageEntities(t, p.Steps, 0)
		if most > 1000 || batches != c.batches {
			t.Errorf("%s: %d batches and %d entities at once, want %d and at most 1000", c.name, batches, most, c.batches)
		}

		hasNote := slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
			return strings.Contains(f.Summary, fmt.Sprintf("in %d batches", c.batches))
		})
		if hasNote != (c.batches > 1) {
			t.Errorf("%s: findings %+v", c.name, p.Findings)
		}
	}
}

// Permissions of a source image stay until no run that uses the image is active, so it cannot be shared in batches. A
// staged copy can.
func TestShareImage_inBatchesIsStaged(t *testing.T) {
	req, facts := manyCopies(1001)
	underConfiguredKey(facts)
	p := plan.Assess(req, facts).Decide()
	for _, d := range p.Images[0].Devices {
		if !d.Staged || d.Why != plan.TooManyAccounts {
			t.Errorf("%s: staged %v, because %q", d.Device, d.Staged, d.Why)
		}
	}

	req.KMSKeyID = ""
	if p = plan.Assess(req, facts).Decide(); !p.Refused() {
		t.Error("without kms_key_id nothing can be staged, and the plan is not refused")
	}
}

// A batch starts when the permissions of the previous one are removed, whether its copies succeeded or not.
func TestShareImage_batchWaits(t *testing.T) {
	req, facts := manyCopies(1001)
	for _, s := range plan.Assess(req, facts).Decide().Steps {
		second, ok := s.(*step.ShareImage)
		if !ok || second.Batch.Number != 2 {
			continue
		}
		if !slices.Contains(second.DependsOn, "withdraw/"+tokyo+"/image") || len(second.RunsAfter) > 0 {
			t.Errorf("batch 2 depends on %v and runs after %v", second.DependsOn, second.RunsAfter)
		}
		return
	}
	t.Error("no second batch")
}

// The shared image keeps the permissions of its share blocks, so its batches are smaller.
func TestShareImage_batchesBesideShareBlock(t *testing.T) {
	req, facts := manyCopies(1500)
	req.Shares = []distribution.Share{{Name: "ours", OrganizationARNs: []string{
		"arn:aws:organizations::111111111111:organization/o-1234567890",
	}}}
	p := plan.Assess(req, facts).Decide()
	if p.Refused() {
		t.Fatalf("%+v", p.Findings)
	}
	shared := 0
	for _, s := range p.Steps {
		if s, ok := s.(*step.ShareImage); ok && s.Batch.Number == 1 {
			shared = s.With.Size()
		}
	}
	if shared != 999 {
		t.Errorf("the first batch has %d accounts, want 999 beside the organization", shared)
	}

	req.Shares[0].AccountIDs = nil
	for i := range 999 {
		req.Shares[0].AccountIDs = append(req.Shares[0].AccountIDs, fmt.Sprintf("3%011d", i))
	}
	if p = plan.Assess(req, facts).Decide(); !p.Refused() {
		t.Error("the permanent permissions leave no entity for a batch, and the plan is not refused")
	}
}
