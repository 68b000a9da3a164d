// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// byImage returns a request whose targets copy the image as a whole.
func byImage(req distribution.Request) distribution.Request {
	req.Targets[0].Method = distribution.ByImage
	return req
}

func TestCopyImage_success(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{"222222222222", "333333333333"}, []string{home, away})
		h.with = func(req *distribution.Request) { req.TestCopy = aws.Bool(false) }
		_, result := h.run(t.Context(), byImage(h.request()))
		h.complete(result)
		h.unshared()
		copies, others := h.calls("ec2:CopyImage"), h.calls("ec2:CopySnapshot")+h.calls("ec2:RegisterImage")
		if copies != 2+4 || others != 0 {
			t.Errorf("%d copies of images, want 2 staged and 4; %d other calls that make something, want none", copies, others)
		}
		for _, image := range append(h.ownImages(source, home), h.ownImages(source, away)...) {
			if id := aws.ToString(image.ImageId); id != h.images[0].ImageID {
				t.Errorf("%s %q is left in the source account", id, aws.ToString(image.Name))
			}
		}
	})
}

// CopyImage has a client token, so a repeated call returns the same image.
func TestCopyImage_lostResponse(t *testing.T) {
	for _, fault := range []awssim.Fault{awssim.LostResponse, awssim.LateError, awssim.ConnectionReset} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed, []string{"222222222222"}, []string{home})
				h.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:CopyImage", Account: "222222222222", Times: 1})
				_, result := h.run(t.Context(), byImage(h.request()))
				h.complete(result)
			})
		})
	}
}

func TestCopyImage_failsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, byImage(h.request()))
		h.forbid("222222222222", "kms:CreateGrant")
		time.AfterFunc(45*time.Second, func() { h.forgive("222222222222") })
		h.complete(runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {}))
		if n := h.calls("ec2:CopyImage"); n < 2 || n > 3 {
			t.Errorf("%d copies, want one that fails and one or two more", n)
		}
	})
}

// AWS gives no reason for a failed image. Its snapshots have one.
func TestCopyImage_keepsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, byImage(h.request()))
		h.forbid("222222222222", "kms:CreateGrant")
		result := runPlan(t.Context(), pool, p, options(h.request()), func(distribution.Event) {})
		if len(result.Findings) != 1 || result.Findings[0].Reference != "1.8.4" ||
			result.Findings[0].PolicyStatements == nil {
			t.Errorf("findings %+v", result.Findings)
		}
		if n := len(h.Records().Calls("ec2:CopyImage").ByAccount("222222222222")); n != 3 {
			t.Errorf("%d copies, want 3", n)
		}
		images, snapshots := h.ownImages(
			"222222222222",
			home,
		), h.ownSnapshots(
			"222222222222",
			home,
		)
		if len(images)+len(snapshots) != 0 {
			t.Errorf("of what failed there are %d images and %d snapshots", len(images), len(snapshots))
		}
	})
}
