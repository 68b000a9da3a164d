// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// describeKey returns a key's metadata.
func (f fixture) describeKey(client *kms.Client, id string) kmstypes.KeyMetadata {
	f.Helper()
	return *requireOutput(client.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &id}))(f).KeyMetadata
}

// withoutKMSRetries disables retries: the SDK treats a reached quota as throttling.
func withoutKMSRetries(o *kms.Options) { o.Retryer = aws.NopRetryer{} }

// requireNoError stops the test if a call failed.
func requireNoError[Out any](out Out, err error) func(testing.TB) {
	return func(t testing.TB) { t.Helper(); requireOutput(out, err)(t) }
}

// keyCalls are KMS calls on a key.
var keyCalls = map[string]func(f fixture, id string) error{
	"DescribeKey": func(f fixture, id string) error {
		_, err := f.kms.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &id})
		return err
	},
	"Encrypt": func(f fixture, id string) error {
		_, err := f.kms.Encrypt(f.Context(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("text")})
		return err
	},
	"GenerateDataKey": func(f fixture, id string) error {
		_, err := f.kms.GenerateDataKey(f.Context(), &kms.GenerateDataKeyInput{
			KeyId: &id, KeySpec: kmstypes.DataKeySpecAes256,
		})
		return err
	},
	"GenerateDataKeyWithoutPlaintext": func(f fixture, id string) error {
		_, err := f.kms.GenerateDataKeyWithoutPlaintext(f.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{
			KeyId: &id, NumberOfBytes: aws.Int32(64),
		})
		return err
	},
	"CreateGrant": func(f fixture, id string) error {
		_, err := f.kms.CreateGrant(f.Context(), &kms.CreateGrantInput{
			KeyId: &id, GranteePrincipal: aws.String(rootOf(owner)), Operations: []kmstypes.GrantOperation{"Decrypt"},
		})
		return err
	},
	"ListGrants": func(f fixture, id string) error {
		_, err := f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &id})
		return err
	},
	"GetKeyPolicy": func(f fixture, id string) error {
		_, err := f.kms.GetKeyPolicy(f.Context(), &kms.GetKeyPolicyInput{KeyId: &id})
		return err
	},
	"EnableKey": func(f fixture, id string) error {
		_, err := f.kms.EnableKey(f.Context(), &kms.EnableKeyInput{KeyId: &id})
		return err
	},
	"TagResource": func(f fixture, id string) error {
		_, err := f.kms.TagResource(f.Context(), &kms.TagResourceInput{
			KeyId: &id, Tags: []kmstypes.Tag{{TagKey: aws.String("k"), TagValue: aws.String("v")}},
		})
		return err
	},
	"RotateKeyOnDemand": func(f fixture, id string) error {
		_, err := f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &id}, withoutKMSRetries)
		return err
	},
	"ScheduleKeyDeletion": func(f fixture, id string) error {
		_, err := f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{
			KeyId: &id, PendingWindowInDays: aws.Int32(7),
		})
		return err
	},
	"CancelKeyDeletion": func(f fixture, id string) error {
		_, err := f.kms.CancelKeyDeletion(f.Context(), &kms.CancelKeyDeletionInput{KeyId: &id})
		return err
	},
}

