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

// grant makes a grant on a key. Changes alter the request.
func (b fixture) grant(client *kms.Client, key, grantee string, operations []kmstypes.GrantOperation, changes ...func(*kms.CreateGrantInput)) (*kms.CreateGrantOutput, error) {
	in := &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: &grantee, Operations: operations}
	for _, change := range changes {
		change(in)
	}
	return client.CreateGrant(b.Context(), in, singly)
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

// bare makes a role without any policy, and is its ARN and a client of its session.
func (b fixture) bare(account, name string) (string, *kms.Client) {
	b.Helper()
	role := b.role(account, name, trusting(rootOf(account), `"sts:*"`))
	return role, kms.NewFromConfig(b.session(role))
}

var (
	decrypts  = []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}
	describes = []kmstypes.GrantOperation{kmstypes.GrantOperationDescribeKey}
)

// TestCreateGrant_sameName covers rule 3.2.6.
func TestCreateGrant_sameName(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		role, _ := b.bare(owner, "user")
		id := *ok(b.iam(owner).GetRole(b.Context(), &iam.GetRoleInput{RoleName: aws.String("user")}))(b).Role.RoleId
		first := ok(b.grant(b.kms, key, role, decrypts, called("one")))(b)
		for name, row := range map[string]struct {
			grantee string
			change  []func(*kms.CreateGrantInput)
			same    bool
		}{
			"3.2.6 the same again":                     {role, []func(*kms.CreateGrantInput){called("one")}, true},
			"3.2.6 the role's unique id is the role":   {id, []func(*kms.CreateGrantInput){called("one")}, true},
			"3.2.6 another name":                       {role, []func(*kms.CreateGrantInput){called("two")}, false},
			"3.2.6 the same name and other parameters": {role, []func(*kms.CreateGrantInput){called("one"), retiredBy(role)}, false},
			"3.2.6 without a name":                     {role, nil, false},
		} {
			again := ok(b.grant(b.kms, key, row.grantee, decrypts, row.change...))(b)
			if (*again.GrantId == *first.GrantId) != row.same {
				b.Errorf("%s: %s and %s", name, *first.GrantId, *again.GrantId)
			}
			if *again.GrantToken == *first.GrantToken {
				b.Errorf("%s: the token is not of its own", name)
			}
		}
	})
}

func TestCreateGrant_invalid(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		role, _ := b.bare(owner, "user")
		for name, row := range map[string]struct {
			grantee    string
			operations []kmstypes.GrantOperation
			change     func(*kms.CreateGrantInput)
			code       string
		}{
			"3.7 a role that is not there":         {grantee: "arn:aws:iam::" + owner + ":role/unknown", operations: decrypts, code: "InvalidArnException"},
			"3.7 what is no principal":             {grantee: "somebody", operations: decrypts, code: "InvalidArnException"},
			"3.7 a retiring principal not there":   {grantee: role, operations: decrypts, change: retiredBy("arn:aws:iam::" + owner + ":role/unknown"), code: "InvalidArnException"},
			"3.7 no operation":                     {grantee: role, operations: []kmstypes.GrantOperation{}, code: "ValidationException"},
			"3.7 an operation of asymmetric keys":  {grantee: role, operations: []kmstypes.GrantOperation{kmstypes.GrantOperationSign}, code: "ValidationException"},
			"3.7 a name with a blank":              {grantee: role, operations: decrypts, change: called("a b"), code: "ValidationException"},
			"3.7 a token that is none":             {grantee: role, operations: decrypts, change: func(in *kms.CreateGrantInput) { in.GrantTokens = []string{"token"} }, code: "InvalidGrantTokenException"},
			"a service principal is not modelled":  {grantee: role, operations: decrypts, change: func(in *kms.CreateGrantInput) { in.GranteeServicePrincipal = aws.String("ec2.amazonaws.com") }, code: "UnsupportedOperation"},
			"3.4 a disabled key":                   {grantee: role, operations: decrypts, change: func(in *kms.CreateGrantInput) { in.KeyId = aws.String(b.keyIn(kmstypes.KeyStateDisabled)) }, code: "DisabledException"},
			"3.2.6 more operations than there are": {grantee: role, operations: []kmstypes.GrantOperation{"PutKeyPolicy"}, code: "ValidationException"},
		} {
			b.Log(name)
			change := row.change
			if change == nil {
				change = func(*kms.CreateGrantInput) {}
			}
			_, err := b.grant(b.kms, key, row.grantee, row.operations, change)
			requireErrorCode(b, err, row.code)
		}
	})
}

// TestCreateGrant_grantLimit covers rule 3.2.7.
func TestCreateGrant_grantLimit(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		arn, id := b.key(), ""
		key, _ := b.world.keys.get(arn)
		for n := range grantLimit { // through the API it would take long
			id = fmt.Sprintf("%064x", n)
			key.grants.put(id, &grant{Grant: iampolicy.Grant{ID: id}})
		}
		_, err := b.grant(b.kms, arn, rootOf(owner), decrypts)
		requireErrorCode(b, err, "LimitExceededException") // 3.2.7
		must(b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &arn, GrantId: &id}))(b)
		must(b.grant(b.kms, arn, rootOf(owner), decrypts))(b)
	})
}

