// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// pointers looks up the parameters and launch templates of a destination, and the keys of encrypted parameters. It
// needs the resources of earlier runs, so it runs after existing.
func (s *survey) pointers(ctx context.Context, d distribution.Destination) {
	if d.PublishTargets.IsEmpty() {
		return
	}

	found := distribution.PublicationFacts{
		Parameters: s.parameters(ctx, d),
		Templates:  s.templates(ctx, d),
	}
	s.pointerHistory(ctx, d.At, found)
	s.keep(func(f *distribution.Facts) {
		site := f.Sites[d.At]
		site.PublicationFacts = found
		f.Sites[d.At] = site
	})
	s.published(ctx, d.At, found.ImageIDs())
}

// sharePointers looks up the parameters of share blocks, which are in the source account.
func (s *survey) sharePointers(ctx context.Context) error {
	s.mu.Lock()
	publishers, _ := plan.Assess(s.req, s.facts).SharePublishers()
	s.mu.Unlock()
	return s.each(ctx, len(publishers), func(ctx context.Context, i int) {
		at := publishers[i].At
		found := s.parameters(ctx, publishers[i])
		s.keep(func(f *distribution.Facts) {
			if f.SharePublications == nil {
				f.SharePublications = map[distribution.Location]distribution.PublicationFacts{}
			}
			all := f.SharePublications[at]
			if all.Parameters == nil {
				all.Parameters = map[string]distribution.ParameterFacts{}
			}
			maps.Copy(all.Parameters, found)
			f.SharePublications[at] = all
		})
	})
}

// published looks up the images that publish targets name. They may belong to a newer release.
func (s *survey) published(ctx context.Context, at distribution.Location, ids []string) {
	ids = slices.DeleteFunc(sortedSet(ids), func(id string) bool { return !imageIDs.MatchString(id) })
	found, err := imagesByID(ctx, s.pool.EC2(at), ids)
	if err != nil {
		s.lookupFailed(at, "", "ec2:DescribeImages", err)
	}
	byID := map[string]ec2types.Image{}
	for _, image := range found {
		byID[aws.ToString(image.ImageId)] = image
	}
	s.keep(func(f *distribution.Facts) {
		if f.Published == nil {
			f.Published = map[distribution.Location]map[string]ec2types.Image{}
		}
		f.Published[at] = byID
	})
}

var (
	imageIDs    = regexp.MustCompile(`^ami-[0-9a-f]{8}(?:[0-9a-f]{9})?$`)
	templateIDs = regexp.MustCompile(`^lt-[0-9a-f]{8}(?:[0-9a-f]{9})?$`)
)

// parameters looks up the parameters of a destination, and the keys of those that are encrypted.
func (s *survey) parameters(ctx context.Context, d distribution.Destination) map[string]distribution.ParameterFacts {
	found := map[string]distribution.ParameterFacts{}
	for _, p := range d.Parameters {
		s.keys(ctx, d.At, string(p.KeyID))
		name := string(p.Name)
		if plan.CheckParameterName(name, d.At) != nil { // reported by plan
			continue
		}
		if parameter, exists := s.parameter(ctx, d.At, name); exists {
			found[name] = parameter
		}
	}
	return found
}

// parameter looks up a parameter. It has no value if KMS does not permit decrypting it (rule 7.10). Of the value, only
// the ID of an image is kept.
func (s *survey) parameter(
	ctx context.Context,
	at distribution.Location,
	name string,
) (seen distribution.ParameterFacts, there bool) {
	in := &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(true)}
	out, err := s.pool.SSM(at).GetParameter(ctx, in)
	if err != nil && !awsclient.IsNotFound(err) {
		in.WithDecryption = nil
		out, err = s.pool.SSM(at).GetParameter(ctx, in)
	}
	switch {
	case awsclient.IsNotFound(err):
		return seen, false
	case err != nil:
		return distribution.ParameterFacts{Err: awsclient.Refused("ssm:GetParameter", err)}, true
	}
	seen.Type, seen.DataType = string(out.Parameter.Type), aws.ToString(out.Parameter.DataType)
	if value := aws.ToString(out.Parameter.Value); imageIDs.MatchString(value) {
		seen.ImageID = value
	}
	return seen, true
}

