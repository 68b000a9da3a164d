// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// State reasons of EC2.
var (
	userShutdown = types.StateReason{
		Code:    aws.String("Client.UserInitiatedShutdown"),
		Message: aws.String("Client.UserInitiatedShutdown: User initiated shutdown"),
	}
	clientError = types.StateReason{
		Code: aws.String("Client.InternalError"), Message: aws.String("Client.InternalError: Client error on launch"),
	}
	wrongKeyState = types.StateReason{
		Code:    aws.String("Client.InvalidKMSKey.InvalidState"),
		Message: aws.String("Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state"),
	}
	userTransition = func(at time.Time) string {
		return "User initiated (" + at.UTC().Format("2006-01-02 15:04:05") + " GMT)"
	}
)

func (w *World) stopInstances(c *Call, in *ec2.StopInstancesInput) (*ec2.StopInstancesOutput, error) {
	if err := refuseUnmodeled(in, "InstanceIds", "Force"); err != nil {
		return nil, err
	}

	changes, err := w.changeStates(c, in.InstanceIds, func(i *instance) error {
		switch {
		case i.isInState(c.At, types.InstanceStateNameStopped, types.InstanceStateNameStopping):
			return nil
		case !i.isInState(c.At, types.InstanceStateNameRunning):
			return incorrectInstanceState(i, "stopped")
		}
		why := userTransition(c.At)
		i.setTransitions(c.At,
			stateTransition{c.At, types.InstanceStateNameStopping, &userShutdown, why},
			stateTransition{c.At.Add(w.randomTransitionTime(i, "stop")), types.InstanceStateNameStopped, &userShutdown, why})
		return nil
	})

	return &ec2.StopInstancesOutput{StoppingInstances: changes}, err
}

func (w *World) startInstances(c *Call, in *ec2.StartInstancesInput) (*ec2.StartInstancesOutput, error) {
	if err := refuseUnmodeled(in, "InstanceIds"); err != nil {
		return nil, err
	}

	changes, err := w.changeStates(c, in.InstanceIds, func(i *instance) error {
		switch {
		case i.isInState(c.At, types.InstanceStateNamePending, types.InstanceStateNameRunning):
			return nil
		case !i.isInState(c.At, types.InstanceStateNameStopped):
			return incorrectInstanceState(i, "started")
		}

		then := c.At.Add(w.randomTransitionTime(i, "start"))
		// Starting decrypts the data keys again. A key that cannot be used stops the instance (rules 3.1.12 and 8.6).
		if w.violates(c, "8.6", !w.canUseVolumeKeys(c, i)) {
			i.setTransitions(c.At, stateTransition{time: c.At, state: types.InstanceStateNamePending}, stateTransition{
				then, types.InstanceStateNameStopped, &clientError, *clientError.Code,
			})
			return nil
		}

		i.setTransitions(c.At, stateTransition{time: c.At, state: types.InstanceStateNamePending}, stateTransition{
			time: then, state: types.InstanceStateNameRunning,
		})

		i.attributes.LaunchTime = aws.Time(c.At)
		return nil
	})

	return &ec2.StartInstancesOutput{StartingInstances: changes}, err
}

func (w *World) terminateInstances(c *Call, in *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error) {
	if err := refuseUnmodeled(in, "InstanceIds"); err != nil {
		return nil, err
	}

	changes, err := w.changeStates(c, in.InstanceIds, func(i *instance) error {
		switch {
		case i.isInState(c.At, types.InstanceStateNameTerminated, types.InstanceStateNameShuttingDown):
			return nil
		case i.terminationProtected:
			return badRequest(
				"OperationNotPermitted",
				"The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
				i.id,
			)
		}

		then, why := c.At.Add(w.randomTransitionTime(i, "terminate")), userTransition(c.At)
		i.setTransitions(c.At,
			stateTransition{c.At, types.InstanceStateNameShuttingDown, &userShutdown, why},
			stateTransition{then, types.InstanceStateNameTerminated, &userShutdown, why})

		w.releaseVolumes(i, then)
		return nil
	})

	return &ec2.TerminateInstancesOutput{TerminatingInstances: changes}, err
}

// changeStates starts a transition of each instance and returns the states before and after it. It changes nothing if
// one of the instances does not exist.
func (w *World) changeStates(c *Call, ids []string, set func(*instance) error) ([]types.InstanceStateChange, error) {
	if len(ids) == 0 {
		return nil, missingParameter("InstanceId")
	}

	var requests []AuthorizationRequest
	for _, id := range ids {
		requests = append(requests, w.newAuthorizationOnOwn(c, "instance", id))
	}

	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	all, err := w.findOwnInstances(c, ids)
	if err != nil {
		return nil, err
	}

	var changes []types.InstanceStateChange
	for _, one := range all {
		before := one.transitionAt(c.At).instanceState()
		if err := set(one); err != nil {
			return nil, err
		}
		c.changedIDs = append(c.changedIDs, one.id)
		changes = append(changes, types.InstanceStateChange{
			InstanceId: &one.id, PreviousState: before, CurrentState: one.transitionAt(c.At).instanceState(),
		})
	}

	return changes, nil
}

func incorrectInstanceState(i *instance, verb string) *APIError {
	return badRequest("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", i.id, verb)
}
