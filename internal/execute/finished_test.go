// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Instances may run from the images and snapshots of a successful run. No other run and no clean-up deletes these
// images and snapshots, even if they cannot be read, or if they, their key or the source image have changed since.
func TestFinished_neverDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(h *testWorld, image string)
		reported string
	}{
		"its instances were made to use IMDSv2": {
			func(h *testWorld, image string) { h.demandIMDSv2(target, image) },
			"ami_name",
		},
		"the source's were": {
			func(h *testWorld, _ string) { h.demandIMDSv2(source, h.images[0].ImageID) },
			"ami_name",
		},
		"the alias leads to another key": {
			func(h *testWorld, _ string) { h.pointAliasToNewKey(target, targetAlias) },
			"ami_name",
		},
		"its snapshots are not to be seen": {
			func(h *testWorld, _ string) { h.forbid(target, "ec2:DescribeSnapshots") },
			"assume_role",
		},
		"its snapshots were asked for too often": {func(h *testWorld, _ string) {
			h.access.MaxRetries = 1
			h.Inject(awssim.FaultRule{Fault: awssim.Throttled, Account: target, Action: "ec2:DescribeSnapshots", Times: 4})
		}, "assume_role"},
	} {
		for _, variant := range []string{"snapshot", "image", "snapshot, unsigned", "image, unsigned"} {
			t.Run(name+", by "+variant, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[1:2], []string{target}, []string{home})
					method, unsigned, _ := strings.Cut(variant, ", ")
					if unsigned != "" {
						h.forbidSigning(target)
						time.Sleep(time.Minute)
					}
					h.images[0].ImageID, _ = h.occupy(source, home, "golden") // unlike the original, it does not require IMDSv2
					h.with = func(req *distribution.Request) { req.Targets[0].Method = distribution.Method(method) }
					if _, result := h.run(t.Context(), h.request()); len(result.Images) != 1 {
						t.Fatalf("%+v", result.Findings)
					}
					image := h.ownImages(target, home)[0]
					c.change(h, *image.ImageId)
					pool := h.pool(t.Context(), h.World)
					p := h.decided(t.Context(), pool, h.request())
					if !p.Refused() || !slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
						return f.Location.Account == target && f.Field == `target "prod": `+c.reported
					}) {
						t.Errorf("%+v", p.Findings)
					}
					facts, err := discover.Look(t.Context(), pool, h.request())
					h.must(err)
					cleanUp := plan.Assess(h.request(), facts).CleanUp()
					runPlan(t.Context(), pool, cleanUp, options(h.request()), func(distribution.Event) {})
					h.requireUnchanged(image)
				})
			})
		}
	}
}

// A run must know the accounts with existing permissions before it shares a snapshot or image. Otherwise it would
// revoke theirs together with its own.
func TestShare_existingPermissionsUnknown(t *testing.T) {
	for _, look := range []awssim.FaultRule{
		{Action: "ec2:DescribeSnapshotAttribute"},
		{Action: "ec2:DescribeImageAttribute"},         // the variable store
		{Action: "ec2:DescribeImageAttribute", Nth: 2}, // the launch permission
	} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{target}, []string{home})
			h.access.MaxRetries = 1
			look.Fault, look.Account, look.Times = awssim.Throttled, source, 2
			h.Inject(look)
			p := h.decided(t.Context(), h.pool(t.Context(), h.World), h.request())
			if !slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
				return f.Level == distribution.Refused && f.Operation == look.Action
			}) {
				t.Errorf("%+v: %+v", look, p.Findings)
			}
		})
	}
}

