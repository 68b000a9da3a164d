// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var launchTemplateOperations = []namedOperation{
	newOperation((*World).createLaunchTemplate),
	newOperation((*World).createLaunchTemplateVersion),
	newOperation((*World).modifyLaunchTemplate),
	newOperation((*World).deleteLaunchTemplate),
	newOperation((*World).deleteLaunchTemplateVersions),
	newOperation((*World).describeLaunchTemplates),
	newOperation((*World).describeLaunchTemplateVersions),
}

// launchTemplate is a launch template with its versions, oldest first.
type launchTemplate struct {
	location location
	metadata types.LaunchTemplate
	versions []templateVersion
}

// templateVersion is a version of a launch template. EC2 does not check its data before a launch (rule A.4.12).
type templateVersion struct {
	metadata types.LaunchTemplateVersion
	data     types.RequestLaunchTemplateData
}

func (w *World) createLaunchTemplate(
	c *Call, in *ec2.CreateLaunchTemplateInput,
) (*ec2.CreateLaunchTemplateOutput, error) {
	err := refuseUnmodeled(
		in, "LaunchTemplateData", "LaunchTemplateName", "ClientToken", "TagSpecifications", "VersionDescription",
	)
	if err != nil {
		return nil, err
	}

	if aws.ToString(in.LaunchTemplateName) == "" {
		return nil, missingParameter("LaunchTemplateName")
	}
	if w.violates(c, "B.4.1", !launchTemplateNamePattern.MatchString(*in.LaunchTemplateName)) {
		return nil, badRequest(
			"InvalidLaunchTemplateName.MalformedException",
			"A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following "+
				"characters: - ( ) . / _.",
		)
	}
	if err := w.validateTemplateData(c, in.LaunchTemplateData); err != nil {
		return nil, err
	}

	loc := c.location()
	if err := w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeLaunchTemplate); err != nil {
		return nil, err
	}

	err = w.authorize(c, addTagOnCreate(c, in.TagSpecifications, newAuthorization(c, loc, "launch-template/*"))...)
	if err != nil {
		return nil, err
	}

	return runIdempotent(w, c, in.ClientToken, func() (*ec2.CreateLaunchTemplateOutput, error) {
		if _, err := w.findLaunchTemplate(loc, nil, in.LaunchTemplateName); err == nil {
			return nil, badRequest("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
		}

		if in.LaunchTemplateData == nil {
			return nil, noTemplateData()
		}

		id := w.newID(c, "lt-")
		t := &launchTemplate{location: loc, metadata: types.LaunchTemplate{
			LaunchTemplateId:     &id,
			LaunchTemplateName:   in.LaunchTemplateName,
			CreateTime:           aws.Time(c.At),
			CreatedBy:            &c.caller.principal.ARN,
			DefaultVersionNumber: aws.Int64(1),
			LatestVersionNumber:  aws.Int64(0),
		}}

		w.launchTemplates.put(id, t)
		t.add(c, *in.LaunchTemplateData, in.VersionDescription)
		w.tagNewResource(c, id, types.ResourceTypeLaunchTemplate, in.TagSpecifications)
		return &ec2.CreateLaunchTemplateOutput{
			LaunchTemplate: w.showTemplate(t), Warning: w.templateWarning(c, *in.LaunchTemplateData),
		}, nil
	})
}

func (w *World) createLaunchTemplateVersion(
	c *Call, in *ec2.CreateLaunchTemplateVersionInput,
) (*ec2.CreateLaunchTemplateVersionOutput, error) {
	err := refuseUnmodeled(
		in, "LaunchTemplateData", "LaunchTemplateId", "LaunchTemplateName", "ClientToken", "SourceVersion",
		"VersionDescription",
	)
	if err != nil {
		return nil, err
	}
	if err := w.validateTemplateData(c, in.LaunchTemplateData); err != nil {
		return nil, err
	}

	t, err := w.authorizeTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}

	return runIdempotent(w, c, in.ClientToken, func() (*ec2.CreateLaunchTemplateVersionOutput, error) {
		if in.LaunchTemplateData == nil {
			return nil, noTemplateData()
		}

		data := *in.LaunchTemplateData
		if source := aws.ToString(in.SourceVersion); source != "" {
			from, err := t.findVersion(w, c, source)
			if err != nil {
				return nil, err
			}
			data = overlay(withoutSnapshots(from.data), data)
		}
		created := t.add(c, data, in.VersionDescription)
		return &ec2.CreateLaunchTemplateVersionOutput{
			LaunchTemplateVersion: t.show(created), Warning: w.templateWarning(c, data),
		}, nil
	})
}

