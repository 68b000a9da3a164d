// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// attempt runs a plan that may crash at any call. Without targets, it uses all targets of the testWorld.
func (h *testWorld) attempt(
	ctx context.Context,
	client *awssim.CrashingClient,
	id string,
	targets ...string,
) (distribution.Result, error) {
	req := h.request()
	req.RunID = id
	if len(targets) > 0 {
		req.Targets[0].AccountIDs = targets
	}
	return h.attemptOf(ctx, client, req)
}

// attemptOf runs a request that may crash at any call, with a run record as the post-processor writes it.
func (h *testWorld) attemptOf(
	ctx context.Context,
	client aws.HTTPClient,
	req distribution.Request,
) (result distribution.Result, err error) {
	clock := &runrecord.Clock{}
	run := runrecord.New(clock)
	access := h.access
	access.HTTPClient, access.Guard = client, awsclient.Guard{Fence: run.Check, Observe: clock.Observe}
	pool, err := awsclient.New(ctx, access)
	if err != nil {
		return result, err
	}
	at := distribution.Location{Account: source, Region: h.home}
	var keys map[provenance.SourceImage]provenance.SigningKeys
	defer func() {
		lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 6*time.Minute)
		defer cancel()
		records, endErr := run.End(lasting, err != nil)
		if endErr == nil && len(records.Working()) == 0 {
			isLast := func(ctx context.Context) (bool, error) {
				records, err := run.Records(ctx)
				return err == nil && len(records.Working()) == 0, err
			}
			left := step.WithdrawShares(lasting, pool, source, h.images, keys, isLast, result.Temporary)
			result.Left = append(result.Left, left...)
			_ = run.Clear(lasting)
		}
	}()
	store := runrecord.TagStore{Client: pool.EC2(at), ImageID: h.images[0].ImageID}
	ctx, err = run.Begin(ctx, runrecord.Options{
		Stores:    []runrecord.Store{store},
		TakesOver: runrecord.TakesOverAll,
	})
	if err != nil {
		return result, err
	}
	req.RunID = run.ID
	req.Records = func(ctx context.Context, _ ...provenance.SourceImage) (distribution.Runs, error) {
		return run.Records(ctx)
	}

	say := func(distribution.Event) {}
	created, err := execute.CreationDate(ctx, pool, at, h.images[0].ImageID)
	if err != nil {
		return result, err
	}
	if _, err := store.EnsureSigningKey(ctx, created); err != nil {
		return result, err
	}
	facts, err := discover.Look(ctx, pool, req)
	if err != nil {
		return result, err
	}
	p := plan.Assess(req, facts).Decide()
	keys = p.Keys
	if p.Refused() {
		return result, fmt.Errorf("refused: %+v", p.Findings)
	}
	return execute.Run(ctx, pool, p, options(req), say), nil
}

var whole = flag.Bool("whole", false, "crash: three volumes, two accounts, two Regions, and each call both with its "+
	"answer and without; chaos: as many seeds as -seeds says")

// census counts missing, duplicate and orphaned resources. Each destination should have one image and one of each
// reference to it: fewer are missing, more are duplicates. Orphans are snapshots without an image, instances, and
// permissions that no run needs.
func (h *testWorld) census() (missing, duplicates, orphans int) {
	regions := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(h.regions), home))))
	for _, account := range append(slices.Clone(h.targets), source) {
		for _, region := range regions {
			images := h.ownImages(account, region)
			orphans += h.orphanedSnapshots(account, region, images)
			images = slices.DeleteFunc(
				images,
				func(i ec2types.Image) bool { return slices.Contains(h.older, aws.ToString(i.ImageId)) },
			)
			images, shared := h.staying(images)
			if account == source && region == home && len(h.friends) > 0 {
				missing += max(1-len(shared), 0)
				duplicates += max(len(shared)-1, 0)
			} else {
				duplicates += len(shared)
			}
			for _, image := range slices.Concat(images, shared) {
				permitted := h.launchable(account, region, aws.ToString(image.ImageId))
				orphans += len(permitted.Without(distribution.LaunchPermissions{Accounts: h.friends}).Accounts)
			}
			orphans += len(h.instances(account, region))
			if account == source {
				orphans += len(h.temporary(region))
			}
			wanted := 0
			if account != source && slices.Contains(h.regions, region) || account == source && region == home {
				wanted = 1
			}
			missing += max(wanted-len(images), 0)
			duplicates += max(len(images)-wanted, 0)
		}
	}
	if h.audit != nil {
		absent, twice := h.audit()
		missing, duplicates = missing+absent, duplicates+twice
	}
	return missing, duplicates, orphans
}

