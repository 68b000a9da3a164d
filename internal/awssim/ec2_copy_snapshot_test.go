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

// TestCopySnapshot_inheritsOnlyDataAndSize covers rule 1.3.11.
func TestCopySnapshot_inheritsOnlyDataAndSize(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		source := b.snapshot("")
		ok(b.ec2.CreateTags(b.Context(), &ec2.CreateTagsInput{Resources: []string{source}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))(b)
		b.share(source)
		got := b.settled(b.at(member, home), b.copySnapshot(b.at(member, home), source))
		if *got.OwnerId != member || *got.VolumeId != "vol-ffffffff" || *got.Description != "" || len(got.Tags) != 0 || *got.VolumeSize != 8 {
			t.Errorf("the copy is %+v", got)
		}
		shared := ok(b.at(member, home).DescribeSnapshotAttribute(b.Context(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: got.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}))(b)
		if len(shared.CreateVolumePermissions) != 0 {
			t.Errorf("the copy is shared with %v", shared.CreateVolumePermissions)
		}
	})
}

// TestCopySnapshot_eachRequestCreatesASnapshot covers rule 1.3.12.
func TestCopySnapshot_eachRequestCreatesASnapshot(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		source := b.snapshot("")
		if first, second := b.copySnapshot(b.ec2, source), b.copySnapshot(b.ec2, source); first == second {
			t.Error("the second request made nothing")
		}
	})
}

// TestCopySnapshot_shareRevokedDuringCopy covers rule 1.3.13.
func TestCopySnapshot_shareRevokedDuringCopy(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		source := b.snapshot("")
		b.share(source)
		copied := b.copySnapshot(b.at(member, home), source)
		ok(b.ec2.ResetSnapshotAttribute(b.Context(), &ec2.ResetSnapshotAttributeInput{SnapshotId: &source, Attribute: types.SnapshotAttributeNameCreateVolumePermission}))(b)
		if got := b.settled(b.at(member, home), copied); got.State != types.SnapshotStateCompleted {
			t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// A key that is named is checked at once for existence, state, and kind; the rest shows later (1.8).
func TestCopySnapshot_requestedKeyRefused(t *testing.T) {
	for _, row := range []struct {
		rule string
		key  func(b fixture) string
		says string
	}{
		{"1.8.1", func(b fixture) string {
			key := b.key()
			ok(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
			return key
		}, "disabled"},
		{"1.8.2", func(fixture) string { return "alias/nope" }, "invalid"},
		{"1.8.2 id", func(fixture) string { return "6f4d2634-186d-4adc-8a7f-ca163060dafc" }, "invalid"},
		{"1.7.5 other Region (A.1.6, 3.6.2)", func(b fixture) string { return b.keyAt(owner, away) }, "invalid"},
		{"3.4.2 asymmetric", func(b fixture) string {
			return *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt}))(b).KeyMetadata.Arn
		}, "invalid"},
		{"3.4 pending deletion (Q3)", func(b fixture) string {
			key := b.key()
			ok(b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key}))(b)
			return key
		}, "invalid"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				source, key := b.snapshot(""), row.key(b)
				_, err := b.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{
					SourceRegion: aws.String(home), SourceSnapshotId: &source, Encrypted: aws.Bool(true), KmsKeyId: &key,
				})
				requireError(t, err, "InvalidParameterValue", "The specified keyId "+key+" is "+row.says)
			})
		})
	}
}

