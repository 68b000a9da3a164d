// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

var errClosed = errors.New("the fence is closed")

// Every attempt of a mutating call passes the fence, with the date of its signature. Reads and dry runs do not.
func TestGuard_fence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var asked []any
		closed := false
		pool := w.pool(t, func(a *awsclient.Access) {
			a.Guard.Fence = func(input any, signed time.Time) error {
				asked = append(asked, input)
				if age := time.Since(signed); age < 0 || age > time.Second {
					t.Errorf("the signature is %v old", age)
				}
				if closed {
					return errClosed
				}
				return nil
			}
		})
		client := pool.EC2(distribution.Location{Account: source, Region: home})
		if err := describeSnapshots(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		tags := &ec2.CreateTagsInput{
			Resources: []string{"snap-0123456789abcdef0"},
			Tags:      []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
		}
		dry := *tags
		dry.DryRun = aws.Bool(true)
		if _, err := client.CreateTags(t.Context(), &dry); !awsclient.WouldSucceed(err) {
			t.Errorf("dry run: got %v", err)
		}
		if len(asked) > 0 {
			t.Errorf("got %d questions for a read and a dry run, want none", len(asked))
		}

		w.Inject(awssim.FaultRule{Fault: awssim.Throttled, Action: "ec2:CreateTags", Nth: 1})
		if _, err := client.CreateTags(t.Context(), tags); !awsclient.IsNotFound(err) {
			t.Errorf("open fence: got %v", err)
		}
		if len(asked) != 2 {
			t.Errorf("got %d questions for 2 attempts", len(asked))
		}

		closed = true
		before := len(w.Records())
		_, err := client.CreateTags(t.Context(), tags)
		var blocked *awsclient.BlockedError
		if !errors.Is(err, errClosed) || !errors.As(err, &blocked) || blocked.Operation != "CreateTags" {
			t.Errorf("closed fence: got %v", err)
		}
		if awsclient.IsOutcomeUnknown(err) || awsclient.IsTransient(err) {
			t.Error("a call that was not sent counts as unknown or repeatable")
		}
		if sent := len(w.Records()) - before; sent > 0 {
			t.Errorf("%d calls were sent", sent)
		}
	})
}

