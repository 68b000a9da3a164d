// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// once makes a call that has no token (4.2.3). After a reset, a time-out or 5xx nobody knows whether it had its effect: the place
// is looked at for up to five minutes, and only then the call is made again. find answers "" for nothing found.
func (t *transfer) once(ctx context.Context, j *job, find, call func(context.Context) (string, error)) (string, error) {
	if !j.memo.asked.IsZero() {
		id, err := find(ctx)
		if err != nil {
			return "", err
		}
		if id == "" && time.Since(j.memo.asked) < patience {
			j.memo.looks++
			return "", comeBack{pause(j.memo.looks)}
		}
		j.memo.asked = time.Time{}
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
	if awsclient.IsUnclear(err) {
		j.memo.asked, j.memo.looks, j.memo.lost = asked, 0, true
		return "", comeBack{pause(0)}
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

// tagged are the tags that a thing gets in the call that makes it (9.4).
func tagged(kind ec2types.ResourceType, tags map[string]string) []ec2types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: tagList(tags)}}
}

func tagList(tags map[string]string) []ec2types.Tag {
	list := make([]ec2types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, ec2types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}
