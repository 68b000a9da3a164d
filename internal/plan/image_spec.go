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

// likeness is what a destination's image has to be.
func destinationImageSpec(
	d distribution.Destination,
	req distribution.Request,
	facts distribution.Facts,
) step.ImageSpec {
	l := likenessOf(facts.Images[d.FromRegion])
	l.Method, l.Abroad = d.Method, d.FromRegion != d.At.Region
	l.Name, l.Description = d.Name, d.Description
	l.Mark = destinationMark(d, req, facts, "")
	l.Tags = joined(d.Tags, l.Mark.Tags(l.SealKey))
	return l
}

// likeness is what a staged image has to be.
func (s *shareSource) likeness(req distribution.Request, facts distribution.Facts) step.ImageSpec {
	l := likenessOf(facts.Images[s.from])
	l.Method, l.Abroad = distribution.ByImage, s.from != s.at.Region
	l.Mark = s.mark(req, facts, "")
	run := l.Mark.Run
	if s.whom == origin.Sharers { // one for all runs, so that two at once make one: AWS gives a name once
		run = ""
	}
	l.Name = stagedName(aws.ToString(l.Source.Name), step.Digest(run, s.at.Key(), l.Mark.Source(), s.keyARN))
	l.Description = fmt.Sprintf("Staged for other accounts: %s of %s", imageID(req, s.from), s.from)
	l.Tags = l.Mark.Tags(l.SealKey)
	return l
}

func likenessOf(image distribution.Image) step.ImageSpec {
	l := step.ImageSpec{UEFIData: image.UEFIData, SealKey: image.SealKey}
	if image.Image != nil {
		l.Source = *image.Image
	}
	return l
}

// token makes a run's copy of an image one and the same for AWS, however often it is asked for (4.2.3), and no other's: a build of several
// post-processors has one id, and what one of them removed would be the answer to another.
func token(s step.CopyImage, begun time.Time) string {
	return step.Digest(s.Mark.Run, s.Location.Key(), s.Mark.Source(), s.Name, s.KeyARN, begun.Format(time.RFC3339Nano))
}
