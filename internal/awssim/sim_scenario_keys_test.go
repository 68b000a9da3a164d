// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// An owner imports the material of its key, lets it expire, brings it back, disables the key and schedules its deletion, while a
// recipient copies what is under it.
func TestScenario_importedKeyChangesState(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient := b.inLocation(member, home)
		key := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, Policy: policyOf(
			trustingKey(rootOf(owner), `"kms:*"`), trustingKey(rootOf(member), `"kms:DescribeKey","kms:Decrypt","kms:ReEncrypt*","kms:CreateGrant"`))}))(b).KeyMetadata.Arn
		in := func(state kmstypes.KeyState, when string) {
			b.Helper()
			got := b.described(recipient.kms, key) // 3.4.1: in every state, also to the recipient
			is(b, "the key "+when, got.KeyState, state)
			is(b, "whether it is enabled "+when, got.Enabled, state == kmstypes.KeyStateEnabled)
		}
		in(kmstypes.KeyStatePendingImport, "at first (3.5.1)")
		_, err := b.kms.GetParametersForImport(b.Context(), &kms.GetParametersForImportInput{
			KeyId: &key, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesPkcs1V15, WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048,
		})
		denied(b, "wrapping by RSAES_PKCS1_V1_5 (3.5.5)", err)
		bringing := func(n byte, expires time.Time) error {
			_, err := b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(n), until(expires)))
			return err
		}
		denied(b, "material for two years (3.5.2)", bringing(1, time.Now().Add(2*year)))
		for what, wrong := range map[string]func(*kms.ImportKeyMaterialInput){
			"material that expires on no day (3.5.2)": func(in *kms.ImportKeyMaterialInput) {
				in.ExpirationModel = kmstypes.ExpirationModelTypeKeyMaterialExpires
			},
			"material that never expires on a day (3.5.2)": func(in *kms.ImportKeyMaterialInput) { in.ValidTo = aws.Time(time.Now().Add(time.Hour)) },
			"material by a token of yesterday (3.5.1)":     func(*kms.ImportKeyMaterialInput) { time.Sleep(25 * time.Hour) },
			"material by another key's token (3.5.1)": func(in *kms.ImportKeyMaterialInput) {
				in.ImportToken = b.wrapped(b.kms, b.keyIn(kmstypes.KeyStatePendingImport), someMaterial(1)).ImportToken
			},
		} {
			material := b.wrapped(b.kms, key, someMaterial(1))
			wrong(material)
			_, err := b.kms.ImportKeyMaterial(b.Context(), material)
			denied(b, what, err)
		}
		must(0, bringing(1, time.Now().Add(48*time.Hour)))(b)
		in(kmstypes.KeyStateEnabled, "with its material (3.5.1)")

		shared := b.snapshot(key)
		b.share(shared)
		image := ok(b.register(b.ec2, shared, func(in *ec2.RegisterImageInput) { in.EnaSupport = yes }))(b)
		running := *b.launched(image).InstanceId
		ends := func() (types.SnapshotState, string) {
			got := recipient.settled(recipient.ec2, b.copySnapshot(recipient.ec2, shared, under(b.keyAt(member, home))))
			return got.State, aws.ToString(got.StateMessage)
		}
		failing := func(when string) {
			b.Helper()
			state, says := ends()
			is(b, "the recipient's copy "+when, state, types.SnapshotStateError)
			is(b, "what it says "+when, says, "Given key ID is not accessible")
		}
		working := func(when string) {
			b.Helper()
			state, _ := ends()
			is(b, "the recipient's copy "+when, state, types.SnapshotStateCompleted)
		}
		working("while the key is enabled")
		time.Sleep(48 * time.Hour)
		in(kmstypes.KeyStatePendingImport, "after its material expired (3.5.1)")
		failing("after the material expired (3.4)")
		is(b, "an instance that runs (3.1.12)", b.instance(b.ec2, running).State.Name, types.InstanceStateNameRunning)
		denied(b, "other material (3.5.1)", bringing(2, time.Now().Add(time.Hour)))
		must(0, bringing(1, time.Now().Add(year-time.Hour)))(b)
		working("with the same material again (3.5.1)")

		// Neither rotation by AWS nor another name changes anything for those who copy (3.5.3).
		_, err = b.kms.EnableKeyRotation(b.Context(), &kms.EnableKeyRotationInput{KeyId: &key})
		denied(b, "automatic rotation of imported material (3.5.3)", err)
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
		failing("while the key is disabled (3.4)")
		must(b.ec2.StopInstances(b.Context(), &ec2.StopInstancesInput{InstanceIds: []string{running}}))(b)
		time.Sleep(time.Minute)
		must(b.ec2.StartInstances(b.Context(), &ec2.StartInstancesInput{InstanceIds: []string{running}}))(b)
		time.Sleep(time.Minute)
		is(b, "the instance, started again (3.1.12, 8.6)", b.instance(b.ec2, running).State.Name, types.InstanceStateNameStopped)
		_, err = b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("text")})
		requireError(b, err, "DisabledException", key+" is disabled.") // 3.4
		_, err = b.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &shared, Encrypted: yes, KmsKeyId: &key})
		requireError(b, err, "InvalidParameterValue", "The specified keyId "+key+" is disabled") // 1.8.1
		must(b.kms.EnableKey(b.Context(), &kms.EnableKeyInput{KeyId: &key}))(b)
		must(b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key, PendingWindowInDays: aws.Int32(7)}))(b)
		in(kmstypes.KeyStatePendingDeletion, "about to be deleted (3.4)")
		failing("while the key is about to be deleted (3.4)")
		plain := b.snapshot("")
		if made, err := b.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &plain, Encrypted: yes, KmsKeyId: &key}); err == nil {
			is(b, "a copy under the key about to be deleted (3.4)", b.settled(b.ec2, *made.SnapshotId).State, types.SnapshotStateError)
		}
		time.Sleep(6 * 24 * time.Hour)
		must(b.kms.CancelKeyDeletion(b.Context(), &kms.CancelKeyDeletionInput{KeyId: &key}))(b)
		in(kmstypes.KeyStateDisabled, "after all not deleted (3.4)")
		must(b.kms.EnableKey(b.Context(), &kms.EnableKeyInput{KeyId: &key}))(b)
		working("with the key back")
		_, err = b.kms.CancelKeyDeletion(b.Context(), &kms.CancelKeyDeletionInput{KeyId: &key})
		requireErrorCode(b, err, "KMSInvalidStateException") // 3.4: nothing is scheduled any more
		must(b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key, PendingWindowInDays: aws.Int32(7)}))(b)
		time.Sleep(7 * 24 * time.Hour)
		_, err = b.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(b, err, "NotFoundException") // 3.4.1
		failing("after the key is gone")
	})
}

