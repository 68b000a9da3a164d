// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

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
)

// RunInstance is the launch check. It launches one instance of a destination's image and ends when it runs (rules
// 8.5 and 8.6). TerminateInstance always follows.
type RunInstance struct {
	Base
	Image        Ref
	Name         string // of the image, for messages
	InstanceType string
	SubnetID     string   // empty for one of the default VPC
	Devices      []string // EBS devices whose volumes must be deleted with the instance
	KeyARN       string   // key of the volumes
	Tags         map[string]string
	PartTags     map[string]string // for volumes and network interfaces
	Signing      Signing
}

// ClientToken returns the client token of the launch. It proves which run launched the instance, and makes a
// repeated call safe (rule 4.2.3).
func (s *RunInstance) ClientToken() string { return string(s.Signing.Token(string(s.ID))) }

// Permissions include all resources of a launch. The KMS permissions are the documented set (rules 3.1.5 and
// 3.1.10).
func (s *RunInstance) Permissions() []Permission {
	subnet := "*"
	if s.SubnetID != "" {
		subnet = s.SubnetID
	}

	permissions := []Permission{
		{"ec2:RunInstances", s.Location.ImageARN(s.Image.Known), "8.6"},
		{"ec2:RunInstances", s.Location.OwnedARN("subnet", subnet), "8.6"},
		{"ec2:CreateTags", s.Location.OwnedARN("instance", "*"), "9.4"},
		{"ec2:DescribeInstances", "*", "8.7"},
	}

	for _, kind := range []string{"instance", "network-interface", "security-group", "volume"} {
		permissions = append(permissions, Permission{"ec2:RunInstances", s.Location.OwnedARN(kind, "*"), "8.6"})
	}

	if len(s.PartTags) > 0 {
		for _, kind := range []string{"volume", "network-interface"} {
			permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.OwnedARN(kind, "*"), "9.4"})
		}
	}

	for _, action := range []string{
		"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom",
		"kms:ReEncryptTo",
	} {
		permissions = append(permissions, Permission{action, s.KeyARN, "3.1.5"})
	}

	return permissions
}

func (s *RunInstance) ResourceID() string { return s.Image.Known }

func (s *RunInstance) String() string {
	return fmt.Sprintf("launch one %s of %q in %s, and wait until it runs", s.InstanceType, s.Name, s.Location)
}

func (s *RunInstance) Doing(w Words) string {
	at := w.Location(s.Location)
	return fmt.Sprintf("Launching a %s from %s in %s to check it", s.InstanceType, w.Image(s.Image), at)
}

func (s *RunInstance) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "launch an instance to check it"}}
}

func (s *RunInstance) Role() Role { return CompletesImage }

func (s *RunInstance) LaunchedType() string { return s.InstanceType }

var _ = register(&RunInstance{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*RunInstance).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*RunInstance).dryRuns(env) },
})

func (s *RunInstance) start(env Env) Attempt { return newAttempt(s, env, env.runInstance) }

func (s *RunInstance) dryRuns(env Env) []DryRun {
	in := runInstancesInput(s, imageOrStandIn(s.Image))
	in.DryRun = aws.Bool(true)
	return []DryRun{newDryRun(s, "ec2:RunInstances", env.Clients.EC2(s.Location).RunInstances, in)}
}

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
func (r *Run) runInstance(ctx context.Context, a *attempt, s *RunInstance) (Outcome, error) {
	if a.resourceID == "" {
		id, err := r.launch(ctx, a, s)
		switch {
		case awsclient.IsNotFound(err) && a.keepPolling(): // the image was registered moments ago (rule 4.4.1)
			return Outcome{}, RetryAfter{Backoff(a.polls)}
		case err != nil:
			return Outcome{}, err
		}
		a.resourceID, a.unconfirmedSince, a.missingSince = id, time.Now(), time.Time{}
	}

	instance, err := r.instance(ctx, s.Location, a.resourceID)
	switch {
	case err != nil:
		return Outcome{}, err
	case instance == nil && a.keepPolling(): // eventual consistency (rule 4.4.1)
		return Outcome{}, RetryAfter{launchPollInterval}
	case instance == nil:
		return Outcome{}, fmt.Errorf("AWS has not shown %s for %v", a.resourceID, EventualConsistencyTimeout)
	}

	switch state := instance.State.Name; {
	case state == ec2types.InstanceStateNameRunning:
		return Outcome{ID: a.resourceID}, nil
	case state != ec2types.InstanceStateNamePending:
		return Outcome{}, newLaunchFailed(*instance)
	case time.Since(a.unconfirmedSince) >= launchTimeout:
		return Outcome{}, fmt.Errorf("%s is still %s after %v", a.resourceID, state, launchTimeout)
	}

	return Outcome{}, RetryAfter{launchPollInterval}
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
func (r *Run) launch(ctx context.Context, a *attempt, s *RunInstance) (string, error) {
	graceCtx, release := withGracePeriod(ctx)
	defer release()
	in := runInstancesInput(s, a.id(s.Image))
	in.ClientToken = aws.String(s.ClientToken())
	out, err := r.Clients.EC2(s.Location).RunInstances(graceCtx, in)
	if err != nil {
		return "", err
	}

	if len(out.Instances) != 1 {
		return "", fmt.Errorf("AWS launched %d instances where one was asked for", len(out.Instances))
	}

	id := aws.ToString(out.Instances[0].InstanceId)
	r.recordCreatedID(id)
	return id, nil
}

// runInstancesInput returns the input of RunInstances without the client token. Terminating the instance deletes all
// its volumes.
func runInstancesInput(s *RunInstance, image string) *ec2.RunInstancesInput {
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
func (r *Run) instance(ctx context.Context, at distribution.Location, id string) (*ec2types.Instance, error) {
	found, err := r.instances(ctx, at, ec2types.Filter{Name: aws.String("instance-id"), Values: []string{id}})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (r *Run) instances(
	ctx context.Context,
	at distribution.Location,
	filters ...ec2types.Filter,
) ([]ec2types.Instance, error) {
	var found []ec2types.Instance
	pages := ec2.NewDescribeInstancesPaginator(r.Clients.EC2(at), &ec2.DescribeInstancesInput{Filters: filters})
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
