// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/zclconf/go-cty/cty"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// role replaces the permissions of the target's role.
func (s *stage) role(statements ...string) {
	_, err := iam.NewFromConfig(s.Config(prod, tokyo)).PutRolePolicy(s.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("golden-image-target"), PolicyName: aws.String("all"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`),
	})
	s.must(err)
}

// sourceKey replaces the policy of the source account's key.
func (s *stage) sourceKey(statements ...string) {
	keys, key := s.keyOf(source)
	own := `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + source + `:root"},"Action":"kms:*","Resource":"*"}`
	_, err := keys.PutKeyPolicy(
		s.Context(),
		&kms.PutKeyPolicyInput{
			KeyId:  key,
			Policy: aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(append(statements, own), ",") + `]}`),
		},
	)
	s.must(err)
}

// keyOf returns the key that alias/golden names in an account.
func (s *stage) keyOf(account string) (*kms.Client, *string) {
	keys := kms.NewFromConfig(s.Config(account, tokyo))
	key, err := keys.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/golden")})
	s.must(err)
	return keys, key.KeyMetadata.KeyId
}

// imported points alias/golden of an account to a key with the same policy, whose imported material expires after a
// time. With 0, the key has no material yet.
func (s *stage) imported(account string, lasts time.Duration) {
	keys, golden := s.keyOf(account)
	policy, err := keys.GetKeyPolicy(s.Context(), &kms.GetKeyPolicyInput{KeyId: golden})
	s.must(err)
	made, err := keys.CreateKey(
		s.Context(),
		&kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, Policy: policy.Policy},
	)
	s.must(err)
	key := made.KeyMetadata.KeyId
	_, err = keys.UpdateAlias(s.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: key})
	s.must(err)
	if lasts == 0 {
		return
	}
	given, err := keys.GetParametersForImport(
		s.Context(),
		&kms.GetParametersForImportInput{
			KeyId:             key,
			WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesOaepSha256,
			WrappingKeySpec:   kmstypes.WrappingKeySpecRsa2048,
		},
	)
	s.must(err)
	wrapping, err := x509.ParsePKIXPublicKey(given.PublicKey)
	s.must(err)
	material, err := rsa.EncryptOAEP(
		sha256.New(),
		rand.Reader,
		wrapping.(*rsa.PublicKey),
		bytes.Repeat([]byte{7}, 32),
		nil,
	)
	s.must(err)
	_, err = keys.ImportKeyMaterial(s.Context(), &kms.ImportKeyMaterialInput{
		KeyId: key, ImportToken: given.ImportToken, EncryptedKeyMaterial: material,
		ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialExpires, ValidTo: aws.Time(time.Now().Add(lasts)),
	})
	s.must(err)
}

// organize creates an organization of accounts, and returns the ID of its root.
func (s *stage) organize(accounts ...string) string {
	client := s.organizations(management)
	_, err := client.CreateOrganization(
		s.Context(),
		&organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll},
	)
	s.must(err)
	for _, account := range accounts {
		invited, err := client.InviteAccountToOrganization(
			s.Context(),
			&organizations.InviteAccountToOrganizationInput{
				Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount},
			},
		)
		s.must(err)
		_, err = s.organizations(account).
			AcceptHandshake(s.Context(), &organizations.AcceptHandshakeInput{HandshakeId: invited.Handshake.Id})
		s.must(err)
	}
	roots, err := client.ListRoots(s.Context(), &organizations.ListRootsInput{})
	s.must(err)
	return *roots.Roots[0].Id
}

func (s *stage) organizations(account string) *organizations.Client {
	return organizations.NewFromConfig(s.Config(account, tokyo))
}

// denied attaches a service control policy to the target account.
func (s *stage) denied(statement string) {
	s.organize(prod)
	client := s.organizations(management)
	made, err := client.CreatePolicy(s.Context(), &organizations.CreatePolicyInput{
		Name: aws.String("guardrail"), Description: aws.String(""), Type: orgtypes.PolicyTypeServiceControlPolicy,
		Content: aws.String(`{"Version":"2012-10-17","Statement":[` + statement + `]}`),
	})
	s.must(err)
	_, err = client.AttachPolicy(
		s.Context(),
		&organizations.AttachPolicyInput{PolicyId: made.Policy.PolicySummary.Id, TargetId: aws.String(prod)},
	)
	s.must(err)
}

