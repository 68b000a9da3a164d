// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestCopySnapshot_inheritsOnlyDataAndSize covers rule 1.3.11. A copied snapshot inherits only data and size.
func TestCopySnapshot_inheritsOnlyDataAndSize(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := f.createSnapshot("")
		requireOutput(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
			Resources: []string{source}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
		}))(f)

		f.shareSnapshot(source)
		got := f.waitForSnapshot(f.ec2At(member, home), f.copySnapshot(f.ec2At(member, home), source))
		if *got.OwnerId != member || *got.VolumeId != "vol-ffffffff" || *got.Description != "" || len(got.Tags) != 0 ||
			*got.VolumeSize != 8 {
			t.Errorf("the copy is %+v", got)
		}

		shared := requireOutput(f.ec2At(member, home).DescribeSnapshotAttribute(f.Context(),
			&ec2.DescribeSnapshotAttributeInput{
				SnapshotId: got.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			}))(f)
		if len(shared.CreateVolumePermissions) != 0 {
			t.Errorf("the copy is shared with %v", shared.CreateVolumePermissions)
		}
	})
}

// TestCopySnapshot_eachRequestCreatesASnapshot covers rule 1.3.12. CopySnapshot has no client token, so each call
// creates another copy.
func TestCopySnapshot_eachRequestCreatesASnapshot(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := f.createSnapshot("")
		if first, second := f.copySnapshot(f.ec2, source), f.copySnapshot(f.ec2, source); first == second {
			t.Error("the second request made nothing")
		}
	})
}

// TestCopySnapshot_shareRevokedDuringCopy covers rule 1.3.13. A copy continues after the share of its source was
// revoked.
func TestCopySnapshot_shareRevokedDuringCopy(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := f.createSnapshot("")
		f.shareSnapshot(source)
		copied := f.copySnapshot(f.ec2At(member, home), source)
		requireOutput(f.ec2.ResetSnapshotAttribute(f.Context(), &ec2.ResetSnapshotAttributeInput{
			SnapshotId: &source, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}))(f)
		if got := f.waitForSnapshot(f.ec2At(member, home), copied); got.State != types.SnapshotStateCompleted {
			t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCopySnapshot_requestedKeyRefused checks rules 1.8. CopySnapshot checks existence, state and kind of the key at
// once. Other problems show in the copy.
func TestCopySnapshot_requestedKeyRefused(t *testing.T) {
	for _, row := range []struct {
		rule string
		key  func(f fixture) string
		says string
	}{
		{"1.8.1", func(f fixture) string {
			key := f.createKey()
			requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
			return key
		}, "disabled"},
		{"1.8.2", func(fixture) string { return "alias/nope" }, "invalid"},
		{"1.8.2 id", func(fixture) string { return "6f4d2634-186d-4adc-8a7f-ca163060dafc" }, "invalid"},
		{"1.7.5 other Region (A.1.6, 3.6.2)", func(f fixture) string { return f.createKeyIn(owner, away) }, "invalid"},
		{"3.4.2 asymmetric", func(f fixture) string {
			return *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
				KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt,
			}))(f).KeyMetadata.Arn
		}, "invalid"},
		{"3.4 pending deletion (Q3)", func(f fixture) string {
			key := f.createKey()
			requireOutput(f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key}))(f)
			return key
		}, "invalid"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				source, key := f.createSnapshot(""), row.key(f)
				_, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
					SourceRegion:     aws.String(home),
					SourceSnapshotId: &source,
					Encrypted:        aws.Bool(true),
					KmsKeyId:         &key,
				})
				requireError(t, err, "InvalidParameterValue", "The specified keyId "+key+" is "+row.says)
			})
		})
	}
}

