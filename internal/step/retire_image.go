// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// codeReleaseDisabled is the code of the note about a release that was disabled and not deregistered yet.
const codeReleaseDisabled = "release_disabled"

// retirement is what a retention option does with an image of an older release that nothing uses.
type retirement struct {
	at      distribution.Location
	imageID string
	subject string // "the older release", for messages
	option  string // "retention", for messages
	dryRun  bool
	disable bool // disable the image. A later run deregisters it

	// findUse returns why the image must stay. Empty if nothing uses it.
	findUse func(ctx context.Context, image *ec2types.Image) (string, error)
	// idToDisable returns the ID of the image, or an error if the run may not disable it.
	idToDisable func(ctx context.Context) (string, error)
	// deregister deregisters the image and deletes its snapshots. It returns the snapshots that AWS did not delete.
	deregister func(ctx context.Context, image *ec2types.Image) ([]distribution.RetainedResource, error)
}

// retired returns what happens to an image, for messages.
func retired(isDisabled bool) string {
	if isDisabled {
		return "disabled"
	}
	return "deregistered"
}

// retire disables or deregisters an image that nothing uses. It looks for uses right before the call. An image that
// must stay is a finding and not a failure, because the destination already has its new image.
func (r *Run) retire(ctx context.Context, s retirement) (Outcome, error) {
	image, err := DescribeImage(ctx, r.Clients.EC2(s.at), s.imageID)
	if err == nil && image == nil {
		return Outcome{}, nil
	}

	use := ""
	if err == nil {
		use, err = s.findUse(ctx, image)
	}

	switch {
	case err != nil:
		return s.keep(distribution.Warning, "whether something needs it could not be looked at: "+Reason(err)), nil
	case use != "":
		return s.keep(distribution.Note, use), nil
	case s.disable && image.State == ec2types.ImageStateDisabled:
		return Outcome{}, nil
	case s.dryRun:
		done := map[bool]string{false: "removed with its snapshots", true: "disabled"}[s.disable]
		f := s.finding(distribution.Note, distribution.CodeReleaseWouldBeRemoved)
		f.Summary = s.subject + " " + s.imageID + " would be " + done
		f.Detail = "nothing needs it; " + s.option + " has dry_run = true"
		return Outcome{Notes: []distribution.Finding{f}}, nil
	case s.disable:
		return r.disableImage(ctx, s)
	}

	left, err := s.deregister(ctx, image)
	if err != nil {
		outcome := s.keep(distribution.Warning, Reason(err))
		outcome.Retained = left
		return outcome, nil
	}

	return Outcome{ID: s.imageID, Retained: left}, nil
}

// disableImage disables an image, so that it cannot be launched (rule 9.2). EnableImage undoes that.
func (r *Run) disableImage(ctx context.Context, s retirement) (Outcome, error) {
	id, err := s.idToDisable(ctx)
	if err == nil {
		_, err = r.Clients.EC2(s.at).DisableImage(ctx, &ec2.DisableImageInput{ImageId: &id})
	}
	if err != nil {
		return s.keep(distribution.Warning, Reason(err)), nil
	}

	f := s.finding(distribution.Note, codeReleaseDisabled)
	f.Reference = "9.2"
	f.Summary = s.subject + " " + s.imageID + " is disabled"
	f.Detail = "it cannot be launched; a later run deregisters it"
	f.Remediation = "if it is still needed, enable it: aws ec2 enable-image --image-id " + s.imageID
	return Outcome{Notes: []distribution.Finding{f}}, nil
}

// keep returns the outcome for an image that stays.
func (s retirement) keep(level distribution.Level, why string) Outcome {
	f := s.finding(level, distribution.CodeReleaseKept)
	f.Summary, f.Detail = s.subject+" "+s.imageID+" stays", why
	return Outcome{Notes: []distribution.Finding{f}}
}

func (s retirement) finding(level distribution.Level, code string) distribution.Finding {
	return distribution.Finding{
		Level:     level,
		Code:      code,
		Reference: "9.12",
		Field:     s.option,
		Location:  s.at,
		Resource:  s.imageID,
	}
}
