// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// createGrant creates a grant on a key.
func (f fixture) createGrant(
	client *kms.Client, key, grantee string, operations []kmstypes.GrantOperation, changes ...func(*kms.CreateGrantInput),
) (*kms.CreateGrantOutput, error) {
	in := &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: &grantee, Operations: operations}
	for _, change := range changes {
		change(in)
	}
	return client.CreateGrant(f.Context(), in, withoutKMSRetries)
}

func called(name string) func(*kms.CreateGrantInput) {
	return func(in *kms.CreateGrantInput) { in.Name = &name }
}

func retiredBy(principal string) func(*kms.CreateGrantInput) {
	return func(in *kms.CreateGrantInput) { in.RetiringPrincipal = &principal }
}

func constrained(to kmstypes.GrantConstraints) func(*kms.CreateGrantInput) {
	return func(in *kms.CreateGrantInput) { in.Constraints = &to }
}

// createBareRole creates a role without policies. It returns its ARN and a client of its session.
func (f fixture) createBareRole(account, name string) (string, *kms.Client) {
	f.Helper()
	role := f.createRole(account, name, trustStatement(rootOf(account), `"sts:*"`))
	return role, kms.NewFromConfig(f.sessionCredentials(role))
}

var (
	decrypts  = []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}
	describes = []kmstypes.GrantOperation{kmstypes.GrantOperationDescribeKey}
)

// TestCreateGrant_sameName covers rule 3.2.6. A grant with a name is created once.
func TestCreateGrant_sameName(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		role, _ := f.createBareRole(owner, "user")
		id := *requireOutput(f.iam(owner).GetRole(f.Context(), &iam.GetRoleInput{
			RoleName: aws.String("user"),
		}))(f).Role.RoleId

		first := requireOutput(f.createGrant(f.kms, key, role, decrypts, called("one")))(f)
		for name, row := range map[string]struct {
			grantee string
			change  []func(*kms.CreateGrantInput)
			same    bool
		}{
			"3.2.6 the same again":                   {role, []func(*kms.CreateGrantInput){called("one")}, true},
			"3.2.6 the role's unique id is the role": {id, []func(*kms.CreateGrantInput){called("one")}, true},
			"3.2.6 another name":                     {role, []func(*kms.CreateGrantInput){called("two")}, false},
			"3.2.6 the same name and other parameters": {
				role, []func(*kms.CreateGrantInput){called("one"), retiredBy(role)}, false,
			},
			"3.2.6 without a name": {role, nil, false},
		} {
			again := requireOutput(f.createGrant(f.kms, key, row.grantee, decrypts, row.change...))(f)
			if (*again.GrantId == *first.GrantId) != row.same {
				f.Errorf("%s: %s and %s", name, *first.GrantId, *again.GrantId)
			}
			if *again.GrantToken == *first.GrantToken {
				f.Errorf("%s: the token is not of its own", name)
			}
		}
	})
}

