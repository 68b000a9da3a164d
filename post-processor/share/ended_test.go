// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package share

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// session are options with the credentials of a session of the user ci, which nobody can renew.
func (s *stage) session(accounts ...string) map[string]any {
	s.Helper()
	cfg := s.world.Config(source, tokyo)
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*s.key.AccessKeyId, *s.key.SecretAccessKey, "")
	made, err := sts.NewFromConfig(cfg).GetSessionToken(s.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(36 * 3600)})
	if err != nil {
		s.Fatal(err)
	}
	o := s.options(accounts...)
	o["access_key"], o["secret_key"], o["token"] = *made.Credentials.AccessKeyId, *made.Credentials.SecretAccessKey, *made.Credentials.SessionToken
	return o
}

// Whatever the call at which the source's session ends for good: the image is safe, one error says so, and a run with fresh credentials
// comes to the end.
func TestSourceCredentialsThatEndAreToldOnceAndTheRunIsTakenUp(t *testing.T) {
	for _, call := range []awssim.Rule{
		{Action: "ec2:DescribeImages", Nth: 3}, // the two before protect the image
		{Action: "ec2:CopySnapshot"},
		{Action: "ec2:DescribeSnapshots", Nth: 5},
		{Action: "ec2:ModifySnapshotAttribute"},
		{Action: "ec2:ModifySnapshotAttribute", Nth: 2},
	} {
		t.Run(fmt.Sprint(call.Action, call.Nth), func(t *testing.T) {
			onStage(t, func(s *stage) {
				o := s.session(other, prod)
				call.Fault, call.Account = awssim.ExpiredSession, source
				s.world.Inject(call)
				_, err := s.run(s.Context(), o)
				if err == nil {
					s.Fatalf("a run whose credentials ended is a success:\n%s", s.screen)
				}
				if n := strings.Count(err.Error(), "the source credentials have ended") + strings.Count(err.Error(), "the source credentials cannot be used"); n != 1 || strings.Count(err.Error(), "could not") > 1 {
					s.Errorf("told %d times: %v", n, err)
				}
				s.safe()
				if _, err := s.after(s.Context(), nullBuilder, s.redo(other, prod)); err != nil {
					s.Fatal(err)
				}
				if len(s.images(other)) != 1 || len(s.images(prod)) != 1 {
					s.Errorf("the targets have %d and %d images", len(s.images(other)), len(s.images(prod)))
				}
				s.tidy()
			})
		})
	}
}
