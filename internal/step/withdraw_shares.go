// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// WithdrawShares removes the temporary permissions that runs added for copies. Source images and their snapshots
// keep the permissions that predate all runs and those of share blocks. Images that share blocks created keep only
// the latter. It reads the permissions back and returns those that it could not remove. isLast reports whether no other
// run is active. shared is what this run shared. These permissions are removed even if AWS does not show them.
func WithdrawShares(
	ctx context.Context,
	pool *awsclient.Pool,
	account string,
	images []distribution.SourceImage,
	keys map[provenance.SourceImage]provenance.SigningKeys,
	isLast func(context.Context) (bool, error),
	shared []distribution.TemporaryShare,
) []distribution.RetainedResource {
	w := &withdrawal{
		Run:    NewRun(nil, RunSettings{Clients: pool, Keys: keys}),
		isLast: isLast,
		shared: map[string]distribution.TemporaryShare{},
		seen:   map[string]bool{},
	}
	for _, s := range shared {
		s.Accounts = distribution.Union(w.shared[s.Resource].Accounts, s.Accounts)
		w.shared[s.Resource] = s
	}

	for _, source := range images {
		at := distribution.Location{Account: account, Region: source.Region}
		image, err := DescribeImage(ctx, w.Clients.EC2(at), source.ImageID)
		if w.recordError(at, source.ImageID, err); err != nil || image == nil {
			continue
		}
		permanent := provenance.WithoutBaseline(tagsOf(image.Tags))
		w.withdrawImage(ctx, at, *image, nil, tagsOf(image.Tags), permanent)
		w.withdrawSharedImages(ctx, at, source.ImageID, permanent)
	}
	w.recordUnseen()
	return w.left
}

// recordUnseen records what this run shared and AWS did not show.
func (w *withdrawal) recordUnseen() {
	for _, id := range slices.Sorted(maps.Keys(w.shared)) {
		if s := w.shared[id]; !w.seen[id] {
			why := "shared with " + accountList(s.Accounts) + "; " + errNotShown.Error()
			w.left = append(w.left, distribution.RetainedResource{At: s.At, Kind: "share", Resource: id, Why: why})
		}
	}
}

// withdrawal removes permissions and collects what could not be removed.
type withdrawal struct {
	*Run
	isLast func(context.Context) (bool, error)
	shared map[string]distribution.TemporaryShare // by this run, by resource
	seen   map[string]bool                        // resources of shared that were withdrawn or recorded
	left   []distribution.RetainedResource
}

func (w *withdrawal) recordError(at distribution.Location, id string, err error) {
	if err != nil && !awsclient.IsNotFound(err) {
		w.left = append(w.left, distribution.RetainedResource{At: at, Kind: "share", Resource: id, Why: Reason(err)})
	}
}

// withdrawSharedImages removes the temporary permissions of the images that share blocks created. Only runs give such
// images permissions, so every permission that is not permanent is removed.
func (w *withdrawal) withdrawSharedImages(
	ctx context.Context,
	at distribution.Location,
	sourceID string,
	permanent map[string]string,
) {
	source := provenance.SourceImage{Account: at.Account, Region: at.Region, ImageID: sourceID}
	var found []ec2types.Image
	filter := ec2types.Filter{Name: aws.String("tag:" + provenance.TagSource), Values: []string{source.String()}}
	err := eachImage(
		ctx,
		w.Clients.EC2(at),
		[]ec2types.Filter{filter},
		func(image ec2types.Image) { found = append(found, image) },
	)

	w.recordError(at, sourceID, err)
	noAccounts, _ := provenance.BaselineTags(nil)
	for _, image := range found {
		j, err := w.judge(ctx, distribution.ImageResource(at, image, nil, provenance.Expected{}))
		w.recordError(at, aws.ToString(image.ImageId), err)
		if j.Signed != nil && j.Signed.Device == provenance.SharedImage {
			w.withdrawImage(ctx, at, image, noAccounts, joinTags(noAccounts, permanent), permanent)
		}
	}
}