// A platform team lends its key by grants, for years. Grants are made once by name, there is an end to their number, and to the length of a
// policy that would replace them.
func TestScenario_keyAccessByGrants(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		must(b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: &key}))(b)
		target := b.role(member, "target", trusting(rootOf(member), `"sts:*"`), may(`"ec2:*","kms:*"`))
		lent := []kmstypes.GrantOperation{kmstypes.GrantOperationDescribeKey, kmstypes.GrantOperationDecrypt, kmstypes.GrantOperationCreateGrant}
		copier := b.withConfig(b.session(target))
		shared := b.snapshot(key)
		b.share(shared)
		ends := func() types.SnapshotState {
			return b.settled(b.at(member, home), b.copySnapshot(copier.ec2, shared, under(b.keyAt(member, home)))).State
		}
		is(b, "a copy before the grant (3.1.3)", ends(), types.SnapshotStateError)
		_, err := copier.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(b, err, "AccessDeniedException") // 3.2.1

		_, err = b.grant(b.kms, "alias/golden", target, lent, called("copies"))
		requireErrorCode(b, err, "NotFoundException") // 3.3.1
		first := ok(b.grant(b.kms, key, target, lent, called("copies")))(b)
		again := ok(b.grant(b.kms, key, target, lent, called("copies")))(b)
		is(b, "the same grant again (3.2.6)", *again.GrantId, *first.GrantId)
		is(b, "the grants on the key (3.2.6)", len(ok(b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &key}))(b).Grants), 1)
		is(b, "a copy with the grant (3.2.6)", ends(), types.SnapshotStateCompleted)
		_, err = copier.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key, GrantTokens: []string{"no token"}})
		requireErrorCode(b, err, "InvalidGrantTokenException") // 3.7
		must(copier.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key, GrantTokens: []string{*first.GrantToken}}))(b)

		var everyone []string
		for n := range 300 {
			everyone = append(everyone, trustingKey(fmt.Sprintf("arn:aws:iam::4%011d:root", n), `"kms:DescribeKey","kms:CreateGrant"`))
		}
		_, err = b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: policyOf(append(everyone, trustingKey(rootOf(owner), `"kms:*"`))...)}, singly)
		denied(b, "a policy of more than 32 KB (3.2.8)", err)
		_, err = b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/aws/golden"), TargetKeyId: &key})
		denied(b, "an alias of AWS (3.3.4)", err)

		// What Auto Scaling and others left behind in years; made through the API, it would take long.
		old, _ := b.world.keys.get(key)
		for n := range grantLimit - 2 {
			id := fmt.Sprintf("%064x", n)
			old.grants.put(id, &grant{Grant: iampolicy.Grant{ID: id}})
		}
		must(b.grant(b.kms, key, target, describes))(b)
		_, err = b.grant(b.kms, key, target, describes)
		requireErrorCode(b, err, "LimitExceededException") // 3.2.7
		must(b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: first.GrantId}))(b)
		must(b.grant(b.kms, key, target, describes))(b)
	})
}