// TestCopySnapshot_keyPendingImport covers rule 3.4.
// A key in PendingImport is no synchronous refusal (3.4); it is an open question what AWS does (Q3).
func TestCopySnapshot_keyPendingImport(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal}))(b).KeyMetadata.Arn
		got := b.settled(b.ec2, b.copySnapshot(b.ec2, b.snapshot(""), under(key)))
		if got.State != types.SnapshotStateError || aws.ToString(got.StateMessage) != "Given key ID is not accessible" {
			t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCopySnapshot_sourceKeyUnusable covers rule 3.4.
// A copy of a snapshot whose key has been disabled since ends in error.
func TestCopySnapshot_sourceKeyUnusable(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		source := b.snapshot(key)
		ok(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
		got := b.settled(b.ec2, b.copySnapshot(b.ec2, source, under(b.key())))
		if got.State != types.SnapshotStateError || aws.ToString(got.StateMessage) != "Given key ID is not accessible" {
			t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// What is wrong with the source is told by the copy, late and without its size (4.6.2, 4.6.5).
func TestCopySnapshot_sourceUnreadable(t *testing.T) {
	for _, row := range []struct {
		rule   string
		source func(b fixture) string
		region string // that the request names as the source's
		says   string
	}{
		{"4.6.5 not shared", func(b fixture) string { return b.snapshot("") }, home, "Source snapshot is not found"},
		{"4.6.5 other Region", func(b fixture) string {
			id := b.snapshot("")
			b.share(id)
			return id
		}, away, "Source snapshot is not found"},
		{"4.6.5 deleted", func(b fixture) string {
			id := b.snapshot("")
			ok(b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &id}))(b)
			return id
		}, home, "Source snapshot is not found"},
		{"4.6.5 pending", func(b fixture) string {
			id := *ok(b.ec2.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String(b.volume(""))}))(b).SnapshotId
			b.share(id)
			return id
		}, home, "Source snapshot is not complete"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				others := b.at(member, home)
				source := row.source(b)
				made := ok(others.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(row.region), SourceSnapshotId: &source}))(b)
				if early := b.seen(others, *made.SnapshotId); early.State != types.SnapshotStatePending {
					t.Errorf("the copy is %s at once", early.State)
				}
				got := b.settled(others, *made.SnapshotId)
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

// TestDescribeSnapshots_pendingCopy covers rule 4.6.1.
// A pending copy tells neither size nor encryption nor key; the complete one does (4.6.1, 4.6.2).
func TestDescribeSnapshots_pendingCopy(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		made := b.copySnapshot(b.ec2, b.snapshot(key), under(b.key()))
		first := b.seen(b.ec2, made)
		if aws.ToString(first.StateMessage) != "Metadata not updated" || *first.Progress != "0%" {
			t.Errorf("at first the copy says %q at %s", aws.ToString(first.StateMessage), *first.Progress)
		}
		moved := false
		for b.seen(b.ec2, made).State == types.SnapshotStatePending {
			seen := b.seen(b.ec2, made)
			if seen.State == types.SnapshotStatePending && (*seen.VolumeSize != 0 || *seen.Encrypted || seen.KmsKeyId != nil || seen.CompletionTime != nil) {
				t.Fatalf("the pending copy tells %+v", seen)
			}
			moved = moved || *seen.Progress != "0%" && *seen.Progress != "100%"
			time.Sleep(time.Second)
		}
		done := b.seen(b.ec2, made)
		if !moved || *done.VolumeSize != 8 || !*done.Encrypted || done.KmsKeyId == nil || done.StateMessage != nil || *done.Progress != "100%" || *done.FullSnapshotSizeInBytes != 8<<30 {
			t.Errorf("the complete copy is %+v (progress seen: %t)", done, moved)
		}
	})
}

