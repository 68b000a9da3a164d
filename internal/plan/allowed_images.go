// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
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
			f.Detail, f.Remediation = a.explainHidden(image, settings.Criteria)
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

// explainHidden returns why no criterion allows an image, and what to do.
func (a *Assessment) explainHidden(
	image ec2types.Image, criteria []ec2types.ImageCriterion,
) (detail, remediation string) {
	const replace = "aws ec2 replace-image-criteria-in-allowed-images-settings"
	if wanted := a.wantedWatermarks(image, criteria); len(wanted) > 0 {
		has := "no watermark"
		if keys := step.WatermarkKeys(image); len(keys) > 0 {
			has = strings.Join(keys, ", ")
		}
		return fmt.Sprintf("its Allowed AMIs setting requires the watermark %s, and %q has %s",
				strings.Join(wanted, " or "), aws.ToString(image.Name), has),
			"attach such a watermark with the option watermarks, or change the criterion: " + replace
	}
	return fmt.Sprintf("its Allowed AMIs setting has no criterion for %q of account %s",
			aws.ToString(image.Name), aws.ToString(image.OwnerId)),
		"add the account to ImageProviders in a criterion: " + replace
}

// wantedWatermarks returns the watermarks of criteria that an image meets apart from its watermarks.
func (a *Assessment) wantedWatermarks(image ec2types.Image, criteria []ec2types.ImageCriterion) []string {
	var keys []string
	for _, c := range criteria {
		filters := c.ImageWatermarks
		c.ImageWatermarks = nil
		if !a.meetsCriterion(image, c) {
			continue
		}
		for _, filter := range filters {
			keys = append(keys, watermarkFilterText(filter))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// watermarkFilterText returns what a filter requires, such as "111111111111:golden attached within 30 days".
func watermarkFilterText(filter ec2types.ImageWatermarkFilterResponse) string {
	text := cmp.Or(aws.ToString(filter.WatermarkKey), "*")
	if days := filter.MaximumDaysSinceWatermarkCreated; days != nil {
		text += fmt.Sprintf(" attached within %d days", *days)
	}
	if region := filter.SourceImageRegion; region != nil {
		text += " of an AMI in " + *region
	}
	if days := filter.MaximumDaysSinceSourceImageCreated; days != nil {
		text += fmt.Sprintf(" of an AMI created within %d days", *days)
	}
	return text
}

// isAllowed reports whether an image meets all conditions of one criterion.
func (a *Assessment) isAllowed(image ec2types.Image, criteria []ec2types.ImageCriterion) bool {
	return slices.ContainsFunc(criteria, func(c ec2types.ImageCriterion) bool { return a.meetsCriterion(image, c) })
}

// meetsCriterion reports whether an image meets all conditions of a criterion. Conditions about scans and deprecation
// count as met.
func (a *Assessment) meetsCriterion(image ec2types.Image, c ec2types.ImageCriterion) bool {
	return meetsAny(c.ImageProviders, func(provider string) bool { return provider == aws.ToString(image.OwnerId) }) &&
		meetsAny(c.ImageNames, func(name string) bool {
			return iampolicy.MatchesWildcards(name, aws.ToString(image.Name))
		}) &&
		meetsAny(c.ImageWatermarks, func(filter ec2types.ImageWatermarkFilterResponse) bool {
			return slices.ContainsFunc(image.ImageWatermarks, func(w ec2types.ImageWatermark) bool {
				return a.matchesWatermark(w, filter)
			})
		}) &&
		meetsAny(c.MarketplaceProductCodes, func(code string) bool { return hasProductCode(image, code) }) &&
		(c.CreationDateCondition == nil ||
			a.isWithinDays(parseTime(image.CreationDate), c.CreationDateCondition.MaximumDaysSinceCreated))
}

// meetsAny reports whether a list is empty, or a value of it meets the condition.
func meetsAny[T any](values []T, meets func(T) bool) bool {
	return len(values) == 0 || slices.ContainsFunc(values, meets)
}

// matchesWatermark reports whether a watermark matches all fields of a filter (rule 9.28, Criteria have watermark
// filters).
func (a *Assessment) matchesWatermark(w ec2types.ImageWatermark, filter ec2types.ImageWatermarkFilterResponse) bool {
	key, region := filter.WatermarkKey, filter.SourceImageRegion
	return (key == nil || iampolicy.MatchesWildcards(*key, aws.ToString(w.WatermarkKey))) &&
		(region == nil || iampolicy.MatchesWildcards(*region, aws.ToString(w.SourceImageRegion))) &&
		a.isWithinDays(aws.ToTime(w.WatermarkCreationTime), filter.MaximumDaysSinceWatermarkCreated) &&
		a.isWithinDays(aws.ToTime(w.SourceImageCreationTime), filter.MaximumDaysSinceSourceImageCreated)
}

func hasProductCode(image ec2types.Image, code string) bool {
	return slices.ContainsFunc(image.ProductCodes, func(p ec2types.ProductCode) bool {
		return aws.ToString(p.ProductCodeId) == code
	})
}

// isWithinDays reports whether a time is at most a number of days ago. Nil allows every time.
func (a *Assessment) isWithinDays(since time.Time, days *int32) bool {
	return days == nil || a.facts.At.Sub(since) <= time.Duration(*days)*24*time.Hour
}
