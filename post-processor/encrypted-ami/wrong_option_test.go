// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"strings"
	"testing"
)

// The error about a wrong option says in one sentence what is wrong, and where to correct it. For the external ID that
// is a variable, because the resume file does not contain the value.
func TestExplain_wrongOption(t *testing.T) {
	const start = "Failed:  999999999999 (to 999999999999) in ap-northeast-1: "
	role := func(o map[string]any) map[string]any {
		return o["target"].([]any)[0].(map[string]any)["assume_role"].([]any)[0].(map[string]any)
	}
	for name, c := range map[string]struct {
		change func(o map[string]any)
		want   []string
	}{
		"external ID wrong": {
			func(o map[string]any) { role(o)["external_id"] = "hush-wrong" },
			[]string{
				start + "external_id does not match, or the role does not trust user ci\n",
				"with this external ID and without MFA",
				"Correct external_id in your template, and pass it with -var external_id=EXTERNAL_ID when you resume.\n",
			},
		},
		"external ID missing": {
			func(o map[string]any) { delete(role(o), "external_id") },
			[]string{
				start + "external_id is missing, or the role does not trust user ci\n",
				"to user ci without an external ID and without MFA",
				`add external_id = var.external_id to assume_role of target "to 999999999999", and ` +
					`variable "external_id" { sensitive = true }. Resume with -var external_id=EXTERNAL_ID; ` +
					"never write the value into a file.\n",
			},
		},
		"role missing": {
			func(o map[string]any) { role(o)["role_arn"] = "arn:aws:iam::{{ .AccountId }}:role/none" },
			[]string{start + "external_id does not match, or the role does not exist or does not trust user ci\n"},
		},
		"alias misspelled": {
			func(o map[string]any) { o["target"].([]any)[0].(map[string]any)["kms_key_id"] = "alias/goldne" },
			[]string{
				start + "alias/goldne does not exist in ap-northeast-1\n",
				"Fix:     Check the spelling of the alias, its account and its Region.",
			},
		},
		"source alias misspelled": {
			func(o map[string]any) { o["kms_key_id"] = "alias/goldne" },
			[]string{"Failed:  111111111111 in ap-northeast-1: alias/goldne does not exist in ap-northeast-1\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				o := s.screenOptions(prod, other)
				c.change(o)
				_, err := s.run(s.Context(), o)
				s.checkError(err)
				text := s.shown(err)
				for _, part := range c.want {
					if !strings.Contains(text, part) {
						s.Errorf("got no %q in\n%s", part, text)
					}
				}
			})
		})
	}
}

// An external ID that worked in another account of the block is not advised: the role of the failed account is missing.
func TestExplain_roleMissingInOneAccount(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.screenOptions(prod)
		target := o["target"].([]any)[0].(map[string]any)
		target["account_ids"] = []any{prod, bare}
		_, err := s.run(s.Context(), o)
		s.checkError(err)
		text := s.shown(err)
		for _, part := range []string{
			"Failed:  777777777777 (to 999999999999) in ap-northeast-1: the role does not exist or does not trust user ci\n",
			"The same external ID worked in account 999999999999.",
			"Fix:     Check the name and account of the role. Compare the trust policy of arn:aws:iam::777777777777:role/",
			`If the name is wrong, correct target "to 999999999999": assume_role in your template and in resume.pkr.hcl.`,
		} {
			if !strings.Contains(text, part) {
				s.Errorf("got no %q in\n%s", part, text)
			}
		}
	})
}
