// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
)

// EnableSourceProtection enables deregistration protection of the source image, without a cool-down (rule A.2). It
// runs first, because Packer deregisters the image if a post-processor fails.
type EnableSourceProtection struct {
	Base
	ImageID string
}

func (s *EnableSourceProtection) Permissions() []Permission {
	image := s.Location.ImageARN(s.ImageID)
	return []Permission{
		{"ec2:DescribeImages", "*", "A.2.3"},
		{"ec2:EnableImageDeregistrationProtection", image, "A.2.1"},
	}
}

func (s *EnableSourceProtection) ResourceID() string { return s.ImageID }

func (s *EnableSourceProtection) String() string {
	return fmt.Sprintf("protect %s in %s against deregistration", s.ImageID, s.Location.Region)
}

func (s *EnableSourceProtection) Doing(Words) string {
	return fmt.Sprintf("Enabling deregistration protection on %s for this run", s.ImageID)
}

var _ = register(&EnableSourceProtection{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*EnableSourceProtection).start(env) },
})

func (s *EnableSourceProtection) start(env Env) Attempt {
	return newAttempt(s, env, env.enableSourceProtection)
}

// MissingImageError says that AWS does not show an image. Its value is the ID of the image.
type MissingImageError string

func (e MissingImageError) Error() string { return "AWS does not show " + string(e) }

// DisableSourceProtection disables what EnableSourceProtection enabled, at the end of a successful run.
type DisableSourceProtection struct {
	Base
	ImageID string
}

func (s *DisableSourceProtection) Permissions() []Permission {
	image := s.Location.ImageARN(s.ImageID)
	return []Permission{{"ec2:DisableImageDeregistrationProtection", image, "A.2.1"}}
}

func (s *DisableSourceProtection) ResourceID() string { return s.ImageID }

func (s *DisableSourceProtection) String() string {
	return fmt.Sprintf("lift the protection of %s in %s", s.ImageID, s.Location.Region)
}

func (s *DisableSourceProtection) Doing(Words) string {
	return fmt.Sprintf("Disabling deregistration protection on %s", s.ImageID)
}

var _ = register(&DisableSourceProtection{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*DisableSourceProtection).start(env) },
})

func (s *DisableSourceProtection) start(env Env) Attempt {
	return newAttempt(s, env, env.disableSourceProtection)
}

// protectionReadTimeout is how long the step tries to read the image before it protects it unread. If the run is killed
// earlier, nothing prevents Packer from deregistering the image.
const protectionReadTimeout = time.Minute

// enableSourceProtection enables deregistration protection. The outcome has an ID if a run enabled it, which
// includes an earlier run that crashed.
func (r *Run) enableSourceProtection(ctx context.Context, a *attempt, s *EnableSourceProtection) (Outcome, error) {
	readCtx, cancel := context.WithTimeout(ctx, protectionReadTimeout)
	defer cancel()
	image, err := DescribeImage(readCtx, r.Clients.EC2(s.Location), s.ImageID)
	if err != nil {
		return r.protectUnread(ctx, a, s, err)
	}

	if image == nil {
		return r.protectMissing(ctx, a, s)
	}

	switch {
	case IsProtected(*image) && (a.changed || r.IsProtectionHeld(tagsOf(image.Tags))):
		return Outcome{ID: s.ImageID, CreationDate: aws.ToString(image.CreationDate)}, nil
	case IsProtected(*image):
		return Outcome{CreationDate: aws.ToString(image.CreationDate)}, nil
	case a.changed: // enabled, but not visible yet
		if a.keepPolling() {
			return Outcome{}, RetryAfter{Backoff(a.polls)}
		}
		return Outcome{ID: s.ImageID}, ErrNotProtected
	}

	in := &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(s.ImageID)}
	_, err = r.Clients.EC2(s.Location).EnableImageDeregistrationProtection(ctx, in)
	if err == nil || awsclient.IsOutcomeUnknown(err) || ctx.Err() != nil {
		a.resourceID = s.ImageID // even if the run is canceled before it is read back
	}

	if err != nil {
		return Outcome{}, err
	}

	a.changed = true
	return Outcome{}, RetryAfter{}
}

// protectMissing enables the protection of an image that a response lacks. It retries a few times: the builder has
// seen the image as available, so a long wait would not help.
func (r *Run) protectMissing(ctx context.Context, a *attempt, s *EnableSourceProtection) (Outcome, error) {
	end, err := r.protectUnread(ctx, a, s, MissingImageError(s.ImageID))
	if !awsclient.IsNotFound(err) {
		return end, err
	}
	if a.keepPolling() && a.polls < 5 {
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}
	return end, MissingImageError(s.ImageID)
}

// protectUnread enables the protection of an image that cannot be read, or that the response lacks. Packer would
// deregister the image otherwise, because a run that cannot read it fails.
func (r *Run) protectUnread(
	ctx context.Context, a *attempt, s *EnableSourceProtection, readErr error,
) (Outcome, error) {
	if a.changed {
		return Outcome{ID: s.ImageID}, nil
	}
	if ctx.Err() != nil {
		return Outcome{}, readErr
	}
	in := &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(s.ImageID)}
	_, err := r.Clients.EC2(s.Location).EnableImageDeregistrationProtection(ctx, in)
	if awsclient.IsOutcomeUnknown(err) || ctx.Err() != nil {
		a.resourceID = s.ImageID // even if the run is canceled before it is read back
	}
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{ID: s.ImageID}, nil
}

// disableSourceProtection disables deregistration protection if it is enabled.
func (r *Run) disableSourceProtection(ctx context.Context, _ *attempt, s *DisableSourceProtection) (Outcome, error) {
	image, err := DescribeImage(ctx, r.Clients.EC2(s.Location), s.ImageID)
	if err != nil {
		return Outcome{}, err
	}

	// a response without the setting says nothing about it
	if image != nil && aws.ToString(image.DeregistrationProtection) != "" && !IsProtected(*image) {
		return Outcome{}, nil
	}
	in := &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(s.ImageID)}
	_, err = r.Clients.EC2(s.Location).DisableImageDeregistrationProtection(ctx, in)
	return Outcome{ID: s.ImageID}, ignoreNotFound(err)
}
