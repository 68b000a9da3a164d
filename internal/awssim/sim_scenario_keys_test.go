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

// TestScenario_importedKeyChangesState imports key material, lets it expire, imports it again, disables the key and
// schedules its deletion, while a recipient copies a snapshot.
func TestScenario_importedKeyChangesState(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient := f.inLocation(member, home)
		key := *requireOutput(f.kms.CreateKey(f.Context(),
			&kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, Policy: newPolicy(
				keyStatement(rootOf(owner), `"kms:*"`), keyStatement(
					rootOf(member), `"kms:DescribeKey","kms:Decrypt","kms:ReEncrypt*","kms:CreateGrant"`,
				))}))(f).KeyMetadata.Arn

		in := func(state kmstypes.KeyState, when string) {
			f.Helper()
			got := f.describeKey(recipient.kms, key) // rule 3.4.1: in every state, also for the recipient
			expectEqual(f, "the key "+when, got.KeyState, state)
			expectEqual(f, "whether it is enabled "+when, got.Enabled, state == kmstypes.KeyStateEnabled)
		}

		in(kmstypes.KeyStatePendingImport, "at first (3.5.1)")
		_, err := f.kms.GetParametersForImport(f.Context(), &kms.GetParametersForImportInput{
			KeyId: &key, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesPkcs1V15,
			WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048,
		})

		expectDenied(f, "wrapping by RSAES_PKCS1_V1_5 (3.5.5)", err)
		bringing := func(n byte, expires time.Time) error {
			_, err := f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(n), withExpiration(expires)))
			return err
		}

		expectDenied(f, "material for two years (3.5.2)", bringing(1, time.Now().Add(2*year)))
		for what, wrong := range map[string]func(*kms.ImportKeyMaterialInput){
			"material that expires on no day (3.5.2)": func(in *kms.ImportKeyMaterialInput) {
				in.ExpirationModel = kmstypes.ExpirationModelTypeKeyMaterialExpires
			},
			"material that never expires on a day (3.5.2)": func(in *kms.ImportKeyMaterialInput) {
				in.ValidTo = aws.Time(time.Now().Add(time.Hour))
			},
			"material by a token of yesterday (3.5.1)": func(*kms.ImportKeyMaterialInput) { time.Sleep(25 * time.Hour) },
			"material by another key's token (3.5.1)": func(in *kms.ImportKeyMaterialInput) {
				in.ImportToken = f.wrapMaterial(
					f.kms, f.createKeyInState(kmstypes.KeyStatePendingImport), newMaterial(1),
				).ImportToken
			},
		} {
			material := f.wrapMaterial(f.kms, key, newMaterial(1))
			wrong(material)
			_, err := f.kms.ImportKeyMaterial(f.Context(), material)
			expectDenied(f, what, err)
		}

		requireNoError(0, bringing(1, time.Now().Add(48*time.Hour)))(f)
		in(kmstypes.KeyStateEnabled, "with its material (3.5.1)")

		shared := f.createSnapshot(key)
		f.shareSnapshot(shared)
		image := requireOutput(f.registerImage(f.ec2, shared, func(in *ec2.RegisterImageInput) { in.EnaSupport = yes }))(f)
		running := *f.launchAndWait(image).InstanceId
		ends := func() (types.SnapshotState, string) {
			got := recipient.waitForSnapshot(
				recipient.ec2, f.copySnapshot(recipient.ec2, shared, withKey(f.createKeyIn(member, home))),
			)
			return got.State, aws.ToString(got.StateMessage)
		}

		failing := func(when string) {
			f.Helper()
			state, says := ends()
			expectEqual(f, "the recipient's copy "+when, state, types.SnapshotStateError)
			expectEqual(f, "what it says "+when, says, "Given key ID is not accessible")
		}

		working := func(when string) {
			f.Helper()
			state, _ := ends()
			expectEqual(f, "the recipient's copy "+when, state, types.SnapshotStateCompleted)
		}

		working("while the key is enabled")
		time.Sleep(48 * time.Hour)
		in(kmstypes.KeyStatePendingImport, "after its material expired (3.5.1)")
		failing("after the material expired (3.4)")
		expectEqual(
			f, "an instance that runs (3.1.12)", f.describeInstance(f.ec2, running).State.Name, types.InstanceStateNameRunning,
		)

		expectDenied(f, "other material (3.5.1)", bringing(2, time.Now().Add(time.Hour)))
		requireNoError(0, bringing(1, time.Now().Add(year-time.Hour)))(f)
		working("with the same material again (3.5.1)")

		// Neither rotation nor a new alias affects recipients (rule 3.5.3).
		_, err = f.kms.EnableKeyRotation(f.Context(), &kms.EnableKeyRotationInput{KeyId: &key})
		expectDenied(f, "automatic rotation of imported material (3.5.3)", err)
		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		failing("while the key is disabled (3.4)")
		requireNoError(f.ec2.StopInstances(f.Context(), &ec2.StopInstancesInput{InstanceIds: []string{running}}))(f)
		time.Sleep(time.Minute)
		requireNoError(f.ec2.StartInstances(f.Context(), &ec2.StartInstancesInput{InstanceIds: []string{running}}))(f)
		time.Sleep(time.Minute)
		expectEqual(
			f, "the instance, started again (3.1.12, 8.6)", f.describeInstance(f.ec2, running).State.Name,
			types.InstanceStateNameStopped,
		)

		_, err = f.kms.Encrypt(f.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("text")})
		requireError(f, err, "DisabledException", key+" is disabled.") // 3.4
		_, err = f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(home),
			SourceSnapshotId: &shared,
			Encrypted:        yes,
			KmsKeyId:         &key,
		})

		requireError(f, err, "InvalidParameterValue", "The specified keyId "+key+" is disabled") // 1.8.1
		requireNoError(f.kms.EnableKey(f.Context(), &kms.EnableKeyInput{KeyId: &key}))(f)
		requireNoError(f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{
			KeyId: &key, PendingWindowInDays: aws.Int32(7),
		}))(f)

		in(kmstypes.KeyStatePendingDeletion, "about to be deleted (3.4)")
		failing("while the key is about to be deleted (3.4)")
		plain := f.createSnapshot("")
		if created, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(home),
			SourceSnapshotId: &plain,
			Encrypted:        yes,
			KmsKeyId:         &key,
		}); err == nil {
			expectEqual(
				f, "a copy under the key about to be deleted (3.4)", f.waitForSnapshot(f.ec2, *created.SnapshotId).State,
				types.SnapshotStateError,
			)
		}

		time.Sleep(6 * 24 * time.Hour)
		requireNoError(f.kms.CancelKeyDeletion(f.Context(), &kms.CancelKeyDeletionInput{KeyId: &key}))(f)
		in(kmstypes.KeyStateDisabled, "after all not deleted (3.4)")
		requireNoError(f.kms.EnableKey(f.Context(), &kms.EnableKeyInput{KeyId: &key}))(f)
		working("with the key back")
		_, err = f.kms.CancelKeyDeletion(f.Context(), &kms.CancelKeyDeletionInput{KeyId: &key})
		requireErrorCode(f, err, "KMSInvalidStateException") // rule 3.4: no deletion is scheduled
		requireNoError(f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{
			KeyId: &key, PendingWindowInDays: aws.Int32(7),
		}))(f)

		time.Sleep(7 * 24 * time.Hour)
		_, err = f.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(f, err, "NotFoundException") // 3.4.1
		failing("after the key is gone")
	})
}

