// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

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
	pages := ssm.NewGetParameterHistoryPaginator(s.pool.SSM(at), in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
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
	}

	slices.SortFunc(all, func(a, b distribution.PointerVersion) int { return cmp.Compare(b.Number, a.Number) })
	return all, nil
}