func TestCreateGrant_invalid(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		role, _ := f.createBareRole(owner, "user")
		for name, row := range map[string]struct {
			grantee    string
			operations []kmstypes.GrantOperation
			change     func(*kms.CreateGrantInput)
			code       string
		}{
			"3.7 a role that is not there": {
				grantee: "arn:aws:iam::" + owner + ":role/unknown", operations: decrypts, code: "InvalidArnException",
			},
			"3.7 what is no principal": {grantee: "somebody", operations: decrypts, code: "InvalidArnException"},
			"3.7 a retiring principal not there": {
				grantee:    role,
				operations: decrypts,
				change:     retiredBy("arn:aws:iam::" + owner + ":role/unknown"),
				code:       "InvalidArnException",
			},
			"3.7 no operation": {
				grantee: role, operations: []kmstypes.GrantOperation{}, code: "ValidationException",
			},
			"3.7 an operation of asymmetric keys": {
				grantee: role, operations: []kmstypes.GrantOperation{kmstypes.GrantOperationSign}, code: "ValidationException",
			},
			"3.7 a name with a blank": {
				grantee:    role,
				operations: decrypts,
				change:     called("a b"),
				code:       "ValidationException",
			},
			"3.7 a token that is none": {
				grantee:    role,
				operations: decrypts,
				change:     func(in *kms.CreateGrantInput) { in.GrantTokens = []string{"token"} },
				code:       "InvalidGrantTokenException",
			},
			"a service principal is not modeled": {
				grantee:    role,
				operations: decrypts,
				change:     func(in *kms.CreateGrantInput) { in.GranteeServicePrincipal = aws.String("ec2.amazonaws.com") },
				code:       "UnsupportedOperation",
			},
			"3.4 a disabled key": {
				grantee:    role,
				operations: decrypts,
				change:     func(in *kms.CreateGrantInput) { in.KeyId = aws.String(f.createKeyInState(kmstypes.KeyStateDisabled)) },
				code:       "DisabledException",
			},
			"3.2.6 more operations than there are": {
				grantee: role, operations: []kmstypes.GrantOperation{"PutKeyPolicy"}, code: "ValidationException",
			},
		} {
			f.Log(name)
			change := row.change
			if change == nil {
				change = func(*kms.CreateGrantInput) {}
			}
			_, err := f.createGrant(f.kms, key, row.grantee, row.operations, change)
			requireErrorCode(f, err, row.code)
		}
	})
}

// TestCreateGrant_grantLimit covers rule 3.2.7. A key has at most 50,000 grants.
func TestCreateGrant_grantLimit(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		arn, id := f.createKey(), ""
		key, _ := f.world.keys.get(arn)
		for n := range grantLimit { // through the API this would take too long
			id = fmt.Sprintf("%064x", n)
			key.grants.put(id, &grant{Grant: iampolicy.Grant{ID: id}})
		}
		_, err := f.createGrant(f.kms, arn, rootOf(owner), decrypts)
		requireErrorCode(f, err, "LimitExceededException") // 3.2.7
		requireNoError(f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &arn, GrantId: &id}))(f)
		requireNoError(f.createGrant(f.kms, arn, rootOf(owner), decrypts))(f)
	})
}

func TestGrant_constraints(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		role, client := f.createBareRole(owner, "user")
		both, one := map[string]string{"team": "golden", "image": "ami"}, map[string]string{"team": "golden"}
		encrypted := func(context map[string]string) *kms.DecryptInput {
			return &kms.DecryptInput{
				EncryptionContext: context,
				CiphertextBlob: requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
					KeyId: &key, Plaintext: []byte("x"), EncryptionContext: context,
				}))(f).CiphertextBlob,
			}
		}

		for name, row := range map[string]struct {
			constraints   kmstypes.GrantConstraints
			one, both, no bool // allowed encryption contexts
		}{
			"3.2.6 equals": {kmstypes.GrantConstraints{EncryptionContextEquals: one}, true, false, false},
			"3.2.6 subset": {kmstypes.GrantConstraints{EncryptionContextSubset: one}, true, true, false},
			"3.2.6 none":   {kmstypes.GrantConstraints{}, true, true, true},
		} {
			created := requireOutput(f.createGrant(f.kms, key, role, decrypts, constrained(row.constraints)))(f)
			for _, try := range []struct {
				context map[string]string
				allowed bool
			}{{one, row.one}, {both, row.both}, {nil, row.no}} {
				if _, err := client.Decrypt(f.Context(), encrypted(try.context)); (err == nil) != try.allowed {
					f.Errorf("%s: %v: %v", name, try.context, err)
				}
			}

			requireNoError(f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: created.GrantId}))(f)
		}
	})
}

func TestRevokeGrant_childGrantRemains(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		parent, delegate := f.createBareRole(owner, "delegate")
		grandchild, user := f.createBareRole(owner, "user")
		above := requireOutput(f.createGrant(f.kms, key, parent, []kmstypes.GrantOperation{
			kmstypes.GrantOperationCreateGrant, kmstypes.GrantOperationDescribeKey,
		}))(f)

		_, err := f.createGrant(delegate, key, grandchild, decrypts)
		requireErrorCode(f, err, "AccessDeniedException") // rule 3.2.6: a child grant allows a subset
		requireNoError(f.createGrant(delegate, key, grandchild, describes))(f)
		requireNoError(f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: above.GrantId}))(f)
		if _, err := user.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key}); err != nil {
			f.Errorf("the child ended with its parent: %v", err)
		}

		_, err = delegate.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(f, err, "AccessDeniedException")
	})
}

