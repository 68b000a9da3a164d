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

func (b fixture) ebs() *ebs.Client { return ebs.NewFromConfig(b.world.Config(owner, home), singlyEBS) }

// started starts a snapshot of 1 GiB.
func (b fixture) started(client *ebs.Client, changes ...func(*ebs.StartSnapshotInput)) (*ebs.StartSnapshotOutput, error) {
	in := &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)}
	for _, change := range changes {
		change(in)
	}
	return client.StartSnapshot(b.Context(), in)
}

func (b fixture) completed(client *ebs.Client, id string) error {
	_, err := client.CompleteSnapshot(b.Context(), &ebs.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: aws.Int32(0)})
	return err
}

func startsUnder(key string) func(*ebs.StartSnapshotInput) {
	return func(in *ebs.StartSnapshotInput) { in.Encrypted, in.KmsKeyArn = aws.Bool(true), &key }
}

// TestStartSnapshot_withoutBlocks covers rule 4.9.1. The snapshot can be shared and copied.
func TestStartSnapshot_withoutBlocks(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		out := ok(b.started(b.ebs(), startsUnder(key), func(in *ebs.StartSnapshotInput) {
			in.Description, in.Tags = aws.String("test copy"), []ebstypes.Tag{{Key: aws.String("run"), Value: aws.String("1")}}
		}))(b)
		is(b, "the status", out.Status, ebstypes.StatusPending)
		is(b, "the key", aws.ToString(out.KmsKeyArn), key)
		is(b, "the block size", *out.BlockSize, 524288)
		is(b, "the owner", *out.OwnerId, owner)
		pending := b.seen(b.ec2, *out.SnapshotId)
		is(b, "the state at first", pending.State, types.SnapshotStatePending)
		is(b, "the progress at first", *pending.Progress, "0%")
		is(b, "the volume", *pending.VolumeId, "vol-ffffffff")

		must(0, b.completed(b.ebs(), *out.SnapshotId))(b)
		done := b.settled(b.ec2, *out.SnapshotId)
		is(b, "the state", done.State, types.SnapshotStateCompleted)
		is(b, "the size", *done.VolumeSize, 1)
		is(b, "the key that EC2 shows", aws.ToString(done.KmsKeyId), key)
		is(b, "the description", *done.Description, "test copy")
		is(b, "the tag", *done.Tags[0].Value, "1")

		b.setPolicy(key, strings.ReplaceAll(usesKey, "WHO", rootOf(member)), strings.ReplaceAll(makesGrant, "WHO", rootOf(member)))
		b.share(*out.SnapshotId)
		recipient := b.inLocation(member, home)
		own := *ok(recipient.kms.CreateKey(b.Context(), &kms.CreateKeyInput{}))(b).KeyMetadata.Arn
		copied := ok(recipient.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: out.SnapshotId, Encrypted: aws.Bool(true), KmsKeyId: &own,
		}))(b)
		is(b, "the state of the copy", b.settled(recipient.ec2, *copied.SnapshotId).State, types.SnapshotStateCompleted)
	})
}

// TestStartSnapshot_timeout covers rule 4.9.2.
func TestStartSnapshot_timeout(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		ten := ok(b.started(b.ebs(), func(in *ebs.StartSnapshotInput) { in.Timeout = aws.Int32(10) }))(b)
		hour := ok(b.started(b.ebs()))(b)
		time.Sleep(11 * time.Minute)
		is(b, "the state after 11 of 10 minutes", b.seen(b.ec2, *ten.SnapshotId).State, types.SnapshotStateError)
		is(b, "the state after 11 of 60 minutes", b.seen(b.ec2, *hour.SnapshotId).State, types.SnapshotStatePending)
		requireErrorCode(b, b.completed(b.ebs(), *ten.SnapshotId), "ValidationException")
		must(0, b.completed(b.ebs(), *hour.SnapshotId))(b)
		for _, minutes := range []int32{9, 61} {
			_, err := b.started(b.ebs(), func(in *ebs.StartSnapshotInput) { in.Timeout = &minutes })
			requireErrorCode(b, err, "ValidationException")
		}
	})
}

