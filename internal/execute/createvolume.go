// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// volumeLook is between two looks at a volume that is being made.
const volumeLook = 3 * time.Second

// createVolume makes a volume and waits until it is there. With a key that cannot be used it vanishes again (1.8.6, A.4.7).
func (t *transfer) createVolume(ctx context.Context, j *stepRun, s *step.CreateVolume) StepOutcome {
	if j.memo.made == "" {
		id, err := t.newVolume(ctx, s)
		if err != nil {
			return t.without(ctx, j, err)
		}
		j.memo.made, j.memo.unconfirmedSince = id, time.Now()
	}
	if err := t.seal(ctx, j, s.Location, s.SealKey, s.Tags); err != nil {
		return StepOutcome{Err: err}
	}
	id := j.memo.made
	out, err := t.pool.EC2(s.Location).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []ec2types.Filter{{Name: aws.String("volume-id"), Values: []string{id}}}})
	switch {
	case err != nil:
	case len(out.Volumes) == 1 && out.Volumes[0].State == ec2types.VolumeStateAvailable:
		return StepOutcome{}
	case time.Since(j.memo.unconfirmedSince) < step.EventualConsistencyTimeout:
		return StepOutcome{Err: retryAfter{volumeLook}}
	}
	if err == nil {
		err = fmt.Errorf("AWS has not shown %s as available for %v: a right on the key may be missing", id, step.EventualConsistencyTimeout)
	}
	done := t.without(ctx, j, err)
	done.Made = id // it is there, or may be, and has to go
	return done
}

// newVolume makes the call. Its token lets it be repeated.
func (t *transfer) newVolume(ctx context.Context, s *step.CreateVolume) (string, error) {
	zones, err := t.pool.EC2(s.Location).DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{Filters: []ec2types.Filter{
		{Name: aws.String("state"), Values: []string{"available"}}, {Name: aws.String("zone-type"), Values: []string{"availability-zone"}}}})
	if err != nil {
		return "", err
	}
	var names []string
	for _, zone := range zones.AvailabilityZones {
		names = append(names, aws.ToString(zone.ZoneName))
	}
	if len(names) == 0 {
		return "", errors.New("AWS names no Availability Zone of " + s.Location.Region)
	}
	lasting, release := grace(ctx)
	defer release()
	made, err := t.pool.EC2(s.Location).CreateVolume(lasting, &ec2.CreateVolumeInput{
		AvailabilityZone:  aws.String(slices.Min(names)),
		Size:              aws.Int32(int32(s.GiB)),
		VolumeType:        ec2types.VolumeTypeGp3,
		Encrypted:         aws.Bool(true),
		KmsKeyId:          aws.String(s.KeyARN),
		ClientToken:       aws.String(token(s.Mark.Source(), s.Mark.Place, s.Mark.Run, t.begun.Format(time.RFC3339Nano))),
		TagSpecifications: tagged(ec2types.ResourceTypeVolume, s.Tags),
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(made.VolumeId), nil
}

// without ends a step of a canary that cannot be made: the run goes on without it, and says why. What was cut off fails as any step.
func (t *transfer) without(ctx context.Context, j *stepRun, err error) StepOutcome {
	if later := (retryAfter{}); errors.As(err, &later) || awsclient.IsExpired(err) || context.Cause(ctx) != nil {
		return StepOutcome{Err: err}
	}
	j.memo.made = ""
	f := explain(ctx, t.pool, "", j.step, err)
	f.Level, f.Field = distribution.Warning, "test_copy"
	return StepOutcome{Notes: []distribution.Finding{*f}}
}

// deleteVolume removes a volume. That it is gone already is what was wanted.
func (t *transfer) deleteVolume(ctx context.Context, j *stepRun, s *step.DeleteVolume) StepOutcome {
	id := j.id(s.Volume)
	if id == "" {
		return StepOutcome{}
	}
	_, err := t.pool.EC2(s.Location).DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(id)})
	if err == nil || awsclient.IsNotFound(err) {
		return StepOutcome{Made: id}
	}
	return StepOutcome{Made: id, Err: err, Left: []distribution.RetainedResource{{At: s.Location, Kind: "volume", Resource: id, Why: err.Error()}}}
}