// templates looks up the launch templates of a destination.
func (s *survey) templates(
	ctx context.Context, d distribution.Destination,
) map[string]distribution.LaunchTemplateFacts {
	found := map[string]distribution.LaunchTemplateFacts{}
	for _, t := range d.Templates {
		found[string(t.Template)] = s.template(ctx, d.At, string(t.Template), t.Source)
	}
	return found
}

// template looks up a launch template by ID or name, and which of its versions name images of earlier runs.
func (s *survey) template(
	ctx context.Context,
	at distribution.Location,
	asked, source string,
) (stands distribution.LaunchTemplateFacts) {
	client := s.pool.EC2(at)
	in := &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{asked}}
	if templateIDs.MatchString(asked) {
		in = &ec2.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{asked}}
	}
	found, err := client.DescribeLaunchTemplates(ctx, in)
	if err != nil {
		return distribution.LaunchTemplateFacts{Err: awsclient.Refused("ec2:DescribeLaunchTemplates", err)}
	}
	if len(found.LaunchTemplates) == 0 {
		return distribution.LaunchTemplateFacts{Err: &distribution.APIError{
			Operation: "ec2:DescribeLaunchTemplates",
			Message:   "the response contains no launch template",
		}}
	}
	stands.ID = aws.ToString(found.LaunchTemplates[0].LaunchTemplateId)
	stands.Default = aws.ToInt64(found.LaunchTemplates[0].DefaultVersionNumber)

	from, err := client.DescribeLaunchTemplateVersions(
		ctx,
		&ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &stands.ID, Versions: []string{source}},
	)
	if err != nil {
		return distribution.LaunchTemplateFacts{
			ID:  stands.ID,
			Err: awsclient.Refused("ec2:DescribeLaunchTemplateVersions", err),
		}
	}
	if len(from.LaunchTemplateVersions) == 0 || from.LaunchTemplateVersions[0].LaunchTemplateData == nil {
		return distribution.LaunchTemplateFacts{ID: stands.ID, Err: &distribution.APIError{
			Operation: "ec2:DescribeLaunchTemplateVersions",
			Message:   "the response contains no version " + source,
		}}
	}
	current := from
	if source != "$Default" {
		in := &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &stands.ID, Versions: []string{"$Default"}}
		if current, err = client.DescribeLaunchTemplateVersions(ctx, in); err != nil {
			return distribution.LaunchTemplateFacts{
				ID:  stands.ID,
				Err: awsclient.Refused("ec2:DescribeLaunchTemplateVersions", err),
			}
		}
	}
	if len(current.LaunchTemplateVersions) > 0 && current.LaunchTemplateVersions[0].LaunchTemplateData != nil {
		stands.DefaultImageID = aws.ToString(current.LaunchTemplateVersions[0].LaunchTemplateData.ImageId)
	}
	stands.Source = aws.ToInt64(from.LaunchTemplateVersions[0].VersionNumber)
	data := from.LaunchTemplateVersions[0].LaunchTemplateData

	if stands.Naming, err = s.versionsByImage(ctx, at, stands, data); err != nil {
		return distribution.LaunchTemplateFacts{
			ID:  stands.ID,
			Err: awsclient.Refused("ec2:DescribeLaunchTemplateVersions", err),
		}
	}
	return stands
}

