// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// encryptionCauses returns the possible reasons why an image is encrypted. There are several if the facts do not
// exclude all but one.
func encryptionCauses(region string, image distribution.Image, facts distribution.Facts) []string {
	found := slices.Clone(image.Foretold)
	if len(found) > 0 {
		return found
	}

	for _, v := range volumes(image) {
		if aws.ToBool(v.snapshot.Encrypted) {
			for _, cause := range volumeCauses(region, v, image, facts) {
				if !slices.Contains(found, cause) {
					found = append(found, cause)
				}
			}
		}
	}

	return found
}

// volumeCauses returns the possible reasons why a volume is encrypted (rules 1.1.3 to 1.1.10, 1.2.2).
func volumeCauses(region string, v volume, image distribution.Image, facts distribution.Facts) []string {
	at := distribution.Location{Account: facts.Source.Account, Region: region}
	defaults := facts.Defaults[at]
	isDefault := v.key() == facts.Keys[at][defaults.KMSKeyID].ARN()
	var found []string
	if defaults.Encryption && isDefault {
		found = append(found, "EBS encryption by default is on in "+region)
	}

	if image.Base != nil {
		isOwn := aws.ToString(image.Base.OwnerId) == facts.Source.Account
		for _, m := range image.Base.BlockDeviceMappings {
			if !slices.Contains(v.devices, aws.ToString(m.DeviceName)) || m.Ebs == nil || !aws.ToBool(m.Ebs.Encrypted) {
				continue
			}
			base := image.BaseSnapshots[aws.ToString(m.Ebs.SnapshotId)]
			switch {
			case isOwn && aws.ToString(base.KmsKeyId) == v.key():
				found = append(found, fmt.Sprintf("the base AMI %s has the same key", aws.ToString(image.Base.ImageId)))
			case !isOwn && isDefault:
				found = append(found, fmt.Sprintf("the base AMI %s of another account is encrypted, "+
					"and its volumes get the default key", aws.ToString(image.Base.ImageId)))
			}
		}
	}

	if len(found) == 0 {
		found = append(found, "the builder is configured to (encrypt_boot, kms_key_id or launch_block_device_mappings)")
	}

	return found
}