// orphanedSnapshots counts the snapshots that no image uses, and the permissions on snapshots that no run needs.
func (h *testWorld) orphanedSnapshots(account, region string, images []ec2types.Image) int {
	used := map[string]bool{}
	for _, image := range images {
		for _, m := range image.BlockDeviceMappings {
			if m.Ebs != nil {
				used[aws.ToString(m.Ebs.SnapshotId)] = true
			}
		}
	}

	orphans := 0
	for _, s := range h.ownSnapshots(account, region) {
		if !used[aws.ToString(s.SnapshotId)] {
			orphans++
		}
		orphans += h.unexpectedPermissions(h.permissions(account, region, aws.ToString(s.SnapshotId)))
	}
	return orphans
}

// staying splits images into staged images of share blocks, which are permanent, and all others.
func (h *testWorld) staying(images []ec2types.Image) (others, shared []ec2types.Image) {
	for _, image := range images {
		if slices.ContainsFunc(image.Tags, isShared) {
			shared = append(shared, image)
		} else {
			others = append(others, image)
		}
	}
	return others, shared
}

// isShared reports whether a tag is the signature of an image of share blocks.
func isShared(tag ec2types.Tag) bool {
	return aws.ToString(tag.Key) == provenance.TagSignature &&
		strings.HasSuffix(aws.ToString(tag.Value), "device="+provenance.SharedImage)
}

// unexpectedPermissions counts the permissions of accounts that no share block names.
func (h *testWorld) unexpectedPermissions(permissions []ec2types.CreateVolumePermission) (n int) {
	for _, p := range permissions {
		if !slices.Contains(h.friends, aws.ToString(p.UserId)) {
			n++
		}
	}
	return n
}

// launchable returns the launch permissions of an image.
func (h *testWorld) launchable(account, region, image string) distribution.LaunchPermissions {
	h.t.Helper()
	out, err := h.ec2(account, region).DescribeImageAttribute(context.Background(), &ec2.DescribeImageAttributeInput{
		ImageId: aws.String(image), Attribute: ec2types.ImageAttributeNameLaunchPermission,
	})
	h.must(err)
	return distribution.NewLaunchPermissions(out.LaunchPermissions)
}

func (h *testWorld) permissions(account, region, snapshot string) []ec2types.CreateVolumePermission {
	h.t.Helper()
	out, err := h.ec2(account, region).DescribeSnapshotAttribute(context.Background(), &ec2.DescribeSnapshotAttributeInput{
		SnapshotId: aws.String(snapshot), Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
	})
	h.must(err)
	return out.CreateVolumePermissions
}

// A run crashes after any call, or before the response to any call. The next run resumes it with the same result, and
// repeats no call.
func TestResume_afterCrashAtAnyCall(t *testing.T) {
	t.Parallel()
	volumes, targets, regions := mixed[:2], []string{"222222222222"}, []string{home}
	if *whole {
		volumes, targets, regions = mixed, []string{"222222222222", "333333333333"}, []string{home, away}
	}
	crashes(t, func(t *testing.T) *testWorld { return build(t, volumes, targets, regions) })
}

// A crash at any call is resumed in the same way with all options of a run, by either copy method.
func TestResume_afterCrashWithAllOptions(t *testing.T) {
	t.Parallel()
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		t.Run(string(method), func(t *testing.T) {
			crashes(t, func(t *testing.T) *testWorld { return everything(t, method) })
		})
	}
}

// A crash at any call is resumed in the same way if targets copy a staged image that a share block keeps.
func TestResume_afterCrashByImage(t *testing.T) {
	t.Parallel()
	volumes, targets, regions := mixed[:2], []string{"222222222222"}, []string{home}
	if *whole {
		volumes, targets, regions = mixed, []string{"222222222222", "333333333333"}, []string{home, away}
	}
	crashes(t, func(t *testing.T) *testWorld {
		h := build(t, volumes, targets, regions)
		h.addShareBlock(imagesAndShares)
		return h
	})
}