// TestKey_callsByState checks rule 3.4: which calls work in which key state, and the errors of the others.
func TestKey_callsByState(t *testing.T) {
	const (
		works    = ""
		disabled = "DisabledException: is disabled."
		deletion = "KMSInvalidStateException: is pending deletion."
		pending  = "KMSInvalidStateException: is pending import."
		kept     = "KMSInvalidStateException: is not pending deletion."
	)

	type states struct{ Enabled, Disabled, PendingDeletion, PendingImport string }
	for call, row := range map[string]states{
		"DescribeKey":                     {}, // rule 3.4.1: works in every state
		"GetKeyPolicy":                    {},
		"ListGrants":                      {},
		"Encrypt":                         {works, disabled, deletion, pending},
		"GenerateDataKey":                 {works, disabled, deletion, pending},
		"GenerateDataKeyWithoutPlaintext": {works, disabled, deletion, pending},
		"CreateGrant":                     {works, disabled, deletion, pending},
		"RotateKeyOnDemand":               {works, disabled, deletion, pending},
		"EnableKey":                       {works, works, deletion, pending},
		"TagResource":                     {works, works, deletion, works},
		"ScheduleKeyDeletion":             {works, works, deletion, works},
		"CancelKeyDeletion":               {kept, kept, works, kept},
	} {
		for state, want := range map[kmstypes.KeyState]string{
			kmstypes.KeyStateEnabled: row.Enabled, kmstypes.KeyStateDisabled: row.Disabled,
			kmstypes.KeyStatePendingDeletion: row.PendingDeletion, kmstypes.KeyStatePendingImport: row.PendingImport,
		} {
			t.Run("3.4 "+call+" "+string(state), func(t *testing.T) {
				runWithFixture(t, func(f fixture) {
					key := f.createKeyInState(state)
					if got := f.describeKey(f.kms, key); got.KeyState != state || got.Enabled != (state == kmstypes.KeyStateEnabled) {
						f.Fatalf("the key is %s, enabled %t", got.KeyState, got.Enabled)
					}
					err := keyCalls[call](f, key)
					if code, text, refuses := strings.Cut(want, ": "); refuses {
						requireErrorMessage(f, err, code, key+" "+text)
					} else if err != nil {
						f.Error(err)
					}
				})
			})
		}
	}
}

func (f fixture) createKeyInState(state kmstypes.KeyState) string {
	f.Helper()
	in := &kms.CreateKeyInput{}
	if state == kmstypes.KeyStatePendingImport {
		in.Origin = kmstypes.OriginTypeExternal
	}

	key := *requireOutput(f.kms.CreateKey(f.Context(), in))(f).KeyMetadata.Arn
	switch state {
	case kmstypes.KeyStateDisabled:
		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
	case kmstypes.KeyStatePendingDeletion:
		requireNoError(f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key}))(f)
	}

	return key
}

func TestScheduleKeyDeletion_deletedOrCanceled(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		kept, gone := f.createKey(), f.createKey()
		requireNoError(f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
			AliasName: aws.String("alias/gone"), TargetKeyId: &gone,
		}))(f)

		for _, key := range []string{kept, gone} {
			requireNoError(f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{
				KeyId: &key, PendingWindowInDays: aws.Int32(7),
			}))(f)
		}

		time.Sleep(6 * 24 * time.Hour)
		requireNoError(f.kms.CancelKeyDeletion(f.Context(), &kms.CancelKeyDeletionInput{KeyId: &kept}))(f)
		if got := f.describeKey(f.kms, gone); got.DeletionDate == nil || time.Until(*got.DeletionDate) > 24*time.Hour {
			f.Errorf("3.4.1: deletion at %v", got.DeletionDate)
		}

		time.Sleep(24 * time.Hour)
		if got := f.describeKey(f.kms, kept).KeyState; got != kmstypes.KeyStateDisabled {
			f.Errorf("3.4: after the cancellation the key is %s", got)
		}

		for _, name := range []string{gone, "alias/gone"} {
			requireErrorMessage(f, keyCalls["DescribeKey"](f, name), "NotFoundException", "")
		}
	})
}

