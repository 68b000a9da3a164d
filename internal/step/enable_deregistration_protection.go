// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ErrNotProtected says that AWS accepted deregistration protection but does not show it.
var ErrNotProtected = errors.New("AWS does not show the protection that was switched on")

// EnableDeregistrationProtection enables deregistration protection of a destination's image.
type EnableDeregistrationProtection struct {
	Base
	Image    Ref
	Name     string // of the image, for messages
	Cooldown bool   // the protection lasts for a day after it is disabled
}

func (s *EnableDeregistrationProtection) Permissions() []Permission {
	return []Permission{
		{"ec2:EnableImageDeregistrationProtection", s.Location.ImageARN(s.Image.Known), "A.2.1"},
		{"ec2:DescribeImages", "*", "A.2.3"},
	}
}

func (s *EnableDeregistrationProtection) ResourceID() string { return s.Image.Known }

func (s *EnableDeregistrationProtection) String() string {
	cooldown := ""
	if s.Cooldown {
		cooldown = ", with a cool-down of a day"
	}
	return fmt.Sprintf("protect %q in %s against deregistration%s", s.Name, s.Location, cooldown)
}

func (s *EnableDeregistrationProtection) Doing(w Words) string {
	return fmt.Sprintf("Enabling deregistration protection on %s in %s", w.Image(s.Image), w.Location(s.Location))
}

func (s *EnableDeregistrationProtection) Summary() Summary { return attributeSummary() }

func (s *EnableDeregistrationProtection) Role() Role { return CompletesImage }

func (s *EnableDeregistrationProtection) dryRuns(env Env) []DryRun {
	in := s.input(imageOrStandIn(s.Image))
	in.DryRun = aws.Bool(true)
	call := env.Clients.EC2(s.Location).EnableImageDeregistrationProtection
	return []DryRun{newDryRun(s, "ec2:EnableImageDeregistrationProtection", call, in)}
}

var _ = register(&EnableDeregistrationProtection{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*EnableDeregistrationProtection).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*EnableDeregistrationProtection).dryRuns(env) },
})

func (s *EnableDeregistrationProtection) start(env Env) Attempt {
	return &enableProtection{step: s, client: env.Clients.EC2(s.Location), imageID: env.ID(s.Image)}
}

func (s *EnableDeregistrationProtection) input(imageID string) *ec2.EnableImageDeregistrationProtectionInput {
	return &ec2.EnableImageDeregistrationProtectionInput{
		ImageId:      aws.String(imageID),
		WithCooldown: aws.Bool(s.Cooldown),
	}
}

type enableProtection struct {
	step    *EnableDeregistrationProtection
	client  *ec2.Client
	imageID string
	changed bool
	wait    consistencyWait
}

// Do enables the protection and reads it back. It makes no change if the image already has these settings.
func (a *enableProtection) Do(ctx context.Context) (Outcome, error) {
	outcome := Outcome{ID: a.imageID}
	image, err := DescribeImage(ctx, a.client, a.imageID)
	switch {
	case err != nil:
		return outcome, err
	case image != nil && a.step.Matches(*image):
		return outcome, nil
	case a.changed || image == nil:
		return outcome, a.wait.retry(ErrNotProtected)
	}

	if _, err := a.client.EnableImageDeregistrationProtection(ctx, a.step.input(a.imageID)); err != nil {
		return outcome, err
	}

	a.changed = true
	return outcome, RetryAfter{}
}

// Matches reports whether the image already has this protection.
func (s *EnableDeregistrationProtection) Matches(image ec2types.Image) bool {
	if !IsProtected(image) {
		return false
	}
	return strings.Contains(aws.ToString(image.DeregistrationProtection), "with-cooldown") == s.Cooldown
}

// IsProtected reports whether an image has deregistration protection. The cool-down after it was disabled counts
// (rule A.2.3).
func IsProtected(image ec2types.Image) bool {
	state := aws.ToString(image.DeregistrationProtection)
	return state != "" && state != "disabled"
}