// Somebody finds out what kinds of keys there are: AWS's own, asymmetric ones, keys of other Regions, and keys that nobody says are there.
func TestScenario_keyKinds(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		there := b.inLocation(owner, away)
		plain := b.snapshot("")
		// aws/ebs works through EC2 alone (3.2.5).
		is(b, "a volume under aws/ebs", b.keyOf(b.snapshot("alias/aws/ebs")), b.managedKey(owner, home))
		_, err := b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: aws.String("alias/aws/ebs"), Plaintext: []byte("text")})
		requireErrorCode(b, err, "AccessDeniedException")
		_, err = b.inLocation(member, home).kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: aws.String(b.managedKey(owner, home))})
		requireErrorCode(b, err, "AccessDeniedException")

		// An RSA key encrypts no storage, whichever way it is named (3.4.2).
		pair := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt}))(b).KeyMetadata.Arn
		if made, err := b.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &plain, Encrypted: yes, KmsKeyId: &pair}); err == nil {
			is(b, "a copy under an RSA key (3.4.2)", b.settled(b.ec2, *made.SnapshotId).State, types.SnapshotStateError)
		}
		is(b, "an image copy under an RSA key (3.4.2)", b.settledImage(b.ec2, ok(b.copyImage(b.ec2, b.image(""), newName, imageUnder(pair)))(b)).State, types.ImageStateFailed)

		signs := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeSignVerify}))(b).KeyMetadata.Arn
		_, err = b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &signs, Plaintext: []byte("text")})
		requireErrorCode(b, err, "InvalidKeyUsageException") // 3.4.2, 3.7

		// A multi-Region key is in each Region a key of its own with the same material (3.6).
		multi := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{MultiRegion: yes}))(b).KeyMetadata
		must(b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: multi.KeyId, ReplicaRegion: aws.String(away)}))(b)
		_, err = b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: aws.String(b.key()), ReplicaRegion: aws.String(away)})
		denied(b, "a replica of a key of one Region (3.6.3)", err)
		time.Sleep(time.Minute)
		replica := strings.Replace(*multi.Arn, home, away, 1)
		is(b, "a copy under the bare id (3.6.4)", there.keyOf(b.copySnapshot(there.ec2, plain, under(*multi.KeyId))), replica)
		_, err = there.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &plain, Encrypted: yes, KmsKeyId: multi.Arn})
		requireErrorCode(b, err, "InvalidParameterValue") // 3.6.2, 1.7.5: the primary's ARN is none there
		_, err = there.kms.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: &replica})
		denied(b, "rotating a replica (3.6.1)", err)
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: multi.KeyId, Plaintext: []byte("same")}))(b).CiphertextBlob
		is(b, "what the primary sealed, opened by the replica (3.6.1)", string(ok(there.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b).Plaintext), "same")
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: multi.KeyId}))(b)
		is(b, "the replica of a disabled key (3.6.1)", b.described(there.kms, replica).KeyState, kmstypes.KeyStateEnabled)

		// A key is rotated, and what it sealed stays readable under the same ARN (3.5.3).
		key := b.key()
		sealed = ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("old")}))(b).CiphertextBlob
		for range 25 {
			must(b.kms.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(b)
		}
		_, err = b.kms.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}, singly)
		denied(b, "rotation 26 (3.5.3)", err)
		is(b, "what it sealed before", string(ok(b.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b).Plaintext), "old")

		// What KMS says of what is not there (3.4.1, 3.4.3, 3.7).
		_, err = there.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed})
		requireError(b, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
		_, err = b.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed, KeyId: aws.String(b.key())})
		requireErrorCode(b, err, "IncorrectKeyException")
		_, err = b.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: aws.String("arn:aws:kms:golden")})
		requireErrorCode(b, err, "InvalidArnException")
		_, err = there.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(b, err, "NotFoundException") // 3.3.1: an ARN of another Region
		_, err = b.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/unknown")})
		requireErrorCode(b, err, "NotFoundException")
	})
}

