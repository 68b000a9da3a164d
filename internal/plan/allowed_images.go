// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// codeSharedImageHidden is the code of warnings about shared images that Allowed AMIs hides.
const codeSharedImageHidden = "shared_image_hidden"

// allowedImagesFindings returns warnings about shared images that the Allowed AMIs setting of an account hides (rule
// 2.2.14). Only accounts of share blocks with a role can be asked.
func (a *Assessment) allowedImagesFindings(
	sharers []distribution.Destination, sources []*shareSource,
) []distribution.Finding {
	var found []distribution.Finding
	for _, d := range sharers {
		settings := a.facts.AllowedImages[d.At]
		if settings.State != string(ec2types.AllowedImagesSettingsEnabledStateEnabled) ||
			d.At.Account == a.facts.Source.Account {
			continue
		}
		for _, s := range sources {
			image, isShared := a.sharedImage(s)
			if s.location.Region != d.At.Region || !isShared || a.isAllowed(image, settings.Criteria) {
				continue
			}
			f := destinationFinding(d, a.facts, distribution.Warning, codeSharedImageHidden, "2.2.14", "account_ids")
			f.Resource = imageID(a.req, s.region)
			f.Summary = "account " + d.At.Account + " will not see the shared AMI"
			f.Detail = fmt.Sprintf("its Allowed AMIs setting has no criterion for %q of account %s",
				aws.ToString(image.Name), aws.ToString(image.OwnerId))
			f.Remediation = "add the account to ImageProviders in a criterion: " +
				"aws ec2 replace-image-criteria-in-allowed-images-settings"
			found = append(found, f)
		}
	}
	return nameShareBlocks(found)
}

// sharedImage returns what the accounts of share blocks would see of the image of a share source.
func (a *Assessment) sharedImage(s *shareSource) (ec2types.Image, bool) {
	source := a.facts.Images[s.region].Image
	if s.permanent.IsEmpty() || source == nil {
		return ec2types.Image{}, false
	}
	image := *source
	image.OwnerId = aws.String(a.facts.Source.Account)
	if s.stagesImage { // a new image
		image.Name, image.DeprecationTime = aws.String(s.imageSpec(a).Name), nil
		image.CreationDate = aws.String(a.facts.At.UTC().Format(time.RFC3339))
	}
	return image, true
}

// isAllowed reports whether an image meets all conditions of one criterion.
func (a *Assessment) isAllowed(image ec2types.Image, criteria []ec2types.ImageCriterion) bool {
	return slices.ContainsFunc(criteria, func(c ec2types.ImageCriterion) bool {
		return meetsAny(c.ImageProviders, func(provider string) bool { return provider == aws.ToString(image.OwnerId) }) &&
			meetsAny(c.ImageNames, func(name string) bool { return matchesWildcard(name, aws.ToString(image.Name)) }) &&
			meetsAny(c.ImageWatermarks, func(w ec2types.ImageWatermarkFilterResponse) bool { return hasWatermark(image, w) }) &&
			meetsAny(c.MarketplaceProductCodes, func(code string) bool { return hasProductCode(image, code) }) &&
			a.meetsAge(image, c)
	})
}

// meetsAny reports whether a list is empty, or a value of it meets the condition.
func meetsAny[T any](values []T, meets func(T) bool) bool {
	return len(values) == 0 || slices.ContainsFunc(values, meets)
}

// hasWatermark reports whether an image has a watermark that a filter may mean. It does not compare ages.
func hasWatermark(image ec2types.Image, filter ec2types.ImageWatermarkFilterResponse) bool {
	return slices.ContainsFunc(image.ImageWatermarks, func(w ec2types.ImageWatermark) bool {
		return filter.WatermarkKey == nil || matchesWildcard(*filter.WatermarkKey, aws.ToString(w.WatermarkKey))
	})
}

func hasProductCode(image ec2types.Image, code string) bool {
	return slices.ContainsFunc(image.ProductCodes, func(p ec2types.ProductCode) bool {
		return aws.ToString(p.ProductCodeId) == code
	})
}

// meetsAge reports whether an image is young enough for a criterion.
func (a *Assessment) meetsAge(image ec2types.Image, c ec2types.ImageCriterion) bool {
	if c.CreationDateCondition == nil || c.CreationDateCondition.MaximumDaysSinceCreated == nil {
		return true
	}
	days := time.Duration(*c.CreationDateCondition.MaximumDaysSinceCreated) * 24 * time.Hour
	return a.facts.At.Sub(parseTime(image.CreationDate)) <= days
}

// matchesWildcard reports whether a text matches a pattern with * and ?.
func matchesWildcard(pattern, text string) bool {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(quoted)
	return regexp.MustCompile("^(?s:" + quoted + ")$").MatchString(text)
}
