// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// once makes a call that has no token (4.2.3). After a reset, a time-out or 5xx nobody knows whether it had its effect: the place
// is looked at for up to five minutes, and only then the call is made again. find answers "" for nothing found.
func (t *transfer) once(ctx context.Context, j *stepRun, find, call func(context.Context) (string, error)) (string, error) {
	if !j.memo.unconfirmedSince.IsZero() {
		id, err := find(ctx)
		if err != nil {
			return "", err
		}
		if id == "" && time.Since(j.memo.unconfirmedSince) < step.EventualConsistencyTimeout {
			j.memo.looks++
			return "", retryAfter{step.Backoff(j.memo.looks)}
		}
		j.memo.unconfirmedSince = time.Time{}
		if id != "" {
			return id, nil
		}
	}
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	lasting, release := grace(ctx)
	defer release()
	asked := time.Now()
	id, err := call(lasting)
	if awsclient.IsOutcomeUnknown(err) {
		j.memo.unconfirmedSince, j.memo.looks, j.memo.lost = asked, 0, true
		return "", retryAfter{step.Backoff(0)}
	}
	return id, err
}

// origins are filters for what has our own tags of these.
func origins(tags map[string]string) []ec2types.Filter {
	var filters []ec2types.Filter
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if origin.Ours(key) {
			filters = append(filters, ec2types.Filter{Name: aws.String("tag:" + key), Values: []string{tags[key]}})
		}
	}
	return filters
}

// unsealed reports tags without a second seal. What has one is no thing of which the id never came to us.
func unsealed(tags []ec2types.Tag) bool {
	return !slices.ContainsFunc(tags, func(tag ec2types.Tag) bool { return aws.ToString(tag.Key) == origin.SealedID })
}

// adopt takes a found thing for the one whose answer was lost: only with the first seal right, and only when it is alone. Tags
// can be copied; of two, neither is taken, and both are listed.
func (j *stepRun) adopt(at distribution.Location, kind string, tags map[string]string, found []string) string {
	if len(found) == 1 && tags[origin.Sealed] != "" {
		return found[0]
	}
	j.list(at, kind, found)
	return ""
}

// list enters resources that may be ours into the result of the step.
func (j *stepRun) list(at distribution.Location, kind string, found []string) {
	j.memo.alien = nil
	slices.Sort(found)
	for _, id := range found {
		j.memo.alien = append(j.memo.alien, distribution.RetainedResource{At: at, Kind: kind, Resource: id, Why: "bears our tags, but is not provably ours"})
	}
}