// Before a run its rights on keys are tried: dry runs of KMS prove them without any effect (6.6, 6.7).
func TestScenario_kmsDryRuns(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.openKey()
		role := b.role(member, "target", trusting(rootOf(member), `"sts:*"`), may(`"kms:CreateGrant","kms:Decrypt"`))
		caller := b.withConfig(b.session(role))
		try := func(in *kms.CreateGrantInput) error {
			in.KeyId, in.DryRun, in.Operations = &key, yes, decrypts
			_, err := caller.kms.CreateGrant(b.Context(), in, singly)
			return err
		}
		requireErrorCode(b, try(&kms.CreateGrantInput{GranteePrincipal: &role}), "DryRunOperationException")
		is(b, "grants after a dry run (6.6)", len(ok(b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &key}))(b).Grants), 0)
		opens := func(in *kms.DecryptInput) error {
			in.DryRun, in.DryRunModifiers = yes, []kmstypes.DryRunModifierType{kmstypes.DryRunModifierTypeIgnoreCiphertext}
			_, err := caller.kms.Decrypt(b.Context(), in)
			return err
		}
		requireErrorCode(b, opens(&kms.DecryptInput{KeyId: &key}), "DryRunOperationException")
		requireErrorCode(b, opens(&kms.DecryptInput{}), "ValidationException") // 6.7: the key is required
		b.setPolicy(key)
		requireErrorCode(b, try(&kms.CreateGrantInput{GranteePrincipal: &role}), "AccessDeniedException") // 3.2.1
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
		_, err := b.kms.GenerateDataKeyWithoutPlaintext(b.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, NumberOfBytes: aws.Int32(32), DryRun: yes})
		requireErrorCode(b, err, "DisabledException") // 6.6: the state is looked at
	})
}
