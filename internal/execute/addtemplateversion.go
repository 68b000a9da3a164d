// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// addTemplateVersion makes a launch template name the image, reads that back, and makes the version the default where asked.
func (t *transfer) addTemplateVersion(ctx context.Context, j *stepRun, s *step.CreateLaunchTemplateVersion) StepOutcome {
	image := j.id(s.Image)
	if j.ended[s.Image.From].Unsealed {
		return StepOutcome{Err: errUnsealed}
	}
	if j.memo.made == "" {
		if err := t.standing(ctx, j, s.Location, image); err != nil {
			return StepOutcome{Err: err}
		}
		version, err := t.templateVersion(ctx, s, image)
		if err != nil {
			return StepOutcome{Err: err}
		}
		j.memo.made = s.TemplateID + ":" + version
	}
	version := j.memo.made[len(s.TemplateID)+1:]
	seen, err := t.pool.EC2(s.Location).DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: aws.String(s.TemplateID), Versions: []string{version}})
	switch {
	case awsclient.IsNotFound(err) && j.patient(): // 4.4.1
		return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
	case err != nil:
		return StepOutcome{Err: err}
	case imageOf(seen.LaunchTemplateVersions[0]) != image:
		return StepOutcome{Err: fmt.Errorf("version %s of %s names %q", version, s.TemplateID, imageOf(seen.LaunchTemplateVersions[0]))}
	}
	if s.SetDefault {
		err = t.setDefaultVersion(ctx, j, s, version)
	}
	return StepOutcome{Made: j.memo.made, Err: err}
}

// standing tells that an image which is about to be named can be launched: since it was verified, hours may have passed, and another run may have removed it.
func (t *transfer) standing(ctx context.Context, j *stepRun, at distribution.Location, id string) error {
	image, err := t.image(ctx, at, id)
	switch {
	case err != nil || image != nil && image.State == ec2types.ImageStateAvailable:
		return err
	case j.patient(): // 4.4.1
		return retryAfter{backoff(j.memo.looks)}
	}
	return fmt.Errorf("%s cannot be launched any more, and is named nowhere: somebody has removed or disabled it since it was verified", id)
}

// templateVersion is the number of the version that names the image: there already, or made now of the version that is asked for, as it stands now. Its
// token depends on nothing else, so that a run that takes another one up gets the version that this one has made (4.2.3).
func (t *transfer) templateVersion(ctx context.Context, s *step.CreateLaunchTemplateVersion, image string) (string, error) {
	client := t.pool.EC2(s.Location)
	source, err := client.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: aws.String(s.TemplateID), Versions: []string{s.From}})
	if err != nil {
		return "", err
	}
	from := source.LaunchTemplateVersions[0]
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(client, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: aws.String(s.TemplateID),
		Filters: []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{image}}}})
	earlier := int64(0)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, version := range page.LaunchTemplateVersions { // the first that was made: others may build on it
			if n := aws.ToInt64(version.VersionNumber); (earlier == 0 || n < earlier) && step.DiffersOnlyInImage(version.LaunchTemplateData, from.LaunchTemplateData) {
				earlier = n
			}
		}
	}
	if earlier > 0 {
		return strconv.FormatInt(earlier, 10), nil
	}
	made, err := client.CreateLaunchTemplateVersion(ctx, versionOf(s, aws.ToInt64(from.VersionNumber), image))
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(aws.ToInt64(made.LaunchTemplateVersion.VersionNumber), 10), nil
}

// versionOf is the call that makes a version with an image of another one.
func versionOf(s *step.CreateLaunchTemplateVersion, from int64, image string) *ec2.CreateLaunchTemplateVersionInput {
	source := strconv.FormatInt(from, 10)
	in := &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: aws.String(s.TemplateID), SourceVersion: aws.String(source), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String(image)},
		ClientToken: aws.String(token("launch template", s.Location.String(), s.TemplateID, source, image, s.Description)),
	}
	if s.Description != "" {
		in.VersionDescription = aws.String(s.Description)
	}
	return in
}

func (t *transfer) proveTemplateVersion(s *step.CreateLaunchTemplateVersion) []proof {
	var all []proof
	if s.Version == 0 {
		in := versionOf(s, s.Source, existing(s.Image, standInImage))
		in.DryRun = aws.Bool(true)
		all = append(all, proofBy(t.pool.EC2(s.Location).CreateLaunchTemplateVersion, in, s, "ec2:CreateLaunchTemplateVersion "+s.TemplateID))
	}
	if s.SetDefault {
		in := &ec2.ModifyLaunchTemplateInput{DryRun: aws.Bool(true), LaunchTemplateId: aws.String(s.TemplateID), DefaultVersion: aws.String(strconv.FormatInt(s.Source, 10))}
		all = append(all, proofBy(t.pool.EC2(s.Location).ModifyLaunchTemplate, in, s, "ec2:ModifyLaunchTemplate "+s.TemplateID))
	}
	return all
}

func (t *transfer) setDefaultVersion(ctx context.Context, j *stepRun, s *step.CreateLaunchTemplateVersion, version string) error {
	client := t.pool.EC2(s.Location)
	if !j.memo.changed {
		if _, err := client.ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: aws.String(s.TemplateID), DefaultVersion: aws.String(version)}); err != nil {
			return err
		}
		j.memo.changed = true
	}
	seen, err := client.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{s.TemplateID}})
	if err != nil {
		return err
	}
	is := strconv.FormatInt(aws.ToInt64(seen.LaunchTemplates[0].DefaultVersionNumber), 10)
	if is == version {
		return nil
	}
	if j.patient() { // 4.4.1
		return retryAfter{backoff(j.memo.looks)}
	}
	return fmt.Errorf("the default of %s is version %s and not %s: somebody else has set it", s.TemplateID, is, version)
}

func imageOf(version ec2types.LaunchTemplateVersion) string {
	if version.LaunchTemplateData == nil {
		return ""
	}
	return aws.ToString(version.LaunchTemplateData.ImageId)
}
