// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/uuid"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// builders are the IDs of the builders that create AMIs, each with the reason why it is not supported. Empty for a
// supported one.
var builders = map[string]string{
	"mitchellh.amazonebs":                 "",
	"mitchellh.amazon.ebssurrogate":       "",
	"mitchellh.amazon.chroot":             "",
	"packer.post-processor.amazon-import": "",
	"mitchellh.amazon.instance": "amazon-instance makes images whose root is in S3: they have no snapshots " +
		"that could be shared or encrypted",
	"mitchellh.amazon.ebsvolume": "amazon-ebsvolume makes volumes, not an image",
}

// errNoAMI means that there is nothing to distribute.
var errNoAMI = errors.New("existing_amis: empty, and source \"null\" builds no AMI; name one for each Region")

// nullBuilder is the builder that creates nothing. Templates use it for existing images.
const nullBuilder = "fnoeding.null"

// accepted returns an error if the artifacts of a builder are not supported.
func accepted(builder string) error {
	against, known := builders[builder]
	switch {
	case !known:
		against = fmt.Sprintf("the artifact was made by %q", builder)
	case against == "":
		return nil
	}
	return fmt.Errorf("%s. This post-processor takes the AMIs of amazon-ebs, amazon-ebssurrogate, amazon-chroot and "+
		"amazon-import, or those that existing_amis names under source \"null\"", against)
}

// resolveSourceImages finds the images of the artifact or, if it has none, those of existing_amis. Problems of an
// artifact that names an image become an error only after the image is protected.
func (r *run) resolveSourceImages() error {
	images, err := imagesOf(r.input.Id())
	if len(images) > 0 {
		r.images, r.artifactErr = images, err
		return nil
	}
	if named := r.config.SourceImages(); len(named) > 0 {
		r.images, r.userSupplied = named, true
		return nil
	}
	if r.input.BuilderId() == nullBuilder {
		return cmp.Or(r.invalid, errNoAMI)
	}
	return cmp.Or(accepted(r.input.BuilderId()), err)
}

// validateSourceImages returns the problems of the artifact, or of existing_amis together with an artifact.
func (r *run) validateSourceImages() error {
	if r.userSupplied {
		return nil
	}
	if r.artifactErr != nil {
		return r.artifactErr
	}
	if len(r.config.ExistingAMIs) > 0 {
		return fmt.Errorf("existing_amis: no effect beside the artifact's own images, %s; it is for source "+
			"%q", r.input.Id(), "null")
	}
	return accepted(r.input.BuilderId())
}

var imageID = regexp.MustCompile(`^([a-z0-9-]+):(ami-[0-9a-f]{8,17})$`)

// imagesOf returns the images in the ID of an artifact, which are region:ami-id pairs, sorted by Region. With an error,
// it returns those that it could parse.
func imagesOf(id string) (images []distribution.SourceImage, err error) {
	for pair := range strings.SplitSeq(id, ",") {
		found := imageID.FindStringSubmatch(pair)
		if found == nil {
			err = fmt.Errorf("the artifact's id %q is not region:ami-id, or several of them with commas between", id)
			continue
		}
		images = append(images, distribution.SourceImage{Region: found[1], ImageID: found[2]})
	}
	slices.SortFunc(images, func(a, b distribution.SourceImage) int { return cmp.Compare(a.Region, b.Region) })
	for i := 1; i < len(images); i++ {
		if images[i-1].Region == images[i].Region {
			err = cmp.Or(err, fmt.Errorf("the artifact's id %q names two images of %s", id, images[i].Region))
		}
	}
	return images, err
}

// secretData are the names of passwords and private keys in a build's data. No post-processor needs them after the
// build.
var secretData = []string{"Password", "SSHPrivateKey", "WinRMPassword"}

// generated returns the data of the build under the names of Packer's build variables, without secrets.
func generated(artifact packersdk.Artifact) map[string]any {
	data := map[string]any{}
	switch given := artifact.State("generated_data").(type) {
	case map[string]any:
		maps.Copy(data, given)
	case map[any]any: // a map[string]any that came over the wire
		for name, value := range given {
			if name, ok := name.(string); ok {
				data[name] = value
			}
		}
	}
	maps.DeleteFunc(data, func(name string, _ any) bool { return slices.Contains(secretData, name) })
	return data
}

// buildOf returns the part of the build's data that a plan may use.
func buildOf(data map[string]any, name string) distribution.Build {
	text := func(name string) string {
		value, _ := data[name].(string)
		return value
	}
	return distribution.Build{
		Name:    cmp.Or(text("PackerBuildName"), name),
		Region:  text("BuildRegion"),
		BaseAMI: text("SourceAMI"),
		RunID:   cmp.Or(text("PackerRunUUID"), uuid.TimeOrderedUUID()),
	}
}
