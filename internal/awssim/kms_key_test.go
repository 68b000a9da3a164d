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

// described is a key's metadata now.
func (b fixture) described(client *kms.Client, id string) kmstypes.KeyMetadata {
	b.Helper()
	return *ok(client.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &id}))(b).KeyMetadata
}

// singly keeps a client from trying again: a reached limit looks like throttling to the SDK.
func singly(o *kms.Options) { o.Retryer = aws.NopRetryer{} }

// must stops the test if a call fails.
func must[Out any](out Out, err error) func(testing.TB) {
	return func(t testing.TB) { t.Helper(); ok(out, err)(t) }
}

// keyCalls are calls of KMS on a key.
var keyCalls = map[string]func(b fixture, id string) error{
	"DescribeKey": func(b fixture, id string) error {
		_, err := b.kms.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &id})
		return err
	},
	"Encrypt": func(b fixture, id string) error {
		_, err := b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("text")})
		return err
	},
	"GenerateDataKey": func(b fixture, id string) error {
		_, err := b.kms.GenerateDataKey(b.Context(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: kmstypes.DataKeySpecAes256})
		return err
	},
	"GenerateDataKeyWithoutPlaintext": func(b fixture, id string) error {
		_, err := b.kms.GenerateDataKeyWithoutPlaintext(b.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &id, NumberOfBytes: aws.Int32(64)})
		return err
	},
	"CreateGrant": func(b fixture, id string) error {
		_, err := b.kms.CreateGrant(b.Context(), &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(rootOf(owner)), Operations: []kmstypes.GrantOperation{"Decrypt"}})
		return err
	},
	"ListGrants": func(b fixture, id string) error {
		_, err := b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &id})
		return err
	},
	"GetKeyPolicy": func(b fixture, id string) error {
		_, err := b.kms.GetKeyPolicy(b.Context(), &kms.GetKeyPolicyInput{KeyId: &id})
		return err
	},
	"EnableKey": func(b fixture, id string) error {
		_, err := b.kms.EnableKey(b.Context(), &kms.EnableKeyInput{KeyId: &id})
		return err
	},
	"TagResource": func(b fixture, id string) error {
		_, err := b.kms.TagResource(b.Context(), &kms.TagResourceInput{KeyId: &id, Tags: []kmstypes.Tag{{TagKey: aws.String("k"), TagValue: aws.String("v")}}})
		return err
	},
	"RotateKeyOnDemand": func(b fixture, id string) error {
		_, err := b.kms.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: &id}, singly)
		return err
	},
	"ScheduleKeyDeletion": func(b fixture, id string) error {
		_, err := b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})
		return err
	},
	"CancelKeyDeletion": func(b fixture, id string) error {
		_, err := b.kms.CancelKeyDeletion(b.Context(), &kms.CancelKeyDeletionInput{KeyId: &id})
		return err
	},
}

// Rule 3.4: what can be done with a key in which state, and in which words it is refused.
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
		"DescribeKey":                     {}, // 3.4.1: it works in every state
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
				runWithFixture(t, func(b fixture) {
					key := b.keyIn(state)
					if got := b.described(b.kms, key); got.KeyState != state || got.Enabled != (state == kmstypes.KeyStateEnabled) {
						b.Fatalf("the key is %s, enabled %t", got.KeyState, got.Enabled)
					}
					err := keyCalls[call](b, key)
					if code, text, refuses := strings.Cut(want, ": "); refuses {
						requireErrorMessage(b, err, code, key+" "+text)
					} else if err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

// keyIn makes a key of the owner in a state.
func (b fixture) keyIn(state kmstypes.KeyState) string {
	b.Helper()
	in := &kms.CreateKeyInput{}
	if state == kmstypes.KeyStatePendingImport {
		in.Origin = kmstypes.OriginTypeExternal
	}
	key := *ok(b.kms.CreateKey(b.Context(), in))(b).KeyMetadata.Arn
	switch state {
	case kmstypes.KeyStateDisabled:
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
	case kmstypes.KeyStatePendingDeletion:
		must(b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key}))(b)
	}
	return key
}

