// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// AttachImageWatermarks attaches watermarks of the account to its image (rule 9.17, Images have watermarks).
type AttachImageWatermarks struct {
	Base
	Image Ref
	Name  string   // of the image, for messages
	Names []string // of the watermarks, sorted
}

func (s *AttachImageWatermarks) Permissions() []Permission {
	return []Permission{
		{"ec2:AttachImageWatermark", s.Location.ImageARN(s.Image.Known), "9.17"},
		{"ec2:DescribeImages", "*", "4.4.1"},
	}
}

func (s *AttachImageWatermarks) ResourceID() string { return s.Image.Known }

func (s *AttachImageWatermarks) String() string {
	return fmt.Sprintf("attach %s to %q in %s", strings.Join(s.keys(), ", "), s.Name, s.Location)
}

func (s *AttachImageWatermarks) Doing(w Words) string {
	attached := distribution.Count(len(s.Names), "watermark", "watermarks")
	return fmt.Sprintf("Attaching %s to %s in %s", attached, w.Image(s.Image), w.Location(s.Location))
}

func (s *AttachImageWatermarks) Summary() Summary { return attributeSummary() }

func (s *AttachImageWatermarks) Role() Role { return CompletesImage }

func (s *AttachImageWatermarks) dryRuns(env Env) []DryRun {
	in := s.input(imageOrStandIn(s.Image), s.Names[0])
	in.DryRun = aws.Bool(true)
	return []DryRun{newDryRun(s, "ec2:AttachImageWatermark", env.Clients.EC2(s.Location).AttachImageWatermark, in)}
}

var _ = register(&AttachImageWatermarks{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*AttachImageWatermarks).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*AttachImageWatermarks).dryRuns(env) },
})

func (s *AttachImageWatermarks) start(env Env) Attempt {
	return &attachImageWatermarks{step: s, client: env.Clients.EC2(s.Location), imageID: env.ID(s.Image)}
}

func (s *AttachImageWatermarks) input(imageID, name string) *ec2.AttachImageWatermarkInput {
	return &ec2.AttachImageWatermarkInput{ImageId: aws.String(imageID), WatermarkName: aws.String(name)}
}

// keys returns the watermarks as AWS shows them.
func (s *AttachImageWatermarks) keys() []string {
	keys := make([]string, len(s.Names))
	for i, name := range s.Names {
		keys[i] = WatermarkKey(s.Location.Account, name)
	}
	return keys
}

// Matches reports whether the image already has the watermarks.
func (s *AttachImageWatermarks) Matches(image ec2types.Image) bool {
	return len(s.missingNames(image)) == 0
}

// missingNames returns the names of the watermarks that the image does not have.
func (s *AttachImageWatermarks) missingNames(image ec2types.Image) []string {
	var missing []string
	shown := WatermarkKeys(image)
	for _, name := range s.Names {
		if !slices.Contains(shown, WatermarkKey(s.Location.Account, name)) {
			missing = append(missing, name)
		}
	}
	return missing
}

// WatermarkKey returns the key of a watermark that an account attaches.
func WatermarkKey(account, name string) string { return account + ":" + name }

type attachImageWatermarks struct {
	step    *AttachImageWatermarks
	client  *ec2.Client
	imageID string
	changed bool
	wait    consistencyWait
}

// Do attaches the watermarks that the image does not have, and reads them back.
func (a *attachImageWatermarks) Do(ctx context.Context) (Outcome, error) {
	outcome := Outcome{ID: a.imageID}
	image, err := DescribeImage(ctx, a.client, a.imageID)
	if err != nil {
		return outcome, err
	}

	missing := a.step.Names
	if image != nil {
		missing = a.step.missingNames(*image)
	}

	switch {
	case len(missing) == 0:
		return outcome, nil
	case a.changed || image == nil:
		return outcome, a.wait.retry(
			fmt.Errorf("AWS does not show the watermark %s of %s", strings.Join(missing, ", "), a.imageID),
		)
	}

	for _, name := range missing {
		if _, err := a.client.AttachImageWatermark(ctx, a.step.input(a.imageID, name)); err != nil {
			return outcome, err
		}
	}

	a.changed = true
	return outcome, RetryAfter{}
}