// diesAt returns when a run has ended or crashed. Calls that it had started take effect by then. No later call of a
// crashed run reaches AWS.
func (h *testWorld) diesAt(death context.Context, run func()) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		run()
	}()
	select {
	case <-over:
	case <-death.Done():
	}
}

const friend = "777777777777"

// imagesAndShares requests copies of whole images, and a share block.
func imagesAndShares(req *distribution.Request) {
	req.Targets[0].Method = distribution.ByImage
	req.Shares = []distribution.Share{{Name: "friends", AccountIDs: []string{friend}}}
}

// addShareBlock adds a share block to the requests of the world.
func (h *testWorld) addShareBlock(with func(*distribution.Request)) {
	h.with = with
	for _, share := range h.request().Shares {
		h.friends = append(h.friends, share.AccountIDs...)
	}
}

// crashPoint is a call at which a run crashes.
type crashPoint struct {
	call int
	lost bool // the crash precedes the response
}

// crashPoints returns the points before and after the response of every call, or a sample of them. The sample has every
// eighth call. For each mutating action, it also has the first call before its response, and the last call after it.
func crashPoints(calls awssim.Records) (points []crashPoint) {
	first, last := map[string]int{}, map[string]int{}
	for i, c := range calls {
		if len(c.Changed) == 0 {
			continue
		}
		if _, isKnown := first[c.Action]; !isKnown {
			first[c.Action] = i
		}
		last[c.Action] = i
	}

	const every = 8
	for i, c := range calls {
		isChange := len(c.Changed) > 0
		isFirst, isLast := isChange && first[c.Action] == i, isChange && last[c.Action] == i
		eighth := i / every
		if *whole || isLast || i%every == 0 && eighth%2 == 0 {
			points = append(points, crashPoint{i + 1, false})
		}
		if *whole || isFirst || i%every == 0 && eighth%2 == 1 {
			points = append(points, crashPoint{i + 1, true})
		}
	}
	return points
}

// crashes lets a run crash at each of the crashPoints, each time in a new world.
func crashes(t *testing.T, world func(*testing.T) *testWorld) {
	var calls awssim.Records
	synctest.Test(t, func(t *testing.T) {
		h := world(t)
		begun := len(h.Records())
		line := h.NewCrashingClient(0, false, nil)
		result, err := h.attempt(t.Context(), line, "run-1")
		calls = h.Records()[begun:]
		if len(calls) != line.Calls() {
			t.Fatalf("%d calls are recorded, want %d", len(calls), line.Calls())
		}
		if missing, twice, left := h.census(); err != nil || missing+twice+left+len(result.Left)+len(result.Findings) > 0 {
			t.Fatalf("a run that nothing cuts off: %v; %d resources missing, %d too many, %d orphans; %+v "+
				"%+v", err, missing, twice, left, result.Left, result.Findings)
		}
	})
	var converged, duplicates, orphans int
	points := crashPoints(calls)
	for _, at := range points {
		synctest.Test(t, func(t *testing.T) {
			h := world(t)
			ctx, die := context.WithCancelCause(t.Context())
			h.diesAt(ctx, func() { _, _ = h.attempt(ctx, h.NewCrashingClient(at.call, at.lost, die), "run-1") })
			result, err := h.attempt(t.Context(), h.NewCrashingClient(0, false, nil), "run-2")
			missing, twice, left := h.census()
			duplicates, orphans = duplicates+twice, orphans+left
			if err != nil || missing+twice+left+len(result.Left)+len(result.Findings) > 0 {
				t.Errorf("dies at call %d of %d, its answer lost %v: %v; %d resources missing, %d too many, %d orphans; %+v %+v",
					at.call, len(calls), at.lost, err, missing, twice, left, result.Left, result.Findings)
			} else {
				converged++
			}
			time.Sleep(10 * time.Minute) // what the dead run had in progress ends
		})
	}
	t.Logf("crash points: %d, converged: %d, duplicates: %d, orphans: %d", len(points), converged, duplicates, orphans)
	if *whole {
		fmt.Printf(
			"crash points: %d, converged: %d, duplicates: %d, orphans: %d\n", len(points), converged, duplicates, orphans)
	}
}
