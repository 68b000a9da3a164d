// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Config makes SDK clients that reach the world in process: as an account's root, in a Region.
func (w *World) Config(account, region string) aws.Config {
	return aws.Config{
		Region:      region,
		HTTPClient:  w,
		Credentials: credentials.NewStaticCredentialsProvider(account, "secret", ""),
	}
}
