// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// big is a volume that takes long to stage.
var big = []volume{{200, "alias/aws/ebs"}}

// A destination that cannot copy is reported while staging continues. It gets only the test copy.
func TestTestCopy_failureReportedDuringStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, big, []string{"222222222222", "333333333333"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		h.forbid("222222222222", "kms:CreateGrant")
		begun := time.Now()
		var reported, staged time.Duration
		result := runPlan(t.Context(), pool, p, options(h.request()), func(e distribution.Event) {
			switch {
			case e.Kind == distribution.Failed && strings.HasPrefix(string(e.Step), "test-copy/222222222222"):
				reported = time.Since(begun)
			case e.Kind == distribution.Finished && strings.HasPrefix(string(e.Step), "stage/"):
				staged = time.Since(begun)
			}
		})
		if limit := min(10*time.Minute, staged/2); reported == 0 || reported > limit {
			t.Errorf("reported after %v, want at most %v", reported, limit)
		}
		if len(result.Images) != 1 || len(result.Findings) != 1 {
			t.Fatalf("images %+v, findings %+v", result.Images, result.Findings)
		}
		if f := result.Findings[0]; f.Reference != "1.8.4" || f.Location.Account != "222222222222" {
			t.Errorf("got %+v, want rule 1.8.4 in account 222222222222", f)
		}
		if n := len(h.Records().Calls("ec2:CopySnapshot").ByAccount("222222222222")); n != 3 { // 1 and 2 retries
			t.Errorf("%d copies", n)
		}
		type counts struct{ missing, duplicates, orphans int }
		var got counts
		got.missing, got.duplicates, got.orphans = h.census()
		if want := (counts{missing: 1, orphans: 1}); got != want { // the staged snapshot is for the next run
			t.Errorf("got %+v, want %+v", got, want)
		}
		if len(result.Left) != 1 || !strings.Contains(result.Left[0].Why, "resumed run") {
			t.Errorf("got %+v left behind, want the staged snapshot", result.Left)
		}
	})
}

// A test copy takes no extra time: the run is as long as without it. Each destination copies one more snapshot of one
// GiB.
func TestTestCopy_whileStaging(t *testing.T) {
	took := map[string]time.Duration{}
	for _, row := range []struct {
		name     string
		testCopy *bool
		targets  []string
		copies   int
	}{
		{"two destinations", nil, []string{"222222222222", "333333333333"}, 2},
		{"two, switched off", aws.Bool(false), []string{"222222222222", "333333333333"}, 0},
		{"one", nil, []string{"222222222222"}, 0},
		{"one, switched on", aws.Bool(true), []string{"222222222222"}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, big, row.targets, []string{home})
			req := h.request()
			req.TestCopy = row.testCopy
			begun := time.Now()
			_, result := h.run(t.Context(), req)
			took[row.name] = time.Since(begun)
			h.complete(result)
			if n := h.calls("ec2:CopySnapshot") - 1 - len(row.targets); n != row.copies {
				t.Errorf("%s: %d test copies were made, want %d", row.name, n, row.copies)
			}
		})
	}
	if with, without := took["two destinations"], took["two, switched off"]; with > without+without/20 {
		t.Errorf("with test copies %v, without %v", with, without)
	}
}

// If no snapshot is staged, the copies themselves show at once what prevents them.
func TestTestCopy_withoutStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222", "333333333333"}, []string{home})
		req := h.request()
		req.TestCopy = aws.Bool(true)
		p, result := h.run(t.Context(), req)
		h.complete(result)
		isTestCopy := func(s step.Step) bool { return strings.HasPrefix(string(s.Meta().ID), "test-copy") }
		if slices.ContainsFunc(p.Steps, isTestCopy) {
			t.Error("there is a test copy")
		}
	})
}

// A test copy that cannot be created is reported and delays no other copy.
func TestTestCopy_missingPermissionDoesNotFailRun(t *testing.T) {
	for _, action := range []string{"ebs:StartSnapshot", "ebs:CompleteSnapshot", "kms:GenerateDataKey"} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, big, []string{"222222222222", "333333333333"}, []string{home})
			_, err := iam.NewFromConfig(h.Config(source, home)).PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
				UserName:   aws.String("builder"),
				PolicyName: aws.String("but-not"),
				PolicyDocument: aws.String(fmt.Sprintf(
					`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "%s", "Resource": "*"}]}`,
					action,
				)),
			})
			h.must(err)
			_, result := h.run(t.Context(), h.request())
			if len(result.Images) != 2 || len(result.Left) > 0 || len(result.Findings) != 1 ||
				result.Findings[0].Level != distribution.Warning || result.Findings[0].Field != "test_copy" {
				t.Errorf("without %s: images %+v, left %+v, findings %+v", action, result.Images, result.Left, result.Findings)
			}
		})
	}
}