// TestCopySnapshot_keyPendingImport covers rule 3.4. CopySnapshot accepts a key that is pending import. Whether AWS
// does is open question Q3.
func TestCopySnapshot_keyPendingImport(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			Origin: kmstypes.OriginTypeExternal,
		}))(f).KeyMetadata.Arn
		got := f.waitForSnapshot(f.ec2, f.copySnapshot(f.ec2, f.createSnapshot(""), withKey(key)))
		if got.State != types.SnapshotStateError || aws.ToString(got.StateMessage) != "Given key ID is not accessible" {
			t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCopySnapshot_sourceKeyUnusable covers rule 3.4. The copy fails if the source's key has been disabled.
func TestCopySnapshot_sourceKeyUnusable(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		source := f.createSnapshot(key)
		requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		got := f.waitForSnapshot(f.ec2, f.copySnapshot(f.ec2, source, withKey(f.createKey())))
		if got.State != types.SnapshotStateError || aws.ToString(got.StateMessage) != "Given key ID is not accessible" {
			t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCopySnapshot_sourceUnreadable checks rules 4.6.2 and 4.6.5. Problems of the source show later, in a failed copy
// without a size.
func TestCopySnapshot_sourceUnreadable(t *testing.T) {
	for _, row := range []struct {
		rule   string
		source func(f fixture) string
		region string // SourceRegion of the request
		says   string
	}{
		{"4.6.5 not shared", func(f fixture) string { return f.createSnapshot("") }, home, "Source snapshot is not found"},
		{"4.6.5 other Region", func(f fixture) string {
			id := f.createSnapshot("")
			f.shareSnapshot(id)
			return id
		}, away, "Source snapshot is not found"},
		{"4.6.5 deleted", func(f fixture) string {
			id := f.createSnapshot("")
			requireOutput(f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &id}))(f)
			return id
		}, home, "Source snapshot is not found"},
		{"4.6.5 pending", func(f fixture) string {
			id := *requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
				VolumeId: aws.String(f.createVolume("")),
			}))(f).SnapshotId
			f.shareSnapshot(id)
			return id
		}, home, "Source snapshot is not complete"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				others := f.ec2At(member, home)
				source := row.source(f)
				created := requireOutput(others.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
					SourceRegion: aws.String(row.region), SourceSnapshotId: &source,
				}))(f)

				if early := f.describeSnapshot(others, *created.SnapshotId); early.State != types.SnapshotStatePending {
					t.Errorf("the copy is %s at once", early.State)
				}

				got := f.waitForSnapshot(others, *created.SnapshotId)
				if got.State != types.SnapshotStateError || aws.ToString(got.StateMessage) != row.says {
					t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
				}
				if *got.Progress != "0%" || got.CompletionTime != nil || *got.VolumeSize != 0 || *got.Encrypted {
					t.Errorf("of the failed copy is seen %+v", got)
				}
			})
		})
	}
}

// showsResult reports whether a snapshot shows what a pending copy must hide.
func showsResult(s types.Snapshot) bool {
	return *s.VolumeSize != 0 || *s.Encrypted || s.KmsKeyId != nil || s.CompletionTime != nil
}

// TestDescribeSnapshots_pendingCopy covers rule 4.6.1. A pending copy shows neither size nor encryption, a complete one
// does (rule 4.6.2).
func TestDescribeSnapshots_pendingCopy(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		created := f.copySnapshot(f.ec2, f.createSnapshot(key), withKey(f.createKey()))
		first := f.describeSnapshot(f.ec2, created)
		if aws.ToString(first.StateMessage) != "Metadata not updated" || *first.Progress != "0%" {
			t.Errorf("at first the copy says %q at %s", aws.ToString(first.StateMessage), *first.Progress)
		}

		moved := false
		for f.describeSnapshot(f.ec2, created).State == types.SnapshotStatePending {
			view := f.describeSnapshot(f.ec2, created)
			if view.State == types.SnapshotStatePending && showsResult(view) {
				t.Fatalf("the pending copy shows %+v", view)
			}
			moved = moved || *view.Progress != "0%" && *view.Progress != "100%"
			time.Sleep(time.Second)
		}

		done := f.describeSnapshot(f.ec2, created)
		expectEqual(f, "whether progress was seen", moved, true)
		expectEqual(f, "the size", *done.VolumeSize, 8)
		expectEqual(f, "the full size", *done.FullSnapshotSizeInBytes, 8<<30)
		expectEqual(f, "the encryption", *done.Encrypted, true)
		expectEqual(f, "whether a key is shown", done.KmsKeyId != nil, true)
		expectEqual(f, "the message", done.StateMessage, nil)
		expectEqual(f, "the progress", *done.Progress, "100%")
	})
}