// If another run has started to copy an image, only that run may decide what happens to it. The image stays and is
// reported.
func TestFinished_imageOfAnotherRunStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{target}, []string{home})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pool := h.pool(ctx, h.World)
		p := h.decide(ctx, pool, byImage(h.request()))
		runPlan(ctx, pool, p, options(h.request()), func(e distribution.Event) {
			if e.Kind == distribution.Progressed && e.At.Account == target {
				cancel()
			}
		})
		begun := h.ownImages(target, home)
		if len(begun) != 1 || begun[0].State != ec2types.ImageStatePending {
			t.Fatalf("%+v", begun)
		}
		h.pointAliasToNewKey(target, targetAlias) // a pending copy shows no key yet (4.6.1)
		_, result := h.run(t.Context(), byImage(h.request()))
		if len(result.Images) != 0 || !slices.ContainsFunc(result.Findings, func(f distribution.Finding) bool {
			return f.Resource == *begun[0].ImageId && strings.Contains(f.Summary, "the image stays") &&
				strings.Contains(f.Remediation, "force_deregister")
		}) {
			t.Errorf("%+v", result)
		}
		h.requireUnchanged(h.ownImages(target, home)[0])
		replaced := byImage(h.request())
		replaced.RunID = "run-2"
		replaced.Targets[0].AMIName, replaced.Targets[0].Lifecycle.ForceDeregister = distribution.Text(*begun[0].Name), true
		if _, result := h.run(
			t.Context(),
			replaced,
		); len(result.Images) != 1 || result.Images[0].ImageID == *begun[0].ImageId {
			t.Errorf("%+v", result)
		}
	})
}

// A role that may tag resources only when it creates them cannot sign. The image is not published, and no later run
// uses it.
func TestSignature_denied(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, req := published(t, named)
				req.Targets[0].Method = method
				h.forbidSigning(target)
				time.Sleep(time.Minute)
				_, result := h.run(t.Context(), req)
				if len(result.Images) > 0 && result.Images[0].Published() || h.calls("ssm:PutParameter") > 0 {
					t.Errorf("%+v", result)
				}
				if !slices.ContainsFunc(result.Findings, func(f distribution.Finding) bool {
					return f.Level == distribution.Warning && strings.Contains(f.Summary, "signature could not be written to ")
				}) {
					t.Errorf("found %+v", result.Findings)
				}
				image := h.ownImages(target, home)[0]
				req.RunID = "run-2"
				p := h.decided(t.Context(), h.pool(t.Context(), h.World), req)
				isUsed := slices.ContainsFunc(p.Steps, func(s step.Step) bool {
					v, ok := s.(*step.VerifyImage)
					return ok && v.Image.Known == *image.ImageId
				})
				if isUsed || method == distribution.BySnapshot && !p.Refused() {
					t.Errorf("the unsigned image is used: %+v %v", p.Findings, p.Steps)
				}
			})
		})
	}
}

// requireUnchanged checks that an image and the snapshots that it was registered with still exist.
func (h *testWorld) requireUnchanged(image ec2types.Image) {
	h.t.Helper()
	got := h.ownImages(
		target,
		home,
	)
	if len(got) != 1 || *got[0].ImageId != *image.ImageId || got[0].State != ec2types.ImageStateAvailable {
		h.t.Errorf("there is %+v", got)
	}
	var there []string
	seen, err := h.ec2(target, home).DescribeSnapshots(h.t.Context(), &ec2.DescribeSnapshotsInput{
		Filters:  []ec2types.Filter{{Name: aws.String("status"), Values: []string{"completed"}}},
		OwnerIds: []string{"self"},
	})
	h.must(err)
	for _, s := range seen.Snapshots {
		there = append(there, *s.SnapshotId)
	}
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil && !slices.Contains(there, *m.Ebs.SnapshotId) {
			h.t.Errorf("%s is gone", *m.Ebs.SnapshotId)
		}
	}
}

func (h *testWorld) demandIMDSv2(account, image string) {
	h.t.Helper()
	_, err := h.ec2(account, home).ModifyImageAttribute(h.t.Context(), &ec2.ModifyImageAttributeInput{
		ImageId:     &image,
		ImdsSupport: &ec2types.AttributeValue{Value: aws.String("v2.0")},
	})
	h.must(err)
}

// pointAliasToNewKey creates a key and points an alias to it.
func (h *testWorld) pointAliasToNewKey(account, alias string) {
	h.t.Helper()
	keys := kms.NewFromConfig(h.Config(account, home))
	made, err := keys.CreateKey(h.t.Context(), &kms.CreateKeyInput{})
	h.must(err)
	_, err = keys.UpdateAlias(h.t.Context(), &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: made.KeyMetadata.KeyId})
	h.must(err)
}