// TestStartSnapshot_encryption covers rule 4.9.3.
func TestStartSnapshot_encryption(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		_, err := b.started(b.ebs(), func(in *ebs.StartSnapshotInput) { in.Encrypted, in.KmsKeyArn = aws.Bool(false), &key })
		requireError(b, err, "ValidationException", "Encrypt cannot be false when KmsKeyArn is specified")
		keyOf := func(change func(*ebs.StartSnapshotInput)) string {
			return aws.ToString(ok(b.started(b.ebs(), change))(b).KmsKeyArn)
		}
		managed := b.managedKey(owner, home)
		is(b, "the key without a word", keyOf(func(*ebs.StartSnapshotInput) {}), "")
		is(b, "the key with false", keyOf(func(in *ebs.StartSnapshotInput) { in.Encrypted = aws.Bool(false) }), "")
		is(b, "the key with true", keyOf(func(in *ebs.StartSnapshotInput) { in.Encrypted = aws.Bool(true) }), managed)
		is(b, "the key with a key alone", keyOf(func(in *ebs.StartSnapshotInput) { in.KmsKeyArn = &key }), key)
		must(b.ec2.EnableEbsEncryptionByDefault(b.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(b)
		is(b, "the key by default", keyOf(func(*ebs.StartSnapshotInput) {}), managed)
		_, err = b.started(b.ebs(), startsUnder("arn:aws:kms:us-east-1:111111111111:key/00000000-0000-0000-0000-000000000000"))
		requireError(b, err, "ResourceNotFoundException", "KMS key not found.")
	})
}

// TestStartSnapshot_keyPermission covers rule 4.9.4.
func TestStartSnapshot_keyPermission(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		start := func(name string, statements ...string) error {
			config := b.user(owner, name, append(statements, may(`"ebs:*"`))...)
			_, err := b.started(ebs.NewFromConfig(config, singlyEBS), startsUnder(key))
			return err
		}
		requireErrorMessage(t, start("nothing", may(`"kms:Decrypt"`)), "ValidationException", "is not authorized to perform: kms:GenerateDataKey on resource: "+key)
		must(0, start("generates", may(`"kms:GenerateDataKey"`)))(b)
		const through = `{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"WHO"}}}`
		must(0, start("through-ec2", strings.ReplaceAll(through, "WHO", "ec2.us-east-1.amazonaws.com")))(b)
		requireErrorCode(b, start("through-ebs", strings.ReplaceAll(through, "WHO", "ebs.us-east-1.amazonaws.com")), "ValidationException")
		const context = `{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*","Condition":{"StringLike":{"kms:EncryptionContext:aws:ebs:id":"WHO"}}}`
		must(0, start("context", strings.ReplaceAll(context, "WHO", "snap-*")))(b)
		requireErrorCode(b, start("wrong-context", strings.ReplaceAll(context, "WHO", "vol-*")), "ValidationException")
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
		_, err := b.started(b.ebs(), startsUnder(key))
		requireErrorMessage(t, err, "ValidationException", "DisabledException")
	})
}

// TestCompleteSnapshot_refusals covers rule 4.9.5.
func TestCompleteSnapshot_refusals(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		id := *ok(b.started(b.ebs()))(b).SnapshotId
		other := ebs.NewFromConfig(b.world.Config(member, home), singlyEBS)
		requireError(b, b.completed(other, id), "ResourceNotFoundException", "The snapshot '"+id+"' does not exist.")
		complete := func(change func(*ebs.CompleteSnapshotInput)) error {
			in := &ebs.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: aws.Int32(0)}
			change(in)
			_, err := b.ebs().CompleteSnapshot(b.Context(), in)
			return err
		}
		requireErrorCode(b, complete(func(in *ebs.CompleteSnapshotInput) { in.ChangedBlocksCount = aws.Int32(-1) }), "ValidationException")
		requireErrorCode(b, complete(func(in *ebs.CompleteSnapshotInput) { in.ChangedBlocksCount = aws.Int32(1) }), "UnsupportedOperation")
		sum := aws.String("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
		requireError(b, complete(func(in *ebs.CompleteSnapshotInput) { in.Checksum = sum }),
			"ValidationException", "Invalid parameter combination. Checksum algorithm is missing.")
		requireError(b, complete(func(in *ebs.CompleteSnapshotInput) {
			in.ChecksumAlgorithm = ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256
		}),
			"ValidationException", "Invalid parameter combination. Snapshot checksum is missing.")
		requireErrorCode(b, complete(func(in *ebs.CompleteSnapshotInput) { in.ChecksumAlgorithm = "SHA1" }), "ValidationException")
		must(0, complete(func(in *ebs.CompleteSnapshotInput) {
			in.Checksum, in.ChecksumAlgorithm = sum, ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256
			in.ChecksumAggregationMethod = ebstypes.ChecksumAggregationMethodChecksumAggregationLinear
		}))(b)
		requireErrorCode(b, b.completed(b.ebs(), id), "ValidationException")
		volume := b.snapshot("")
		requireErrorCode(b, b.completed(b.ebs(), volume), "ValidationException")
	})
}