func TestKey_identifiers(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		id := key[strings.LastIndex(key, "/")+1:]
		requireNoError(f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: &id,
		}))(f)

		alias := "arn:aws:kms:" + home + ":" + owner + ":alias/golden"
		for _, name := range []string{id, key, "alias/golden", alias} { // 3.3.1
			if got := *f.describeKey(f.kms, name).Arn; got != key {
				f.Errorf("%s is %s", name, got)
			}
		}

		for name, row := range map[string]struct{ call, code, text string }{
			"3.3.1 CreateGrant takes no alias": {
				"CreateGrant alias/golden", "InvalidArnException", "Key Aliases are not supported for this operation.",
			},
			"3.3.1 GetKeyPolicy takes no alias": {"GetKeyPolicy " + alias, "InvalidArnException", "Key Aliases"},
			"3.3.1 ListGrants takes no alias":   {"ListGrants alias/golden", "InvalidArnException", "Key Aliases"},
			"3.3.1 a key of another Region": {
				"DescribeKey " + strings.Replace(key, home, away, 1), "NotFoundException", "Invalid arn " + away,
			},
			"3.4.1 an unknown key": {
				"DescribeKey 00000000-0000-4000-a000-000000000000", "NotFoundException",
				"Key '" + strings.Replace(key, id, "00000000-0000-4000-a000-000000000000", 1) + "' does not exist",
			},
			"3.4.1 an unknown alias": {
				"DescribeKey alias/unknown", "NotFoundException",
				"Alias " + strings.Replace(alias, "golden", "unknown", 1) + " is not found.",
			},
			"1.7.7 an alias without its prefix": {"DescribeKey golden", "NotFoundException", "Invalid keyId 'golden'"},
			"3.4.1 an ARN that is none":         {"DescribeKey arn:aws:kms:golden", "InvalidArnException", ""},
			"3.4.3 another account's unknown key": {
				"DescribeKey " + strings.Replace(
					strings.Replace(key, id, "00000000-0000-4000-a000-000000000000", 1), owner, member, 1,
				),
				"AccessDeniedException",
				"on this resource because the resource does not exist in this Region, no resource-based policies allow access, " +
					"or a resource-based policy explicitly denies access",
			},
		} {
			call, on, _ := strings.Cut(row.call, " ")
			f.Log(name)
			requireErrorMessage(f, keyCalls[call](f, on), row.code, row.text)
		}

		// Rules 1.7.6 and 3.3.2: an alias name or key ID is looked up in the caller's account, an ARN in its own.
		theirs := kms.NewFromConfig(f.world.Config(member, home))
		for _, name := range []string{id, "alias/golden"} {
			_, err := theirs.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &name})
			requireErrorCode(f, err, "NotFoundException")
		}

		open := f.createSharedKey()
		requireNoError(f.kms.UpdateAlias(f.Context(), &kms.UpdateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: &open,
		}))(f)

		if got := *f.describeKey(theirs, alias).Arn; got != open {
			f.Errorf("the alias ARN is %s", got)
		}
	})
}

// TestAlias_createUpdateDelete covers rule 3.3.4. Alias names that start with alias/aws/ are reserved for AWS.
func TestAlias_createUpdateDelete(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		one, two := f.createKey(), f.createKey()
		create := func(name, key string) error {
			_, err := f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &key})
			return err
		}

		requireErrorMessage(f, create("alias/aws/ebs", one), "InvalidAliasNameException", "")                    // 3.3.4
		requireErrorMessage(f, create("golden", one), "ValidationException", "Alias must start with the prefix") // B.5.10
		requireErrorMessage(f, create("alias/golden image", one), "ValidationException", "'aliasName'")
		if err := create("alias/golden", one); err != nil {
			f.Fatal(err)
		}

		requireErrorCode(f, create("alias/golden", two), "AlreadyExistsException")
		requireErrorCode(
			f, create("alias/other", f.createKeyInState(kmstypes.KeyStatePendingDeletion)), "KMSInvalidStateException",
		)

		_, err := f.kms.UpdateAlias(f.Context(), &kms.UpdateAliasInput{
			AliasName: aws.String("alias/aws/ebs"), TargetKeyId: &one,
		})

		requireErrorCode(f, err, "InvalidAliasNameException") // 3.3.4
		signs := requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecEccNistP256, KeyUsage: kmstypes.KeyUsageTypeSignVerify,
		}))(f)

		_, err = f.kms.UpdateAlias(f.Context(), &kms.UpdateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: signs.KeyMetadata.Arn,
		})

		requireErrorCode(f, err, "ValidationException")
		requireNoError(f.kms.UpdateAlias(f.Context(), &kms.UpdateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: &two,
		}))(f)

		listed := requireOutput(f.kms.ListAliases(f.Context(), &kms.ListAliasesInput{KeyId: &two}))(f).Aliases
		if len(listed) != 1 || *listed[0].AliasName != "alias/golden" || !strings.HasSuffix(two, *listed[0].TargetKeyId) {
			f.Errorf("%+v", listed)
		}

		requireNoError(f.kms.DeleteAlias(f.Context(), &kms.DeleteAliasInput{AliasName: aws.String("alias/golden")}))(f)
		requireErrorCode(f, keyCalls["DescribeKey"](f, "alias/golden"), "NotFoundException")
	})
}

