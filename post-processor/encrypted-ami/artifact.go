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
	stateGenerated = "generated_data"       // the build's own data, handed on
	stateResult    = "encrypted-ami.result" // the manifest, as in the file of manifest_path
)

// artifact is the images that the targets own now; where there is no target, those of the source account that others may launch.
type artifact struct {
	input     string // id of the input artifact
	planned   bool   // nothing but a plan was asked for
	result    distribution.Result
	manifest  report.Manifest
	generated map[string]any
	hcp       bool                                    // give the images to HCP Packer
	remove    func([]distribution.CreatedImage) error // takes images and their snapshots away
}

var _ packersdk.Artifact = (*artifact)(nil)

// artifact is what came of a run that succeeded.
func (r *run) artifact() *artifact {
	return &artifact{
		input:     r.input.Id(),
		planned:   r.config.PlanOnly,
		result:    r.result,
		manifest:  r.manifest(true),
		generated: r.data,
		hcp:       r.config.HCPPacker,
		remove:    func(created []distribution.CreatedImage) error { return remove(r.pool, created) },
	}
}

func (*artifact) BuilderId() string { return BuilderID }
func (*artifact) Files() []string   { return nil }

// Id is region:ami-id:account of each image, sorted, with commas between; of the shared images where no target owns one; that of the input
// artifact where there is neither.
func (a *artifact) Id() string {
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

// String is a line for each image, and for each destination that has none.
func (a *artifact) String() string {
	if a.planned {
		return "Only the plan was asked for: nothing was made."
	}
	lines := []string{"Encrypted AMIs are owned by their target accounts:"}
	if len(a.result.Images) == 0 {
		lines[0] = "No AMI was handed on."
	}
	if len(a.result.Destinations) == 0 && len(a.result.Shares) > 0 {
		lines = nil
	}
	images := slices.SortedFunc(slices.Values(a.result.Images), func(a, b distribution.CreatedImage) int {
		return cmp.Or(cmp.Compare(a.At.Account, b.At.Account), cmp.Compare(a.At.Region, b.At.Region))
	})
	for _, made := range images {
		lines = append(lines, fmt.Sprintf("%s %s: %s under %s", made.At.Account, made.At.Region, made.ImageID, strings.Join(keysOf(made), ", ")))
	}
	for _, d := range unserved(a.result) {
		lacks := "no image"
		if d.ImageID != "" {
			lacks = d.ImageID + " is not published"
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s (target %q)", d.At.Account, d.At.Region, lacks, d.Target))
	}
	for _, shared := range a.result.Shares {
		lines = append(lines, fmt.Sprintf("%s %s: %s may be launched by %s", shared.At.Account, shared.At.Region, shared.ImageID, shared.With))
	}
	return strings.Join(lines, "\n")
}

// launchedFrom reports whether others launch from an image that was handed in.
func launchedFrom(result distribution.Result, images []distribution.SourceImage) bool {
	return slices.ContainsFunc(result.Shares, func(shared distribution.Shared) bool {
		return slices.ContainsFunc(images, func(image distribution.SourceImage) bool { return image.ImageID == shared.ImageID })
	})
}

func keysOf(made distribution.CreatedImage) []string {
	var keys []string
	for _, s := range made.Snapshots {
		keys = append(keys, s.KeyARN)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// State hands on what the build told, so that later post-processors can use it, and gives the result.
func (a *artifact) State(name string) any {
	switch name {
	case stateGenerated:
		return a.generated
	case registryimage.ArtifactStateURI:
		if a.hcp {
			return a.registered()
		}
	case stateResult:
		text, err := a.manifest.JSON()
		if err != nil {
			log.Printf("[ERROR] marshal the manifest: %v", err)
			return nil
		}
		return string(text)
	}
	return nil
}

// registered is what HCP Packer is to know, sorted: labels of all images become one map of the build there, so each has a key of its own. No
// ancestry: an image's source is of another account.
func (a *artifact) registered() []*registryimage.Image {
	images := make([]*registryimage.Image, len(a.result.Images))
	for i, made := range a.result.Images {
		images[i] = &registryimage.Image{ImageID: made.ImageID, ProviderName: "aws", ProviderRegion: made.At.Region, Labels: map[string]string{"account_" + made.ImageID: made.At.Account}}
	}
	slices.SortFunc(images, func(a, b *registryimage.Image) int {
		return cmp.Or(cmp.Compare(a.ProviderRegion, b.ProviderRegion), cmp.Compare(a.ImageID, b.ImageID))
	})
	return images
}

// Destroy takes the images and their snapshots away that this run has made and nothing of ours points at. What could not be removed is logged: an error would reach people as a text that they cannot read.
func (a *artifact) Destroy() error {
	stays := func(m distribution.CreatedImage) bool {
		return m.Earlier || slices.ContainsFunc(m.Pointers, func(p distribution.Pointer) bool { return p.Set })
	}
	if err := a.remove(slices.DeleteFunc(slices.Clone(a.result.Images), stays)); err != nil {
		log.Printf("[ERROR] not everything could be removed: %v", err)
	}
	return nil
}