// TestCopySnapshot_durationGrowsWithSize covers rule 4.6.4. Copies of 1 GiB take 4 to 25 seconds, larger copies longer.
// Incremental copies take no longer (rule 4.7.1).
func TestCopySnapshot_durationGrowsWithSize(t *testing.T) {
	took := func(seed uint64, job SnapshotJob) time.Duration {
		w := New(WithSeed(seed))
		return w.newProgress(time.Time{}, job).ends.Sub(time.Time{})
	}

	for seed := range uint64(200) {
		for sizeGiB, limits := range map[int32][2]time.Duration{
			1: {4 * time.Second, 25 * time.Second}, 8: {40 * time.Second, 3 * time.Minute},
			500: {40 * time.Minute, 130 * time.Minute},
		} {
			d := took(seed, SnapshotJob{SnapshotID: "snap-a", SourceID: "snap-b", GiB: sizeGiB})
			if d < limits[0] || d > limits[1] {
				t.Errorf("seed %d: a copy of %d GiB takes %s", seed, sizeGiB, d)
			}
		}

		if d := took(seed, SnapshotJob{
			SnapshotID:  "snap-a",
			SourceID:    "snap-b",
			GiB:         500,
			Incremental: true,
		}); d > 15*time.Second {
			t.Errorf("seed %d: an incremental copy takes %s", seed, d)
		}
	}
}

// TestWithSlowClients_pendingIsVisible shows that a snapshot stays pending long enough for a client of a server whose
// clock runs faster.
func TestWithSlowClients_pendingIsVisible(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithSlowClients(10 * time.Second)(f.world)
		volume := f.createVolume("")
		id := *requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: &volume}))(f).SnapshotId
		time.Sleep(8 * time.Minute)
		if got := f.describeSnapshot(f.ec2, id).State; got != types.SnapshotStatePending {
			t.Errorf("after 48 calls the snapshot is %s", got)
		}
	})
}

// TestCopySnapshot_incremental covers rule 4.7.1. A second copy under the same key in the same account and Region is
// incremental.
func TestCopySnapshot_incremental(t *testing.T) {
	runWithSnapshotJobs(t, func(f fixture, jobs *[]SnapshotJob) {
		source, key := f.createSnapshot(""), f.createKeyIn(member, away)
		f.shareSnapshot(source)
		others := f.ec2At(member, away)
		for _, row := range []struct {
			what        string
			client      *ec2.Client
			key         string
			incremental bool
		}{
			{"same location, no key", f.ec2, "", true},
			{"same location, new key", f.ec2, f.createKey(), false},
			{"other account and Region", others, "", false},
			{"there again", others, "", true},
			{"there under a key", others, key, false},
			{"there under the key again", others, key, true},
		} {
			var changes []func(*ec2.CopySnapshotInput)
			if row.key != "" {
				changes = append(changes, withKey(row.key))
			}
			f.waitForSnapshot(row.client, f.copySnapshot(row.client, source, changes...))
			if last := (*jobs)[len(*jobs)-1]; last.Incremental != row.incremental {
				t.Errorf("%s: incremental is %t", row.what, last.Incremental)
			}
		}
	})
}

// TestCopySnapshot_presignedURLMismatch covers rule 9.0. PresignedUrl and DestinationRegion must match the request.
// Signatures are not verified.
func TestCopySnapshot_presignedURLMismatch(t *testing.T) {
	for _, row := range []struct{ url, says string }{
		{"ftp://ec2.us-east-1.amazonaws.com/", "The protocol in PresignedUrl should be http or https"},
		{
			"https://ec2.us-east-1.amazonaws.com/?SourceSnapshotId=SOURCE&DestinationRegion=us-east-1",
			"The destination region specified in PresignedUrl: 'us-east-1' is incorrect",
		},
		{"https://ec2.us-east-1.amazonaws.com/?SourceSnapshotId=SOURCE&DestinationRegion=us-west-2", ""},
	} {
		runWithFixture(t, func(f fixture) {
			source := f.createSnapshot("")
			url := replaceSource(row.url, source)
			_, err := f.ec2At(owner, away).CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
				SourceRegion: aws.String(home), SourceSnapshotId: &source, PresignedUrl: &url,
			})
			if row.says == "" && err == nil {
				return
			}
			requireError(t, err, "InvalidParameterValue", row.says)
		})
	}
}

// TestCopySnapshot_unknownSourceRegion covers rule 6.4. The Region is checked before a dry run ends.
func TestCopySnapshot_unknownSourceRegion(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := f.createSnapshot("")
		_, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String("eu-central-9"),
			SourceSnapshotId: &source,
			DryRun:           aws.Bool(true),
		})
		requireErrorCode(t, err, "InvalidRegion")
	})
}