// TestKey_awsManaged covers rule 3.2.5. The policy of aws/ebs allows the account's principals through EC2 and cannot
// be changed.
func TestKey_awsManaged(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		if keys := requireOutput(f.kms.ListKeys(f.Context(), &kms.ListKeysInput{}))(f).Keys; len(keys) != 0 {
			f.Fatalf("%d keys before", len(keys))
		}

		created := f.describeKey(f.kms, "alias/aws/ebs") // rule 1.7.2: DescribeKey creates it
		again := f.describeKey(f.kms, *created.Arn)
		if created.KeyManager != kmstypes.KeyManagerTypeAws || *again.Arn != *created.Arn {
			f.Errorf("1.7.2: %+v", again)
		}
		if elsewhere := f.awsManagedKeyARN(owner, away); elsewhere == *created.Arn {
			f.Error("1.7.2: the same key in two Regions")
		}

		// Rule 3.2.5: the account can use the key through EC2 only, and cannot change that.
		requireErrorCode(f, keyCalls["Encrypt"](f, "alias/aws/ebs"), "AccessDeniedException")
		requireErrorCode(f, keyCalls["CreateGrant"](f, *created.Arn), "AccessDeniedException")
		_, err := f.kms.PutKeyPolicy(f.Context(), &kms.PutKeyPolicyInput{
			KeyId: created.Arn, Policy: newPolicy(`{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}`),
		})

		requireErrorCode(f, err, "AccessDeniedException")
		role := f.createRole(owner, "copier", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ec2:*"`))
		copier := ec2.NewFromConfig(f.sessionCredentials(role), withoutEC2Retries)
		volume := requireOutput(copier.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8), Encrypted: aws.Bool(true),
		}))(f)

		time.Sleep(time.Minute)
		got := requireOutput(copier.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
			VolumeIds: []string{*volume.VolumeId},
		}))(f).Volumes[0]
		if *got.KmsKeyId != *created.Arn || got.State != "available" {
			f.Errorf("3.2.5: the volume is %s under %s", got.State, *got.KmsKeyId)
		}

		_, err = kms.NewFromConfig(f.world.Config(member, home)).DescribeKey(f.Context(), &kms.DescribeKeyInput{
			KeyId: created.Arn,
		})

		requireErrorCode(f, err, "AccessDeniedException")
	})
}

// TestKeyPolicy_access covers rules 3.2.1 and 3.2.8. A key of another account needs both the key policy and an
// identity policy. A key policy has at most 32 KB.
func TestKeyPolicy_access(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		put := func(bypass bool, statements ...string) error {
			_, err := f.kms.PutKeyPolicy(f.Context(), &kms.PutKeyPolicyInput{
				KeyId: &key, Policy: newPolicy(statements...), BypassPolicyLockoutSafetyCheck: bypass,
			})
			return err
		}

		all := keyStatement(rootOf(owner), `"kms:*"`)
		requireErrorMessage(
			f, put(false, keyStatement(rootOf(member), `"kms:*"`)), "MalformedPolicyDocumentException",
			"will not allow you to update the key policy",
		)

		requireErrorCode(
			f, put(false, keyStatement("arn:aws:iam::"+owner+":role/unknown", `"kms:*"`), all),
			"MalformedPolicyDocumentException",
		)

		requireErrorCode(
			f,
			put(
				false, all,
				`{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*",`+
					`"Condition":{"StringEquals":{"kms:NoSuchKey":"x"}}}`,
			),
			"MalformedPolicyDocumentException",
		)

		_, err := f.kms.PutKeyPolicy(
			f.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(*newPolicy(all) + strings.Repeat(" ", 32768))},
			withoutKMSRetries,
		)

		requireErrorCode(f, err, "LimitExceededException") // 3.2.8
		err = put(false, all, keyStatement(rootOf(member), `"kms:DescribeKey","kms:GetKeyPolicy","kms:ListAliases"`))
		if err != nil {
			f.Fatal(err)
		}

		got := *requireOutput(f.kms.GetKeyPolicy(f.Context(), &kms.GetKeyPolicyInput{
			KeyId: &key, PolicyName: aws.String("default"),
		}))(f).Policy
		if !strings.Contains(got, member) {
			f.Errorf("read back: %s", got)
		}

		theirs := kms.NewFromConfig(f.world.Config(member, home))
		requireNoError(theirs.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key}))(f)
		_, err = theirs.GetKeyPolicy(f.Context(), &kms.GetKeyPolicyInput{KeyId: &key})
		requireErrorCode(f, err, "AccessDeniedException") // rule 3.2.2: never across accounts
		_, err = theirs.Encrypt(f.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
		requireErrorMessage(f, err, "AccessDeniedException", "no resource-based policies allow access") // 3.2.1

		// Rule 3.2.1: a role of another account needs both the key policy and its own policy.
		role := f.createRole(member, "target", trustStatement(rootOf(member), `"sts:*"`), allowStatement(`"ec2:*"`))
		bare := kms.NewFromConfig(f.sessionCredentials(role))
		_, err = bare.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorMessage(
			f, err, "AccessDeniedException",
			"on this resource because no identity-based policy allows the kms:DescribeKey action",
		)

		allowed := kms.NewFromConfig(f.sessionCredentials(f.createRole(
			member, "allowed", trustStatement(rootOf(member), `"sts:*"`), allowStatement(`"kms:*"`),
		)))

		requireNoError(allowed.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key}))(f)

		// Rule 3.2.4: a policy limited to EC2 denies a direct DescribeKey.
		limited := `{"Effect":"Allow","Principal":{"AWS":"` + member +
			`"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"ec2.` + home +
			`.amazonaws.com"}}}`

		if err := put(false, all, limited); err != nil {
			f.Fatal(err)
		}

		_, err = allowed.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(f, err, "AccessDeniedException")

		// The bypass allows a policy that locks all principals out.
		if err := put(true, keyStatement(rootOf(member), `"kms:*"`)); err != nil {
			f.Error(err)
		}

		requireErrorCode(f, keyCalls["DescribeKey"](f, key), "AccessDeniedException")
	})
}

