// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// VerifyRelease checks that an image of an earlier release can be launched, and that a run delivered it. A rollback
// publishes it again.
type VerifyRelease struct {
	Base
	Target   string
	ImageID  string
	Name     string
	IsSecond bool // another step returns the image of the destination
}

func (s *VerifyRelease) Permissions() []Permission {
	return []Permission{{"ec2:DescribeImages", "*", "4.4.1"}}
}

func (s *VerifyRelease) ResourceID() string { return s.ImageID }

func (s *VerifyRelease) String() string {
	return fmt.Sprintf("verify the earlier release %s (%q) in %s", s.ImageID, s.Name, s.Location)
}

func (s *VerifyRelease) Doing(w Words) string {
	return fmt.Sprintf("Verifying the earlier release %s (%q) in %s", s.ImageID, s.Name, w.Location(s.Location))
}

func (s *VerifyRelease) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "verify %s", Singular: "earlier release", Plural: "earlier releases"}}
}

func (s *VerifyRelease) Role() Role { return VerifiesImage }

// Result returns the image that the destination publishes again.
func (s *VerifyRelease) Result(o Outcome) Result {
	if o.Err != nil || s.IsSecond {
		return Result{}
	}
	return Result{Image: &distribution.CreatedImage{
		At:      s.Location,
		Target:  s.Target,
		ImageID: o.ID,
		Name:    s.Name,
		Earlier: true,
	}}
}

var _ = register(&VerifyRelease{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*VerifyRelease).start(env) },
})

func (s *VerifyRelease) start(env Env) Attempt {
	return &verifyRelease{
		step:      s,
		image:     imageCheck{client: env.Clients.EC2(s.Location), imageID: s.ImageID},
		releaseOf: env.releaseOf,
	}
}

type verifyRelease struct {
	step      *VerifyRelease
	image     imageCheck
	releaseOf func(ctx context.Context, at distribution.Location, imageID string) (imageRelease, error)
	wait      consistencyWait
}

// Do reads the image and its signature again. Its tags or its state may have changed since the plan was made.
func (a *verifyRelease) Do(ctx context.Context) (Outcome, error) {
	if err := a.image.requireAvailable(ctx); err != nil {
		return Outcome{}, err
	}

	release, err := a.releaseOf(ctx, a.step.Location, a.step.ImageID)
	switch {
	case errors.Is(err, ErrImageNotShown): // eventual consistency (rule 4.4.1)
		return Outcome{}, a.wait.retry(err)
	case err != nil:
		return Outcome{}, err
	case !release.isProven:
		return Outcome{}, fmt.Errorf("%s has no signature of a delivered image, so it is not published", a.step.ImageID)
	}

	return Outcome{ID: a.step.ImageID}, nil
}
