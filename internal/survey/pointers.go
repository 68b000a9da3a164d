// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package survey

import (
	"context"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// parameters looks at what a destination asks to name its image, and at the keys of those that are encrypted.
func (s *survey) parameters(ctx context.Context, d plan.Destination) {
	if len(d.Parameters) == 0 {
		return
	}
	stored := map[string]plan.Stored{}
	for _, p := range d.Parameters {
		s.keys(ctx, d.At, string(p.KeyID))
		name := string(p.Name)
		if plan.CheckParameterName(name, d.At) != nil { // told by plan
			continue
		}
		if seen, there := s.parameter(ctx, d.At, name); there {
			stored[name] = seen
		}
	}
	s.keep(func(f *plan.Facts) {
		site := f.Sites[d.At]
		site.Parameters = stored
		f.Sites[d.At] = site
	})
}

var imageIDs = regexp.MustCompile(`^ami-[0-9a-f]{8}(?:[0-9a-f]{9})?$`)

// parameter reads one; without its value where KMS does not let us decrypt that (7.10). Of the value only an image's id is kept.
func (s *survey) parameter(ctx context.Context, at plan.Place, name string) (seen plan.Stored, there bool) {
	in := &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(true)}
	out, err := s.pool.SSM(at).GetParameter(ctx, in)
	if err != nil && !awsclient.IsNotFound(err) {
		in.WithDecryption = nil
		out, err = s.pool.SSM(at).GetParameter(ctx, in)
	}
	switch {
	case awsclient.IsNotFound(err):
		return seen, false
	case err != nil:
		return plan.Stored{Err: awsclient.Refused("ssm:GetParameter", err)}, true
	}
	seen.Type, seen.DataType = string(out.Parameter.Type), aws.ToString(out.Parameter.DataType)
	if value := aws.ToString(out.Parameter.Value); imageIDs.MatchString(value) {
		seen.ImageID = value
	}
	return seen, true
}
