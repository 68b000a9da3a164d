// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// codeWatermarkRefused is the code of findings about watermarks that AWS would not attach.
const codeWatermarkRefused = "watermark_refused"

// withWatermarks returns the source images with the watermarks that the run attaches to them. Each run then plans the
// same copies, whether or not an earlier one attached them already. missing are the keys that AWS does not show, by
// Region.
func withWatermarks(
	req distribution.Request, facts distribution.Facts,
) (images map[string]distribution.Image, missing map[string][]string) {
	if len(req.Watermarks) == 0 {
		return facts.Images, nil
	}

	images, missing = maps.Clone(facts.Images), map[string][]string{}
	for region, image := range images {
		if image.Image == nil {
			continue
		}
		marked := *image.Image
		marked.ImageWatermarks = slices.Clone(marked.ImageWatermarks)
		missing[region] = newWatermarks(marked, facts.Source.Account, req.Watermarks)
		for _, key := range missing[region] {
			marked.ImageWatermarks = append(marked.ImageWatermarks, ec2types.ImageWatermark{
				WatermarkKey:            aws.String(key),
				WatermarkCreationTime:   aws.Time(facts.At),
				SourceImageId:           marked.ImageId,
				SourceImageRegion:       aws.String(region),
				SourceImageCreationTime: aws.Time(parseTime(marked.CreationDate)),
			})
		}
		image.Image = &marked
		images[region] = image
	}
	return images, missing
}

// newWatermarks returns the keys of an account's watermarks that an image does not have.
func newWatermarks(image ec2types.Image, account string, names []string) []string {
	var keys []string
	shown := step.WatermarkKeys(image)
	for _, name := range names {
		if key := step.WatermarkKey(account, name); !slices.Contains(shown, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// watermarkSources adds the steps that attach the watermarks to the source images that lack one.
func (b *builder) watermarkSources() {
	for _, source := range b.req.Images {
		at := distribution.Location{Account: b.facts.Source.Account, Region: source.Region}
		image := b.facts.Images[source.Region].Image
		if image == nil || len(b.missingWatermarks[source.Region]) == 0 {
			continue
		}
		b.watermarked[source.ImageID] = b.add(&step.AttachImageWatermarks{
			Base: step.Base{
				ID:               step.NewID("watermark", at.Account, at.Region, "source"),
				Location:         at,
				ExpectedDuration: callTime,
			},
			Image: step.Ref{Known: source.ImageID},
			Name:  aws.ToString(image.Name),
			Names: b.req.Watermarks,
		})
	}
}

// watermarkOf returns the step that attaches watermarks to the source image of a Region. None if there is none.
func (b *builder) watermarkOf(region string) []distribution.StepID {
	if id, isWatermarked := b.watermarked[imageID(b.req, region)]; isWatermarked {
		return []distribution.StepID{id}
	}
	return nil
}

// sourceWatermarkFindings returns findings for source images that cannot have the watermarks of the run.
func (a *Assessment) sourceWatermarkFindings(region string) []distribution.Finding {
	image := a.facts.Images[region].Image
	if len(a.req.Watermarks) == 0 || image == nil {
		return nil
	}
	at := distribution.Location{Account: a.facts.Source.Account, Region: region}
	return watermarkFindings(*image, at, "watermarks", aws.ToString(image.ImageId))
}

// validateWatermarks returns findings for a destination whose image cannot have its watermarks.
func (a *Assessment) validateWatermarks(d distribution.Destination) []distribution.Finding {
	source := a.facts.Images[d.FromRegion].Image
	if len(d.Watermarks) == 0 || source == nil {
		return nil
	}

	image := ec2types.Image{}
	if existing := a.imageAt(d).use; existing != nil {
		image = *existing
	} else if d.Method == distribution.ByImage {
		image.ImageWatermarks = slices.Clone(source.ImageWatermarks)
	}
	for _, key := range newWatermarks(image, d.At.Account, d.Watermarks) {
		image.ImageWatermarks = append(image.ImageWatermarks, ec2types.ImageWatermark{WatermarkKey: aws.String(key)})
	}
	return watermarkFindings(image, d.At, field(d.Target, "watermarks"), aws.ToString(image.ImageId))
}

// watermarkFindings returns findings for an image that is to have all these watermarks (rule 9.17).
func watermarkFindings(image ec2types.Image, at distribution.Location, option, id string) []distribution.Finding {
	refused := distribution.Finding{
		Level:     distribution.Refused,
		Code:      codeWatermarkRefused,
		Reference: "9.17",
		Field:     option,
		Location:  at,
		Resource:  id,
		Summary:   "the watermarks cannot be attached",
	}

	if aws.ToBool(image.Public) {
		refused.Detail = "AWS attaches no watermarks to public AMIs"
		refused.Remediation = "make the AMI private, or leave out watermarks"
		return []distribution.Finding{refused}
	}

	if err := awslimits.CheckCount(awslimits.Watermarks, len(image.ImageWatermarks)); err != nil {
		refused.Detail = "the AMI would have " + err.Error() + ": " + strings.Join(step.WatermarkKeys(image), ", ")
		refused.Remediation = "remove names from watermarks, or detach watermarks with aws ec2 detach-image-watermark"
		return []distribution.Finding{refused}
	}

	return nil
}