// add appends a version. Without a source version it inherits nothing (rule A.4.12).
func (t *launchTemplate) add(c *Call, data types.RequestLaunchTemplateData, description *string) templateVersion {
	*t.metadata.LatestVersionNumber++
	created := templateVersion{data: data, metadata: types.LaunchTemplateVersion{
		LaunchTemplateId:   t.metadata.LaunchTemplateId,
		LaunchTemplateName: t.metadata.LaunchTemplateName,
		VersionNumber:      aws.Int64(*t.metadata.LatestVersionNumber),
		CreateTime:         aws.Time(c.At),
		CreatedBy:          &c.caller.principal.ARN,
		VersionDescription: description,
	}}

	t.versions = append(t.versions, created)
	c.changedIDs = append(c.changedIDs, *t.metadata.LaunchTemplateId)
	return created
}

func (w *World) modifyLaunchTemplate(
	c *Call, in *ec2.ModifyLaunchTemplateInput,
) (*ec2.ModifyLaunchTemplateOutput, error) {
	if err := w.refuseNameAndID(c, in.LaunchTemplateId, in.LaunchTemplateName, "modify"); err != nil {
		return nil, err
	}
	if aws.ToString(in.DefaultVersion) == "" {
		return nil, missingParameter("SetDefaultVersion")
	}

	t, err := w.authorizeTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}

	return runIdempotent(w, c, in.ClientToken, func() (*ec2.ModifyLaunchTemplateOutput, error) {
		version, err := t.findVersion(w, c, *in.DefaultVersion)
		if err != nil {
			return nil, err
		}
		t.metadata.DefaultVersionNumber = aws.Int64(*version.metadata.VersionNumber)
		c.changedIDs = append(c.changedIDs, *t.metadata.LaunchTemplateId)
		return &ec2.ModifyLaunchTemplateOutput{LaunchTemplate: w.showTemplate(t)}, nil
	})
}

func (w *World) deleteLaunchTemplate(
	c *Call, in *ec2.DeleteLaunchTemplateInput,
) (*ec2.DeleteLaunchTemplateOutput, error) {
	if err := w.refuseNameAndID(c, in.LaunchTemplateId, in.LaunchTemplateName, "delete"); err != nil {
		return nil, err
	}
	t, err := w.authorizeTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	view := w.showTemplate(t)
	w.launchTemplates.remove(*t.metadata.LaunchTemplateId)
	delete(w.resources, *t.metadata.LaunchTemplateId)
	c.changedIDs = append(c.changedIDs, *t.metadata.LaunchTemplateId)
	return &ec2.DeleteLaunchTemplateOutput{LaunchTemplate: view}, nil
}

func (w *World) describeLaunchTemplates(
	c *Call, in *ec2.DescribeLaunchTemplatesInput,
) (*ec2.DescribeLaunchTemplatesOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	loc := c.location()
	if err := w.requireLaunchTemplates(c, in.LaunchTemplateIds, in.LaunchTemplateNames); err != nil {
		return nil, err
	}

	var seen []types.LaunchTemplate
	for id, t := range w.launchTemplates.all {
		if t.location != loc || len(in.LaunchTemplateIds) > 0 && !slices.Contains(in.LaunchTemplateIds, id) ||
			len(in.LaunchTemplateNames) > 0 && !slices.Contains(in.LaunchTemplateNames, *t.metadata.LaunchTemplateName) {
			continue
		}
		seen = append(seen, *w.showTemplate(t))
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, launchTemplateFilters,
		func(list []types.LaunchTemplate, next *string) *ec2.DescribeLaunchTemplatesOutput {
			return &ec2.DescribeLaunchTemplatesOutput{LaunchTemplates: list, NextToken: next}
		})
}

var launchTemplateFilters = filterFields[types.LaunchTemplate]{
	tags: func(t types.LaunchTemplate) []types.Tag { return t.Tags },
	values: map[string]func(types.LaunchTemplate) []string{
		"launch-template-name": func(t types.LaunchTemplate) []string { return []string{*t.LaunchTemplateName} },
	},
}

