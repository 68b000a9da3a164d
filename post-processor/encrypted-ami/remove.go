// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// removalTime is the time limit for deregistering images. Packer passes no context for it.
const removalTime = 5 * time.Minute

// remove deregisters images of this run and deletes their snapshots. It continues after an error.
func remove(pool *awsclient.Pool, images []distribution.CreatedImage) error {
	ctx, cancel := context.WithTimeout(context.Background(), removalTime)
	defer cancel()
	var failed []error
	for _, made := range images {
		_, err := pool.EC2(made.At).
			DeregisterImage(ctx, &ec2.DeregisterImageInput{
				ImageId:                   aws.String(made.ImageID),
				DeleteAssociatedSnapshots: aws.Bool(true),
			})
		if err != nil && !awsclient.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("%s: ec2:DeregisterImage %s: %w", made.At, made.ImageID, err))
		}
	}
	return errors.Join(failed...)
}
