// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

const (
	launchTimeout      = 15 * time.Minute // limit for the pending state
	launchPollInterval = 5 * time.Second  // between two polls
)

// launchFailed says that an instance ended instead of running (rules 8.5 and 8.6).
type launchFailed struct{ instance, code, text string }

func (e *launchFailed) Error() string {
	return fmt.Sprintf("%s did not start: %s: %s", e.instance, e.code, e.text)
}

// runInstance launches one instance and waits until it runs. It polls often, because AWS shows a terminated
// instance only for a short time (rule 8.7).
func (t *executor) runInstance(ctx context.Context, j *stepRun, s *step.RunInstance) StepOutcome {
	if j.state.resourceID == "" {
		id, err := t.launch(ctx, j, s)
		switch {
		case awsclient.IsNotFound(err) && j.keepPolling(): // the image was registered moments ago (rule 4.4.1)
			return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
		case err != nil:
			return StepOutcome{Err: err}
		}
		j.state.resourceID, j.state.unconfirmedSince, j.state.missingSince = id, time.Now(), time.Time{}
	}

	instance, err := t.instance(ctx, s.Location, j.state.resourceID)
	switch {
	case err != nil:
		return StepOutcome{Err: err}
	case instance == nil && j.keepPolling(): // eventual consistency (rule 4.4.1)
		return StepOutcome{Err: retryAfter{launchPollInterval}}
	case instance == nil:
		return StepOutcome{
			Err: fmt.Errorf("AWS has not shown %s for %v", j.state.resourceID, step.EventualConsistencyTimeout),
		}
	}

	switch state := instance.State.Name; {
	case state == ec2types.InstanceStateNameRunning:
		return StepOutcome{ID: j.state.resourceID}
	case state != ec2types.InstanceStateNamePending:
		return StepOutcome{Err: newLaunchFailed(*instance)}
	case time.Since(j.state.unconfirmedSince) >= launchTimeout:
		return StepOutcome{Err: fmt.Errorf("%s is still %s after %v", j.state.resourceID, state, launchTimeout)}
	}

	return StepOutcome{Err: retryAfter{launchPollInterval}}
}

// newLaunchFailed returns AWS's reason for the end of an instance.
func newLaunchFailed(i ec2types.Instance) *launchFailed {
	e := &launchFailed{
		instance: aws.ToString(i.InstanceId),
		code:     string(i.State.Name),
		text:     aws.ToString(i.StateTransitionReason),
	}
	if reason := i.StateReason; reason != nil {
		e.code = aws.ToString(reason.Code)
		e.text = strings.TrimPrefix(aws.ToString(reason.Message), e.code+": ")
	}
	return e
}

// launch calls RunInstances. The client token makes a repeated call safe within one run and image (rule 4.2.3). A
// resumed run uses another token.
func (t *executor) launch(ctx context.Context, j *stepRun, s *step.RunInstance) (string, error) {
	graceCtx, release := withGracePeriod(ctx)
	defer release()
	in := runInstancesInput(s, j.id(s.Image))
	in.ClientToken = aws.String(s.ClientToken())
	out, err := t.pool.EC2(s.Location).RunInstances(graceCtx, in)
	if err != nil {
		return "", err
	}

	if len(out.Instances) != 1 {
		return "", fmt.Errorf("AWS launched %d instances where one was asked for", len(out.Instances))
	}

	id := aws.ToString(out.Instances[0].InstanceId)
	t.recordCreatedID(id)
	return id, nil
}

func (t *executor) dryRunRunInstances(s *step.RunInstance) dryRun {
	in := runInstancesInput(s, knownOr(s.Image, step.StandInImage))
	in.DryRun = aws.Bool(true)
	return newDryRun(t.pool.EC2(s.Location).RunInstances, in, s, "ec2:RunInstances")
}

// runInstancesInput returns the call without its token. Terminating the instance deletes all its volumes.
func runInstancesInput(s *step.RunInstance, image string) *ec2.RunInstancesInput {
	in := &ec2.RunInstancesInput{
		ImageId:                           aws.String(image),
		InstanceType:                      ec2types.InstanceType(s.InstanceType),
		MinCount:                          aws.Int32(1),
		MaxCount:                          aws.Int32(1),
		InstanceInitiatedShutdownBehavior: ec2types.ShutdownBehaviorTerminate,
		MetadataOptions: &ec2types.InstanceMetadataOptionsRequest{
			HttpTokens: ec2types.HttpTokensStateRequired,
		},
		TagSpecifications: slices.Concat(
			tagSpecifications(ec2types.ResourceTypeInstance, s.Tags),
			tagSpecifications(ec2types.ResourceTypeVolume, s.PartTags),
			tagSpecifications(ec2types.ResourceTypeNetworkInterface, s.PartTags),
		),
	}

	if s.SubnetID != "" {
		in.SubnetId = aws.String(s.SubnetID)
	}

	for _, device := range s.Devices { // the image may say otherwise
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String(device), Ebs: &ec2types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true)},
		})
	}

	return in
}

// instance returns an account's own instance. Nil if AWS does not show it. It uses a filter, because an ID that is
// not visible yet would be an error.
func (t *executor) instance(ctx context.Context, at distribution.Location, id string) (*ec2types.Instance, error) {
	found, err := t.instances(ctx, at, ec2types.Filter{Name: aws.String("instance-id"), Values: []string{id}})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (t *executor) instances(
	ctx context.Context,
	at distribution.Location,
	filters ...ec2types.Filter,
) ([]ec2types.Instance, error) {
	var found []ec2types.Instance
	pages := ec2.NewDescribeInstancesPaginator(t.pool.EC2(at), &ec2.DescribeInstancesInput{Filters: filters})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			found = append(found, r.Instances...)
		}
	}
	return found, nil
}