func TestGrant_constraints(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		role, client := b.bare(owner, "user")
		both, one := map[string]string{"team": "golden", "image": "ami"}, map[string]string{"team": "golden"}
		sealed := func(context map[string]string) *kms.DecryptInput {
			return &kms.DecryptInput{EncryptionContext: context,
				CiphertextBlob: ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x"), EncryptionContext: context}))(b).CiphertextBlob}
		}
		for name, row := range map[string]struct {
			constraints   kmstypes.GrantConstraints
			one, both, no bool // which contexts it lets pass
		}{
			"3.2.6 equals": {kmstypes.GrantConstraints{EncryptionContextEquals: one}, true, false, false},
			"3.2.6 subset": {kmstypes.GrantConstraints{EncryptionContextSubset: one}, true, true, false},
			"3.2.6 none":   {kmstypes.GrantConstraints{}, true, true, true},
		} {
			made := ok(b.grant(b.kms, key, role, decrypts, constrained(row.constraints)))(b)
			for _, try := range []struct {
				context map[string]string
				allowed bool
			}{{one, row.one}, {both, row.both}, {nil, row.no}} {
				if _, err := client.Decrypt(b.Context(), sealed(try.context)); (err == nil) != try.allowed {
					b.Errorf("%s: %v: %v", name, try.context, err)
				}
			}
			must(b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: made.GrantId}))(b)
		}
	})
}

func TestRevokeGrant_childGrantRemains(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		parent, delegate := b.bare(owner, "delegate")
		grandchild, user := b.bare(owner, "user")
		above := ok(b.grant(b.kms, key, parent, []kmstypes.GrantOperation{kmstypes.GrantOperationCreateGrant, kmstypes.GrantOperationDescribeKey}))(b)
		_, err := b.grant(delegate, key, grandchild, decrypts)
		requireErrorCode(b, err, "AccessDeniedException") // 3.2.6: a child holds a subset
		must(b.grant(delegate, key, grandchild, describes))(b)
		must(b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: above.GrantId}))(b)
		if _, err := user.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key}); err != nil {
			b.Errorf("the child ended with its parent: %v", err)
		}
		_, err = delegate.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorCode(b, err, "AccessDeniedException")
	})
}

func TestRetireGrant_whoMayRetire(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		grantee, asGrantee := b.bare(owner, "grantee")
		retiring, asRetiring := b.bare(owner, "retiring")
		_, stranger := b.bare(owner, "stranger")
		made := func(operations ...kmstypes.GrantOperation) string {
			return *ok(b.grant(b.kms, key, grantee, append(operations, kmstypes.GrantOperationDecrypt), retiredBy(retiring)))(b).GrantId
		}
		retire := func(client *kms.Client, id string) error {
			_, err := client.RetireGrant(b.Context(), &kms.RetireGrantInput{KeyId: &key, GrantId: &id})
			return err
		}
		requireErrorCode(b, retire(stranger, made()), "AccessDeniedException")
		requireErrorCode(b, retire(asGrantee, made()), "AccessDeniedException")
		for name, err := range map[string]error{
			"the grantee who may":      retire(asGrantee, made(kmstypes.GrantOperationRetireGrant)),
			"the retiring principal":   retire(asRetiring, made()),
			"the account that made it": retire(b.kms, made()),
		} {
			if err != nil {
				b.Errorf("%s: %v", name, err)
			}
		}
		id := made()
		_, err := asRetiring.RetireGrant(b.Context(), &kms.RetireGrantInput{KeyId: &key, GrantId: &id, DryRun: aws.Bool(true)})
		requireErrorCode(b, err, "DryRunOperationException") // 6.6
		_, err = b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id, DryRun: aws.Bool(true)})
		requireErrorCode(b, err, "DryRunOperationException")
		_, err = asRetiring.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id})
		requireErrorCode(b, err, "AccessDeniedException")
		must(b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id}))(b)
		_, err = b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: &id})
		requireErrorCode(b, err, "NotFoundException")
		_, err = b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: aws.String("id")})
		requireErrorCode(b, err, "InvalidGrantIdException") // 3.7
		_, err = b.kms.RetireGrant(b.Context(), &kms.RetireGrantInput{GrantToken: aws.String("token")})
		requireErrorCode(b, err, "InvalidGrantTokenException") // 3.7
		left := ok(b.kms.ListRetirableGrants(b.Context(), &kms.ListRetirableGrantsInput{RetiringPrincipal: &retiring}))(b).Grants
		if len(left) != 2 { // those that the stranger and the grantee could not retire
			b.Errorf("%d grants are left to be retired", len(left))
		}
	})
}