func (w *World) describeLaunchTemplateVersions(
	c *Call, in *ec2.DescribeLaunchTemplateVersionsInput,
) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	err := refuseUnmodeled(
		in, "LaunchTemplateId", "LaunchTemplateName", "Versions", "Filters", "MaxResults", "NextToken", "ResolveAlias",
	)
	if err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	t, err := w.findLaunchTemplate(c.location(), in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}

	asked := t.versions
	if len(in.Versions) > 0 {
		asked = nil
		for _, name := range in.Versions {
			version, err := t.findVersion(w, c, name)
			if err != nil {
				return nil, err
			}
			asked = append(asked, version)
		}
	}

	var seen []types.LaunchTemplateVersion
	for _, version := range slices.Backward(asked) { // newest first
		view := t.show(version)
		if aws.ToBool(in.ResolveAlias) && view.LaunchTemplateData.ImageId != nil {
			id, err := w.resolveImageID(c, *view.LaunchTemplateData.ImageId)
			if err != nil {
				return nil, err
			}
			view.LaunchTemplateData.ImageId = &id
		}
		seen = append(seen, *view)
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, templateVersionFilters,
		func(list []types.LaunchTemplateVersion, next *string) *ec2.DescribeLaunchTemplateVersionsOutput {
			return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: list, NextToken: next}
		})
}

var templateVersionFilters = filterFields[types.LaunchTemplateVersion]{
	values: map[string]func(types.LaunchTemplateVersion) []string{
		"image-id": func(v types.LaunchTemplateVersion) []string { return optionalValues(v.LaunchTemplateData.ImageId) },
	},
}

// authorizeTemplate authorizes the call's action on a launch template and returns the template.
func (w *World) authorizeTemplate(c *Call, id, name *string) (*launchTemplate, error) {
	t, missing := w.findLaunchTemplate(c.location(), id, name)
	request := newAuthorization(c, c.location(), "launch-template/*")
	if missing == nil {
		request = w.newAuthorizationOnOwn(c, "launch-template", *t.metadata.LaunchTemplateId)
	}
	if err := w.authorize(c, request); err != nil {
		return nil, err
	}
	return t, missing
}

// findLaunchTemplate returns a launch template by ID or name.
func (w *World) findLaunchTemplate(loc location, id, name *string) (*launchTemplate, error) {
	if id != nil {
		if t, ok := w.launchTemplates.get(*id); ok && t.location == loc {
			return t, nil
		}
		return nil, badRequest(
			"InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", *id,
		)
	}

	for _, t := range w.launchTemplates.all {
		if t.location == loc && name != nil && *t.metadata.LaunchTemplateName == *name {
			return t, nil
		}
	}

	return nil, badRequest(
		"InvalidLaunchTemplateName.NotFoundException",
		"The specified launch template, with template name %s, does not exist.", aws.ToString(name),
	)
}

// findVersion returns a version by number, $Latest or $Default.
func (t *launchTemplate) findVersion(w *World, c *Call, name string) (templateVersion, error) {
	n, err := strconv.ParseInt(name, 10, 64)
	switch name {
	case "$Latest":
		n, err = *t.metadata.LatestVersionNumber, nil
	case "$Default", "":
		n, err = *t.metadata.DefaultVersionNumber, nil
	}

	if w.violates(c, "B.4.2", err != nil || n < 1) {
		return templateVersion{}, badRequest(
			"InvalidParameterValue",
			"Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed.",
		)
	}

	i := slices.IndexFunc(t.versions, func(v templateVersion) bool { return *v.metadata.VersionNumber == n })
	if i < 0 {
		return templateVersion{}, badRequest(
			"InvalidLaunchTemplateId.VersionNotFound",
			"Could not find the specified version %s for the launch template with ID %s.", name, *t.metadata.LaunchTemplateId,
		)
	}

	return t.versions[i], nil
}

func (t *launchTemplate) show(version templateVersion) *types.LaunchTemplateVersion {
	view := version.metadata
	view.DefaultVersion = aws.Bool(*view.VersionNumber == *t.metadata.DefaultVersionNumber)
	view.LaunchTemplateData = &types.ResponseLaunchTemplateData{}
	convertFields(version.data, view.LaunchTemplateData)
	return &view
}

func (w *World) showTemplate(t *launchTemplate) *types.LaunchTemplate {
	view := t.metadata
	view.DefaultVersionNumber = aws.Int64(*view.DefaultVersionNumber)
	view.LatestVersionNumber = aws.Int64(*view.LatestVersionNumber)
	view.Tags = w.tagsOf(*view.LaunchTemplateId)
	return &view
}
