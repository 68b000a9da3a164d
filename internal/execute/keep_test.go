// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// shared counts the snapshots of the source account that somebody else may use.
func (h *testWorld) shared() (n int) {
	h.t.Helper()
	for _, s := range h.ownSnapshots(source, home) {
		if len(h.permissions(source, home, aws.ToString(s.SnapshotId))) > 0 {
			n++
		}
	}
	return n
}

// withdrawing allows or denies the builder's user to take permissions back.
func (h *testWorld) withdrawing(effect string) {
	h.t.Helper()
	_, err := iam.NewFromConfig(h.Config(source, home)).PutUserPolicy(h.t.Context(), &iam.PutUserPolicyInput{
		UserName: aws.String("builder"), PolicyName: aws.String("withdrawing"), PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": [{
					"Effect": "` + effect + `",
					"Action": "ec2:ModifySnapshotAttribute",
					"Resource": "*",
					"Condition": {"Null": {"ec2:Remove/userId": "false"}}
				}]}`),
	})
	h.must(err)
}
