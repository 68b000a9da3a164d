// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// onlyAWSCreatesGrants are the statements of a role as the documented policies have them: EC2 alone creates grants.
const onlyAWSCreatesGrants = `
	{"Effect":"Allow","Action":["ec2:*","ssm:*","kms:Decrypt","kms:DescribeKey","kms:Encrypt",
		"kms:GenerateDataKeyWithoutPlaintext","kms:ReEncryptFrom","kms:ReEncryptTo"],"Resource":"*"},
	{"Effect":"Allow","Action":"kms:CreateGrant","Resource":"*",
		"Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}`

// denyGrants is a statement that denies all grants, including those of EC2. It follows other statements.
const denyGrants = `,{"Effect":"Deny","Action":"kms:CreateGrant","Resource":"*"}`

// setTargetStatements replaces the policy of the role in a target account.
func (s *stage) setTargetStatements(account, statements string) {
	s.Helper()
	_, err := iam.NewFromConfig(s.world.Config(account, tokyo)).PutRolePolicy(s.Context(), &iam.PutRolePolicyInput{
		RoleName:       aws.String("golden-image-target"),
		PolicyName:     aws.String("all"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statements + `]}`),
	})
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Minute) // until the policy is effective everywhere
}

// setSourceKeyStatements replaces the policy of the source key by one that allows its own account, and more.
func (s *stage) setSourceKeyStatements(statements ...string) {
	s.Helper()
	keys := kms.NewFromConfig(s.world.Config(source, tokyo))
	key, err := keys.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/golden")})
	if err != nil {
		s.Fatal(err)
	}
	own := `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + source + `:root"},"Action":"kms:*","Resource":"*"}`
	document := `{"Version":"2012-10-17","Statement":[` + strings.Join(append(statements, own), ",") + `]}`
	_, err = keys.PutKeyPolicy(s.Context(), &kms.PutKeyPolicyInput{
		KeyId:  key.KeyMetadata.KeyId,
		Policy: aws.String(document),
	})
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Minute) // until the policy is effective everywhere
}

// printedStatements returns the policy statements on the screen.
func (s *stage) printedStatements() (statements []string) {
	for line := range strings.Lines(s.screen.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, `{"Sid"`) {
			statements = append(statements, line)
		}
	}
	return statements
}

// The source key's policy lacks the account, and the role has the documented policy. The run advises a statement for
// the key policy, not for the role's policy, which already has it. With the printed statement, the run succeeds.
func TestScreen_keyPolicyLacksAccount(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetStatements(prod, onlyAWSCreatesGrants)
		s.setSourceKeyStatements()
		_, err := s.run(s.Context(), s.screenOptions(prod))
		s.checkError(err)
		golden.Equal(s.T, "testdata/screen-key-policy.golden", s.shown(err))

		statements := s.printedStatements()
		if len(statements) != 1 {
			s.Fatalf("got %d statements, want 1", len(statements))
		}
		s.setSourceKeyStatements(statements...)
		if _, err := s.run(s.Context(), s.options(prod)); err != nil {
			s.Errorf("got %v with the printed statement in the key policy", err)
		}
	})
}

// An explicit deny has one warning for all keys of a copy. The warning names the deny first and advises nothing that
// the deny would override. Whether the deny covers calls of EC2 is unknown before the copy.
func TestScreen_explicitDeny(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetStatements(prod, onlyAWSCreatesGrants+denyGrants)
		options := s.screenOptions(prod)
		options["test_copy"] = false
		_, err := s.run(s.Context(), options)
		s.checkError(err)
		golden.Equal(s.T, "testdata/screen-explicit-deny.golden", s.shown(err))
	})
}

// A required destination without a usable role has failed, on the screen as in the manifest. It is not skipped.
func TestExplain_requiredAccountFailed(t *testing.T) {
	onStage(t, func(s *stage) {
		s.closed(other)
		_, err := s.run(s.Context(), s.screenOptions(other, prod))
		s.checkError(err)
		m, _ := readManifest(s.T, filepath.Join(s.directory, "manifest.json"))
		if m.Summary.Failed != 1 || m.Summary.Skipped != 0 || !strings.Contains(err.Error(), "Failed:  "+other) {
			s.Errorf("got the summary %+v and %v", m.Summary, err)
		}
	})
}

// The error counts destinations as the manifest does: one that was skipped has not failed.
func TestExplain_failedAndSkipped(t *testing.T) {
	onStage(t, func(s *stage) {
		s.closed(other)
		s.setTargetStatements(prod, onlyAWSCreatesGrants+denyGrants)
		o := s.screenOptions(other, prod)
		o["target"].([]any)[0].(map[string]any)["required"] = false
		_, err := s.run(s.Context(), o)
		s.checkError(err)
		if !strings.HasPrefix(err.Error(), "1 of 2 destinations failed, 1 skipped; ") {
			s.Errorf("got %v", err)
		}
		m, _ := readManifest(s.T, filepath.Join(s.directory, "manifest.json"))
		if m.Summary.Failed != 1 || m.Summary.Skipped != 1 {
			s.Errorf("got the summary %+v", m.Summary)
		}
	})
}

// A plan cannot know whether EC2 may use the keys if its dry runs are denied, as they are with the documented policies.
// Its last line says so, and no note repeats it.
func TestPlan_lastLineSaysWhatIsUnknown(t *testing.T) {
	const known = "0 errors, 0 warnings: this run would succeed"
	for name, c := range map[string]struct {
		accounts   []string
		statements string
		want       string
	}{
		"every permission": {[]string{prod}, `{"Effect":"Allow","Action":"*","Resource":"*"}`, known},
		"documented": {
			[]string{prod},
			onlyAWSCreatesGrants,
			known + " if EC2 may use the keys, which only a copy shows",
		},
		"documented, several destinations": {
			[]string{prod, other},
			onlyAWSCreatesGrants,
			known + " if EC2 may use the keys, which only the test copies show",
		},
		"explicit deny": {
			[]string{prod},
			onlyAWSCreatesGrants + denyGrants,
			"0 errors, 1 warning: this run would succeed if EC2 may use the keys despite the explicit deny, " +
				"which only a copy shows",
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				s.setTargetStatements(prod, c.statements)
				if _, err := s.run(s.Context(), s.planOptions(c.accounts...)); err != nil {
					s.Fatal(err)
				}
				if !strings.Contains(s.screen.String(), c.want+"\n") || s.mentions("Note:", nil) {
					s.Errorf("got no line %q, or a note, in:\n%s", c.want, s.screen)
				}
			})
		})
	}
}
