// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
)

// protects reports whether the run protects its images.
func (r *run) protects() bool {
	return len(r.images) > 0 && !r.userSupplied && r.config.Mode != config.ModePlan
}

// protect protects the images of the build. It is the first call of a run. It needs only the source credentials and no
// response of STS. A denied call does not end the run.
func (r *run) protect(ctx context.Context) []distribution.Finding {
	if !r.protects() {
		return nil
	}
	r.progress.await("Enabling deregistration protection on " + r.sourceIDs())
	var findings []distribution.Finding
	r.result.Source, findings = execute.EnableProtection(ctx, r.pool, r.account, r.images, r.say)
	isCanceled := ctx.Err() != nil // a step that never started has no finding
	r.unprotected = !areProtected(findings, r.result.Source) || isCanceled
	return findings
}

// areProtected reports whether all images that AWS shows are protected. AWS must show at least one.
func areProtected(findings []distribution.Finding, images []distribution.SourceImageResult) bool {
	isMissing := func(id string) bool {
		return slices.ContainsFunc(images, func(i distribution.SourceImageResult) bool {
			return i.Missing && i.ImageID == id
		})
	}
	isFailed := func(f distribution.Finding) bool { return !isMissing(f.Resource) }
	return !slices.ContainsFunc(findings, isFailed) && slices.ContainsFunc(images, isShown)
}

func isShown(image distribution.SourceImageResult) bool { return !image.Missing }

// printProtection prints which images are protected, and why others are not.
func (r *run) printProtection(findings []distribution.Finding) {
	if !r.protects() {
		return
	}
	for _, image := range r.result.Source {
		if !image.Missing {
			r.progress.begin("Enabling deregistration protection on " + image.ImageID + " for this run")
		}
	}
	if !r.unprotected || !slices.ContainsFunc(r.result.Source, isShown) {
		return
	}
	for i := range findings {
		findings[i].Location.Account = r.account
	}
	r.printFindings(findings, distribution.Refused, distribution.Warning)
	r.ui.Error(unprotectedAdvice)
}

// dropMissingImages removes images from the run that AWS does not show, if it shows another one. With
// skip_save_build_region, the artifact of amazon-ebs names the image of the build Region although it is deregistered.
func (r *run) dropMissingImages(ctx context.Context) error {
	if r.userSupplied {
		return nil
	}
	missing := map[string]bool{}
	for _, image := range r.result.Source {
		missing[image.ImageID] = image.Missing
	}
	if !r.protects() {
		for _, image := range r.images {
			at := distribution.Location{Account: r.account, Region: image.Region}
			missing[image.ImageID] = !execute.IsShown(ctx, r.pool, at, image.ImageID)
		}
	}

	shown := slices.DeleteFunc(slices.Clone(r.images), func(i distribution.SourceImage) bool { return missing[i.ImageID] })
	if len(shown) == 0 {
		r.gone = true
		return errors.New("AWS shows none of the AMIs that the artifact names, " + r.sourceIDs())
	}
	for _, image := range r.images {
		if missing[image.ImageID] {
			r.dropped = append(r.dropped, missingImageFinding(r.account, image))
		}
	}
	r.images = shown
	r.result.Source = slices.DeleteFunc(r.result.Source, func(i distribution.SourceImageResult) bool { return i.Missing })
	r.printFindings(r.dropped, distribution.Warning)
	return nil
}

// missingImageFinding returns the finding that an image of the artifact does not exist.
func missingImageFinding(account string, image distribution.SourceImage) distribution.Finding {
	return distribution.Finding{
		Level:    distribution.Warning,
		Code:     distribution.CodeArtifactAMIMissing,
		Location: distribution.Location{Account: account, Region: image.Region},
		Resource: image.ImageID,
		Summary:  image.ImageID + " is missing; this run continues without it",
		Detail: "the artifact of the build names it, and AWS does not show it. With skip_save_build_region, amazon-ebs " +
			"deregisters the AMI of the build Region and still names it",
		Remediation: "nothing, if the build deregistered it",
	}
}

// lastLook is how long a failed run tries to protect the image of its build again.
const lastLook = 20 * time.Second

// protectAgain protects the images of a failed build again. The first attempt may have been interrupted, or a
// successful run for other accounts may have disabled the protection since.
func (r *run) protectAgain(ctx context.Context) error {
	if !r.protects() || r.gone {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	if r.pool == nil {
		if err := r.open(ctx); err != nil {
			return err
		}
	}
	now, findings := execute.EnableProtection(ctx, r.pool, r.account, r.images, func(distribution.Event) {})
	isUncertain := !areProtected(findings, now) || ctx.Err() != nil
	for i, known := range r.result.Source { // what was known stays if nothing can be read, as after expired credentials
		if known.Protected {
			now[i] = known
		}
	}
	r.result.Source, r.unprotected = now, r.unprotected && isUncertain
	return nil
}
