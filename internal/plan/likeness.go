// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// Likeness is what an image that we make has to be: its source's equal, under a name of its own.
type ImageSpec struct {
	Source      ec2types.Image // whose attributes are carried over
	UEFIData    string         // base64; "" for none
	Method      Method         // BySnapshot or ByImage
	Abroad      bool           // it is of another Region than its source
	Name        string
	Description string
	Tags        map[string]string // all of them, origin's among them
	Mark        origin.Mark       // what the tags say
	SealKey     origin.Key        // for the second seal; nil: none
}

// likeness is what a destination's image has to be.
func (d Destination) likeness(req Request, facts Facts) ImageSpec {
	l := likenessOf(facts.Images[d.FromRegion])
	l.Method, l.Abroad = d.Method, d.FromRegion != d.At.Region
	l.Name, l.Description = d.Name, d.Description
	l.Mark = d.mark(req, facts, "")
	l.Tags = joined(d.Tags, l.Mark.Tags(l.SealKey))
	return l
}

// likeness is what a staged image has to be.
func (s *shareSource) likeness(req Request, facts Facts) ImageSpec {
	l := likenessOf(facts.Images[s.from])
	l.Method, l.Abroad = ByImage, s.from != s.at.Region
	l.Mark = s.mark(req, facts, "")
	run := l.Mark.Run
	if s.whom == origin.Sharers { // one for all runs, so that two at once make one: AWS gives a name once
		run = ""
	}
	l.Name = stagedName(aws.ToString(l.Source.Name), digest(run, s.at.key(), l.Mark.Source(), s.keyARN))
	l.Description = fmt.Sprintf("Staged for other accounts: %s of %s", imageID(req, s.from), s.from)
	l.Tags = l.Mark.Tags(l.SealKey)
	return l
}

func likenessOf(image Image) ImageSpec {
	l := ImageSpec{UEFIData: image.UEFIData, SealKey: image.SealKey}
	if image.Image != nil {
		l.Source = *image.Image
	}
	return l
}

// token makes a run's copy of an image one and the same for AWS, however often it is asked for (4.2.3), and no other's: a build of several
// post-processors has one id, and what one of them removed would be the answer to another.
func token(s CopyImage, begun time.Time) string {
	return digest(s.Mark.Run, s.Location.key(), s.Mark.Source(), s.Name, s.KeyARN, begun.Format(time.RFC3339Nano))
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}

// Differences names the kept attributes in which an image differs from its source, as "Attribute: source, target".
func (l ImageSpec) Differences(target ec2types.Image) []string {
	var found []string
	for _, a := range CarryTable {
		if a.By(l.Method) != Kept {
			continue
		}
		want, is := a.Text(l.Source), a.Text(target)
		if mapped := a.Regional && l.Abroad && want != "" && is != ""; want != is && !mapped {
			found = append(found, fmt.Sprintf("%s: %q in the source, %q in the target", a.Name, want, is))
		}
	}
	return found
}
