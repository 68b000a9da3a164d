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

// shareImage adds launch permissions to an image and reads them back. Existing permissions stay.
func (t *executor) shareImage(ctx context.Context, j *stepRun, s *step.ShareImage) StepOutcome {
	if err := guardLaunchPermissions(s.With); err != nil {
		return StepOutcome{Err: err}
	}

	id := j.id(s.Image)
	if !j.state.changed {
		if err := t.writeImageSharingTags(ctx, s, id); err != nil {
			return StepOutcome{Err: err}
		}

		err := t.modifyLaunchPermissions(
			ctx,
			s.Location,
			id,
			&ec2types.LaunchPermissionModifications{Add: launchPermissions(s.With)},
		)

		if awsclient.IsNotFound(err) && j.keepPolling() { // eventual consistency (rule 4.4.1)
			return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
		}

		if err != nil {
			return StepOutcome{ID: id, Err: err}
		}

		j.state.changed = true
	}

	permissions, err := t.describeLaunchPermissions(ctx, s.Location, id)
	missing := s.With.Without(permissions)
	switch {
	case err != nil || missing.IsEmpty():
		return StepOutcome{ID: id, Err: err}
	case j.keepPolling(): // eventual consistency (rule 4.4.2)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}

	return StepOutcome{ID: id, Err: fmt.Errorf("AWS does not show that %s may launch %s", missing, id)}
}

func (t *executor) dryRunShareImage(s *step.ShareImage) dryRun {
	in := &ec2.ModifyImageAttributeInput{
		DryRun: aws.Bool(true), ImageId: aws.String(knownOr(s.Image, step.StandInImage)),
		LaunchPermission: &ec2types.LaunchPermissionModifications{Add: launchPermissions(s.With)},
	}
	return newDryRun(t.pool.EC2(s.Location).ModifyImageAttribute, in, s, "ec2:ModifyImageAttribute")
}

// writeImageSharingTags writes the tags that must exist before an image is shared.
func (t *executor) writeImageSharingTags(ctx context.Context, s *step.ShareImage, id string) error {
	if s.PermanentOn != "" {
		if err := t.writePermanentTags(ctx, s.Location, s.PermanentOn, s.With.Accounts); err != nil {
			return err
		}
	}

	if !s.Baseline {
		return nil
	}

	permissions, err := t.describeLaunchPermissions(ctx, s.Location, id)
	if err != nil {
		return err
	}

	image, err := t.image(ctx, s.Location, id)
	if err != nil || image == nil {
		return cmp.Or(err, fmt.Errorf("AWS does not show %s", id))
	}

	return t.writeBaseline(ctx, s.Location, id, permissions.Accounts, tagsOf(image.Tags))
}

// unshareImage removes the launch permissions of a staged image and reads them back. It does not affect a copy in
// progress.
func (t *executor) unshareImage(ctx context.Context, j *stepRun, s *step.UnshareImage) StepOutcome {
	id := j.id(s.Image)
	removed := distribution.LaunchPermissions{Accounts: s.Accounts}
	retained := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: why}}
	}
	if err := guardLaunchPermissions(removed); err != nil {
		return StepOutcome{Err: err}
	}

	err := t.modifyLaunchPermissions(
		ctx,
		s.Location,
		id,
		&ec2types.LaunchPermissionModifications{Remove: launchPermissions(removed)},
	)

	switch {
	case awsclient.IsNotFound(err):
		return StepOutcome{ID: id}
	case err != nil:
		return StepOutcome{ID: id, Err: err, Retained: retained(reason(err))}
	}

	permissions, err := t.describeLaunchPermissions(ctx, s.Location, id)
	remaining := removed.Without(removed.Without(permissions))
	switch {
	case awsclient.IsNotFound(err):
		return StepOutcome{ID: id}
	case err != nil:
		return StepOutcome{ID: id, Err: err, Retained: retained("withdrawn, but it could not be read back: " + reason(err))}
	case !remaining.IsEmpty() && j.keepPolling(): // eventual consistency (rule 4.4.2)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case !remaining.IsEmpty():
		return StepOutcome{
			ID:       id,
			Retained: retained("withdrawn, and still shown for " + strings.Join(remaining.Accounts, ", ")),
		}
	}

	return StepOutcome{ID: id}
}

// describeLaunchPermissions returns the launch permissions of an account's own image.
func (t *executor) describeLaunchPermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
) (distribution.LaunchPermissions, error) {
	in := &ec2.DescribeImageAttributeInput{
		ImageId:   aws.String(id),
		Attribute: ec2types.ImageAttributeNameLaunchPermission,
	}
	out, err := t.pool.EC2(at).DescribeImageAttribute(ctx, in)
	if err != nil {
		return distribution.LaunchPermissions{}, err
	}
	return distribution.NewLaunchPermissions(out.LaunchPermissions), nil
}

// modifyLaunchPermissions changes one attribute with one operation, because AWS takes at most one in a call (rule
// 2.2.10).
func (t *executor) modifyLaunchPermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
	change *ec2types.LaunchPermissionModifications,
) error {
	_, err := t.pool.EC2(at).
		ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: aws.String(id), LaunchPermission: change})
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