func TestScheduleKeyDeletion_deletedOrCanceled(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		kept, gone := b.key(), b.key()
		must(b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/gone"), TargetKeyId: &gone}))(b)
		for _, key := range []string{kept, gone} {
			must(b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key, PendingWindowInDays: aws.Int32(7)}))(b)
		}
		time.Sleep(6 * 24 * time.Hour)
		must(b.kms.CancelKeyDeletion(b.Context(), &kms.CancelKeyDeletionInput{KeyId: &kept}))(b)
		if got := b.described(b.kms, gone); got.DeletionDate == nil || time.Until(*got.DeletionDate) > 24*time.Hour {
			b.Errorf("3.4.1: deletion at %v", got.DeletionDate)
		}
		time.Sleep(24 * time.Hour)
		if got := b.described(b.kms, kept).KeyState; got != kmstypes.KeyStateDisabled {
			b.Errorf("3.4: after the cancellation the key is %s", got)
		}
		for _, name := range []string{gone, "alias/gone"} {
			requireErrorMessage(b, keyCalls["DescribeKey"](b, name), "NotFoundException", "")
		}
	})
}

func TestKey_identifiers(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		id := key[strings.LastIndex(key, "/")+1:]
		must(b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: &id}))(b)
		alias := "arn:aws:kms:" + home + ":" + owner + ":alias/golden"
		for _, name := range []string{id, key, "alias/golden", alias} { // 3.3.1
			if got := *b.described(b.kms, name).Arn; got != key {
				b.Errorf("%s is %s", name, got)
			}
		}
		for name, row := range map[string]struct{ call, code, text string }{
			"3.3.1 CreateGrant takes no alias":    {"CreateGrant alias/golden", "NotFoundException", "Invalid keyId 'alias/golden'"},
			"3.3.1 GetKeyPolicy takes no alias":   {"GetKeyPolicy " + alias, "NotFoundException", "Invalid keyId"},
			"3.3.1 ListGrants takes no alias":     {"ListGrants alias/golden", "NotFoundException", "Invalid keyId"},
			"3.3.1 a key of another Region":       {"DescribeKey " + strings.Replace(key, home, away, 1), "NotFoundException", "Invalid arn " + away},
			"3.4.1 an unknown key":                {"DescribeKey 00000000-0000-4000-a000-000000000000", "NotFoundException", "Key '" + strings.Replace(key, id, "00000000-0000-4000-a000-000000000000", 1) + "' does not exist"},
			"3.4.1 an unknown alias":              {"DescribeKey alias/unknown", "NotFoundException", "Alias " + strings.Replace(alias, "golden", "unknown", 1) + " is not found."},
			"1.7.7 an alias without its prefix":   {"DescribeKey golden", "NotFoundException", "Invalid keyId 'golden'"},
			"3.4.1 an ARN that is none":           {"DescribeKey arn:aws:kms:golden", "InvalidArnException", ""},
			"3.4.3 another account's unknown key": {"DescribeKey " + strings.Replace(strings.Replace(key, id, "00000000-0000-4000-a000-000000000000", 1), owner, member, 1), "AccessDeniedException", "on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"},
		} {
			call, on, _ := strings.Cut(row.call, " ")
			b.Log(name)
			requireErrorMessage(b, keyCalls[call](b, on), row.code, row.text)
		}
		// 1.7.6, 3.3.2: a bare alias or id is looked up in the caller's account, an ARN where it says.
		theirs := kms.NewFromConfig(b.world.Config(member, home))
		for _, name := range []string{id, "alias/golden"} {
			_, err := theirs.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &name})
			requireErrorCode(b, err, "NotFoundException")
		}
		open := b.openKey()
		must(b.kms.UpdateAlias(b.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: &open}))(b)
		if got := *b.described(theirs, alias).Arn; got != open {
			b.Errorf("the alias ARN is %s", got)
		}
	})
}

// TestAlias_createUpdateDelete covers rule 3.3.4.
func TestAlias_createUpdateDelete(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		one, two := b.key(), b.key()
		create := func(name, key string) error {
			_, err := b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &key})
			return err
		}
		requireErrorMessage(b, create("alias/aws/ebs", one), "InvalidAliasNameException", "") // 3.3.4
		requireErrorMessage(b, create("golden", one), "ValidationException", "'aliasName'")
		if err := create("alias/golden", one); err != nil {
			b.Fatal(err)
		}
		requireErrorCode(b, create("alias/golden", two), "AlreadyExistsException")
		requireErrorCode(b, create("alias/other", b.keyIn(kmstypes.KeyStatePendingDeletion)), "KMSInvalidStateException")
		_, err := b.kms.UpdateAlias(b.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/aws/ebs"), TargetKeyId: &one})
		requireErrorCode(b, err, "InvalidAliasNameException") // 3.3.4
		signs := ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecEccNistP256, KeyUsage: kmstypes.KeyUsageTypeSignVerify}))(b)
		_, err = b.kms.UpdateAlias(b.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: signs.KeyMetadata.Arn})
		requireErrorCode(b, err, "ValidationException")
		must(b.kms.UpdateAlias(b.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: &two}))(b)
		listed := ok(b.kms.ListAliases(b.Context(), &kms.ListAliasesInput{KeyId: &two}))(b).Aliases
		if len(listed) != 1 || *listed[0].AliasName != "alias/golden" || !strings.HasSuffix(two, *listed[0].TargetKeyId) {
			b.Errorf("%+v", listed)
		}
		must(b.kms.DeleteAlias(b.Context(), &kms.DeleteAliasInput{AliasName: aws.String("alias/golden")}))(b)
		requireErrorCode(b, keyCalls["DescribeKey"](b, "alias/golden"), "NotFoundException")
	})
}

