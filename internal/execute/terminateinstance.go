// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// lostLaunch is how long an instance is looked for whose id never came: its launch was cut off.
const lostLaunch = time.Minute

// terminateInstance ends an instance. That it has ended or is gone already is what was wanted; what is shutting down comes back never.
func (t *transfer) terminateInstance(ctx context.Context, j *stepRun, s *step.TerminateInstance) StepOutcome {
	id := j.id(s.Instance)
	if id == "" {
		launched := j.ended[s.Instance.From]
		if launched.Err == nil || errors.Is(launched.Err, errSkipped) || !awsclient.IsOutcomeUnknown(launched.Err) {
			return StepOutcome{}
		}
		var err error
		if id, err = t.lostInstance(ctx, j, s); err != nil || id == "" {
			return StepOutcome{Err: err}
		}
	}
	proof, err := t.instanceProof(ctx, s.Location, id)
	if err == nil {
		_, err = t.pool.EC2(s.Location).TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{proof.ID()}})
	}
	isMissing := errors.Is(err, errNotShown) || awsclient.IsNotFound(err)
	switch {
	case isMissing && s.Instance.From != "" && j.patient() && j.memo.looks < 5: // launched just now (4.4.1)
		return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
	case err == nil, isMissing:
		return StepOutcome{Made: id}
	}
	return StepOutcome{Made: id, Err: err, Left: []distribution.RetainedResource{{At: s.Location, Kind: "instance", Resource: id, Why: err.Error()}}}
}

// lostInstance finds the instance whose id never came, by the client token of its launch.
func (t *transfer) lostInstance(ctx context.Context, j *stepRun, s *step.TerminateInstance) (string, error) {
	seen, err := t.instances(ctx, s.Location, ec2types.Filter{Name: aws.String("client-token"), Values: []string{s.ClientToken}})
	if err != nil {
		return "", err
	}
	for _, i := range seen {
		if i.State.Name != ec2types.InstanceStateNameTerminated {
			return aws.ToString(i.InstanceId), nil
		}
	}
	if j.memo.missing.IsZero() {
		j.memo.missing = time.Now()
	}
	if time.Since(j.memo.missing) < lostLaunch {
		j.memo.looks++
		return "", retryAfter{step.Backoff(j.memo.looks)}
	}
	return "", nil
}
