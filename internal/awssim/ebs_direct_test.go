// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

func singlyEBS(o *ebs.Options) { o.Retryer = aws.NopRetryer{} }

func (f fixture) ebs() *ebs.Client { return ebs.NewFromConfig(f.world.Config(owner, home), singlyEBS) }

// startSnapshot starts a snapshot of 1 GiB.
func (f fixture) startSnapshot(
	client *ebs.Client, changes ...func(*ebs.StartSnapshotInput),
) (*ebs.StartSnapshotOutput, error) {
	in := &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)}
	for _, change := range changes {
		change(in)
	}
	return client.StartSnapshot(f.Context(), in)
}

func (f fixture) completed(client *ebs.Client, id string) error {
	_, err := client.CompleteSnapshot(f.Context(), &ebs.CompleteSnapshotInput{
		SnapshotId: &id, ChangedBlocksCount: aws.Int32(0),
	})
	return err
}

func startsUnder(key string) func(*ebs.StartSnapshotInput) {
	return func(in *ebs.StartSnapshotInput) { in.Encrypted, in.KmsKeyArn = aws.Bool(true), &key }
}

// TestStartSnapshot_withoutBlocks covers rule 4.9.1. The snapshot can be shared and copied.
func TestStartSnapshot_withoutBlocks(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		out := requireOutput(f.startSnapshot(f.ebs(), startsUnder(key), func(in *ebs.StartSnapshotInput) {
			in.Description, in.Tags = aws.String("test copy"), []ebstypes.Tag{{Key: aws.String("run"), Value: aws.String("1")}}
		}))(f)

		expectEqual(f, "the status", out.Status, ebstypes.StatusPending)
		expectEqual(f, "the key", aws.ToString(out.KmsKeyArn), key)
		expectEqual(f, "the block size", *out.BlockSize, 524288)
		expectEqual(f, "the owner", *out.OwnerId, owner)
		pending := f.describeSnapshot(f.ec2, *out.SnapshotId)
		expectEqual(f, "the state at first", pending.State, types.SnapshotStatePending)
		expectEqual(f, "the progress at first", *pending.Progress, "0%")
		expectEqual(f, "the volume", *pending.VolumeId, "vol-ffffffff")

		requireNoError(0, f.completed(f.ebs(), *out.SnapshotId))(f)
		done := f.waitForSnapshot(f.ec2, *out.SnapshotId)
		expectEqual(f, "the state", done.State, types.SnapshotStateCompleted)
		expectEqual(f, "the size", *done.VolumeSize, 1)
		expectEqual(f, "the key that EC2 shows", aws.ToString(done.KmsKeyId), key)
		expectEqual(f, "the description", *done.Description, "test copy")
		expectEqual(f, "the tag", *done.Tags[0].Value, "1")

		f.setKeyPolicy(
			key, strings.ReplaceAll(usesKey, "WHO", rootOf(member)), strings.ReplaceAll(makesGrant, "WHO", rootOf(member)),
		)

		f.shareSnapshot(*out.SnapshotId)
		recipient := f.inLocation(member, home)
		own := *requireOutput(recipient.kms.CreateKey(f.Context(), &kms.CreateKeyInput{}))(f).KeyMetadata.Arn
		copied := requireOutput(recipient.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(home),
			SourceSnapshotId: out.SnapshotId,
			Encrypted:        aws.Bool(true),
			KmsKeyId:         &own,
		}))(f)

		expectEqual(
			f, "the state of the copy", f.waitForSnapshot(recipient.ec2, *copied.SnapshotId).State, types.SnapshotStateCompleted,
		)
	})
}

// TestStartSnapshot_timeout covers rule 4.9.2. A started snapshot fails unless it is completed within its timeout of
// 10 to 60 minutes.
func TestStartSnapshot_timeout(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		ten := requireOutput(f.startSnapshot(f.ebs(), func(in *ebs.StartSnapshotInput) { in.Timeout = aws.Int32(10) }))(f)
		hour := requireOutput(f.startSnapshot(f.ebs()))(f)
		time.Sleep(11 * time.Minute)
		expectEqual(
			f, "the state after 11 of 10 minutes", f.describeSnapshot(f.ec2, *ten.SnapshotId).State, types.SnapshotStateError,
		)

		expectEqual(
			f, "the state after 11 of 60 minutes", f.describeSnapshot(f.ec2, *hour.SnapshotId).State, types.SnapshotStatePending,
		)

		requireErrorCode(f, f.completed(f.ebs(), *ten.SnapshotId), "ValidationException")
		requireNoError(0, f.completed(f.ebs(), *hour.SnapshotId))(f)
		for _, minutes := range []int32{9, 61} {
			_, err := f.startSnapshot(f.ebs(), func(in *ebs.StartSnapshotInput) { in.Timeout = &minutes })
			requireErrorCode(f, err, "ValidationException")
		}
	})
}