// TestKey_awsManaged covers rule 3.2.5.
func TestKey_awsManaged(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		if keys := ok(b.kms.ListKeys(b.Context(), &kms.ListKeysInput{}))(b).Keys; len(keys) != 0 {
			b.Fatalf("%d keys before", len(keys))
		}
		made := b.described(b.kms, "alias/aws/ebs") // 1.7.2: looking makes it
		if again := b.described(b.kms, *made.Arn); made.KeyManager != kmstypes.KeyManagerTypeAws || *again.Arn != *made.Arn {
			b.Errorf("1.7.2: %+v", again)
		}
		if elsewhere := b.managedKey(owner, away); elsewhere == *made.Arn {
			b.Error("1.7.2: the same key in two Regions")
		}
		// 3.2.5: through EC2 all of the account may use it, directly nobody; and nobody can change that.
		requireErrorCode(b, keyCalls["Encrypt"](b, "alias/aws/ebs"), "AccessDeniedException")
		requireErrorCode(b, keyCalls["CreateGrant"](b, *made.Arn), "AccessDeniedException")
		_, err := b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: made.Arn, Policy: policyOf(`{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}`)})
		requireErrorCode(b, err, "AccessDeniedException")
		role := b.role(owner, "copier", trusting(rootOf(owner), `"sts:*"`), may(`"ec2:*"`))
		copier := ec2.NewFromConfig(b.session(role), noRetries)
		volume := ok(copier.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8), Encrypted: aws.Bool(true)}))(b)
		time.Sleep(time.Minute)
		if got := ok(copier.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}}))(b).Volumes[0]; *got.KmsKeyId != *made.Arn || got.State != "available" {
			b.Errorf("3.2.5: the volume is %s under %s", got.State, *got.KmsKeyId)
		}
		_, err = kms.NewFromConfig(b.world.Config(member, home)).DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: made.Arn})
		requireErrorCode(b, err, "AccessDeniedException")
	})
}

// TestKeyPolicy_access covers rules 3.2.1 and 3.2.8.
func TestKeyPolicy_access(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		put := func(bypass bool, statements ...string) error {
			_, err := b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: policyOf(statements...), BypassPolicyLockoutSafetyCheck: bypass})
			return err
		}
		all := trustingKey(rootOf(owner), `"kms:*"`)
		requireErrorMessage(b, put(false, trustingKey(rootOf(member), `"kms:*"`)), "MalformedPolicyDocumentException", "will not allow you to update the key policy")
		requireErrorCode(b, put(false, trustingKey("arn:aws:iam::"+owner+":role/unknown", `"kms:*"`), all), "MalformedPolicyDocumentException")
		requireErrorCode(b, put(false, all, `{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:NoSuchKey":"x"}}}`), "MalformedPolicyDocumentException")
		_, err := b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(*policyOf(all) + strings.Repeat(" ", 32768))}, singly)
		requireErrorCode(b, err, "LimitExceededException") // 3.2.8
		if err := put(false, all, trustingKey(rootOf(member), `"kms:DescribeKey","kms:GetKeyPolicy","kms:ListAliases"`)); err != nil {
			b.Fatal(err)
		}
		if got := *ok(b.kms.GetKeyPolicy(b.Context(), &kms.GetKeyPolicyInput{KeyId: &key, PolicyName: aws.String("default")}))(b).Policy; !strings.Contains(got, member) {
			b.Errorf("read back: %s", got)
		}
		theirs := kms.NewFromConfig(b.world.Config(member, home))
		must(theirs.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key}))(b)
		_, err = theirs.GetKeyPolicy(b.Context(), &kms.GetKeyPolicyInput{KeyId: &key})
		requireErrorCode(b, err, "AccessDeniedException") // 3.2.2: never across accounts
		_, err = theirs.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
		requireErrorMessage(b, err, "AccessDeniedException", "no resource-based policies allow access") // 3.2.1

		// 3.2.1: the key's policy alone is not enough for a role of another account, nor is the role's own.
		role := b.role(member, "target", trusting(rootOf(member), `"sts:*"`), may(`"ec2:*"`))
		bare := kms.NewFromConfig(b.session(role))
		_, err = bare.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorMessage(b, err, "AccessDeniedException", "on this resource because no identity-based policy allows the kms:DescribeKey action")
		allowed := kms.NewFromConfig(b.session(b.role(member, "allowed", trusting(rootOf(member), `"sts:*"`), may(`"kms:*"`))))
		must(allowed.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key}))(b)

		// 3.2.4: a policy limited to EC2 blocks the direct DescribeKey.
		limited := `{"Effect":"Allow","Principal":{"AWS":"` + member + `"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"ec2.` + home + `.amazonaws.com"}}}`
		if err := put(false, all, limited); err != nil {
			b.Fatal(err)
		}
		_, err = allowed.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(b, err, "AccessDeniedException")

		// Whoever wants to, locks everybody out.
		if err := put(true, trustingKey(rootOf(member), `"kms:*"`)); err != nil {
			b.Error(err)
		}
		requireErrorCode(b, keyCalls["DescribeKey"](b, key), "AccessDeniedException")
	})
}