// TestScenario_keyAccessByGrants gives access to a key by grants. A grant with a name is created once. The number of
// grants and the size of a key policy are limited.
func TestScenario_keyAccessByGrants(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		requireNoError(f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: &key,
		}))(f)

		target := f.createRole(member, "target", trustStatement(rootOf(member), `"sts:*"`), allowStatement(`"ec2:*","kms:*"`))
		lent := []kmstypes.GrantOperation{
			kmstypes.GrantOperationDescribeKey, kmstypes.GrantOperationDecrypt, kmstypes.GrantOperationCreateGrant,
		}

		copier := f.withConfig(f.sessionCredentials(target))
		shared := f.createSnapshot(key)
		f.shareSnapshot(shared)
		ends := func() types.SnapshotState {
			return f.waitForSnapshot(
				f.ec2At(member, home), f.copySnapshot(copier.ec2, shared, withKey(f.createKeyIn(member, home))),
			).State
		}

		expectEqual(f, "a copy before the grant (3.1.3)", ends(), types.SnapshotStateError)
		_, err := copier.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(f, err, "AccessDeniedException") // 3.2.1

		_, err = f.createGrant(f.kms, "alias/golden", target, lent, called("copies"))
		requireErrorCode(f, err, "InvalidArnException") // 3.3.1
		first := requireOutput(f.createGrant(f.kms, key, target, lent, called("copies")))(f)
		again := requireOutput(f.createGrant(f.kms, key, target, lent, called("copies")))(f)
		expectEqual(f, "the same grant again (3.2.6)", *again.GrantId, *first.GrantId)
		expectEqual(
			f, "the grants on the key (3.2.6)",
			len(requireOutput(f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key}))(f).Grants), 1,
		)

		expectEqual(f, "a copy with the grant (3.2.6)", ends(), types.SnapshotStateCompleted)
		_, err = copier.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key, GrantTokens: []string{"no token"}})
		requireErrorCode(f, err, "InvalidGrantTokenException") // 3.7
		requireNoError(copier.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{
			KeyId: &key, GrantTokens: []string{*first.GrantToken},
		}))(f)

		var everyone []string
		for n := range 300 {
			everyone = append(
				everyone, keyStatement(fmt.Sprintf("arn:aws:iam::4%011d:root", n), `"kms:DescribeKey","kms:CreateGrant"`),
			)
		}

		_, err = f.kms.PutKeyPolicy(
			f.Context(),
			&kms.PutKeyPolicyInput{KeyId: &key, Policy: newPolicy(append(everyone, keyStatement(rootOf(owner), `"kms:*"`))...)},
			withoutKMSRetries,
		)

		expectDenied(f, "a policy of more than 32 KB (3.2.8)", err)
		_, err = f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
			AliasName: aws.String("alias/aws/golden"), TargetKeyId: &key,
		})

		expectDenied(f, "an alias of AWS (3.3.4)", err)

		// Grants that other services created over the years; through the API this would take too long.
		old, _ := f.world.keys.get(key)
		for n := range grantLimit - 2 {
			id := fmt.Sprintf("%064x", n)
			old.grants.put(id, &grant{Grant: iampolicy.Grant{ID: id}})
		}

		requireNoError(f.createGrant(f.kms, key, target, describes))(f)
		_, err = f.createGrant(f.kms, key, target, describes)
		requireErrorCode(f, err, "LimitExceededException") // 3.2.7
		requireNoError(f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: first.GrantId}))(f)
		requireNoError(f.createGrant(f.kms, key, target, describes))(f)
	})
}

