// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// TerminateInstance terminates the instance of a launch check.
type TerminateInstance struct {
	Base
	Instance    Ref
	ClientToken string // of the launch. It finds the instance if the response was lost
}

func (s *TerminateInstance) Permissions() []Permission {
	return []Permission{
		{"ec2:TerminateInstances", s.Location.OwnedARN("instance", s.Instance.Known), "8.7"},
		{"ec2:DescribeInstances", "*", "8.7"},
	}
}

func (s *TerminateInstance) ResourceID() string { return s.Instance.Known }

func (s *TerminateInstance) String() string {
	if s.Instance.Known != "" {
		return fmt.Sprintf("terminate %s, which an earlier run left, in %s", s.Instance.Known, s.Location)
	}
	return fmt.Sprintf("terminate the instance of the launch check in %s", s.Location)
}

func (s *TerminateInstance) Doing(w Words) string {
	instance := cmp.Or(w.ID(s.Instance), "the instance of the launch check")
	return fmt.Sprintf("Terminating %s in %s", instance, w.Location(s.Location))
}

func (s *TerminateInstance) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "terminate %s", Singular: "instance"}}
}

var _ = register(&TerminateInstance{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*TerminateInstance).start(env) },
})

func (s *TerminateInstance) start(env Env) Attempt { return newAttempt(s, env, env.terminateInstance) }

// lostLaunchTimeout is how long findLostInstance polls for an instance whose launch was interrupted.
const lostLaunchTimeout = time.Minute

// terminateInstance terminates an instance. It succeeds if the instance is terminated, shutting down or gone.
func (r *Run) terminateInstance(ctx context.Context, a *attempt, s *TerminateInstance) (Outcome, error) {
	id, err := r.instanceToTerminate(ctx, a, s)
	if err != nil || id == "" {
		return Outcome{}, err
	}

	proof, err := r.proofToTerminate(ctx, a, s, id)
	if errors.As(err, &RetryAfter{}) {
		return Outcome{}, err
	}

	if err == nil {
		_, err = r.Clients.EC2(s.Location).
			TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{proof.ID()}})
	}

	isMissing := errors.Is(err, errNotShown) || awsclient.IsNotFound(err)
	switch {
	case isMissing && s.Instance.From != "" && a.keepPolling() && a.polls < 5:
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	case err == nil, isMissing:
		return Outcome{ID: id}, nil
	}

	return Outcome{
		ID:       id,
		Retained: []distribution.RetainedResource{{At: s.Location, Kind: "instance", Resource: id, Why: err.Error()}},
	}, err
}

// proofToTerminate returns the proof that a run launched an instance. The error is RetryAfter while AWS may not show an
// instance that was launched moments ago (rule 4.4.1).
func (r *Run) proofToTerminate(
	ctx context.Context, a *attempt, s *TerminateInstance, id string,
) (provenance.DeletionProof, error) {
	proof, err := r.instanceProof(ctx, s.Location, id)
	if err == nil || ctx.Err() != nil || !r.isCreatedHere(id) {
		return proof, err
	}
	if errors.Is(err, errNotShown) && a.keepPolling() && a.polls < 5 {
		return proof, RetryAfter{Backoff(a.polls)}
	}
	return r.createdHereProof(ctx, provenance.Resource{Kind: provenance.Instance, ID: id})
}

// instanceToTerminate returns the ID of the instance that a step terminates. Empty if none was launched.
func (r *Run) instanceToTerminate(ctx context.Context, a *attempt, s *TerminateInstance) (string, error) {
	if id := a.id(s.Instance); id != "" {
		return id, nil
	}

	launch := a.outcomes.Of(s.Instance.From)
	if launch.Err == nil || errors.Is(launch.Err, ErrSkipped) || !awsclient.IsOutcomeUnknown(launch.Err) {
		return "", nil
	}
	return r.findLostInstance(ctx, a, s)
}

// findLostInstance finds an instance by the client token of its launch.
func (r *Run) findLostInstance(ctx context.Context, a *attempt, s *TerminateInstance) (string, error) {
	instances, err := r.instances(
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

	if a.missingSince.IsZero() {
		a.missingSince = time.Now()
	}

	if time.Since(a.missingSince) < lostLaunchTimeout {
		a.polls++
		return "", RetryAfter{Backoff(a.polls)}
	}

	return "", nil
}