// TestCopySnapshot_durationGrowsWithSize covers rule 4.6.4.
// Copies of 1 GiB take 4 to 25 seconds (4.6.4), larger ones in proportion; what is there already is not moved again (4.7.1).
func TestCopySnapshot_durationGrowsWithSize(t *testing.T) {
	took := func(seed uint64, job SnapshotJob) time.Duration {
		w := New(WithSeed(seed))
		return w.newProgress(time.Time{}, job).ends.Sub(time.Time{})
	}
	for seed := range uint64(200) {
		for gib, limits := range map[int32][2]time.Duration{1: {4 * time.Second, 25 * time.Second}, 8: {40 * time.Second, 3 * time.Minute}, 500: {40 * time.Minute, 130 * time.Minute}} {
			if d := took(seed, SnapshotJob{SnapshotID: "snap-a", SourceID: "snap-b", GiB: gib}); d < limits[0] || d > limits[1] {
				t.Errorf("seed %d: a copy of %d GiB takes %s", seed, gib, d)
			}
		}
		if d := took(seed, SnapshotJob{SnapshotID: "snap-a", SourceID: "snap-b", GiB: 500, Incremental: true}); d > 15*time.Second {
			t.Errorf("seed %d: an incremental copy takes %s", seed, d)
		}
	}
}

// A server whose clock runs faster than its clients can call lets them see a snapshot pending.
func TestWithSlowClients_pendingIsVisible(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		WithSlowClients(10 * time.Second)(b.world)
		volume := b.volume("")
		id := *ok(b.ec2.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: &volume}))(b).SnapshotId
		time.Sleep(8 * time.Minute)
		if got := b.seen(b.ec2, id).State; got != types.SnapshotStatePending {
			t.Errorf("after 48 calls the snapshot is %s", got)
		}
	})
}

// TestCopySnapshot_incremental covers rule 4.7.1.
// Another key, account or Region makes a full copy; the second one there, under the same key, is incremental (4.7.1).
func TestCopySnapshot_incremental(t *testing.T) {
	runWithSnapshotJobs(t, func(b fixture, jobs *[]SnapshotJob) {
		source, key := b.snapshot(""), b.keyAt(member, away)
		b.share(source)
		others := b.at(member, away)
		for _, row := range []struct {
			what        string
			client      *ec2.Client
			key         string
			incremental bool
		}{
			{"same place, no key", b.ec2, "", true},
			{"same place, new key", b.ec2, b.key(), false},
			{"other account and Region", others, "", false},
			{"there again", others, "", true},
			{"there under a key", others, key, false},
			{"there under the key again", others, key, true},
		} {
			var changes []func(*ec2.CopySnapshotInput)
			if row.key != "" {
				changes = append(changes, under(row.key))
			}
			b.settled(row.client, b.copySnapshot(row.client, source, changes...))
			if last := (*jobs)[len(*jobs)-1]; last.Incremental != row.incremental {
				t.Errorf("%s: incremental is %t", row.what, last.Incremental)
			}
		}
	})
}

// TestCopySnapshot_presignedURLMismatch covers rule 9.0.
// PresignedUrl and DestinationRegion have to agree with the request; signatures are not looked at (9.0).
func TestCopySnapshot_presignedURLMismatch(t *testing.T) {
	for _, row := range []struct{ url, says string }{
		{"ftp://ec2.us-east-1.amazonaws.com/", "The protocol in PresignedUrl should be http or https"},
		{"https://ec2.us-east-1.amazonaws.com/?SourceSnapshotId=SOURCE&DestinationRegion=us-east-1", "The destination region specified in PresignedUrl: 'us-east-1' is incorrect"},
		{"https://ec2.us-east-1.amazonaws.com/?SourceSnapshotId=SOURCE&DestinationRegion=us-west-2", ""},
	} {
		runWithFixture(t, func(b fixture) {
			source := b.snapshot("")
			url := replaceSource(row.url, source)
			_, err := b.at(owner, away).CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &source, PresignedUrl: &url})
			if row.says == "" && err == nil {
				return
			}
			requireError(t, err, "InvalidParameterValue", row.says)
		})
	}
}

// TestCopySnapshot_unknownSourceRegion covers rule 6.4. The Region is checked before a dry run ends.
func TestCopySnapshot_unknownSourceRegion(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		source := b.snapshot("")
		_, err := b.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String("eu-central-9"),
			SourceSnapshotId: &source,
			DryRun:           aws.Bool(true),
		})
		requireErrorCode(t, err, "InvalidRegion")
	})
}
