// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package share

import (
	"fmt"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// withProtection says, under an error, what becomes of the source images: an error of a post-processor makes Packer destroy
// what the builder made, and the protection stands against that.
func withProtection(err error, source []plan.SourceEnd) error {
	images := protected(source)
	if len(images) == 0 {
		return err
	}
	return fmt.Errorf(`%w

Nothing of the build is lost: the run has protected %s against deregistration.
Packer tries to destroy the image now and prints "Error destroying builder artifact", maybe with a text about msgpack: that is
the protection at work. Once the image is not needed any more:
%s`, err, strings.Join(images, ", "), howToLift(source))
}

func protected(source []plan.SourceEnd) []string {
	var images []string
	for _, image := range source {
		if image.Protected {
			images = append(images, image.ImageID+" in "+image.Region)
		}
	}
	return images
}

// howToLift is the commands that take the protection away by hand, and the tag that the run left with it.
func howToLift(source []plan.SourceEnd) string {
	var lines []string
	for _, image := range source {
		if image.Protected {
			at := "--region " + image.Region
			lines = append(lines,
				fmt.Sprintf("  aws ec2 disable-image-deregistration-protection %s --image-id %s", at, image.ImageID),
				fmt.Sprintf("  aws ec2 delete-tags %s --resources %s --tags Key=%s", at, image.ImageID, origin.Protected))
		}
	}
	return strings.Join(lines, "\n")
}

// unprotected says what to do where the protection is refused.
const unprotected = `The image is not protected: if this post-processor fails, Packer will destroy it. A post-processor "manifest" before this one, in
the same post-processors block, keeps the image in every case and takes no right.`
