// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// DeprecateImage sets when AWS hides an image from the lists of other accounts (rule 9.21). The image can still be
// launched.
type DeprecateImage struct {
	Base
	Image Ref
	Name  string    // of the image, for messages
	After time.Time // UTC, to the minute
}

func (s *DeprecateImage) Permissions() []Permission {
	return []Permission{
		{"ec2:EnableImageDeprecation", s.Location.ImageARN(s.Image.Known), "9.21"},
		{"ec2:DescribeImages", "*", "4.4.1"},
	}
}

func (s *DeprecateImage) ResourceID() string { return s.Image.Known }

func (s *DeprecateImage) String() string {
	return fmt.Sprintf("deprecate %q in %s from %s on", s.Name, s.Location, s.After.Format(time.RFC3339))
}

func (s *DeprecateImage) Doing(w Words) string {
	return fmt.Sprintf("Setting the deprecation date of %s in %s", w.Image(s.Image), w.Location(s.Location))
}

func (s *DeprecateImage) Summary() Summary { return attributeSummary() }

func (s *DeprecateImage) Role() Role { return CompletesImage }

func (s *DeprecateImage) dryRuns(env Env) []DryRun {
	in := s.input(imageOrStandIn(s.Image))
	in.DryRun = aws.Bool(true)
	return []DryRun{newDryRun(s, "ec2:EnableImageDeprecation", env.Clients.EC2(s.Location).EnableImageDeprecation, in)}
}

var _ = register(&DeprecateImage{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*DeprecateImage).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*DeprecateImage).dryRuns(env) },
})

func (s *DeprecateImage) start(env Env) Attempt {
	return &deprecateImage{step: s, client: env.Clients.EC2(s.Location), imageID: env.ID(s.Image)}
}

func (s *DeprecateImage) input(imageID string) *ec2.EnableImageDeprecationInput {
	return &ec2.EnableImageDeprecationInput{ImageId: aws.String(imageID), DeprecateAt: aws.Time(s.After)}
}

type deprecateImage struct {
	step    *DeprecateImage
	client  *ec2.Client
	imageID string
	changed bool
	wait    consistencyWait
}

// Do sets the time and reads it back.
func (a *deprecateImage) Do(ctx context.Context) (Outcome, error) {
	outcome := Outcome{ID: a.imageID}
	if !a.changed {
		if _, err := a.client.EnableImageDeprecation(ctx, a.step.input(a.imageID)); err != nil {
			return outcome, err
		}
		a.changed = true
	}

	image, err := DescribeImage(ctx, a.client, a.imageID)
	if err != nil {
		return outcome, err
	}

	shown := ""
	if image != nil {
		shown = aws.ToString(image.DeprecationTime)
		if a.step.Matches(*image) {
			return outcome, nil
		}
	}

	return outcome, a.wait.retry(fmt.Errorf("AWS shows %q as the deprecation time of %s", shown, a.imageID))
}

// Matches reports whether the image already has this time of deprecation.
func (s *DeprecateImage) Matches(image ec2types.Image) bool {
	at, err := time.Parse(time.RFC3339, aws.ToString(image.DeprecationTime))
	return err == nil && at.Truncate(time.Minute).Equal(s.After)
}