// TestStartSnapshot_encryption covers rule 4.9.3. StartSnapshot refuses Encrypted=false with a key.
func TestStartSnapshot_encryption(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		_, err := f.startSnapshot(f.ebs(), func(in *ebs.StartSnapshotInput) {
			in.Encrypted, in.KmsKeyArn = aws.Bool(false), &key
		})

		requireError(f, err, "ValidationException", "Encrypt cannot be false when KmsKeyArn is specified")
		keyOf := func(change func(*ebs.StartSnapshotInput)) string {
			return aws.ToString(requireOutput(f.startSnapshot(f.ebs(), change))(f).KmsKeyArn)
		}

		managed := f.awsManagedKeyARN(owner, home)
		expectEqual(f, "the key without a word", keyOf(func(*ebs.StartSnapshotInput) {}), "")
		expectEqual(f, "the key with false", keyOf(func(in *ebs.StartSnapshotInput) { in.Encrypted = aws.Bool(false) }), "")
		expectEqual(
			f, "the key with true", keyOf(func(in *ebs.StartSnapshotInput) { in.Encrypted = aws.Bool(true) }), managed,
		)

		expectEqual(f, "the key with a key alone", keyOf(func(in *ebs.StartSnapshotInput) { in.KmsKeyArn = &key }), key)
		requireNoError(f.ec2.EnableEbsEncryptionByDefault(f.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(f)
		expectEqual(f, "the key by default", keyOf(func(*ebs.StartSnapshotInput) {}), managed)
		_, err = f.startSnapshot(
			f.ebs(), startsUnder("arn:aws:kms:us-east-1:111111111111:key/00000000-0000-0000-0000-000000000000"),
		)

		requireError(f, err, "ResourceNotFoundException", "KMS key not found.")
	})
}

// TestStartSnapshot_keyPermission covers rule 4.9.4. StartSnapshot needs kms:GenerateDataKey on the key through EC2,
// with the encryption context aws:ebs:id, and no other KMS permission.
func TestStartSnapshot_keyPermission(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		start := func(name string, statements ...string) error {
			config := f.createUser(owner, name, append(statements, allowStatement(`"ebs:*"`))...)
			_, err := f.startSnapshot(ebs.NewFromConfig(config, singlyEBS), startsUnder(key))
			return err
		}

		requireErrorMessage(
			t, start("nothing", allowStatement(`"kms:Decrypt"`)), "ValidationException",
			"is not authorized to perform: kms:GenerateDataKey on resource: "+key,
		)

		requireNoError(0, start("generates", allowStatement(`"kms:GenerateDataKey"`)))(f)
		const through = `{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*",` +
			`"Condition":{"StringEquals":{"kms:ViaService":"WHO"}}}`

		requireNoError(0, start("through-ec2", strings.ReplaceAll(through, "WHO", "ec2.us-east-1.amazonaws.com")))(f)
		requireErrorCode(
			f, start("through-ebs", strings.ReplaceAll(through, "WHO", "ebs.us-east-1.amazonaws.com")), "ValidationException",
		)

		const context = `{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*",` +
			`"Condition":{"StringLike":{"kms:EncryptionContext:aws:ebs:id":"WHO"}}}`

		requireNoError(0, start("context", strings.ReplaceAll(context, "WHO", "snap-*")))(f)
		requireErrorCode(f, start("wrong-context", strings.ReplaceAll(context, "WHO", "vol-*")), "ValidationException")
		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		_, err := f.startSnapshot(f.ebs(), startsUnder(key))
		requireErrorMessage(t, err, "ValidationException", "DisabledException")
	})
}