// TestScenario_keyKinds uses AWS managed keys, asymmetric keys, keys of other Regions and keys that do not exist.
func TestScenario_keyKinds(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		remote := f.inLocation(owner, away)
		plain := f.createSnapshot("")
		// aws/ebs works only through EC2 (rule 3.2.5).
		expectEqual(
			f, "a volume under aws/ebs", f.snapshotKey(f.createSnapshot("alias/aws/ebs")), f.awsManagedKeyARN(owner, home),
		)

		_, err := f.kms.Encrypt(f.Context(), &kms.EncryptInput{KeyId: aws.String("alias/aws/ebs"), Plaintext: []byte("text")})
		requireErrorCode(f, err, "AccessDeniedException")
		_, err = f.inLocation(member, home).kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{
			KeyId: aws.String(f.awsManagedKeyARN(owner, home)),
		})

		requireErrorCode(f, err, "AccessDeniedException")

		// An RSA key cannot encrypt storage (rule 3.4.2).
		pair := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt,
		}))(f).KeyMetadata.Arn

		if created, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(home),
			SourceSnapshotId: &plain,
			Encrypted:        yes,
			KmsKeyId:         &pair,
		}); err == nil {
			expectEqual(
				f, "a copy under an RSA key (3.4.2)", f.waitForSnapshot(f.ec2, *created.SnapshotId).State, types.SnapshotStateError,
			)
		}

		expectEqual(
			f, "an image copy under an RSA key (3.4.2)",
			f.waitForImage(
				f.ec2, requireOutput(f.copyImage(f.ec2, f.createImage(""), withUniqueName, imageUnder(pair)))(f),
			).State,
			types.ImageStateFailed,
		)

		signs := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeSignVerify,
		}))(f).KeyMetadata.Arn

		_, err = f.kms.Encrypt(f.Context(), &kms.EncryptInput{KeyId: &signs, Plaintext: []byte("text")})
		requireErrorCode(f, err, "InvalidKeyUsageException") // 3.4.2, 3.7

		// A multi-Region key is a separate key in each Region with the same material (rules 3.6).
		multi := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{MultiRegion: yes}))(f).KeyMetadata
		requireNoError(f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: multi.KeyId, ReplicaRegion: aws.String(away),
		}))(f)

		_, err = f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: aws.String(f.createKey()), ReplicaRegion: aws.String(away),
		})

		expectDenied(f, "a replica of a key of one Region (3.6.3)", err)
		time.Sleep(time.Minute)
		replica := strings.Replace(*multi.Arn, home, away, 1)
		expectEqual(
			f, "a copy under the bare id (3.6.4)", remote.snapshotKey(f.copySnapshot(
				remote.ec2, plain, withKey(*multi.KeyId),
			)), replica,
		)

		_, err = remote.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(home),
			SourceSnapshotId: &plain,
			Encrypted:        yes,
			KmsKeyId:         multi.Arn,
		})

		// rules 3.6.2 and 1.7.5: the ARN of the primary key does not work there
		requireErrorCode(f, err, "InvalidParameterValue")
		_, err = remote.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &replica})
		expectDenied(f, "rotating a replica (3.6.1)", err)
		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: multi.KeyId, Plaintext: []byte("same"),
		}))(f).CiphertextBlob

		expectEqual(
			f, "what the primary encrypted, opened by the replica (3.6.1)",
			string(requireOutput(remote.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f).Plaintext),
			"same",
		)

		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: multi.KeyId}))(f)
		expectEqual(
			f, "the replica of a disabled key (3.6.1)", f.describeKey(remote.kms, replica).KeyState, kmstypes.KeyStateEnabled,
		)

		// After a rotation, ciphertexts can still be decrypted under the same ARN (rule 3.5.3).
		key := f.createKey()
		encrypted = requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: &key, Plaintext: []byte("old"),
		}))(f).CiphertextBlob

		for range 25 {
			requireNoError(f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(f)
		}

		_, err = f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}, withoutKMSRetries)
		expectDenied(f, "rotation 26 (3.5.3)", err)
		expectEqual(
			f, "what it encrypted before",
			string(requireOutput(f.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f).Plaintext), "old",
		)

		// Errors of KMS for what does not exist (rules 3.4.1, 3.4.3 and 3.7).
		_, err = remote.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted})
		requireError(
			f, err, "AccessDeniedException",
			"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are "+
				"not allowed to access.",
		)

		_, err = f.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted, KeyId: aws.String(f.createKey())})
		requireErrorCode(f, err, "IncorrectKeyException")
		_, err = f.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: aws.String("arn:aws:kms:golden")})
		requireErrorCode(f, err, "InvalidArnException")
		_, err = remote.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(f, err, "NotFoundException") // rule 3.3.1: the ARN of another Region
		_, err = f.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/unknown")})
		requireErrorCode(f, err, "NotFoundException")
	})
}