func keyStatement(principal, actions string) string {
	return `{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":[` + actions + `],"Resource":"*"}`
}

func TestKeyPolicy_conditions(t *testing.T) {
	for name, row := range map[string]struct {
		condition string
		allowed   bool
	}{
		"kms:CallerAccount":                     {`"StringEquals":{"kms:CallerAccount":"` + owner + `"}`, true},
		"kms:CallerAccount of another":          {`"StringEquals":{"kms:CallerAccount":"` + member + `"}`, false},
		"kms:ResourceAliases":                   {`"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/golden"}`, true},
		"kms:ResourceAliases of another":        {`"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/silver"}`, false},
		"kms:RequestAlias":                      {`"StringEquals":{"kms:RequestAlias":"alias/golden"}`, true},
		"kms:EncryptionContext":                 {`"StringEquals":{"kms:EncryptionContext:team":"golden"}`, true},
		"kms:EncryptionContext of another":      {`"StringEquals":{"kms:EncryptionContext:team":"silver"}`, false},
		"aws:ResourceTag":                       {`"StringEquals":{"aws:ResourceTag/purpose":"images"}`, true},
		"aws:ResourceTag of another":            {`"StringEquals":{"aws:ResourceTag/purpose":"logs"}`, false},
		"aws:RequestedRegion":                   {`"StringEquals":{"aws:RequestedRegion":"` + home + `"}`, true},
		"aws:CurrentTime":                       {`"DateLessThan":{"aws:CurrentTime":"2000-01-02T00:00:00Z"}`, true},
		"aws:PrincipalArn":                      {`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/tester"}`, true},
		"aws:userid":                            {`"StringLike":{"aws:userid":"AROA*:session"}`, true},
		"3.2.3 kms:ViaService in a direct call": {`"StringLike":{"kms:ViaService":"*"}`, false},
		"aws:SecureTransport":                   {`"Bool":{"aws:SecureTransport":"false"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				key := requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
					Tags: []kmstypes.Tag{{TagKey: aws.String("purpose"), TagValue: aws.String("images")}},
				}))(f).KeyMetadata

				requireNoError(f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
					AliasName: aws.String("alias/golden"), TargetKeyId: key.KeyId,
				}))(f)

				role := f.createRole(
					owner, "tester", trustStatement(rootOf(owner), `"sts:*"`),
					`{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{`+row.condition+`}}`,
				)

				_, err := kms.NewFromConfig(f.sessionCredentials(role)).Encrypt(f.Context(), &kms.EncryptInput{
					KeyId: aws.String("alias/golden"), Plaintext: []byte("x"), EncryptionContext: map[string]string{"team": "golden"},
				})

				if row.allowed {
					requireNoError(0, err)(f)
				} else {
					requireErrorCode(f, err, "AccessDeniedException")
				}
			})
		})
	}
}

func TestEncrypt_roundTrip(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		one, two := f.createKey(), f.createKey()
		context := map[string]string{"team": "golden", "image": "ami"}
		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: &one, Plaintext: []byte("secret"), EncryptionContext: context,
		}))(f).CiphertextBlob
		if bytes.Contains(encrypted, []byte("secret")) {
			f.Error("the ciphertext shows the text")
		}

		open := func(client *kms.Client, in *kms.DecryptInput) error {
			out, err := client.Decrypt(f.Context(), in)
			if err == nil && string(out.Plaintext) != "secret" {
				f.Errorf("decrypted to %q", out.Plaintext)
			}
			return err
		}

		if err := open(f.kms, &kms.DecryptInput{CiphertextBlob: encrypted, EncryptionContext: context}); err != nil {
			f.Error(err)
		}

		// rule 3.7: KMS has a separate error code for each kind of invalid parameter
		requireErrorCode(f, open(f.kms, &kms.DecryptInput{CiphertextBlob: encrypted}), "InvalidCiphertextException")
		requireErrorCode(
			f, open(f.kms, &kms.DecryptInput{CiphertextBlob: encrypted[1:], EncryptionContext: context}),
			"InvalidCiphertextException",
		)

		requireErrorCode(
			f, open(f.kms, &kms.DecryptInput{CiphertextBlob: encrypted, EncryptionContext: context, KeyId: &two}),
			"IncorrectKeyException",
		)

		signs := requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeSignVerify,
		}))(f).KeyMetadata.Arn

		requireErrorCode(f, keyCalls["Encrypt"](f, *signs), "InvalidKeyUsageException") // 3.4.2
		requireErrorMessage(f,
			open(kms.NewFromConfig(f.world.Config(owner, away)), &kms.DecryptInput{
				CiphertextBlob: encrypted, EncryptionContext: context,
			}),
			// rule 3.4.3: KMS does not reveal whether a key of another account exists
			"AccessDeniedException",
			"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are "+
				"not allowed to access.")

		moved := requireOutput(f.kms.ReEncrypt(f.Context(), &kms.ReEncryptInput{
			CiphertextBlob: encrypted, SourceEncryptionContext: context, DestinationKeyId: &two,
		}))(f)
		if *moved.SourceKeyId != one || *moved.KeyId != two {
			f.Errorf("from %s to %s", *moved.SourceKeyId, *moved.KeyId)
		}
		if err := open(f.kms, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, KeyId: &two}); err != nil {
			f.Error(err)
		}

		data := requireOutput(f.kms.GenerateDataKey(f.Context(), &kms.GenerateDataKeyInput{
			KeyId: &one, KeySpec: kmstypes.DataKeySpecAes256,
		}))(f)

		back := requireOutput(f.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: data.CiphertextBlob}))(f).Plaintext
		if len(back) != 32 || !bytes.Equal(back, data.Plaintext) {
			f.Errorf("data key %x, decrypted %x", data.Plaintext, back)
		}
	})
}

// TestKMS_dryRuns covers rules 6.6 and 6.7. A dry run of KMS checks permissions and the key state, ends with status 412
// and changes nothing.
func TestKMS_dryRuns(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key, off := f.createKey(), f.createKeyInState(kmstypes.KeyStateDisabled)
		grant := &kms.CreateGrantInput{
			KeyId:            &key,
			GranteePrincipal: aws.String(rootOf(member)),
			Operations:       []kmstypes.GrantOperation{"Decrypt"},
			DryRun:           aws.Bool(true),
		}

		_, err := f.kms.CreateGrant(f.Context(), grant)
		requireErrorCode(f, err, "DryRunOperationException")
		grants := requireOutput(f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key}))(f).Grants
		if len(grants) != 0 {
			f.Errorf("6.6: the dry run made %d grants", len(grants))
		}
		if records := f.world.Records(); records[len(records)-2].Status != 400 {
			f.Errorf("6.6: status %d", records[len(records)-2].Status)
		}

		grant.KeyId = &off
		_, err = f.kms.CreateGrant(f.Context(), grant)
		requireErrorCode(f, err, "DisabledException")
		role := f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"kms:DescribeKey"`))
		_, err = kms.NewFromConfig(f.sessionCredentials(role)).CreateGrant(f.Context(), &kms.CreateGrantInput{
			KeyId:            &key,
			GranteePrincipal: &role,
			Operations:       grant.Operations,
			DryRun:           aws.Bool(true),
		})

		requireErrorCode(f, err, "AccessDeniedException")
		_, err = f.kms.GenerateDataKeyWithoutPlaintext(f.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{
			KeyId: &key, NumberOfBytes: aws.Int32(32), DryRun: aws.Bool(true),
		})

		requireErrorCode(f, err, "DryRunOperationException")

		// rule 6.7: without a ciphertext
		ignore := []kmstypes.DryRunModifierType{kmstypes.DryRunModifierTypeIgnoreCiphertext}
		_, err = f.kms.Decrypt(f.Context(), &kms.DecryptInput{KeyId: &key, DryRun: aws.Bool(true), DryRunModifiers: ignore})
		requireErrorCode(f, err, "DryRunOperationException")
		_, err = f.kms.ReEncrypt(f.Context(), &kms.ReEncryptInput{
			SourceKeyId:      &key,
			DestinationKeyId: &key,
			DryRun:           aws.Bool(true),
			DryRunModifiers:  ignore,
		})

		requireErrorCode(f, err, "DryRunOperationException")
		for _, in := range []*kms.DecryptInput{
			{KeyId: &key, DryRunModifiers: ignore}, {DryRun: aws.Bool(true), DryRunModifiers: ignore},
		} {
			_, err = f.kms.Decrypt(f.Context(), in)
			requireErrorCode(f, err, "ValidationException")
		}
	})
}