// TestStartSnapshot_permissions covers rule 4.9.6.
func TestStartSnapshot_permissions(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client := func(name string, statements ...string) *ebs.Client {
			return ebs.NewFromConfig(b.user(owner, name, statements...), singlyEBS)
		}
		tagged := func(in *ebs.StartSnapshotInput) {
			in.Tags = []ebstypes.Tag{{Key: aws.String("run"), Value: aws.String("1")}}
		}
		_, err := b.started(client("nothing"))
		requireErrorMessage(t, err, "AccessDeniedException", "ebs:StartSnapshot on resource: arn:aws:ec2:us-east-1::snapshot/null")
		starter := client("starter", may(`"ebs:StartSnapshot"`))
		id := *ok(b.started(starter))(b).SnapshotId
		_, err = b.started(starter, tagged)
		requireErrorMessage(t, err, "AccessDeniedException", "ec2:CreateTags on resource: arn:aws:ec2:us-east-1::snapshot/*")
		requireErrorMessage(t, b.completed(starter, id), "AccessDeniedException", "ebs:CompleteSnapshot on resource: arn:aws:ec2:us-east-1::snapshot/"+id)
		must(b.started(client("tagger", may(`"ebs:StartSnapshot","ec2:CreateTags"`)), tagged))(b)
		byAction := `{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*","Condition":{"StringEquals":{"ec2:CreateAction":"StartSnapshot"}}}`
		_, err = b.started(client("by-action", may(`"ebs:StartSnapshot"`), byAction), tagged)
		requireErrorCode(b, err, "AccessDeniedException")
		byTag := `{"Effect":"Allow","Action":["ebs:StartSnapshot","ec2:CreateTags"],"Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/run":"1"}}}`
		must(b.started(client("by-tag", byTag), tagged))(b)
	})
}

// TestStartSnapshot_clientToken covers rule 4.9.7.
func TestStartSnapshot_clientToken(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		with := func(description string) func(*ebs.StartSnapshotInput) {
			return func(in *ebs.StartSnapshotInput) { in.ClientToken, in.Description = aws.String("token"), &description }
		}
		first, again := ok(b.started(b.ebs(), with("a")))(b), ok(b.started(b.ebs(), with("a")))(b)
		is(b, "the id of the repeated call", *again.SnapshotId, *first.SnapshotId)
		_, err := b.started(b.ebs(), with("b"))
		requireError(b, err, "ConflictException", "Current request does not match request stored with this token.")
	})
}

func TestStartSnapshot_faults(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		b.world.Inject(FaultRule{Fault: MissingID, Action: "ebs:StartSnapshot", Nth: 1})
		b.world.Inject(FaultRule{Fault: EmptyResponse, Action: "ebs:StartSnapshot", Nth: 1})
		for range 2 {
			is(b, "the id", ok(b.started(b.ebs()))(b).SnapshotId, nil)
		}
		b.world.Inject(FaultRule{Fault: Throttled, Action: "ebs:StartSnapshot", Nth: 1})
		_, err := b.started(b.ebs())
		requireErrorCode(b, err, "RequestThrottledException")
	})
}
