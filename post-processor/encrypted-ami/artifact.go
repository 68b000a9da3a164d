// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"cmp"
	"fmt"
	"log"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// BuilderID identifies the artifacts of this post-processor.
const BuilderID = "packer.post-processor.encrypted-ami"

// Keys of an artifact's state.
const (
	stateGenerated = "generated_data"         // data of the build, without secrets
	stateManifest  = "encrypted-ami.manifest" // the manifest as JSON
)

// artifact holds the AMIs that target accounts own. Without targets it holds the shared AMIs of the source account.
type artifact struct {
	input     string // id of the input artifact
	mode      report.Mode
	sources   string // ids of the source AMIs
	base      string // id of the AMI that the build started from. Empty if unknown
	result    distribution.Result
	manifest  report.Manifest
	generated map[string]any
	hcp       bool                                    // give the images to HCP Packer
	remove    func([]distribution.CreatedImage) error // deregisters AMIs and deletes their snapshots
}

var _ packersdk.Artifact = (*artifact)(nil)

// artifact returns the artifact of a successful run.
func (r *run) artifact() *artifact {
	return &artifact{
		input:     r.input.Id(),
		mode:      r.mode(),
		sources:   r.sourceIDs(),
		base:      r.build.BaseAMI,
		result:    r.result,
		manifest:  r.manifest(),
		generated: r.data,
		hcp:       r.config.HCPPacker,
		remove:    func(created []distribution.CreatedImage) error { return remove(r.pool, created) },
	}
}

func (*artifact) BuilderId() string { return BuilderID } //nolint:revive,staticcheck // packer.Artifact names it so

func (*artifact) Files() []string { return nil }

// Id returns region:ami-id:account of each image, sorted and joined by commas. Without a target, it names the shared
// images. If the mode creates no image, it is the ID of the input artifact.
func (a *artifact) Id() string { //nolint:revive,staticcheck // packer.Artifact names it so
	if a.mode != report.Distribute {
		return a.input
	}
	var ids []string
	for _, made := range a.result.Images {
		ids = append(ids, made.At.Region+":"+made.ImageID+":"+made.At.Account)
	}
	if len(a.result.Destinations) == 0 {
		for _, shared := range a.result.Shares {
			ids = append(ids, shared.At.Region+":"+shared.ImageID+":"+shared.At.Account)
		}
	}
	if len(ids) == 0 {
		return a.input
	}
	slices.Sort(ids)
	return strings.Join(ids, ",")
}

// String lists the AMIs, the required destinations without one, and what was shared.
func (a *artifact) String() string {
	switch a.mode {
	case report.PlanOnly:
		return "Plan only: no AMI was distributed."
	case report.Verify:
		all := len(a.result.Destinations)
		return unchangedText(all-len(unfinished(a.result)), all) + "."
	case report.Usage:
		return "Usage of " + distribution.Count(len(a.manifest.Usage), "AMI of a release", "AMIs of releases") + "."
	case report.CleanUp:
		return "Cleaned up after " + a.sources + "."
	}
	lines := []string{"AMIs were created in target accounts:"}
	switch {
	case a.mode == report.Promote || a.mode == report.Rollback:
		lines[0] = "AMIs that target accounts publish now:"
	case len(a.result.Images) == 0 && len(a.result.Shares) > 0:
		lines = nil
	case len(a.result.Images) == 0:
		lines[0] = "No AMI was distributed."
	}
	images := slices.SortedFunc(
		slices.Values(a.result.Images),
		func(a, b distribution.CreatedImage) int { return a.At.Compare(b.At) },
	)
	for _, created := range images {
		lines = append(lines, fmt.Sprintf("%s: %s", created.At, created.ImageID))
	}
	for _, d := range unfinished(a.result) {
		lines = append(lines, fmt.Sprintf("%s: %s", d.At, a.lacks(d)))
	}
	for _, shared := range a.result.Shares {
		lines = append(lines, fmt.Sprintf("Shared with %s: %s: %s", shared.With, shared.At.Region, shared.ImageID))
	}
	return strings.Join(lines, "\n")
}

// lacks describes a destination without a published AMI: what is missing, and why this does not fail the run.
func (a *artifact) lacks(d distribution.DestinationResult) string {
	target := fmt.Sprintf("target %q", d.Target)
	switch {
	case d.State == distribution.Excluded && a.lacksRole(d.At):
		return "none: skipped, its role cannot be assumed (" + target + ")"
	case d.Optional:
		target += ", not required"
	}
	if d.ImageID != "" {
		return d.ImageID + " is not published (" + target + ")"
	}
	return "none (" + target + ")"
}

// lacksRole reports whether a finding says that the role of a destination cannot be assumed.
func (a *artifact) lacksRole(at distribution.Location) bool {
	return slices.ContainsFunc(a.result.Findings, func(f distribution.Finding) bool {
		isThere := f.Location == at || slices.ContainsFunc(f.Also, func(o distribution.Failure) bool { return o.At == at })
		return isThere && f.Operation == "sts:AssumeRole"
	})
}

// launchedFrom reports whether a share block shares a source AMI itself. Other accounts launch it, so it must be kept.
func launchedFrom(result distribution.Result, images []distribution.SourceImage) bool {
	return slices.ContainsFunc(result.Shares, func(shared distribution.Shared) bool {
		return slices.ContainsFunc(
			images,
			func(image distribution.SourceImage) bool { return image.ImageID == shared.ImageID },
		)
	})
}

// State returns the data of the build, which later post-processors use, the images for HCP Packer, and the manifest.
func (a *artifact) State(name string) any {
	switch name {
	case stateGenerated:
		return a.generated
	case registryimage.ArtifactStateURI:
		if a.hcp {
			return a.registered()
		}
	case stateManifest:
		text, err := a.manifest.JSON()
		if err != nil {
			log.Printf("[ERROR] marshal the manifest: %v", err)
			return nil
		}
		return string(text)
	}
	return nil
}

// registered returns the images for HCP Packer, sorted. HCP Packer merges the labels of all images of a build into one
// map, so each image has a label of its own.
func (a *artifact) registered() []*registryimage.Image {
	images := make([]*registryimage.Image, len(a.result.Images))
	for i, created := range a.result.Images {
		images[i] = &registryimage.Image{
			ImageID:        created.ImageID,
			ProviderName:   "aws",
			ProviderRegion: created.At.Region,
			SourceImageID:  a.base,
			Labels:         map[string]string{"account_" + created.ImageID: created.At.Account},
		}
	}
	slices.SortFunc(images, func(a, b *registryimage.Image) int {
		return cmp.Or(cmp.Compare(a.ProviderRegion, b.ProviderRegion), cmp.Compare(a.ImageID, b.ImageID))
	})
	return images
}

// Destroy deregisters the AMIs that this run created and that nothing published refers to. A failure is logged, because
// Packer prints an error of Destroy as an unreadable text.
func (a *artifact) Destroy() error {
	stays := func(m distribution.CreatedImage) bool {
		return m.Earlier || slices.ContainsFunc(m.Pointers, func(p distribution.Pointer) bool { return p.Set })
	}
	if err := a.remove(slices.DeleteFunc(slices.Clone(a.result.Images), stays)); err != nil {
		log.Printf("[ERROR] an AMI could not be deregistered: %v", err)
	}
	return nil
}
