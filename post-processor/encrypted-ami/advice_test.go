// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"strings"
	"testing"
)

// EC2 does not say which permission a copy lacked, but the dry run had been denied one. Six statements for four
// policies were printed.
func TestPostProcess_oneMissingPermissionIsAdvisedOnce(t *testing.T) {
	onStage(t, func(s *stage) {
		s.rights(prod, `["ec2:*","kms:DescribeKey","kms:Decrypt","kms:ReEncryptFrom","kms:GenerateDataKeyWithoutPlaintext"]`)
		options := s.options(prod)
		options["canary"] = false
		_, err := s.run(s.Context(), options)
		if err == nil {
			s.Fatal("got no error, want that of the copies")
		}

		text := err.Error()
		for part, want := range map[string]int{
			"failed: ": 1,
			"the dry run was denied kms:CreateGrant on arn:aws:kms:": 1,
			`"Action":["kms:CreateGrant"]`:                           2, // for the source key and for that of the copies
			`"Effect":"Allow"`:                                       2,
			`"Principal"`:                                            0,
		} {
			if got := strings.Count(text, part); got != want {
				s.Errorf("got %d times %q, want %d, in\n%s", got, part, want, text)
			}
		}
	})
}