// TestScenario_kmsDryRuns proves permissions on keys with dry runs, without any effect (rules 6.6 and 6.7).
func TestScenario_kmsDryRuns(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createSharedKey()
		role := f.createRole(
			member, "target", trustStatement(rootOf(member), `"sts:*"`), allowStatement(`"kms:CreateGrant","kms:Decrypt"`),
		)

		caller := f.withConfig(f.sessionCredentials(role))
		try := func(in *kms.CreateGrantInput) error {
			in.KeyId, in.DryRun, in.Operations = &key, yes, decrypts
			_, err := caller.kms.CreateGrant(f.Context(), in, withoutKMSRetries)
			return err
		}

		requireErrorCode(f, try(&kms.CreateGrantInput{GranteePrincipal: &role}), "DryRunOperationException")
		expectEqual(
			f, "grants after a dry run (6.6)",
			len(requireOutput(f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key}))(f).Grants), 0,
		)

		opens := func(in *kms.DecryptInput) error {
			in.DryRun, in.DryRunModifiers = yes, []kmstypes.DryRunModifierType{kmstypes.DryRunModifierTypeIgnoreCiphertext}
			_, err := caller.kms.Decrypt(f.Context(), in)
			return err
		}

		requireErrorCode(f, opens(&kms.DecryptInput{KeyId: &key}), "DryRunOperationException")
		requireErrorCode(f, opens(&kms.DecryptInput{}), "ValidationException") // rule 6.7: the key is required
		f.setKeyPolicy(key)
		requireErrorCode(f, try(&kms.CreateGrantInput{GranteePrincipal: &role}), "AccessDeniedException") // 3.2.1
		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		_, err := f.kms.GenerateDataKeyWithoutPlaintext(f.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{
			KeyId: &key, NumberOfBytes: aws.Int32(32), DryRun: yes,
		})

		requireErrorCode(f, err, "DisabledException") // rule 6.6: the key state is checked
	})
}