// Each problem that AWS shows before the build has a finding of its own.
func TestPreflight_everyProblem(t *testing.T) {
	everything := `{"Effect":"Allow","Action":["ec2:*","kms:*"],"Resource":"*"}`
	var text strings.Builder
	for _, c := range []struct {
		name   string
		change func(s *stage, target map[string]any)
	}{
		{"all is well", func(*stage, map[string]any) {}},
		{"the role cannot be assumed", func(_ *stage, target map[string]any) {
			target["assume_role"] = []any{map[string]any{"role_arn": "arn:aws:iam::{{ .AccountId " +
				"}}:role/golden-image-target", "external_id": "hush-other"}}
		}},
		{"the Region is not enabled", func(_ *stage, target map[string]any) { target["regions"] = []any{"ap-east-1"} }},
		{"the role may not register images", func(s *stage, _ map[string]any) {
			s.role(everything, `{"Effect":"Deny","Action":"ec2:RegisterImage","Resource":"*"}`)
		}},
		{"a service control policy denies copies", func(s *stage, _ map[string]any) {
			s.denied(`{"Effect":"Deny","Action":"ec2:CopySnapshot","Resource":"*"}`)
		}},
		{"Control Tower denies grants", func(s *stage, _ map[string]any) {
			s.denied(`{
				"Effect":"Deny",
				"Action":"kms:CreateGrant",
				"Resource":"*",
				"Condition":{"Bool":{"kms:GrantIsForAWSResource":"false"}}
			}`)
		}},
		{"the key policy allows the account, and the role has no permission on keys", func(s *stage, _ map[string]any) {
			s.role(`{"Effect":"Allow","Action":["ec2:*","kms:DescribeKey"],"Resource":"*"}`)
		}},
		{
			"the role has the permission, and the key policy does not allow the account",
			func(s *stage, _ map[string]any) { s.sourceKey() },
		},
		{"the key policy allows it only for EC2", func(s *stage, _ map[string]any) {
			s.sourceKey(`{
				"Effect":"Allow",
				"Principal":{"AWS":"arn:aws:iam::` + prod + `:root"},
				"Action":"kms:*",
				"Resource":"*",
				"Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}
			}`)
		}},
		{"the target's key is disabled", func(s *stage, _ map[string]any) {
			keys, key := s.keyOf(prod)
			_, err := keys.DisableKey(s.Context(), &kms.DisableKeyInput{KeyId: key})
			s.must(err)
		}},
		{"the source key is going to be deleted", func(s *stage, _ map[string]any) {
			keys, key := s.keyOf(source)
			_, err := keys.ScheduleKeyDeletion(s.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key})
			s.must(err)
		}},
		{"the target's key waits for its material", func(s *stage, _ map[string]any) { s.imported(prod, 0) }},
		{
			"the material of the source key is about to expire",
			func(s *stage, _ map[string]any) { s.imported(source, 10*24*time.Hour) },
		},
		{
			"the material of the target's key is about to expire",
			func(s *stage, _ map[string]any) { s.imported(prod, 10*24*time.Hour) },
		},
	} {
		onStage(t, func(s *stage) {
			options := s.options()
			c.change(s, options["target"].([]any)[0].(map[string]any))
			s.begun = len(s.Records())
			options["fail_on"] = "never"
			found, err := s.execute(options)
			s.must(err)
			fmt.Fprintf(&text, "# %s\n", c.name)
			if findings := found["findings"]; findings.LengthInt() > 0 {
				for it := findings.ElementIterator(); it.Next(); {
					var finding cty.Value
					_, finding = it.Element()
					text.WriteString(finding.AsString() + "\n")
				}
			}
		})
	}
	drawn := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{17}|"Sid":"\w+"`)
	golden.Equal(t, "testdata/situations.golden", drawn.ReplaceAllString(text.String(), "DRAWN"))
}
