// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// destinationImageSpec returns the expected image of a destination.
func destinationImageSpec(
	d distribution.Destination,
	req distribution.Request,
	facts distribution.Facts,
) step.ImageSpec {
	l := newImageSpec(facts.Images[d.FromRegion])
	l.Method, l.Abroad = d.Method, d.FromRegion != d.At.Region
	l.Name, l.Description = d.Name, d.Description
	l.Mark = destinationMark(d, req, facts, "")
	l.Tags = joined(d.Tags, l.Mark.Tags(l.SealKey))
	return l
}

// imageSpec returns the expected staged image.
func (s *shareSource) imageSpec(req distribution.Request, facts distribution.Facts) step.ImageSpec {
	l := newImageSpec(facts.Images[s.from])
	l.Method, l.Abroad = distribution.ByImage, s.from != s.at.Region
	l.Mark = s.mark(req, facts, "")
	run := l.Mark.Run
	if s.whom == origin.Sharers { // the same for all runs, so that concurrent runs create one image
		run = ""
	}
	l.Name = stagedName(aws.ToString(l.Source.Name), step.Digest(run, s.at.Key(), l.Mark.Source(), s.keyARN))
	l.Description = fmt.Sprintf("Staged for other accounts: %s of %s", imageID(req, s.from), s.from)
	l.Tags = l.Mark.Tags(l.SealKey)
	return l
}

func newImageSpec(image distribution.Image) step.ImageSpec {
	l := step.ImageSpec{UEFIData: image.UEFIData, SealKey: image.SealKey}
	if image.Image != nil {
		l.Source = *image.Image
	}
	return l
}

// token returns the client token of a CopyImage call (4.2.3). It contains the start of the run, because the
// post-processors of one build share an id, and AWS would return an image that another of them has deleted.
func token(s step.CopyImage, begun time.Time) string {
	return step.Digest(s.Mark.Run, s.Location.Key(), s.Mark.Source(), s.Name, s.KeyARN, begun.Format(time.RFC3339Nano))
}
