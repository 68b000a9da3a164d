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
const lostLaunchTimeout = time.Minute

// terminateInstance ends an instance. That it has ended or is gone already is what was wanted; what is shutting down comes back never.
func (t *executor) terminateInstance(ctx context.Context, j *stepRun, s *step.TerminateInstance) StepOutcome {
	id := j.id(s.Instance)
	if id == "" {
		launched := j.outcomes[s.Instance.From]
		if launched.Err == nil || errors.Is(launched.Err, errSkipped) || !awsclient.IsOutcomeUnknown(launched.Err) {
			return StepOutcome{}
		}
		var err error
		if id, err = t.findLostInstance(ctx, j, s); err != nil || id == "" {
			return StepOutcome{Err: err}
		}
	}
	proof, err := t.instanceProof(ctx, s.Location, id)
	if err == nil {
		_, err = t.pool.EC2(s.Location).TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{proof.ID()}})
	}
	isMissing := errors.Is(err, errNotShown) || awsclient.IsNotFound(err)
	switch {
	case isMissing && s.Instance.From != "" && j.keepPolling() && j.state.polls < 5: // launched just now (4.4.1)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case err == nil, isMissing:
		return StepOutcome{ID: id}
	}
	return StepOutcome{ID: id, Err: err, Retained: []distribution.RetainedResource{{At: s.Location, Kind: "instance", Resource: id, Why: err.Error()}}}
}

// lostInstance finds the instance whose id never came, by the client token of its launch.
func (t *executor) findLostInstance(ctx context.Context, j *stepRun, s *step.TerminateInstance) (string, error) {
	seen, err := t.instances(ctx, s.Location, ec2types.Filter{Name: aws.String("client-token"), Values: []string{s.ClientToken}})
	if err != nil {
		return "", err
	}
	for _, i := range seen {
		if i.State.Name != ec2types.InstanceStateNameTerminated {
			return aws.ToString(i.InstanceId), nil
		}
	}
	if j.state.missingSince.IsZero() {
		j.state.missingSince = time.Now()
	}
	if time.Since(j.state.missingSince) < lostLaunchTimeout {
		j.state.polls++
		return "", retryAfter{step.Backoff(j.state.polls)}
	}
	return "", nil
}
