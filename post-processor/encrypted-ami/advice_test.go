// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
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

// A canceled run blamed the source credentials, or said "context canceled" twice.
func TestPostProcess_canceledRunSaysSo(t *testing.T) {
	wants := map[time.Duration]string{
		0:               "the run was canceled before its plan was ready",
		2 * time.Second: "the run was canceled before its plan was ready",
		time.Minute:     "because: the run was canceled while this step was in progress",
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

// The same command cannot succeed with the same template.
func TestWithWayOut_configurationError(t *testing.T) {
	r := &run{PostProcessor: &PostProcessor{}, userSupplied: true}
	r.images = []distribution.SourceImage{{Region: tokyo, ImageID: "ami-0a"}}
	for err, want := range map[error]string{
		&configurationError{errors.New("region: unknown")}: "correct the template; then run the same command again.",
		errors.New("a copy failed"):                        "To go on from here, run the same command again.",
	} {
		if got := r.withWayOut(err).Error(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}