// TestListGrants_pages covers rule 3.2.9.
func TestListGrants_pages(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		for range 7 {
			must(b.grant(b.kms, key, rootOf(member), decrypts))(b)
		}
		pages, seen := 0, map[string]bool{}
		for all := kms.NewListGrantsPaginator(b.kms, &kms.ListGrantsInput{KeyId: &key, Limit: aws.Int32(3)}); all.HasMorePages(); pages++ {
			for _, g := range ok(all.NextPage(b.Context()))(b).Grants {
				seen[*g.GrantId] = true
			}
		}
		if pages != 3 || len(seen) != 7 { // 3.2.9
			b.Errorf("%d grants on %d pages", len(seen), pages)
		}
		_, err := b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &key, Limit: aws.Int32(101)})
		requireErrorCode(b, err, "ValidationException") // 3.2.9
		_, err = b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &key, Marker: aws.String("marker")})
		requireErrorCode(b, err, "InvalidMarkerException") // 3.7
	})
}

// TestCreateGrant_onlyForAWSResources covers rule 3.2.3.
// Rule 3.2.3: a statement for AWS's own resources forbids the direct call that Auto Scaling needs across accounts (8.3).
func TestCreateGrant_onlyForAWSResources(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		role := b.role(owner, "user", trusting(rootOf(owner), `"sts:*"`),
			may(`"ec2:*","kms:DescribeKey","kms:GenerateDataKey*"`),
			`{"Effect":"Allow","Action":"kms:CreateGrant","Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}`)
		key := b.key()
		config := b.session(role)
		_, err := b.grant(kms.NewFromConfig(config), key, role, decrypts)
		requireErrorCode(b, err, "AccessDeniedException")
		source := b.snapshot("")
		copied := b.copySnapshot(ec2Of(config), source, under(key))
		if got := b.settled(b.ec2, copied); got.State != "completed" {
			b.Errorf("3.2.3: the copy by EC2 is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCreateGrant_crossAccount covers rule A.4.10.
// Rule A.4.10: a grant that the key's account makes to a role of another account is not enough alone; inside one account it is.
func TestCreateGrant_crossAccount(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		look := func(client *kms.Client) error {
			_, err := client.DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
			return err
		}
		theirs, asTheirs := b.bare(member, "theirs")
		ours, asOurs := b.bare(owner, "ours")
		for _, grantee := range []string{theirs, ours} {
			must(b.grant(b.kms, key, grantee, describes))(b)
		}
		if err := look(asOurs); err != nil {
			b.Errorf("A.4.10: inside the account: %v", err)
		}
		requireErrorMessage(b, look(asTheirs), "AccessDeniedException", "because no identity-based policy allows the kms:DescribeKey action")
		must(b.iam(member).PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("theirs"), PolicyName: aws.String("own"), PolicyDocument: policyOf(may(`"kms:DescribeKey"`))}))(b)
		if err := look(asTheirs); err != nil {
			b.Errorf("A.4.10: with an identity policy: %v", err)
		}
		// 3.2.6: a grant to the account is enough for those whom the account lets.
		must(b.grant(b.kms, key, rootOf(member), decrypts))(b)
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")}))(b).CiphertextBlob
		_, err := asTheirs.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed})
		requireErrorCode(b, err, "AccessDeniedException")
		must(kms.NewFromConfig(b.session(b.role(member, "allowed", trusting(rootOf(member), `"sts:*"`), may(`"kms:*"`)))).Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b)
	})
}

// TestGrant_recreatedRole covers rule 8.3.
// Rule 8.3: a grant, a key policy and a trust policy mean one role; another of the same name is somebody else.
func TestGrant_recreatedRole(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		linked := func() string {
			return *ok(b.iam(owner).CreateServiceLinkedRole(b.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("autoscaling.amazonaws.com")}))(b).Role.Arn
		}
		act := func(role, key string) error {
			config := ok(b.world.ServiceConfig(role, home))(b)
			_, err := kms.NewFromConfig(config).DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: &key})
			return err
		}
		role, granted, named := linked(), b.key(), b.key()
		must(b.grant(b.kms, granted, role, describes))(b)
		b.setPolicy(named, trustingKey(role, `"kms:DescribeKey"`))
		for _, key := range []string{granted, named} {
			if err := act(role, key); err != nil {
				b.Fatal(err)
			}
		}
		must(b.iam(owner).DeleteServiceLinkedRole(b.Context(), &iam.DeleteServiceLinkedRoleInput{RoleName: aws.String("AWSServiceRoleForAutoScaling")}))(b)
		_, err := b.grant(b.kms, granted, role, describes)
		requireErrorCode(b, err, "InvalidArnException") // the role must exist first
		if again := linked(); again != role {
			b.Fatalf("made again as %s", again)
		}
		for _, key := range []string{granted, named} {
			requireErrorCode(b, act(role, key), "AccessDeniedException")
		}
	})
}
