// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"strings"
	"testing"
	"time"
)

// EC2 does not say which permission a copy lacked, but a dry run was denied one permission. The error advises this one
// only, not six statements for four policies.
func TestPostProcess_oneMissingPermissionIsAdvisedOnce(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(
			prod,
			`["ec2:*","kms:DescribeKey","kms:Decrypt","kms:ReEncryptFrom","kms:GenerateDataKeyWithoutPlaintext"]`,
		)
		options := s.options(prod)
		options["test_copy"] = false
		_, err := s.run(s.Context(), options)
		if err == nil {
			s.Fatal("got no error, want that of the copies")
		}

		text := s.screen.String()
		for part, want := range map[string]int{
			"Error: ":                      1,
			"The dry run was denied: ":     1,
			`"Action":["kms:CreateGrant"]`: 2, // for the source key and for that of the copies
			`"Effect":"Allow"`:             2,
			`"Principal"`:                  0,
		} {
			if got := strings.Count(text, part); got != want {
				s.Errorf("got %d times %q, want %d, in\n%s", got, part, want, text)
			}
		}
	})
}

// The error of a canceled run neither blames the source credentials nor repeats "context canceled".
func TestPostProcess_canceledRunSaysSo(t *testing.T) {
	wants := map[time.Duration]string{
		0:               "canceled: nothing was created",
		2 * time.Second: "canceled: nothing was created",
		time.Minute:     "canceled: 0 of 1 destination finished",
	}
	for after, want := range wants {
		onStage(t, func(s *stage) {
			ctx, cancel := context.WithCancel(s.Context())
			time.AfterFunc(after, cancel)
			_, err := s.run(ctx, s.options(prod))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "context canceled") {
				s.Errorf("canceled after %s: got %v, want %q", after, err, want)
			}
		})
	}
}