// withdrawImage removes the temporary permissions of an image and of its snapshots.
func (w *withdrawal) withdrawImage(
	ctx context.Context,
	at distribution.Location,
	image ec2types.Image,
	snapshotBaseline, tags, permanent map[string]string,
) {
	id := aws.ToString(image.ImageId)
	w.recordError(at, id, w.withdrawUntilGone(ctx, at, id, tags,
		func() ([]string, error) {
			permissions, err := w.describeLaunchPermissions(ctx, at, id)
			return permissions.Accounts, err
		},
		func(accounts []string) error {
			removed := distribution.LaunchPermissions{Accounts: accounts}
			return w.modifyLaunchPermissions(
				ctx,
				at,
				id,
				&ec2types.LaunchPermissionModifications{Remove: launchPermissions(removed)},
			)
		}))

	ids := slices.Sorted(maps.Values(snapshotsByDevice(image)))
	snapshots, err := describeSnapshots(ctx, w.Clients.EC2(at), slices.Compact(ids))
	w.recordError(at, id, err)
	for _, snapshot := range slices.Sorted(maps.Keys(snapshots)) {
		own := joinTags(tagsOf(snapshots[snapshot].Tags), snapshotBaseline, permanent)
		w.recordError(at, snapshot, w.withdrawUntilGone(ctx, at, snapshot, own,
			func() ([]string, error) { return w.describeVolumePermissions(ctx, at, snapshot) },
			func(accounts []string) error {
				return w.modifyVolumePermissions(
					ctx,
					at,
					snapshot,
					&ec2types.CreateVolumePermissionModifications{Remove: volumePermissions(accounts)},
				)
			}))
	}
}

func joinTags(all ...map[string]string) map[string]string {
	joined := map[string]string{}
	for _, tags := range all {
		maps.Copy(joined, tags)
	}
	return joined
}

// stillSharedError says that AWS still shows removed permissions.
type stillSharedError struct{ accounts []string }

func (e stillSharedError) Error() string {
	return "withdrawn, and still shown for " + strings.Join(e.accounts, ", ")
}

// withdrawUntilGone removes the temporary permissions of a resource until AWS shows none. It stops without an error
// if another run is active, because that run will remove them.
func (w *withdrawal) withdrawUntilGone(
	ctx context.Context,
	at distribution.Location,
	id string,
	tags map[string]string,
	read func() ([]string, error),
	withdraw func([]string) error,
) error {
	w.seen[id] = true
	given := w.shared[id].Accounts
	if _, known, err := provenance.Baseline(tags); !known {
		return cmp.Or(err, missingBaseline(given))
	}

	started := time.Now()
	for n := 0; ; n++ {
		accounts, err := listSharedAccounts(n, given, read)
		if err != nil {
			return err
		}

		temporary, err := provenance.Withdrawable(accounts, at.Account, tags)
		switch {
		case err != nil || len(temporary) == 0:
			return err
		case time.Since(started) > EventualConsistencyTimeout:
			return stillSharedError{temporary}
		}

		if isLast, err := w.isLast(ctx); err != nil || !isLast {
			return err
		}

		for chunk := range slices.Chunk(temporary, maxSharedAccounts) {
			if err := withdraw(chunk); err != nil {
				return err
			}
		}

		if err := sleep(ctx, Backoff(n)); err != nil {
			return err
		}
	}
}

// listSharedAccounts returns the accounts that AWS shows. The first time it returns those of this run if there are
// some, because AWS may not show what it shared moments ago (rule 4.4.2).
func listSharedAccounts(n int, given []string, read func() ([]string, error)) ([]string, error) {
	if n == 0 && len(given) > 0 {
		return given, nil
	}
	return read()
}

// missingBaseline returns the error for a resource that the run shared with accounts, and whose baseline AWS does not
// show. Nil without accounts.
func missingBaseline(given []string) error {
	if len(given) == 0 {
		return nil
	}
	return fmt.Errorf("shared with %s; AWS does not show the tag that names who had access before", accountList(given))
}

// maxSharedAccounts is the maximum number of accounts in one call (rule 2.1.6).
const maxSharedAccounts = 500

// sleep waits for d. It returns the cause if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
