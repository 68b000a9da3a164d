// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// errUnsealed keeps an image unpublished: what has one seal only may be somebody else's copy of our tags.
var errUnsealed = errors.New("the image has no second seal, so nothing is pointed at it; the warning about the seal says why")

// putParameter makes a parameter name the image, and reads that version back until it is there.
func (t *transfer) putParameter(ctx context.Context, j *stepRun, s *step.PutParameter) StepOutcome {
	image := j.id(s.Image)
	if j.ended[s.Image.From].Unsealed {
		return StepOutcome{Err: errUnsealed}
	}
	if j.memo.made == "" {
		if s.DataType != distribution.ImageParameter { // of those AWS itself looks whether the image is there (7.2)
			if err := t.standing(ctx, j, s.Location, image); err != nil {
				return StepOutcome{Err: err}
			}
		}
		version, err := t.put(ctx, s, image)
		if err != nil {
			return StepOutcome{Err: err}
		}
		j.memo.made = s.Name + ":" + strconv.FormatInt(version, 10)
	}
	seen, err := t.parameter(ctx, s.Location, j.memo.made, false)
	switch {
	case awsclient.IsNotFound(err) && j.patient(): // 7.2, 7.3
		return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
	case err != nil:
		return StepOutcome{Err: err}
	case s.Type != distribution.SecureString && aws.ToString(seen.Value) != image: // another writer has got the version that was promised to us
		return StepOutcome{Err: fmt.Errorf("%s names %q: somebody else writes the parameter", j.memo.made, aws.ToString(seen.Value))}
	}
	return StepOutcome{Made: j.memo.made}
}

// put writes a parameter and returns its version. Tags belong to the creation of a parameter, and are added to one that is there (7.8).
func (t *transfer) put(ctx context.Context, s *step.PutParameter, image string) (int64, error) {
	client := t.pool.SSM(s.Location)
	in := &ssm.PutParameterInput{Name: aws.String(s.Name), Value: aws.String(image), Type: ssmtypes.ParameterType(s.Type), DataType: aws.String(s.DataType), Tier: ssmtypes.ParameterTier(s.Tier)}
	if s.Description != "" {
		in.Description = aws.String(s.Description)
	}
	if s.KeyID != "" {
		in.KeyId = aws.String(s.KeyID)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
		in.Tags = append(in.Tags, ssmtypes.Tag{Key: aws.String(key), Value: aws.String(s.Tags[key])})
	}
	out, err := client.PutParameter(ctx, in)
	if err == nil {
		return out.Version, nil
	}
	if !awsclient.IsParameterTaken(err) {
		return 0, err
	}
	// It is there. What a call of ours has put, whose answer was lost, is not put again.
	seen, lookErr := t.parameter(ctx, s.Location, s.Name, true)
	if lookErr == nil && aws.ToString(seen.Value) == image && string(seen.Type) == s.Type {
		return seen.Version, nil
	}
	if !s.Overwrite {
		return 0, err
	}
	if len(in.Tags) > 0 {
		_, err = client.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: aws.String(s.Name), Tags: in.Tags})
		if err != nil {
			return 0, err
		}
	}
	in.Tags, in.Overwrite = nil, aws.Bool(true)
	if out, err = client.PutParameter(ctx, in); err != nil {
		return 0, err
	}
	return out.Version, nil
}

// parameter reads a parameter, or one version of it as "name:version".
func (t *transfer) parameter(ctx context.Context, at distribution.Location, name string, decrypted bool) (*ssmtypes.Parameter, error) {
	out, err := t.pool.SSM(at).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(decrypted)})
	if err != nil {
		return nil, err
	}
	return out.Parameter, nil
}
