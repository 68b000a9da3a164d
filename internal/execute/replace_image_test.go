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
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
)

// occupied returns a world whose target has a foreign image with the requested name. It also returns that image and its
// snapshot.
func occupied(
	t *testing.T,
	method distribution.Method,
	force, withSnapshots bool,
) (h *testWorld, image, snapshot string) {
	h = build(t, mixed, []string{"222222222222"}, []string{home})
	h.with = func(req *distribution.Request) {
		req.Targets[0].Method, req.Targets[0].AMIName = method, "web"
		req.Targets[0].Lifecycle = distribution.Lifecycle{ForceDeregister: force, ForceDeleteSnapshot: withSnapshots}
	}
	image, snapshot = h.occupy(target, home, "web")
	return h, image, snapshot
}

// occupy registers a foreign image with a name in an account.
func (h *testWorld) occupy(account, region, name string) (image, snapshot string) {
	h.t.Helper()
	client := h.ec2(account, region)
	snapshot = h.snapshot(account, region, 8)
	time.Sleep(time.Hour)
	registered, err := client.RegisterImage(h.t.Context(), &ec2.RegisterImageInput{
		Name:               &name,
		VirtualizationType: aws.String("hvm"),
		RootDeviceName:     aws.String("/dev/xvda"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}},
		},
	})
	h.must(err)
	time.Sleep(time.Minute)
	return aws.ToString(registered.ImageId), snapshot
}

// The existing image with the name is deregistered last, once everything else that the new image needs exists. Its
// snapshots stay unless force_delete_snapshot is set.
func TestReplaceImage_deregisteredLast(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		for _, withSnapshots := range []bool{false, true} {
			t.Run(string(method), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, old, snapshot := occupied(t, method, true, withSnapshots)
					_, result := h.run(t.Context(), h.request())
					if len(result.Images) != 1 || len(result.Findings) != 0 {
						t.Fatalf("served %+v with %+v", result.Images, result.Findings)
					}
					images := h.ownImages("222222222222", home)
					if len(images) != 1 || aws.ToString(images[0].ImageId) == old || aws.ToString(images[0].Name) != "web" {
						t.Errorf("the target has %+v, want our image alone under the name", images)
					}
					stays := slices.ContainsFunc(
						h.ownSnapshots("222222222222", home),
						func(s ec2types.Snapshot) bool { return aws.ToString(s.SnapshotId) == snapshot },
					)
					if stays == withSnapshots {
						t.Errorf("with snapshots: %v; that the snapshot is still there is %v", withSnapshots, stays)
					}
					makes := map[distribution.Method]string{
						distribution.BySnapshot: "ec2:RegisterImage",
						distribution.ByImage:    "ec2:CopyImage",
					}[method]
					var order []string
					for _, r := range h.Records().ByAccount("222222222222") {
						if slices.Contains([]string{"ec2:CopySnapshot", "ec2:DeregisterImage", makes}, r.Action) {
							order = append(order, r.Action)
						}
					}
					if n := len(order); n < 2 || !slices.Equal(order[n-2:], []string{"ec2:DeregisterImage", makes}) {
						t.Errorf("calls of the target: %v, want the image deregistered right before %s", order, makes)
					}
				})
			})
		}
	}
}

// Without force_deregister, the plan refuses a name that is taken, and the run creates nothing.
func TestReplaceImage_withoutForceDeregister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := occupied(t, distribution.BySnapshot, false, false)
		if p := h.decided(t.Context(), h.pool(t.Context(), h.World), h.request()); !p.Refused() {
			t.Errorf("not refused: %+v", p.Steps)
		}
	})
}

// Credentials without permission to deregister the image are refused before the run creates anything.
func TestReplaceImage_deregisterDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := occupied(t, distribution.BySnapshot, true, false)
		h.forbid("222222222222", "ec2:DeregisterImage")
		pool := h.pool(t.Context(), h.World)
		findings := execute.DryRun(t.Context(), pool, h.decide(t.Context(), pool, h.request()), 0)
		if len(findings) != 1 || findings[0].Level != distribution.Refused || findings[0].Operation != "ec2:DeregisterImage" {
			t.Errorf("found %+v, want the deregistration refused", findings)
		}
	})
}

// Credentials without permission to delete its snapshots are refused as well. Otherwise the snapshots would stay
// without their image (rule 9.11).
func TestReplaceImage_deleteSnapshotsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, snapshot := occupied(t, distribution.BySnapshot, true, true)
		h.forbid("222222222222", "ec2:DeleteSnapshot")
		pool := h.pool(t.Context(), h.World)
		findings := execute.DryRun(t.Context(), pool, h.decide(t.Context(), pool, h.request()), 0)
		if len(findings) != 1 || findings[0].Level != distribution.Refused || findings[0].Operation != "ec2:DeleteSnapshot" ||
			!strings.HasSuffix(findings[0].Resource, "/"+snapshot) {
			t.Errorf("found %+v, want the deletion of %s refused", findings, snapshot)
		}
	})
}

// A run may deregister the old image and then fail to register the new one. The resumed run uses the existing copies.
func TestReplaceImage_resumedAfterNameFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := occupied(t, distribution.BySnapshot, true, false)
		h.forbid("222222222222", "ec2:RegisterImage")
		if _, result := h.run(
			t.Context(),
			h.request(),
		); len(result.Images) != 0 || len(h.ownImages("222222222222", home)) != 0 {
			t.Fatalf("served %+v", result.Images)
		}
		copied := h.calls("ec2:CopySnapshot")
		h.forgive("222222222222")
		_, result := h.run(t.Context(), h.request())
		if again := h.calls("ec2:CopySnapshot") - copied; again != 0 || len(result.Images) != 1 {
			t.Errorf("%d copies were made again, to serve %+v", again, result.Images)
		}
	})
}

// One response may be stale. An image of an earlier run is replaced only if a second read shows that it differs from
// the request.
func TestReplaceImage_staleRead(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		for _, changed := range []bool{false, true} {
			t.Run(fmt.Sprintf("by %s, changed %v", method, changed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, []volume{{1, sourceAlias}}, []string{target}, []string{home})
					h.with = func(req *distribution.Request) {
						req.Targets[0].Method, req.Targets[0].AMIName, req.Targets[0].Lifecycle.ForceDeregister = method, "web", true
					}
					if _, result := h.run(t.Context(), h.request()); len(result.Images) != 1 {
						t.Fatalf("%+v", result.Findings)
					}
					image := h.ownImages(target, home)[0]
					if changed {
						h.pointAliasToNewKey(target, targetAlias)
					}
					h.Inject(awssim.FaultRule{Fault: awssim.StaleRead, Account: target, Action: "ec2:DescribeSnapshots", Nth: 1})
					req := h.request()
					req.RunID = "run-2"
					_, result := h.run(t.Context(), req)
					if len(result.Images) != 1 || (result.Images[0].ImageID == *image.ImageId) == changed {
						t.Errorf("served %+v with %+v", result.Images, result.Findings)
					}
					if images := h.ownImages(target, home); len(images) != 1 || (*images[0].ImageId == *image.ImageId) == changed {
						t.Errorf("there is %+v", images)
					}
				})
			})
		}
	}
}
