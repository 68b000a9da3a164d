// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// AWS may show a version before an earlier one (rule 7.3). The earlier one may name a newer release, so the step waits
// until it can read it.
func TestPutParameter_earlierVersionShownLate(t *testing.T) {
	a := &putParameter{
		step:    &PutParameter{Name: "/golden", Type: string(ssmtypes.ParameterTypeString)},
		imageID: "ami-0123456789abcdef0",
		written: "/golden:2",
		version: 2,
		getCall: func(
			_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options),
		) (*ssm.GetParameterOutput, error) {
			if aws.ToString(in.Name) == "/golden:1" {
				return nil, &ssmtypes.ParameterVersionNotFound{}
			}
			return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: aws.String("ami-0123456789abcdef0")}}, nil
		},
	}

	_, err := a.Do(t.Context())
	if again, ok := errors.AsType[RetryAfter](err); !ok {
		t.Errorf("got %v %v, want another poll", again, err)
	}
}
