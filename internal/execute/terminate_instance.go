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

// lostLaunchTimeout is how long findLostInstance polls for an instance whose launch was interrupted.
const lostLaunchTimeout = time.Minute

// terminateInstance terminates an instance. It succeeds if the instance is terminated, shutting down or gone.
func (t *executor) terminateInstance(ctx context.Context, j *stepRun, s *step.TerminateInstance) StepOutcome {
	id := j.id(s.Instance)
	if id == "" {
		launch := j.outcomes[s.Instance.From]
		if launch.Err == nil || errors.Is(launch.Err, errSkipped) || !awsclient.IsOutcomeUnknown(launch.Err) {
			return StepOutcome{}
		}
		var err error
		if id, err = t.findLostInstance(ctx, j, s); err != nil || id == "" {
			return StepOutcome{Err: err}
		}
	}

	proof, err := t.instanceProof(ctx, s.Location, id)
	if err == nil {
		_, err = t.pool.EC2(s.Location).
			TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{proof.ID()}})
	}

	isMissing := errors.Is(err, errNotShown) || awsclient.IsNotFound(err)
	switch {
	case isMissing && s.Instance.From != "" && j.keepPolling() && j.state.polls < 5:
		// launched moments ago (rule 4.4.1)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case err == nil, isMissing:
		return StepOutcome{ID: id}
	}

	return StepOutcome{
		ID:       id,
		Err:      err,
		Retained: []distribution.RetainedResource{{At: s.Location, Kind: "instance", Resource: id, Why: err.Error()}},
	}
}

// findLostInstance finds an instance by the client token of its launch.
func (t *executor) findLostInstance(ctx context.Context, j *stepRun, s *step.TerminateInstance) (string, error) {
	instances, err := t.instances(
		ctx,
		s.Location,
		ec2types.Filter{Name: aws.String("client-token"), Values: []string{s.ClientToken}},
	)
	if err != nil {
		return "", err
	}

	for _, i := range instances {
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