// trustingKey is a key policy's statement.
func trustingKey(principal, actions string) string {
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
			runWithFixture(t, func(b fixture) {
				key := ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{Tags: []kmstypes.Tag{{TagKey: aws.String("purpose"), TagValue: aws.String("images")}}}))(b).KeyMetadata
				must(b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: key.KeyId}))(b)
				role := b.role(owner, "tester", trusting(rootOf(owner), `"sts:*"`), `{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{`+row.condition+`}}`)
				_, err := kms.NewFromConfig(b.session(role)).Encrypt(b.Context(), &kms.EncryptInput{
					KeyId: aws.String("alias/golden"), Plaintext: []byte("x"), EncryptionContext: map[string]string{"team": "golden"},
				})
				if row.allowed {
					must(0, err)(b)
				} else {
					requireErrorCode(b, err, "AccessDeniedException")
				}
			})
		})
	}
}

func TestEncrypt_roundTrip(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		one, two := b.key(), b.key()
		context := map[string]string{"team": "golden", "image": "ami"}
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &one, Plaintext: []byte("secret"), EncryptionContext: context}))(b).CiphertextBlob
		if bytes.Contains(sealed, []byte("secret")) {
			b.Error("the ciphertext shows the text")
		}
		open := func(client *kms.Client, in *kms.DecryptInput) error {
			out, err := client.Decrypt(b.Context(), in)
			if err == nil && string(out.Plaintext) != "secret" {
				b.Errorf("decrypted to %q", out.Plaintext)
			}
			return err
		}
		if err := open(b.kms, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: context}); err != nil {
			b.Error(err)
		}
		// 3.7
		requireErrorCode(b, open(b.kms, &kms.DecryptInput{CiphertextBlob: sealed}), "InvalidCiphertextException")
		requireErrorCode(b, open(b.kms, &kms.DecryptInput{CiphertextBlob: sealed[1:], EncryptionContext: context}), "InvalidCiphertextException")
		requireErrorCode(b, open(b.kms, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: context, KeyId: &two}), "IncorrectKeyException")
		signs := ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeSignVerify}))(b).KeyMetadata.Arn
		requireErrorCode(b, keyCalls["Encrypt"](b, *signs), "InvalidKeyUsageException") // 3.4.2
		requireErrorMessage(b, open(kms.NewFromConfig(b.world.Config(owner, away)), &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: context}),
			"AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.") // 3.4.3

		moved := ok(b.kms.ReEncrypt(b.Context(), &kms.ReEncryptInput{CiphertextBlob: sealed, SourceEncryptionContext: context, DestinationKeyId: &two}))(b)
		if *moved.SourceKeyId != one || *moved.KeyId != two {
			b.Errorf("from %s to %s", *moved.SourceKeyId, *moved.KeyId)
		}
		if err := open(b.kms, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, KeyId: &two}); err != nil {
			b.Error(err)
		}
		data := ok(b.kms.GenerateDataKey(b.Context(), &kms.GenerateDataKeyInput{KeyId: &one, KeySpec: kmstypes.DataKeySpecAes256}))(b)
		if back := ok(b.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: data.CiphertextBlob}))(b).Plaintext; len(back) != 32 || !bytes.Equal(back, data.Plaintext) {
			b.Errorf("data key %x, decrypted %x", data.Plaintext, back)
		}
	})
}

