// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"fmt"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// withWayOut says, under an error, what becomes of the source images and how to go on. An error of a post-processor makes Packer
// destroy what the builder made, and the protection stands against that.
func (r *run) withWayOut(err error) error {
	if len(r.images) == 0 {
		return err
	}
	var parts []string
	images := protected(r.result.Source)
	if len(images) > 0 && !r.userSupplied {
		parts = append(parts, fmt.Sprintf(`Nothing of the build is lost: the run has protected %s against deregistration.
Packer tries to destroy the image now and prints "Error destroying builder artifact", maybe with a text about msgpack: that is
the protection at work.`, strings.Join(images, ", ")))
	}
	if r.unprotected {
		parts = append(parts, "Packer destroys the image now, because it is not protected, unless a post-processor before this one has kept it.")
	}
	if !r.config.VerifyOnly && !r.config.PlanOnly && !r.config.CleanupOnly {
		from := "To go on from here, "
		if r.unprotected {
			from = "If it was kept, to go on from here, "
		}
		if isConfigurationError(err) {
			from += "correct the template; then "
		}
		parts = append(parts, from+r.resumeHint())
	}
	if len(images) > 0 {
		parts = append(parts, "Once the image is not needed any more:\n"+howToLift(r.result.Source))
	}
	if len(parts) == 0 {
		return err
	}
	return fmt.Errorf("%w\n\n%s", err, strings.Join(parts, "\n"))
}

// goOn is how to go on where a run has ended, as the end of a sentence. It holds no value of the template's but the images.
func (r *run) resumeHint() string {
	if r.userSupplied {
		return "run the same command again."
	}
	pairs := make([]string, len(r.images))
	for i, image := range r.images {
		pairs[i] = fmt.Sprintf("%q=%q", image.Region, image.ImageID)
	}
	return fmt.Sprintf(`run the template's build "redo" (see "Taking up a failed run") with the same other -var and -var-file arguments:
  packer build -only='redo.*' -var 'source_amis={%s}' .`, strings.Join(pairs, ","))
}

func protected(source []distribution.SourceImageResult) []string {
	var images []string
	for _, image := range source {
		if image.Protected {
			images = append(images, image.ImageID+" in "+image.Region)
		}
	}
	return images
}

// howToLift returns the commands that switch the protection off by hand.
func howToLift(source []distribution.SourceImageResult) string {
	var lines []string
	for _, image := range source {
		if image.Protected {
			lines = append(lines, fmt.Sprintf("  aws ec2 disable-image-deregistration-protection --region %s --image-id %s", image.Region, image.ImageID))
		}
	}
	return strings.Join(lines, "\n")
}

// unprotected says what to do where the protection is refused.
const (
	unprotected = `The image is not protected: if this post-processor fails, Packer will destroy it. A post-processor "manifest" before this one, in
the same post-processors block, keeps the image in every case and takes no right.`
)