func TestRetireGrant_whoMayRetire(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		grantee, asGrantee := f.createBareRole(owner, "grantee")
		retiring, asRetiring := f.createBareRole(owner, "retiring")
		_, otherRole := f.createBareRole(owner, "stranger")
		created := func(operations ...kmstypes.GrantOperation) string {
			return *requireOutput(f.createGrant(
				f.kms, key, grantee, append(operations, kmstypes.GrantOperationDecrypt), retiredBy(retiring),
			))(f).GrantId
		}

		retire := func(client *kms.Client, id string) error {
			_, err := client.RetireGrant(f.Context(), &kms.RetireGrantInput{KeyId: &key, GrantId: &id})
			return err
		}

		requireErrorCode(f, retire(otherRole, created()), "AccessDeniedException")
		requireErrorCode(f, retire(asGrantee, created()), "AccessDeniedException")
		for name, err := range map[string]error{
			"the grantee who may":      retire(asGrantee, created(kmstypes.GrantOperationRetireGrant)),
			"the retiring principal":   retire(asRetiring, created()),
			"the account that made it": retire(f.kms, created()),
		} {
			if err != nil {
				f.Errorf("%s: %v", name, err)
			}
		}

		id := created()
		_, err := asRetiring.RetireGrant(f.Context(), &kms.RetireGrantInput{
			KeyId: &key, GrantId: &id, DryRun: aws.Bool(true),
		})

		requireErrorCode(f, err, "DryRunOperationException") // 6.6
		_, err = f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id, DryRun: aws.Bool(true)})
		requireErrorCode(f, err, "DryRunOperationException")
		_, err = asRetiring.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id})
		requireErrorCode(f, err, "AccessDeniedException")
		requireNoError(f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id}))(f)
		_, err = f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id})
		requireErrorCode(f, err, "NotFoundException")
		_, err = f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: aws.String("id")})
		requireErrorCode(f, err, "InvalidGrantIdException") // 3.7
		_, err = f.kms.RetireGrant(f.Context(), &kms.RetireGrantInput{GrantToken: aws.String("token")})
		requireErrorCode(f, err, "InvalidGrantTokenException") // 3.7
		left := requireOutput(f.kms.ListRetirableGrants(f.Context(), &kms.ListRetirableGrantsInput{
			RetiringPrincipal: &retiring,
		}))(f).Grants
		if len(left) != 2 { // those that neither the other role nor the grantee could retire
			f.Errorf("%d grants are left to be retired", len(left))
		}
	})
}

// TestListGrants_pages covers rule 3.2.9. Lists of grants have pages.
func TestListGrants_pages(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		for range 7 {
			requireNoError(f.createGrant(f.kms, key, rootOf(member), decrypts))(f)
		}

		pages, seen := 0, map[string]bool{}
		for all := kms.NewListGrantsPaginator(f.kms, &kms.ListGrantsInput{
			KeyId: &key, Limit: aws.Int32(3),
		}); all.HasMorePages(); pages++ {
			for _, g := range requireOutput(all.NextPage(f.Context()))(f).Grants {
				seen[*g.GrantId] = true
			}
		}

		if pages != 3 || len(seen) != 7 { // 3.2.9
			f.Errorf("%d grants on %d pages", len(seen), pages)
		}

		_, err := f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key, Limit: aws.Int32(101)})
		requireErrorCode(f, err, "ValidationException") // 3.2.9
		_, err = f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key, Marker: aws.String("marker")})
		requireErrorCode(f, err, "InvalidMarkerException") // 3.7
	})
}

