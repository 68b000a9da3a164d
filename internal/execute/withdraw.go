// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// WithdrawShares withdraws what runs gave of source images and of their snapshots for the time of copies: the permissions of all accounts but
// those that had one before any run, and those of share blocks. It reads back, and returns what could not be withdrawn. Call it only when
// no run works on the images.
func WithdrawShares(ctx context.Context, pool *awsclient.Pool, account string, images []distribution.SourceImage) []distribution.RetainedResource {
	t := &transfer{pool: pool}
	var left []distribution.RetainedResource
	for _, source := range images {
		at := distribution.Location{Account: account, Region: source.Region}
		image, err := t.image(ctx, at, source.ImageID)
		if err != nil {
			left = append(left, distribution.RetainedResource{At: at, Kind: "share", Resource: source.ImageID, Why: "it could not be looked at: " + reason(err)})
		}
		if err != nil || image == nil {
			continue
		}
		left = append(left, t.withdrawShares(ctx, at, *image)...)
	}
	return left
}

// withdrawShares withdraws the shares of one source image: first those of the image, then those of its snapshots.
func (t *transfer) withdrawShares(ctx context.Context, at distribution.Location, image ec2types.Image) []distribution.RetainedResource {
	tags, id := tagsOf(image.Tags), aws.ToString(image.ImageId)
	failed := func(id string, err error) []distribution.RetainedResource {
		if err == nil || awsclient.IsNotFound(err) {
			return nil
		}
		return []distribution.RetainedResource{{At: at, Kind: "share", Resource: id, Why: reason(err)}}
	}
	left := failed(id, t.withdrawUntilGone(ctx, at, tags,
		func() ([]string, error) {
			admitted, err := t.audience(ctx, at, id)
			return admitted.Accounts, err
		},
		func(accounts []string) error {
			gone := distribution.LaunchPermissions{Accounts: accounts}
			return t.modifyLaunch(ctx, at, id, &ec2types.LaunchPermissionModifications{Remove: launchPermissions(gone)})
		}))

	used := slices.Sorted(maps.Values(usesOf(image)))
	seen, err := describe(ctx, t.pool.EC2(at), slices.Compact(used))
	left = append(left, failed(id, err)...)
	for _, snapshot := range slices.Sorted(maps.Keys(seen)) {
		own := tagsOf(seen[snapshot].Tags)
		for key, value := range tags { // which accounts keep a permission stands on the image alone
			if !strings.HasPrefix(key, provenance.TagBaseline) {
				own[key] = value
			}
		}
		left = append(left, failed(snapshot, t.withdrawUntilGone(ctx, at, own,
			func() ([]string, error) { return t.permitted(ctx, at, snapshot) },
			func(accounts []string) error {
				return t.modifyShare(ctx, at, snapshot, &ec2types.CreateVolumePermissionModifications{Remove: permissions(accounts)})
			}))...)
	}
	return left
}

// stillSharedError says that AWS shows permissions which were withdrawn.
type stillSharedError struct{ accounts []string }

func (e stillSharedError) Error() string {
	return "withdrawn, and still shown for " + strings.Join(e.accounts, ", ")
}

// withdrawUntilGone withdraws the temporary permissions of a resource, and looks until AWS shows none of them.
func (t *transfer) withdrawUntilGone(ctx context.Context, at distribution.Location, tags map[string]string, look func() ([]string, error), withdraw func([]string) error) error {
	if _, known, err := provenance.Baseline(tags); !known {
		return err
	}
	begun := time.Now()
	for n := 0; ; n++ {
		permitted, err := look()
		if err != nil {
			return err
		}
		temporary, err := provenance.Withdrawable(permitted, at.Account, tags)
		switch {
		case err != nil || len(temporary) == 0:
			return err
		case time.Since(begun) > step.EventualConsistencyTimeout:
			return stillSharedError{temporary}
		}
		for chunk := range slices.Chunk(temporary, maxSharedAccounts) {
			if err := withdraw(chunk); err != nil {
				return err
			}
		}
		if err := sleep(ctx, step.Backoff(n)); err != nil {
			return err
		}
	}
}

// maxSharedAccounts is how many accounts one sharing call takes (rule 2.1.6).
const maxSharedAccounts = 500

// sleep waits, or returns why the context is done.
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