// versionsByImage returns the versions of a launch template by the image of an earlier run that they name. Versions
// that differ from the source version in more than the image are left out, except the default version. Nil if earlier
// runs left no image.
func (s *survey) versionsByImage(
	ctx context.Context, at distribution.Location, template distribution.LaunchTemplateFacts,
	source *ec2types.ResponseLaunchTemplateData,
) (map[string][]int64, error) {
	s.mu.Lock()
	earlier := s.facts.Earlier[at].Images
	s.mu.Unlock()
	if len(earlier) == 0 {
		return nil, nil
	}

	var images []string
	for _, image := range earlier {
		images = append(images, aws.ToString(image.ImageId))
	}

	naming := map[string][]int64{}
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(s.pool.EC2(at), &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: &template.ID,
		Filters:          []ec2types.Filter{{Name: aws.String("image-id"), Values: images}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, version := range page.LaunchTemplateVersions {
			number, image := aws.ToInt64(version.VersionNumber), aws.ToString(version.LaunchTemplateData.ImageId)
			if number == template.Default || step.DiffersOnlyInImage(version.LaunchTemplateData, source) {
				naming[image] = append(naming[image], number)
			}
		}
	}

	for _, versions := range naming {
		slices.Sort(versions)
	}
	return naming, nil
}

// pointerHistory adds the versions of parameters and launch templates for promote and rollback. Promote needs only
// those of launch templates.
func (s *survey) pointerHistory(
	ctx context.Context,
	at distribution.Location,
	found distribution.PublicationFacts,
) {
	if s.req.Move == "" {
		return
	}

	for name, template := range found.Templates {
		if template.Err == nil {
			template.Versions, template.Err = s.templateVersions(ctx, at, template.ID)
			found.Templates[name] = template
		}
	}

	for name, parameter := range found.Parameters {
		if parameter.Err == nil && s.req.Move == distribution.Rollback {
			parameter.Versions, parameter.Err = s.parameterHistory(ctx, at, name)
			found.Parameters[name] = parameter
		}
	}
}

// templateVersions returns the versions of a launch template, newest first.
func (s *survey) templateVersions(
	ctx context.Context, at distribution.Location, id string,
) ([]distribution.PointerVersion, *distribution.APIError) {
	var all []distribution.PointerVersion
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(s.pool.EC2(at), &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: aws.String(id),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsclient.Refused("ec2:DescribeLaunchTemplateVersions", err)
		}
		for _, version := range page.LaunchTemplateVersions {
			found := distribution.PointerVersion{Number: aws.ToInt64(version.VersionNumber)}
			if version.LaunchTemplateData != nil {
				found.ImageID = aws.ToString(version.LaunchTemplateData.ImageId)
			}
			all = append(all, found)
		}
	}

	slices.SortFunc(all, func(a, b distribution.PointerVersion) int { return cmp.Compare(b.Number, a.Number) })
	return all, nil
}

// parameterHistory returns the versions of a parameter, newest first. It keeps image IDs and no other values.
func (s *survey) parameterHistory(
	ctx context.Context, at distribution.Location, name string,
) ([]distribution.PointerVersion, *distribution.APIError) {
	var all []distribution.PointerVersion
	in := &ssm.GetParameterHistoryInput{Name: aws.String(name), WithDecryption: aws.Bool(true)}
	// A paginator of the SDK would link every operation of SSM.
	for isLast := false; !isLast; {
		page, err := s.pool.SSM(at).GetParameterHistory(ctx, in)
		if err != nil {
			refused := awsclient.Refused("ssm:GetParameterHistory", err)
			in.WithDecryption = nil
			if _, err := s.pool.SSM(at).GetParameterHistory(ctx, in); err == nil { // KMS refused (rule 7.10)
				refused.Operation = "kms:Decrypt"
			}
			return nil, refused
		}
		for _, version := range page.Parameters {
			found := distribution.PointerVersion{
				Number:      version.Version,
				Description: aws.ToString(version.Description),
			}
			if value := aws.ToString(version.Value); imageIDs.MatchString(value) {
				found.ImageID = value
			}
			all = append(all, found)
		}
		in.NextToken = page.NextToken
		isLast = aws.ToString(page.NextToken) == ""
	}

	slices.SortFunc(all, func(a, b distribution.PointerVersion) int { return cmp.Compare(b.Number, a.Number) })
	return all, nil
}