// TestKMS_dryRuns covers rules 6.6 and 6.7.
// Rules 6.6 and 6.7: a dry run of KMS checks the rights and the key's state, ends with 412, and leaves nothing.
func TestKMS_dryRuns(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key, off := b.key(), b.keyIn(kmstypes.KeyStateDisabled)
		grant := &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: aws.String(rootOf(member)), Operations: []kmstypes.GrantOperation{"Decrypt"}, DryRun: aws.Bool(true)}
		_, err := b.kms.CreateGrant(b.Context(), grant)
		requireErrorCode(b, err, "DryRunOperationException")
		if grants := ok(b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &key}))(b).Grants; len(grants) != 0 {
			b.Errorf("6.6: the dry run made %d grants", len(grants))
		}
		if records := b.world.Records(); records[len(records)-2].Status != 412 {
			b.Errorf("6.6: status %d", records[len(records)-2].Status)
		}
		grant.KeyId = &off
		_, err = b.kms.CreateGrant(b.Context(), grant)
		requireErrorCode(b, err, "DisabledException")
		role := b.role(owner, "target", trusting(rootOf(owner), `"sts:*"`), may(`"kms:DescribeKey"`))
		_, err = kms.NewFromConfig(b.session(role)).CreateGrant(b.Context(), &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: &role, Operations: grant.Operations, DryRun: aws.Bool(true)})
		requireErrorCode(b, err, "AccessDeniedException")
		_, err = b.kms.GenerateDataKeyWithoutPlaintext(b.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, NumberOfBytes: aws.Int32(32), DryRun: aws.Bool(true)})
		requireErrorCode(b, err, "DryRunOperationException")

		// 6.7: without any ciphertext
		ignore := []kmstypes.DryRunModifierType{kmstypes.DryRunModifierTypeIgnoreCiphertext}
		_, err = b.kms.Decrypt(b.Context(), &kms.DecryptInput{KeyId: &key, DryRun: aws.Bool(true), DryRunModifiers: ignore})
		requireErrorCode(b, err, "DryRunOperationException")
		_, err = b.kms.ReEncrypt(b.Context(), &kms.ReEncryptInput{SourceKeyId: &key, DestinationKeyId: &key, DryRun: aws.Bool(true), DryRunModifiers: ignore})
		requireErrorCode(b, err, "DryRunOperationException")
		for _, in := range []*kms.DecryptInput{{KeyId: &key, DryRunModifiers: ignore}, {DryRun: aws.Bool(true), DryRunModifiers: ignore}} {
			_, err = b.kms.Decrypt(b.Context(), in)
			requireErrorCode(b, err, "ValidationException")
		}
	})
}

// TestRotateKeyOnDemand_keepsARNAndCiphertexts covers rule 3.5.3.
func TestRotateKeyOnDemand_keepsARNAndCiphertexts(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("old")}))(b).CiphertextBlob
		before := b.described(b.kms, key)
		for range 25 {
			must(b.kms.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(b)
		}
		requireErrorCode(b, keyCalls["RotateKeyOnDemand"](b, key), "LimitExceededException") // 3.5.3
		if after := b.described(b.kms, key); *after.Arn != *before.Arn || *after.CurrentKeyMaterialId == *before.CurrentKeyMaterialId {
			b.Errorf("3.5.3: %+v", after)
		}
		if got := ok(b.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b); string(got.Plaintext) != "old" || *got.KeyMaterialId != *before.CurrentKeyMaterialId {
			b.Errorf("3.5.3: decrypted %q", got.Plaintext)
		}
		must(b.kms.EnableKeyRotation(b.Context(), &kms.EnableKeyRotationInput{KeyId: &key}))(b)
		if status := ok(b.kms.GetKeyRotationStatus(b.Context(), &kms.GetKeyRotationStatusInput{KeyId: &key}))(b); !status.KeyRotationEnabled {
			b.Error("rotation is off")
		}
		external := b.importedKey()
		_, err := b.kms.EnableKeyRotation(b.Context(), &kms.EnableKeyRotationInput{KeyId: &external})
		requireErrorCode(b, err, "UnsupportedOperationException") // 3.5.3: of AWS_KMS origin only
	})
}

