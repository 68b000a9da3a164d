// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// EnableFastLaunch enables fast launch for a Windows image. It does not wait for the snapshots that AWS prepares.
type EnableFastLaunch struct {
	Base
	distribution.FastLaunch
	Image Ref
	Name  string // of the image, for messages
}

func (s *EnableFastLaunch) Permissions() []Permission {
	needed := []Permission{
		{"ec2:EnableFastLaunch", s.Location.ImageARN(s.Image.Known), "9.0"},
		{"ec2:DescribeFastLaunchImages", "*", "9.0"},
	}
	if s.hasTemplate() {
		template := s.Location.OwnedARN("launch-template", s.TemplateID)
		needed = append(needed, Permission{"ec2:EnableFastLaunch", template, "9.0"})
	}
	return needed
}

func (s *EnableFastLaunch) ResourceID() string { return s.Image.Known }

func (s *EnableFastLaunch) String() string {
	return fmt.Sprintf("enable fast launch of %q in %s", s.Name, s.Location)
}

func (s *EnableFastLaunch) Doing(w Words) string {
	return fmt.Sprintf("Enabling fast launch for %s in %s", w.Image(s.Image), w.Location(s.Location))
}

func (s *EnableFastLaunch) Summary() Summary { return attributeSummary() }

func (s *EnableFastLaunch) Role() Role { return CompletesImage }

func (s *EnableFastLaunch) dryRuns(env Env) []DryRun {
	in := s.input(imageOrStandIn(s.Image))
	in.DryRun = aws.Bool(true)
	return []DryRun{newDryRun(s, "ec2:EnableFastLaunch", env.Clients.EC2(s.Location).EnableFastLaunch, in)}
}

var _ = register(&EnableFastLaunch{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*EnableFastLaunch).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*EnableFastLaunch).dryRuns(env) },
})

func (s *EnableFastLaunch) start(env Env) Attempt {
	return &enableFastLaunch{step: s, client: env.Clients.EC2(s.Location), imageID: env.ID(s.Image)}
}

func (s *EnableFastLaunch) hasTemplate() bool { return s.TemplateID+s.TemplateName != "" }

func (s *EnableFastLaunch) input(imageID string) *ec2.EnableFastLaunchInput {
	in := &ec2.EnableFastLaunchInput{
		ImageId:      aws.String(imageID),
		ResourceType: aws.String(string(ec2types.FastLaunchResourceTypeSnapshot)),
	}
	if s.MaxParallelLaunches > 0 {
		in.MaxParallelLaunches = aws.Int32(int32(s.MaxParallelLaunches)) //nolint:gosec // bounded by config
	}

	if s.TargetResourceCount > 0 {
		in.SnapshotConfiguration = &ec2types.FastLaunchSnapshotConfigurationRequest{
			TargetResourceCount: aws.Int32(int32(s.TargetResourceCount)), //nolint:gosec // bounded by config
		}
	}

	if !s.hasTemplate() {
		return in
	}

	in.LaunchTemplate = &ec2types.FastLaunchLaunchTemplateSpecificationRequest{
		Version: aws.String(strconv.Itoa(s.TemplateVersion)),
	}
	if s.TemplateID != "" {
		in.LaunchTemplate.LaunchTemplateId = aws.String(s.TemplateID)
	} else {
		in.LaunchTemplate.LaunchTemplateName = aws.String(s.TemplateName)
	}

	return in
}

type enableFastLaunch struct {
	step    *EnableFastLaunch
	client  *ec2.Client
	imageID string
	changed bool
	wait    consistencyWait
}

// Do enables fast launch and reads it back. It makes no change if the image already has these settings.
func (a *enableFastLaunch) Do(ctx context.Context) (Outcome, error) {
	outcome := Outcome{ID: a.imageID}
	out, err := a.client.DescribeFastLaunchImages(ctx, &ec2.DescribeFastLaunchImagesInput{ImageIds: []string{a.imageID}})
	if err != nil {
		return outcome, err
	}

	var shown ec2types.DescribeFastLaunchImagesSuccessItem
	if len(out.FastLaunchImages) > 0 {
		shown = out.FastLaunchImages[0]
	}

	switch {
	case isEnabled(shown.State) && a.step.matches(shown):
		return outcome, nil
	case a.changed:
		reason := aws.ToString(shown.StateTransitionReason)
		return outcome, a.wait.retry(fmt.Errorf("AWS shows fast launch of %s as %q: %s", a.imageID, shown.State, reason))
	}

	if _, err := a.client.EnableFastLaunch(ctx, a.step.input(a.imageID)); err != nil {
		return outcome, err
	}

	a.changed = true
	return outcome, RetryAfter{}
}

func isEnabled(state ec2types.FastLaunchStateCode) bool {
	return state == ec2types.FastLaunchStateCodeEnabling || state == ec2types.FastLaunchStateCodeEnabled
}

// matches reports whether the shown settings equal those of the template. AWS chooses the others.
func (s *EnableFastLaunch) matches(shown ec2types.DescribeFastLaunchImagesSuccessItem) bool {
	if s.MaxParallelLaunches > 0 && int(aws.ToInt32(shown.MaxParallelLaunches)) != s.MaxParallelLaunches {
		return false
	}
	if s.TargetResourceCount > 0 {
		prepared := shown.SnapshotConfiguration
		if prepared == nil || int(aws.ToInt32(prepared.TargetResourceCount)) != s.TargetResourceCount {
			return false
		}
	}
	return !s.hasTemplate() || s.matchesTemplate(shown.LaunchTemplate)
}

func (s *EnableFastLaunch) matchesTemplate(shown *ec2types.FastLaunchLaunchTemplateSpecificationResponse) bool {
	if shown == nil || aws.ToString(shown.Version) != strconv.Itoa(s.TemplateVersion) {
		return false
	}
	if s.TemplateID != "" {
		return aws.ToString(shown.LaunchTemplateId) == s.TemplateID
	}
	return aws.ToString(shown.LaunchTemplateName) == s.TemplateName
}
