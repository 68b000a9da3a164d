// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// shareImage adds to who may launch an image, and reads it back; nothing that was there is taken away.
func (t *executor) shareImage(ctx context.Context, j *stepRun, s *step.ShareImage) StepOutcome {
	if err := guardLaunchPermissions(s.With); err != nil {
		return StepOutcome{Err: err}
	}
	id := j.id(s.Image)
	if !j.state.changed {
		if err := t.writeImageSharingTags(ctx, s, id); err != nil {
			return StepOutcome{Err: err}
		}
		err := t.modifyLaunchPermissions(ctx, s.Location, id, &ec2types.LaunchPermissionModifications{Add: launchPermissions(s.With)})
		if awsclient.IsNotFound(err) && j.keepPolling() { // 4.4.1
			return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
		}
		if err != nil {
			return StepOutcome{ID: id, Err: err}
		}
		j.state.changed = true
	}
	admitted, err := t.describeLaunchPermissions(ctx, s.Location, id)
	missing := s.With.Without(admitted)
	switch {
	case err != nil || missing.IsEmpty():
		return StepOutcome{ID: id, Err: err}
	case j.keepPolling(): // 4.4.2
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}
	return StepOutcome{ID: id, Err: fmt.Errorf("AWS does not show that %s may launch %s", missing, id)}
}

func (t *executor) dryRunShareImage(s *step.ShareImage) dryRun {
	in := &ec2.ModifyImageAttributeInput{DryRun: aws.Bool(true), ImageId: aws.String(knownOr(s.Image, step.StandInImage)),
		LaunchPermission: &ec2types.LaunchPermissionModifications{Add: launchPermissions(s.With)}}
	return newDryRun(t.pool.EC2(s.Location).ModifyImageAttribute, in, s, "ec2:ModifyImageAttribute")
}

// rememberImage writes the tags that an image gets before it is shared.
func (t *executor) writeImageSharingTags(ctx context.Context, s *step.ShareImage, id string) error {
	if s.PermanentOn != "" {
		if err := t.writePermanentTags(ctx, s.Location, s.PermanentOn, s.With.Accounts); err != nil {
			return err
		}
	}
	if !s.Baseline {
		return nil
	}
	admitted, err := t.describeLaunchPermissions(ctx, s.Location, id)
	if err != nil {
		return err
	}
	image, err := t.image(ctx, s.Location, id)
	if err != nil || image == nil {
		return cmp.Or(err, fmt.Errorf("AWS does not show %s", id))
	}
	return t.writeBaseline(ctx, s.Location, id, admitted.Accounts, tagsOf(image.Tags))
}

// withdrawImageShare withdraws what shareImage added to a staged image, and reads it back. A copy under way goes on.
func (t *executor) unshareImage(ctx context.Context, j *stepRun, s *step.UnshareImage) StepOutcome {
	id := j.id(s.Image)
	gone := distribution.LaunchPermissions{Accounts: s.Accounts}
	left := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: why}}
	}
	if err := guardLaunchPermissions(gone); err != nil {
		return StepOutcome{Err: err}
	}
	err := t.modifyLaunchPermissions(ctx, s.Location, id, &ec2types.LaunchPermissionModifications{Remove: launchPermissions(gone)})
	switch {
	case awsclient.IsNotFound(err):
		return StepOutcome{ID: id}
	case err != nil:
		return StepOutcome{ID: id, Err: err, Retained: left(reason(err))}
	}
	admitted, err := t.describeLaunchPermissions(ctx, s.Location, id)
	still := gone.Without(gone.Without(admitted))
	switch {
	case awsclient.IsNotFound(err):
		return StepOutcome{ID: id}
	case err != nil:
		return StepOutcome{ID: id, Err: err, Retained: left("withdrawn, but it could not be read back: " + reason(err))}
	case !still.IsEmpty() && j.keepPolling(): // 4.4.2
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case !still.IsEmpty():
		return StepOutcome{ID: id, Retained: left("withdrawn, and still shown for " + strings.Join(still.Accounts, ", "))}
	}
	return StepOutcome{ID: id}
}

// audience is who may launch an image of the account's own.
func (t *executor) describeLaunchPermissions(ctx context.Context, at distribution.Location, id string) (distribution.LaunchPermissions, error) {
	out, err := t.pool.EC2(at).DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: aws.String(id), Attribute: ec2types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return distribution.LaunchPermissions{}, err
	}
	return distribution.NewLaunchPermissions(out.LaunchPermissions), nil
}

// modifyLaunch changes one attribute with one verb, as AWS wants it (2.2.10).
func (t *executor) modifyLaunchPermissions(ctx context.Context, at distribution.Location, id string, change *ec2types.LaunchPermissionModifications) error {
	_, err := t.pool.EC2(at).ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: aws.String(id), LaunchPermission: change})
	return err
}

func launchPermissions(a distribution.LaunchPermissions) []ec2types.LaunchPermission {
	var list []ec2types.LaunchPermission
	for _, account := range a.Accounts {
		list = append(list, ec2types.LaunchPermission{UserId: aws.String(account)})
	}
	for _, arn := range a.Organizations {
		list = append(list, ec2types.LaunchPermission{OrganizationArn: aws.String(arn)})
	}
	for _, arn := range a.Units {
		list = append(list, ec2types.LaunchPermission{OrganizationalUnitArn: aws.String(arn)})
	}
	return list
}