// TestReplicateKey_multiRegionKeys covers rule 3.6.1.
func TestReplicateKey_multiRegionKeys(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		primary := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Description: aws.String("both")}))(b).KeyMetadata
		if !strings.HasPrefix(*primary.KeyId, "mrk-") { // 3.6.1
			b.Errorf("3.6.1: id %s", *primary.KeyId)
		}
		single := b.key()
		_, err := b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: &single, ReplicaRegion: aws.String(away)})
		requireErrorCode(b, err, "UnsupportedOperationException") // 3.6.3
		_, err = b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: primary.KeyId, ReplicaRegion: aws.String("eu-south-1")})
		requireErrorCode(b, err, "ValidationException") // 5.8: not enabled
		must(b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: primary.KeyId, ReplicaRegion: aws.String(away)}))(b)
		_, err = b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: primary.KeyId, ReplicaRegion: aws.String(away)})
		requireErrorCode(b, err, "AlreadyExistsException")

		there := kms.NewFromConfig(b.world.Config(owner, away))
		_, err = there.Encrypt(b.Context(), &kms.EncryptInput{KeyId: primary.KeyId, Plaintext: []byte("x")})
		requireErrorMessage(b, err, "KMSInvalidStateException", "is creating") // 3.4
		time.Sleep(time.Minute)
		replica := b.described(there, *primary.KeyId) // 3.6.4: the bare id is the replica's here
		if *replica.Arn != strings.Replace(*primary.Arn, home, away, 1) || replica.MultiRegionConfiguration.MultiRegionKeyType != kmstypes.MultiRegionKeyTypeReplica || *replica.Description != "" {
			b.Errorf("3.6.1: %+v", replica)
		}
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: primary.KeyId, Plaintext: []byte("same")}))(b).CiphertextBlob
		if got := ok(there.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b); string(got.Plaintext) != "same" || *got.KeyId != *replica.Arn {
			b.Errorf("3.6.1: %+v", got)
		}
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: primary.KeyId}))(b)
		if state := b.described(there, *primary.KeyId).KeyState; state != kmstypes.KeyStateEnabled {
			b.Errorf("3.6.1: the replica is %s", state)
		}
		_, err = there.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: primary.KeyId})
		requireErrorCode(b, err, "UnsupportedOperationException")

		// 3.4: a primary waits for its replicas.
		must(b.kms.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: primary.KeyId, PendingWindowInDays: aws.Int32(7)}))(b)
		time.Sleep(10 * 24 * time.Hour)
		if state := b.described(b.kms, *primary.KeyId).KeyState; state != kmstypes.KeyStatePendingReplicaDeletion {
			b.Errorf("3.4: the primary is %s", state)
		}
		must(there.ScheduleKeyDeletion(b.Context(), &kms.ScheduleKeyDeletionInput{KeyId: primary.KeyId, PendingWindowInDays: aws.Int32(7)}))(b)
		time.Sleep(8 * 24 * time.Hour)
		if state := b.described(b.kms, *primary.KeyId).KeyState; state != kmstypes.KeyStatePendingDeletion {
			b.Errorf("3.4: the primary is %s", state)
		}
		time.Sleep(7 * 24 * time.Hour)
		requireErrorCode(b, keyCalls["DescribeKey"](b, *primary.KeyId), "NotFoundException")
	})
}

func TestKey_otherPartitions(t *testing.T) {
	for partition, region := range map[string]string{"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"} {
		runWithFixture(t, func(b fixture) {
			config := b.world.Config(owner, region)
			key := ok(kms.NewFromConfig(config).CreateKey(b.Context(), &kms.CreateKeyInput{}))(b).KeyMetadata
			if want := "arn:" + partition + ":kms:" + region + ":" + owner + ":key/"; !strings.HasPrefix(*key.Arn, want) {
				b.Errorf("%s, want %s...", *key.Arn, want)
			}
			if got := ok(sts.NewFromConfig(config).GetCallerIdentity(b.Context(), &sts.GetCallerIdentityInput{}))(b); *got.Arn != "arn:"+partition+":iam::"+owner+":root" {
				b.Errorf("caller %s", *got.Arn)
			}
			client := ec2.NewFromConfig(config)
			made := ok(client.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), Encrypted: aws.Bool(true)}))(b)
			time.Sleep(time.Minute)
			if got := ok(client.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*made.VolumeId}}))(b).Volumes[0]; got.State != "available" {
				b.Errorf("under aws/ebs the volume is %s", got.State)
			}
		})
	}
}
