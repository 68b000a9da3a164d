// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var instanceOperations = []namedOperation{
	newOperation((*World).runInstances),
	newOperation((*World).startInstances),
	newOperation((*World).stopInstances),
	newOperation((*World).terminateInstances),
	newOperation((*World).describeInstances),
	newOperation((*World).describeInstanceStatus),
	newOperation((*World).describeInstanceAttribute),
	newOperation((*World).modifyInstanceAttribute),
	newOperation((*World).describeInstanceTypes),
	newOperation((*World).describeInstanceTypeOfferings),
}

// instance is an EC2 instance.
type instance struct {
	location             location
	id                   string
	reservationID        string
	attributes           types.Instance // independent of time
	devices              []device
	transitions          []stateTransition // in chronological order
	terminationProtected bool
	shutdownBehavior     types.ShutdownBehavior
	userData             string
}

// device is a volume of an instance.
type device struct {
	name                string
	volume              string
	attached            time.Time // time at which the instance was first running
	deleteOnTermination bool
}

// stateTransition is a change of an instance's state. The last transition in the past determines the state.
type stateTransition struct {
	time             time.Time
	state            types.InstanceStateName
	reason           *types.StateReason
	transitionReason string
}

// terminatedVisibility is how long a terminated instance is still described (rule 8.7).
const terminatedVisibility = time.Hour

// transitionAt returns the last transition before a time.
func (i *instance) transitionAt(now time.Time) stateTransition {
	last := i.transitions[0]
	for _, t := range i.transitions {
		if !t.time.After(now) {
			last = t
		}
	}
	return last
}

// isInState reports whether an instance is in one of the states.
func (i *instance) isInState(now time.Time, states ...types.InstanceStateName) bool {
	return slices.Contains(states, i.transitionAt(now).state)
}

// isExpired reports whether an instance is no longer described.
func (i *instance) isExpired(now time.Time) bool {
	last := i.transitionAt(now)
	return last.state == types.InstanceStateNameTerminated && now.Sub(last.time) >= terminatedVisibility
}

// setTransitions adds transitions and cancels earlier ones that are still in the future.
func (i *instance) setTransitions(now time.Time, transitions ...stateTransition) {
	i.transitions = append(
		slices.DeleteFunc(i.transitions, func(t stateTransition) bool { return t.time.After(now) }), transitions...,
	)
}

// randomTransitionTime returns the time that a transition takes: 5 to 25 seconds.
func (w *World) randomTransitionTime(i *instance, what string) time.Duration {
	return 5*time.Second + time.Duration(w.random("instance", what, i.id)%uint64(20*time.Second))
}

// stateCodes maps instance states to their codes.
var stateCodes = map[types.InstanceStateName]int32{
	types.InstanceStateNamePending: 0, types.InstanceStateNameRunning: 16, types.InstanceStateNameShuttingDown: 32,
	types.InstanceStateNameTerminated: 48, types.InstanceStateNameStopping: 64, types.InstanceStateNameStopped: 80,
}

func (t stateTransition) instanceState() *types.InstanceState {
	return &types.InstanceState{Name: t.state, Code: aws.Int32(stateCodes[t.state])}
}

// showInstance returns an instance as DescribeInstances shows it.
func (w *World) showInstance(i *instance, now time.Time) types.Instance {
	view, last := i.attributes, i.transitionAt(now)
	view.State = last.instanceState()
	view.StateReason = last.reason
	view.StateTransitionReason = aws.String(last.transitionReason)
	view.Tags = w.tagsOf(i.id)
	if last.state == types.InstanceStateNameTerminated {
		view.SubnetId = nil
		view.VpcId = nil
		view.PrivateIpAddress = nil
		view.SecurityGroups = nil
		view.NetworkInterfaces = nil
		return view
	}

	for _, d := range i.devices {
		if d.attached.After(now) {
			continue
		}

		view.BlockDeviceMappings = append(view.BlockDeviceMappings, types.InstanceBlockDeviceMapping{
			DeviceName: &d.name,
			Ebs: &types.EbsInstanceBlockDevice{
				VolumeId:            &d.volume,
				Status:              types.AttachmentStatusAttached,
				AttachTime:          &d.attached,
				DeleteOnTermination: &d.deleteOnTermination,
			},
		})
	}

	return view
}

