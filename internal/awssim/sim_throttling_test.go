// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// TestCopySnapshot_concurrentCopyQuota covers rules 4.1.1 and A.3. The 21st concurrent copy to an account and Region is
// refused and creates nothing.
func TestCopySnapshot_concurrentCopyQuota(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := f.createSnapshot("")
		client := f.ec2At(owner, away)
		try := func() error {
			_, err := client.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
				SourceRegion: aws.String(home), SourceSnapshotId: &source,
			})
			return err
		}

		fill := func(n int) {
			t.Helper()
			for i := range n {
				if err := try(); err != nil {
					t.Fatalf("copy %d: %v", i+1, err)
				}
			}
		}

		fill(20)
		requireError(
			t, try(), "ResourceLimitExceeded",
			"Too many snapshot copies in progress. The limit is 20 for this destination region.",
		)

		f.copySnapshot(f.ec2, source) // another Region has its own quota
		got := requireOutput(client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
			OwnerIds: []string{"self"},
		}))(f).Snapshots
		if len(got) != 20 {
			t.Errorf("there are %d copies", len(got))
		}

		time.Sleep(10 * time.Minute)
		fill(20) // completed copies free the quota
		time.Sleep(10 * time.Minute)
		f.world.SetSnapshotCopyQuota(owner, 25)
		fill(25)
		requireError(
			t, try(), "ResourceLimitExceeded",
			"Too many snapshot copies in progress. The limit is 25 for this destination region.",
		)
	})
}

// TestCopyImage_concurrentCopyQuota covers rule 4.1.2. The quota is 300 image copies. They do not count as snapshot
// copies (rule 4.1.3, Q4).
func TestCopyImage_concurrentCopyQuota(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithoutThrottling()(f.world)
		WithSnapshotDuration(func(SnapshotJob) time.Duration { return time.Hour })(f.world)
		image := f.createImage("")
		client := f.ec2At(owner, away)
		name := func(n int) func(*ec2.CopyImageInput) {
			return func(in *ec2.CopyImageInput) { in.Name = aws.String("copy " + time.Duration(n).String()) }
		}

		for n := range 300 {
			requireOutput(f.copyImage(client, image, name(n)))(f)
		}

		_, err := f.copyImage(client, image, name(300))
		requireErrorCode(t, err, "ResourceLimitExceeded")
		f.copySnapshot(client, f.rootSnapshot(f.ec2, image))
		time.Sleep(2 * time.Hour)
		requireOutput(f.copyImage(client, image, name(300)))(f)
	})
}

// TestThrottling_tokenBucketPerAction covers rules 4.2 and 4.2.1. Each action in an account and Region has its own
// token bucket, which is full at first.
func TestThrottling_tokenBucketPerAction(t *testing.T) {
	for _, row := range []struct {
		action       string
		size, refill int
		call         func(f fixture, client *ec2.Client) error
	}{
		{"CopyImage", 100, 1, func(f fixture, client *ec2.Client) error {
			_, err := client.CopyImage(f.Context(), &ec2.CopyImageInput{
				Name:          aws.String("copy"),
				SourceRegion:  aws.String(home),
				SourceImageId: aws.String("ami-0ffffffffffffffff"),
				DryRun:        aws.Bool(true),
			})
			return err
		}},
		{"CopySnapshot", 50, 5, func(f fixture, client *ec2.Client) error {
			_, err := client.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
				SourceRegion: aws.String(home), SourceSnapshotId: aws.String("snap-0ffffffffffffffff"), DryRun: aws.Bool(true),
			})
			return err
		}},
		{"CreateTags", 100, 10, func(f fixture, client *ec2.Client) error {
			_, err := client.CreateTags(f.Context(), &ec2.CreateTagsInput{
				Resources: []string{"snap-0ffffffffffffffff"}, Tags: []types.Tag{{Key: aws.String("k")}}, DryRun: aws.Bool(true),
			})
			return err
		}},
		{"DescribeSnapshots with a filter", 100, 20, func(f fixture, client *ec2.Client) error {
			_, err := client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
				MaxResults: aws.Int32(5), DryRun: aws.Bool(true),
			})
			return err
		}},
		{"DescribeSnapshots of all", 50, 10, func(f fixture, client *ec2.Client) error {
			_, err := client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{DryRun: aws.Bool(true)})
			return err
		}},
	} {
		t.Run(row.action, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				WithoutLatency()(f.world)
				client := f.ec2At(owner, home)
				passed := func(most int) (n int) {
					for range most {
						err := row.call(f, client)
						if isThrottled(t, err) {
							return n
						}
						n++
					}
					return n
				}

				if n := passed(1000); n != row.size {
					t.Errorf("%d calls at once, want %d", n, row.size)
				}

				time.Sleep(3 * time.Second)
				if n := passed(1000); n != 3*row.refill {
					t.Errorf("%d calls after three seconds, want %d", n, 3*row.refill)
				}
				if isThrottled(t, row.call(f, f.ec2At(owner, away))) || isThrottled(t, row.call(f, f.ec2At(member, home))) {
					t.Error("another Region or account is throttled too")
				}
			})
		})
	}
}

// isThrottled reports whether an error is a throttling error with its code and status (rule 4.2.1).
func isThrottled(t *testing.T, err error) bool {
	t.Helper()
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusServiceUnavailable {
		return false
	}
	requireError(t, err, "RequestLimitExceeded", "Request limit exceeded.")
	return true
}

// TestThrottling_kmsError covers rule 3.2.9. KMS limits the request rates of its operations.
func TestThrottling_kmsError(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithoutLatency()(f.world)
		key := f.createKey()
		client := kms.NewFromConfig(f.world.Config(owner, home), func(o *kms.Options) { o.Retryer = aws.NopRetryer{} })
		for range 100 {
			requireOutput(client.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key}))(f)
		}
		_, err := client.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key})
		requireErrorCode(t, err, "ThrottlingException")
	})
}