// TestCompleteSnapshot_refusals covers rule 4.9.5. CompleteSnapshot finds only the caller's pending snapshots.
func TestCompleteSnapshot_refusals(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := *requireOutput(f.startSnapshot(f.ebs()))(f).SnapshotId
		other := ebs.NewFromConfig(f.world.Config(member, home), singlyEBS)
		requireError(f, f.completed(other, id), "ResourceNotFoundException", "The snapshot '"+id+"' does not exist.")
		complete := func(change func(*ebs.CompleteSnapshotInput)) error {
			in := &ebs.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: aws.Int32(0)}
			change(in)
			_, err := f.ebs().CompleteSnapshot(f.Context(), in)
			return err
		}

		requireErrorCode(
			f, complete(func(in *ebs.CompleteSnapshotInput) { in.ChangedBlocksCount = aws.Int32(-1) }), "ValidationException",
		)

		requireErrorCode(
			f, complete(func(in *ebs.CompleteSnapshotInput) { in.ChangedBlocksCount = aws.Int32(1) }), "UnsupportedOperation",
		)

		sum := aws.String("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
		requireError(f, complete(func(in *ebs.CompleteSnapshotInput) { in.Checksum = sum }),
			"ValidationException", "Invalid parameter combination. Checksum algorithm is missing.")

		requireError(f, complete(func(in *ebs.CompleteSnapshotInput) {
			in.ChecksumAlgorithm = ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256
		}),
			"ValidationException", "Invalid parameter combination. Snapshot checksum is missing.")

		requireErrorCode(
			f, complete(func(in *ebs.CompleteSnapshotInput) { in.ChecksumAlgorithm = "SHA1" }), "ValidationException",
		)

		requireNoError(0, complete(func(in *ebs.CompleteSnapshotInput) {
			in.Checksum, in.ChecksumAlgorithm = sum, ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256
			in.ChecksumAggregationMethod = ebstypes.ChecksumAggregationMethodChecksumAggregationLinear
		}))(f)

		requireErrorCode(f, f.completed(f.ebs(), id), "ValidationException")
		volume := f.createSnapshot("")
		requireErrorCode(f, f.completed(f.ebs(), volume), "ValidationException")
	})
}

// TestStartSnapshot_permissions covers rule 4.9.6. StartSnapshot authorizes snapshot/null, and for tags
// ec2:CreateTags on snapshot/* without ec2:CreateAction.
func TestStartSnapshot_permissions(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := func(name string, statements ...string) *ebs.Client {
			return ebs.NewFromConfig(f.createUser(owner, name, statements...), singlyEBS)
		}

		tagged := func(in *ebs.StartSnapshotInput) {
			in.Tags = []ebstypes.Tag{{Key: aws.String("run"), Value: aws.String("1")}}
		}

		_, err := f.startSnapshot(client("nothing"))
		requireErrorMessage(
			t, err, "AccessDeniedException", "ebs:StartSnapshot on resource: arn:aws:ec2:us-east-1::snapshot/null",
		)

		starter := client("starter", allowStatement(`"ebs:StartSnapshot"`))
		id := *requireOutput(f.startSnapshot(starter))(f).SnapshotId
		_, err = f.startSnapshot(starter, tagged)
		requireErrorMessage(t, err, "AccessDeniedException", "ec2:CreateTags on resource: arn:aws:ec2:us-east-1::snapshot/*")
		requireErrorMessage(
			t, f.completed(starter, id), "AccessDeniedException",
			"ebs:CompleteSnapshot on resource: arn:aws:ec2:us-east-1::snapshot/"+id,
		)

		requireNoError(f.startSnapshot(client("tagger", allowStatement(`"ebs:StartSnapshot","ec2:CreateTags"`)), tagged))(f)
		byAction := `{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*",` +
			`"Condition":{"StringEquals":{"ec2:CreateAction":"StartSnapshot"}}}`

		_, err = f.startSnapshot(client("by-action", allowStatement(`"ebs:StartSnapshot"`), byAction), tagged)
		requireErrorCode(f, err, "AccessDeniedException")
		byTag := `{"Effect":"Allow","Action":["ebs:StartSnapshot","ec2:CreateTags"],"Resource":"*",` +
			`"Condition":{"StringEquals":{"aws:RequestTag/run":"1"}}}`

		requireNoError(f.startSnapshot(client("by-tag", byTag), tagged))(f)
	})
}

// TestStartSnapshot_clientToken covers rule 4.9.7. Another request with the same client token fails with
// ConflictException and status 409.
func TestStartSnapshot_clientToken(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		with := func(description string) func(*ebs.StartSnapshotInput) {
			return func(in *ebs.StartSnapshotInput) { in.ClientToken, in.Description = aws.String("token"), &description }
		}
		first := requireOutput(f.startSnapshot(f.ebs(), with("a")))(f)
		again := requireOutput(f.startSnapshot(f.ebs(), with("a")))(f)
		expectEqual(f, "the id of the repeated call", *again.SnapshotId, *first.SnapshotId)
		_, err := f.startSnapshot(f.ebs(), with("b"))
		requireError(f, err, "ConflictException", "Current request does not match request stored with this token.")
	})
}

func TestStartSnapshot_faults(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.Inject(FaultRule{Fault: MissingID, Action: "ebs:StartSnapshot", Nth: 1})
		f.world.Inject(FaultRule{Fault: EmptyResponse, Action: "ebs:StartSnapshot", Nth: 1})
		for range 2 {
			expectEqual(f, "the id", requireOutput(f.startSnapshot(f.ebs()))(f).SnapshotId, nil)
		}
		f.world.Inject(FaultRule{Fault: Throttled, Action: "ebs:StartSnapshot", Nth: 1})
		_, err := f.startSnapshot(f.ebs())
		requireErrorCode(f, err, "RequestThrottledException")
	})
}
