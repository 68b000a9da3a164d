// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// enableFastLaunch switches it on, unless it is on as it is wanted, and reads it back. What AWS makes for it is not waited for.
func (t *transfer) enableFastLaunch(ctx context.Context, j *stepRun, s *step.EnableFastLaunch) StepOutcome {
	id := j.id(s.Image)
	out, err := t.pool.EC2(s.Location).DescribeFastLaunchImages(ctx, &ec2.DescribeFastLaunchImagesInput{ImageIds: []string{id}})
	if err != nil {
		return StepOutcome{Made: id, Err: err}
	}
	var seen ec2types.DescribeFastLaunchImagesSuccessItem
	if len(out.FastLaunchImages) > 0 {
		seen = out.FastLaunchImages[0]
	}
	on := seen.State == ec2types.FastLaunchStateCodeEnabling || seen.State == ec2types.FastLaunchStateCodeEnabled
	switch {
	case on && asWanted(s.FastLaunch, seen):
		return StepOutcome{Made: id}
	case j.memo.changed && j.patient(): // not seen yet (4.4.1)
		return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
	case j.memo.changed:
		return StepOutcome{Made: id, Err: fmt.Errorf("AWS shows fast launch of %s as %q: %s", id, seen.State, aws.ToString(seen.StateTransitionReason))}
	}
	if _, err := t.pool.EC2(s.Location).EnableFastLaunch(ctx, fastLaunch(id, s.FastLaunch)); err != nil {
		return StepOutcome{Made: id, Err: err}
	}
	j.memo.changed = true
	return StepOutcome{Err: retryAfter{}}
}

func (t *transfer) proveFastLaunch(s *step.EnableFastLaunch) proof {
	in := fastLaunch(existing(s.Image, standInImage), s.FastLaunch)
	in.DryRun = aws.Bool(true)
	return proofBy(t.pool.EC2(s.Location).EnableFastLaunch, in, s, "ec2:EnableFastLaunch")
}

func fastLaunch(id string, f distribution.FastLaunch) *ec2.EnableFastLaunchInput {
	in := &ec2.EnableFastLaunchInput{ImageId: aws.String(id), ResourceType: aws.String(string(ec2types.FastLaunchResourceTypeSnapshot))}
	if f.MaxParallelLaunches > 0 {
		in.MaxParallelLaunches = aws.Int32(int32(f.MaxParallelLaunches)) //nolint:gosec // judged by config
	}
	if f.TargetResourceCount > 0 {
		in.SnapshotConfiguration = &ec2types.FastLaunchSnapshotConfigurationRequest{TargetResourceCount: aws.Int32(int32(f.TargetResourceCount))} //nolint:gosec // judged by config
	}
	if f.TemplateID+f.TemplateName == "" {
		return in
	}
	in.LaunchTemplate = &ec2types.FastLaunchLaunchTemplateSpecificationRequest{Version: aws.String(strconv.Itoa(f.TemplateVersion))}
	if f.TemplateID != "" {
		in.LaunchTemplate.LaunchTemplateId = aws.String(f.TemplateID)
	} else {
		in.LaunchTemplate.LaunchTemplateName = aws.String(f.TemplateName)
	}
	return in
}

// asWanted compares what was asked for; what was not is AWS's to choose.
func asWanted(f distribution.FastLaunch, seen ec2types.DescribeFastLaunchImagesSuccessItem) bool {
	template, snapshots := seen.LaunchTemplate, seen.SnapshotConfiguration
	switch {
	case f.MaxParallelLaunches > 0 && int(aws.ToInt32(seen.MaxParallelLaunches)) != f.MaxParallelLaunches:
		return false
	case f.TargetResourceCount > 0 && (snapshots == nil || int(aws.ToInt32(snapshots.TargetResourceCount)) != f.TargetResourceCount):
		return false
	case f.TemplateID+f.TemplateName == "":
		return true
	}
	return template != nil && aws.ToString(template.Version) == strconv.Itoa(f.TemplateVersion) &&
		(f.TemplateID == "" || aws.ToString(template.LaunchTemplateId) == f.TemplateID) && (f.TemplateName == "" || aws.ToString(template.LaunchTemplateName) == f.TemplateName)
}