// findOwnInstances returns the caller's instances with the IDs.
func (w *World) findOwnInstances(c *Call, ids []string) ([]*instance, error) {
	var found []*instance
	for _, id := range ids {
		one, ok := w.instances.get(id)
		if !ok || one.location != c.location() || one.isExpired(c.At) {
			return nil, instanceNotFound(id)
		}
		found = append(found, one)
	}
	return found, nil
}

func instanceNotFound(id string) *APIError {
	return badRequest("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
}

func (w *World) describeInstances(c *Call, in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	seen, err := w.filterInstances(c, in.InstanceIds, in.Filters)
	if err != nil {
		return nil, err
	}

	seen, next, err := paginate(seen, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}

	out := &ec2.DescribeInstancesOutput{NextToken: next}
	for _, one := range seen {
		last := len(out.Reservations) - 1
		if last < 0 || *out.Reservations[last].ReservationId != one.reservationID {
			out.Reservations = append(out.Reservations, types.Reservation{
				ReservationId: &one.reservationID, OwnerId: &one.location.account,
			})
			last++
		}
		out.Reservations[last].Instances = append(out.Reservations[last].Instances, w.showInstance(one, c.At))
	}

	return out, nil
}

// filterInstances returns the caller's instances in the Region that match the IDs and filters.
func (w *World) filterInstances(c *Call, ids []string, filters []types.Filter) ([]*instance, error) {
	seen, err := w.findOwnInstances(c, ids)
	if err != nil {
		return nil, err
	}

	for _, one := range seen {
		if !w.isVisible(c, *one.attributes.LaunchTime) {
			return nil, instanceNotFound(one.id)
		}
	}

	if len(ids) == 0 {
		for _, one := range w.instances.all {
			if one.location == c.location() && !one.isExpired(c.At) {
				seen = append(seen, one)
			}
		}
	}

	shows := func(value func(types.Instance) string) func(*instance) []string {
		return func(i *instance) []string { return []string{value(w.showInstance(i, c.At))} }
	}

	return filterFields[*instance]{
		tags: func(i *instance) []types.Tag { return w.tagsOf(i.id) },
		values: map[string]func(*instance) []string{
			"availability-zone":   shows(func(i types.Instance) string { return aws.ToString(i.Placement.AvailabilityZone) }),
			"client-token":        shows(func(i types.Instance) string { return aws.ToString(i.ClientToken) }),
			"image-id":            shows(func(i types.Instance) string { return aws.ToString(i.ImageId) }),
			"instance-id":         shows(func(i types.Instance) string { return aws.ToString(i.InstanceId) }),
			"instance-state-name": shows(func(i types.Instance) string { return string(i.State.Name) }),
			"instance-type":       shows(func(i types.Instance) string { return string(i.InstanceType) }),
			"key-name":            shows(func(i types.Instance) string { return aws.ToString(i.KeyName) }),
			"subnet-id":           shows(func(i types.Instance) string { return aws.ToString(i.SubnetId) }),
			"vpc-id":              shows(func(i types.Instance) string { return aws.ToString(i.VpcId) }),
		},
	}.filter(seen, filters)
}

func (w *World) describeInstanceStatus(
	c *Call, in *ec2.DescribeInstanceStatusInput,
) (*ec2.DescribeInstanceStatusOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	seen, err := w.filterInstances(c, in.InstanceIds, in.Filters)
	if err != nil {
		return nil, err
	}
	if !aws.ToBool(in.IncludeAllInstances) { // without IncludeAllInstances, only running instances
		seen = slices.DeleteFunc(seen, func(i *instance) bool { return !i.isInState(c.At, types.InstanceStateNameRunning) })
	}

	seen, next, err := paginate(seen, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}

	out := &ec2.DescribeInstanceStatusOutput{NextToken: next}
	for _, one := range seen {
		summary := &types.InstanceStatusSummary{Status: types.SummaryStatusNotApplicable}
		if one.isInState(c.At, types.InstanceStateNameRunning) {
			summary.Status = types.SummaryStatusOk
		}
		out.InstanceStatuses = append(out.InstanceStatuses, types.InstanceStatus{
			InstanceId:       &one.id,
			AvailabilityZone: one.attributes.Placement.AvailabilityZone,
			InstanceState:    one.transitionAt(c.At).instanceState(),
			InstanceStatus:   summary,
			SystemStatus:     summary,
		})
	}

	return out, nil
}

func (w *World) describeInstanceAttribute(
	c *Call, in *ec2.DescribeInstanceAttributeInput,
) (*ec2.DescribeInstanceAttributeOutput, error) {
	if err := w.authorize(c, w.newAuthorizationOnOwn(c, "instance", aws.ToString(in.InstanceId))); err != nil {
		return nil, err
	}

	found, err := w.findOwnInstances(c, []string{aws.ToString(in.InstanceId)})
	if err != nil {
		return nil, err
	}

	one := found[0]
	out := &ec2.DescribeInstanceAttributeOutput{InstanceId: &one.id}
	view := w.showInstance(one, c.At)
	switch in.Attribute {
	case types.InstanceAttributeNameInstanceType:
		out.InstanceType = &types.AttributeValue{Value: aws.String(string(view.InstanceType))}
	case types.InstanceAttributeNameKernel:
		out.KernelId = &types.AttributeValue{Value: view.KernelId}
	case types.InstanceAttributeNameRamdisk:
		out.RamdiskId = &types.AttributeValue{Value: view.RamdiskId}
	case types.InstanceAttributeNameUserData:
		out.UserData = &types.AttributeValue{Value: &one.userData}
	case types.InstanceAttributeNameDisableApiTermination:
		out.DisableApiTermination = &types.AttributeBooleanValue{Value: &one.terminationProtected}
	case types.InstanceAttributeNameInstanceInitiatedShutdownBehavior:
		out.InstanceInitiatedShutdownBehavior = &types.AttributeValue{Value: aws.String(string(one.shutdownBehavior))}
	case types.InstanceAttributeNameRootDeviceName:
		out.RootDeviceName = &types.AttributeValue{Value: view.RootDeviceName}
	case types.InstanceAttributeNameBlockDeviceMapping:
		out.BlockDeviceMappings = view.BlockDeviceMappings
	case types.InstanceAttributeNameEbsOptimized:
		out.EbsOptimized = &types.AttributeBooleanValue{Value: view.EbsOptimized}
	case types.InstanceAttributeNameSriovNetSupport:
		out.SriovNetSupport = &types.AttributeValue{Value: view.SriovNetSupport}
	case types.InstanceAttributeNameEnaSupport:
		out.EnaSupport = &types.AttributeBooleanValue{Value: view.EnaSupport}
	case types.InstanceAttributeNameGroupSet:
		out.Groups = view.SecurityGroups
	default:
		return nil, badRequest(
			"InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown attribute.", in.Attribute,
		)
	}

	return out, nil
}

func (w *World) modifyInstanceAttribute(
	c *Call, in *ec2.ModifyInstanceAttributeInput,
) (*ec2.ModifyInstanceAttributeOutput, error) {
	err := refuseUnmodeled(
		in, "InstanceId", "EnaSupport", "SriovNetSupport", "DisableApiTermination", "InstanceInitiatedShutdownBehavior",
		"InstanceType",
	)
	if err != nil {
		return nil, err
	}
	if err := w.authorize(c, w.newAuthorizationOnOwn(c, "instance", aws.ToString(in.InstanceId))); err != nil {
		return nil, err
	}

	found, err := w.findOwnInstances(c, []string{aws.ToString(in.InstanceId)})
	if err != nil {
		return nil, err
	}

	one := found[0]
	if (in.EnaSupport != nil || in.SriovNetSupport != nil ||
		in.InstanceType != nil) && !one.isInState(c.At, types.InstanceStateNameStopped) {
		return nil, badRequest("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", one.id)
	}

	switch {
	case in.EnaSupport != nil:
		one.attributes.EnaSupport = in.EnaSupport.Value
	case in.SriovNetSupport != nil:
		one.attributes.SriovNetSupport = in.SriovNetSupport.Value
	case in.InstanceType != nil:
		one.attributes.InstanceType = types.InstanceType(aws.ToString(in.InstanceType.Value))
	case in.DisableApiTermination != nil:
		one.terminationProtected = aws.ToBool(in.DisableApiTermination.Value)
	case in.InstanceInitiatedShutdownBehavior != nil:
		one.shutdownBehavior = types.ShutdownBehavior(aws.ToString(in.InstanceInitiatedShutdownBehavior.Value))
	default:
		return nil, badRequest("InvalidParameterCombination", "No attributes specified.")
	}

	c.changedIDs = append(c.changedIDs, one.id)
	return &ec2.ModifyInstanceAttributeOutput{}, nil
}