// TestCreateGrant_onlyForAWSResources covers rule 3.2.3. A statement with kms:GrantIsForAWSResource forbids the direct
// call that Auto Scaling needs across accounts (rule 8.3).
func TestCreateGrant_onlyForAWSResources(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(owner, "user", trustStatement(rootOf(owner), `"sts:*"`),
			allowStatement(`"ec2:*","kms:DescribeKey","kms:GenerateDataKey*"`),
			`{"Effect":"Allow","Action":"kms:CreateGrant","Resource":"*",`+
				`"Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}`)

		key := f.createKey()
		config := f.sessionCredentials(role)
		_, err := f.createGrant(kms.NewFromConfig(config), key, role, decrypts)
		requireErrorCode(f, err, "AccessDeniedException")
		source := f.createSnapshot("")
		copied := f.copySnapshot(ec2Of(config), source, withKey(key))
		if got := f.waitForSnapshot(f.ec2, copied); got.State != "completed" {
			f.Errorf("3.2.3: the copy by EC2 is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCreateGrant_crossAccount covers rule A.4.10. For a role of another account a grant of the key's account is not
// enough. Within one account it is.
func TestCreateGrant_crossAccount(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		look := func(client *kms.Client) error {
			_, err := client.DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
			return err
		}

		theirs, asTheirs := f.createBareRole(member, "theirs")
		ours, asOurs := f.createBareRole(owner, "ours")
		for _, grantee := range []string{theirs, ours} {
			requireNoError(f.createGrant(f.kms, key, grantee, describes))(f)
		}

		if err := look(asOurs); err != nil {
			f.Errorf("A.4.10: inside the account: %v", err)
		}

		requireErrorMessage(
			f, look(asTheirs), "AccessDeniedException", "because no identity-based policy allows the kms:DescribeKey action",
		)

		requireNoError(f.iam(member).PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: aws.String("theirs"), PolicyName: aws.String("own"), PolicyDocument: newPolicy(allowStatement(
				`"kms:DescribeKey"`,
			)),
		}))(f)

		if err := look(asTheirs); err != nil {
			f.Errorf("A.4.10: with an identity policy: %v", err)
		}

		// Rule 3.2.6: a grant to the account allows principals that the account's policies allow.
		requireNoError(f.createGrant(f.kms, key, rootOf(member), decrypts))(f)
		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: &key, Plaintext: []byte("x"),
		}))(f).CiphertextBlob

		_, err := asTheirs.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted})
		requireErrorCode(f, err, "AccessDeniedException")
		requireNoError(kms.NewFromConfig(f.sessionCredentials(f.createRole(
			member, "allowed", trustStatement(rootOf(member), `"sts:*"`), allowStatement(`"kms:*"`),
		))).Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f)
	})
}

// TestGrant_recreatedRole covers rule 8.3. A grant, key policy or trust policy does not apply to a new role with the
// same name.
func TestGrant_recreatedRole(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		linked := func() string {
			return *requireOutput(f.iam(owner).CreateServiceLinkedRole(f.Context(), &iam.CreateServiceLinkedRoleInput{
				AWSServiceName: aws.String("autoscaling.amazonaws.com"),
			}))(f).Role.Arn
		}

		act := func(role, key string) error {
			config := requireOutput(f.world.ServiceConfig(role, home))(f)
			_, err := kms.NewFromConfig(config).DescribeKey(f.Context(), &kms.DescribeKeyInput{KeyId: &key})
			return err
		}

		role, granted, named := linked(), f.createKey(), f.createKey()
		requireNoError(f.createGrant(f.kms, granted, role, describes))(f)
		f.setKeyPolicy(named, keyStatement(role, `"kms:DescribeKey"`))
		for _, key := range []string{granted, named} {
			if err := act(role, key); err != nil {
				f.Fatal(err)
			}
		}

		requireNoError(f.iam(owner).DeleteServiceLinkedRole(f.Context(), &iam.DeleteServiceLinkedRoleInput{
			RoleName: aws.String("AWSServiceRoleForAutoScaling"),
		}))(f)

		_, err := f.createGrant(f.kms, granted, role, describes)
		requireErrorCode(f, err, "InvalidArnException") // the role must exist first
		if again := linked(); again != role {
			f.Fatalf("made again as %s", again)
		}

		for _, key := range []string{granted, named} {
			requireErrorCode(f, act(role, key), "AccessDeniedException")
		}
	})
}