func TestGuard_audience(t *testing.T) {
	const organization = "arn:aws:organizations::111111111111:organization/o-123456"
	snapshotID, imageID := aws.String("snap-0123456789abcdef0"), aws.String("ami-0123456789abcdef0")
	shareSnapshot := func(added ...ec2types.CreateVolumePermission) any {
		return &ec2.ModifySnapshotAttributeInput{
			SnapshotId:             snapshotID,
			CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: added},
		}
	}
	snapshotUser := func(account string) ec2types.CreateVolumePermission {
		return ec2types.CreateVolumePermission{UserId: &account}
	}
	shareImage := func(added ec2types.LaunchPermission) any {
		return &ec2.ModifyImageAttributeInput{
			ImageId:          imageID,
			LaunchPermission: &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{added}},
		}
	}
	grant := func(grantee string) any {
		return &kms.CreateGrantInput{
			KeyId:            aws.String("alias/golden"),
			GranteePrincipal: &grantee,
			Operations:       []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
		}
	}
	for _, c := range []struct {
		name  string
		input any
		sent  bool
	}{
		{"snapshot, account of the plan", shareSnapshot(snapshotUser(target)), true},
		{"snapshot, other account", shareSnapshot(snapshotUser(other)), false},
		{"snapshot, one of two", shareSnapshot(snapshotUser(target), snapshotUser(other)), false},
		{
			"snapshot, public",
			shareSnapshot(ec2types.CreateVolumePermission{Group: ec2types.PermissionGroupAll}),
			false,
		},
		{
			"snapshot, old parameters",
			&ec2.ModifySnapshotAttributeInput{SnapshotId: snapshotID, UserIds: []string{target}},
			false,
		},
		{
			"snapshot, unshare",
			&ec2.ModifySnapshotAttributeInput{
				SnapshotId: snapshotID,
				CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
					Remove: []ec2types.CreateVolumePermission{snapshotUser(other)},
				},
			},
			true,
		},
		{"image, account of the plan", shareImage(ec2types.LaunchPermission{UserId: aws.String(target)}), true},
		{"image, other account", shareImage(ec2types.LaunchPermission{UserId: aws.String(other)}), false},
		{"image, public", shareImage(ec2types.LaunchPermission{Group: ec2types.PermissionGroupAll}), false},
		{
			"image, organization of the plan",
			shareImage(ec2types.LaunchPermission{OrganizationArn: aws.String(organization)}),
			true,
		},
		{
			"image, other unit",
			shareImage(ec2types.LaunchPermission{OrganizationalUnitArn: aws.String(organization + "/ou")}),
			false,
		},
		{
			"image, old parameters",
			&ec2.ModifyImageAttributeInput{ImageId: imageID, UserGroups: []string{"all"}},
			false,
		},
		{
			"image, description",
			&ec2.ModifyImageAttributeInput{
				ImageId:     imageID,
				Description: &ec2types.AttributeValue{Value: aws.String("golden")},
			},
			true,
		},
		{"grant, role of the plan", grant("arn:aws:iam::" + target + ":role/golden"), true},
		{"grant, other account", grant(other), false},
		{
			"copy without encryption",
			&ec2.CopySnapshotInput{
				SourceRegion:     aws.String(home),
				SourceSnapshotId: snapshotID,
				KmsKeyId:         aws.String("alias/golden"),
			},
			false,
		},
		{
			"copy without a key",
			&ec2.CopyImageInput{
				Name:          aws.String("golden"),
				SourceRegion:  aws.String(home),
				SourceImageId: imageID,
				Encrypted:     aws.Bool(true),
			},
			false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				audience := &awsclient.Audience{}
				audience.Allow(target, organization)
				pool := w.pool(t, func(a *awsclient.Access) { a.Guard.Audience = audience })
				at := distribution.Location{Account: source, Region: home}
				var err error
				switch in := c.input.(type) {
				case *ec2.ModifySnapshotAttributeInput:
					_, err = pool.EC2(at).ModifySnapshotAttribute(t.Context(), in)
				case *ec2.ModifyImageAttributeInput:
					_, err = pool.EC2(at).ModifyImageAttribute(t.Context(), in)
				case *ec2.CopySnapshotInput:
					_, err = pool.EC2(at).CopySnapshot(t.Context(), in)
				case *ec2.CopyImageInput:
					_, err = pool.EC2(at).CopyImage(t.Context(), in)
				case *kms.CreateGrantInput:
					_, err = pool.KMS(at).CreateGrant(t.Context(), in)
				}
				var blocked *awsclient.BlockedError
				if errors.As(err, &blocked) == c.sent {
					t.Errorf("got %v, want sent %t", err, c.sent)
				}
				for _, r := range w.Records() {
					if !strings.HasPrefix(r.Action, "sts:") && !c.sent {
						t.Errorf("%s was sent", r.Action)
					}
				}
			})
		})
	}
}

// The observed time is that of AWS's responses, not that of the local clock.
func TestGuard_observesDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const skew = 40 * 24 * time.Hour
		w := newWorld(t, awssim.WithClientSkew(skew))
		var seen []time.Time
		pool := w.pool(t, func(a *awsclient.Access) { a.Guard.Observe = func(date time.Time) { seen = append(seen, date) } })
		if err := describeSnapshots(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home})); err != nil {
			t.Fatal(err)
		}
		if len(seen) == 0 {
			t.Fatal("no date was observed")
		}
		if off := w.Now().Sub(seen[len(seen)-1]); off < 0 || off > 2*time.Second {
			t.Errorf("the date is %v off AWS's clock", off)
		}
	})
}