// TestRotateKeyOnDemand_keepsARNAndCiphertexts covers rule 3.5.3. Rotation never changes the key ARN.
func TestRotateKeyOnDemand_keepsARNAndCiphertexts(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: &key, Plaintext: []byte("old"),
		}))(f).CiphertextBlob

		before := f.describeKey(f.kms, key)
		for range 25 {
			requireNoError(f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(f)
		}

		requireErrorCode(f, keyCalls["RotateKeyOnDemand"](f, key), "LimitExceededException") // 3.5.3
		after := f.describeKey(f.kms, key)
		if *after.Arn != *before.Arn || *after.CurrentKeyMaterialId == *before.CurrentKeyMaterialId {
			f.Errorf("3.5.3: %+v", after)
		}

		got := requireOutput(f.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f)
		if string(got.Plaintext) != "old" || *got.KeyMaterialId != *before.CurrentKeyMaterialId {
			f.Errorf("3.5.3: decrypted %q", got.Plaintext)
		}

		requireNoError(f.kms.EnableKeyRotation(f.Context(), &kms.EnableKeyRotationInput{KeyId: &key}))(f)
		status := requireOutput(f.kms.GetKeyRotationStatus(f.Context(), &kms.GetKeyRotationStatusInput{KeyId: &key}))(f)
		if !status.KeyRotationEnabled {
			f.Error("rotation is off")
		}

		external := f.createImportedKey()
		_, err := f.kms.EnableKeyRotation(f.Context(), &kms.EnableKeyRotationInput{KeyId: &external})
		requireErrorCode(f, err, "UnsupportedOperationException") // rule 3.5.3: only with the origin AWS_KMS
	})
}

