// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// shared counts the snapshots of the source account that somebody else may use.
func (h *house) shared() (n int) {
	h.t.Helper()
	for _, s := range h.ownSnapshots(source, home) {
		if len(h.permissions(source, home, aws.ToString(s.SnapshotId))) > 0 {
			n++
		}
	}
	return n
}

// withdrawing allows or denies the builder's user to take permissions back.
func (h *house) withdrawing(effect string) {
	h.t.Helper()
	_, err := iam.NewFromConfig(h.Config(source, home)).PutUserPolicy(h.t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("builder"), PolicyName: aws.String("withdrawing"), PolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "` + effect + `", "Action": "ec2:ModifySnapshotAttribute", "Resource": "*", "Condition": {"Null": {"ec2:Remove/userId": "false"}}}]}`)})
	h.must(err)
}

// What was staged is removed at the end, and kept where that is asked for: without shares, not listed as left behind, and the same after a
// second run, which changes nothing.
func TestStagedSnapshotsAreKeptOnlyWhereAsked(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[:1], []string{target}, []string{home})
			req := h.request()
			req.KeepStaged = keep
			want := 1
			if keep {
				want = 2
			}
			for i := range 2 {
				before := len(h.Records())
				_, result := h.run(t.Context(), req)
				h.complete(result)
				if n := len(h.ownSnapshots(source, home)); n != want || h.shared() > 0 {
					t.Errorf("keep %v: the source has %d snapshots, %d of them shared", keep, n, h.shared())
				}
				if changed := h.Records()[before:].Mutating(); i == 1 && len(changed) > 0 {
					t.Errorf("keep %v: the second run changed something: %+v", keep, changed)
				}
			}
		})
	}
}

// A run that died and left its permission on a staged snapshot that is kept: the next takes it back.
func TestTheShareOfAKeptSnapshotIsTakenBackByTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[:1], []string{target}, []string{home})
		req := h.request()
		req.KeepStaged = true
		h.withdrawing("Deny")
		_, result := h.run(t.Context(), req)
		if len(result.Left) == 0 || h.shared() != 1 {
			t.Fatalf("left %+v, %d snapshots shared", result.Left, h.shared())
		}
		h.withdrawing("Allow")
		_, result = h.run(t.Context(), req)
		h.complete(result)
		if n := len(h.ownSnapshots(source, home)); n != 2 || h.shared() > 0 {
			t.Errorf("the source has %d snapshots, %d of them shared", n, h.shared())
		}
	})
}

// The permissions on the image's own snapshots are taken back in the end, unless they shall stay.
func TestSharesStayOnlyWhereAsked(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{target}, []string{home})
			req := h.request()
			req.KeepShares = keep
			_, result := h.run(t.Context(), req)
			h.complete(result)
			if (h.shared() == 1) != keep {
				t.Errorf("keep %v: %d snapshots are shared", keep, h.shared())
			}
			req.KeepShares = false // the memory of who had a permission before has stayed with them
			_, result = h.run(t.Context(), req)
			h.complete(result)
			if h.shared() > 0 {
				t.Errorf("keep %v: %d snapshots are shared", keep, h.shared())
			}
		})
	}
}