// TestReplicateKey_multiRegionKeys covers rule 3.6.1. Multi-Region keys share only the key ID and the material.
func TestReplicateKey_multiRegionKeys(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithReplicaCreation(10 * time.Second)(f.world)
		primary := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			MultiRegion: aws.Bool(true), Description: aws.String("both"),
		}))(f).KeyMetadata
		if !strings.HasPrefix(*primary.KeyId, "mrk-") { // 3.6.1
			f.Errorf("3.6.1: id %s", *primary.KeyId)
		}

		single := f.createKey()
		_, err := f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{KeyId: &single, ReplicaRegion: aws.String(away)})
		requireErrorCode(f, err, "UnsupportedOperationException") // 3.6.3
		_, err = f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: primary.KeyId, ReplicaRegion: aws.String("eu-south-1"),
		})

		requireErrorCode(f, err, "ValidationException") // rule 5.8: the Region is not enabled
		requireNoError(f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: primary.KeyId, ReplicaRegion: aws.String(away),
		}))(f)

		_, err = f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: primary.KeyId, ReplicaRegion: aws.String(away),
		})

		requireErrorCode(f, err, "AlreadyExistsException")

		remote := kms.NewFromConfig(f.world.Config(owner, away))
		_, err = remote.Encrypt(f.Context(), &kms.EncryptInput{KeyId: primary.KeyId, Plaintext: []byte("x")})
		requireErrorMessage(f, err, "KMSInvalidStateException", "is creating") // 3.4
		time.Sleep(time.Minute)
		replica := f.describeKey(remote, *primary.KeyId) // rule 3.6.4: here the key ID means the replica
		if *replica.Arn != strings.Replace(*primary.Arn, home, away, 1) ||
			replica.MultiRegionConfiguration.MultiRegionKeyType != kmstypes.MultiRegionKeyTypeReplica ||
			*replica.Description != "" {
			f.Errorf("3.6.1: %+v", replica)
		}

		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: primary.KeyId, Plaintext: []byte("same"),
		}))(f).CiphertextBlob

		got := requireOutput(remote.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f)
		if string(got.Plaintext) != "same" || *got.KeyId != *replica.Arn {
			f.Errorf("3.6.1: %+v", got)
		}

		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: primary.KeyId}))(f)
		if state := f.describeKey(remote, *primary.KeyId).KeyState; state != kmstypes.KeyStateEnabled {
			f.Errorf("3.6.1: the replica is %s", state)
		}

		_, err = remote.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: primary.KeyId})
		requireErrorCode(f, err, "UnsupportedOperationException")

		// Rule 3.4: a primary key waits for its replicas.
		requireNoError(f.kms.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{
			KeyId: primary.KeyId, PendingWindowInDays: aws.Int32(7),
		}))(f)

		time.Sleep(10 * 24 * time.Hour)
		if state := f.describeKey(f.kms, *primary.KeyId).KeyState; state != kmstypes.KeyStatePendingReplicaDeletion {
			f.Errorf("3.4: the primary is %s", state)
		}

		requireNoError(remote.ScheduleKeyDeletion(f.Context(), &kms.ScheduleKeyDeletionInput{
			KeyId: primary.KeyId, PendingWindowInDays: aws.Int32(7),
		}))(f)

		time.Sleep(8 * 24 * time.Hour)
		if state := f.describeKey(f.kms, *primary.KeyId).KeyState; state != kmstypes.KeyStatePendingDeletion {
			f.Errorf("3.4: the primary is %s", state)
		}

		time.Sleep(7 * 24 * time.Hour)
		requireErrorCode(f, keyCalls["DescribeKey"](f, *primary.KeyId), "NotFoundException")
	})
}

func TestKey_otherPartitions(t *testing.T) {
	for partition, region := range map[string]string{"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"} {
		runWithFixture(t, func(f fixture) {
			config := f.world.Config(owner, region)
			key := requireOutput(kms.NewFromConfig(config).CreateKey(f.Context(), &kms.CreateKeyInput{}))(f).KeyMetadata
			if want := "arn:" + partition + ":kms:" + region + ":" + owner + ":key/"; !strings.HasPrefix(*key.Arn, want) {
				f.Errorf("%s, want %s...", *key.Arn, want)
			}

			got := requireOutput(sts.NewFromConfig(config).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{}))(f)
			if *got.Arn != "arn:"+partition+":iam::"+owner+":root" {
				f.Errorf("caller %s", *got.Arn)
			}

			client := ec2.NewFromConfig(config)
			created := requireOutput(client.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
				AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), Encrypted: aws.Bool(true),
			}))(f)

			time.Sleep(time.Minute)
			volume := requireOutput(client.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
				VolumeIds: []string{*created.VolumeId},
			}))(f).Volumes[0]
			if volume.State != "available" {
				f.Errorf("under aws/ebs the volume is %s", volume.State)
			}
		})
	}
}
