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

var launchTemplateOperations = []named{
	op((*World).createLaunchTemplate),
	op((*World).createLaunchTemplateVersion),
	op((*World).modifyLaunchTemplate),
	op((*World).deleteLaunchTemplate),
	op((*World).describeLaunchTemplates),
	op((*World).describeLaunchTemplateVersions),
}

// launchTemplate is a launch template with its versions; version n stands at n-1.
type launchTemplate struct {
	home     place
	about    types.LaunchTemplate
	versions []templateVersion
}

// templateVersion is a version as it was asked for: nothing in it is checked before a launch (A.4.12).
type templateVersion struct {
	about types.LaunchTemplateVersion
	data  types.RequestLaunchTemplateData
}

func (w *World) createLaunchTemplate(c *Call, in *ec2.CreateLaunchTemplateInput) (*ec2.CreateLaunchTemplateOutput, error) {
	if err := only(in, "LaunchTemplateData", "LaunchTemplateName", "ClientToken", "TagSpecifications", "VersionDescription"); err != nil {
		return nil, err
	}
	switch {
	case aws.ToString(in.LaunchTemplateName) == "":
		return nil, missing("LaunchTemplateName")
	case in.LaunchTemplateData == nil:
		return nil, missing("LaunchTemplateData")
	}
	at := c.place()
	if err := w.checkTags(c, in.TagSpecifications, types.ResourceTypeLaunchTemplate); err != nil {
		return nil, err
	}
	if err := w.authorise(c, creating(c, in.TagSpecifications, ask(c, at, "launch-template/*"))...); err != nil {
		return nil, err
	}
	return once(w, c, in.ClientToken, func() (*ec2.CreateLaunchTemplateOutput, error) {
		if _, err := w.launchTemplate(at, nil, in.LaunchTemplateName); err == nil {
			return nil, invalid("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
		}
		id := w.newID(c, "lt-")
		t := &launchTemplate{home: at, about: types.LaunchTemplate{
			LaunchTemplateId: &id, LaunchTemplateName: in.LaunchTemplateName, CreateTime: aws.Time(c.At), CreatedBy: &c.caller.principal.ARN,
			DefaultVersionNumber: aws.Int64(1), LatestVersionNumber: aws.Int64(0),
		}}
		w.launchTemplates.put(id, t)
		t.add(c, *in.LaunchTemplateData, in.VersionDescription)
		w.tagNew(c, id, types.ResourceTypeLaunchTemplate, in.TagSpecifications)
		return &ec2.CreateLaunchTemplateOutput{LaunchTemplate: w.showTemplate(t)}, nil
	})
}

func (w *World) createLaunchTemplateVersion(c *Call, in *ec2.CreateLaunchTemplateVersionInput) (*ec2.CreateLaunchTemplateVersionOutput, error) {
	if err := only(in, "LaunchTemplateData", "LaunchTemplateId", "LaunchTemplateName", "ClientToken", "SourceVersion", "VersionDescription"); err != nil {
		return nil, err
	}
	if in.LaunchTemplateData == nil {
		return nil, missing("LaunchTemplateData")
	}
	t, err := w.askedTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	return once(w, c, in.ClientToken, func() (*ec2.CreateLaunchTemplateVersionOutput, error) {
		data := *in.LaunchTemplateData
		if source := aws.ToString(in.SourceVersion); source != "" {
			from, err := t.version(source)
			if err != nil {
				return nil, err
			}
			data = overlay(from.data, data)
		}
		made := t.add(c, data, in.VersionDescription)
		return &ec2.CreateLaunchTemplateVersionOutput{LaunchTemplateVersion: t.show(made)}, nil
	})
}

// add appends a version. One that names no source has what it says itself and nothing else (A.4.12).
func (t *launchTemplate) add(c *Call, data types.RequestLaunchTemplateData, description *string) templateVersion {
	*t.about.LatestVersionNumber++
	made := templateVersion{data: data, about: types.LaunchTemplateVersion{
		LaunchTemplateId: t.about.LaunchTemplateId, LaunchTemplateName: t.about.LaunchTemplateName, VersionNumber: aws.Int64(*t.about.LatestVersionNumber),
		CreateTime: aws.Time(c.At), CreatedBy: &c.caller.principal.ARN, VersionDescription: description,
	}}
	t.versions = append(t.versions, made)
	c.made = append(c.made, *t.about.LaunchTemplateId)
	return made
}

func (w *World) modifyLaunchTemplate(c *Call, in *ec2.ModifyLaunchTemplateInput) (*ec2.ModifyLaunchTemplateOutput, error) {
	if aws.ToString(in.DefaultVersion) == "" {
		return nil, missing("SetDefaultVersion")
	}
	t, err := w.askedTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	return once(w, c, in.ClientToken, func() (*ec2.ModifyLaunchTemplateOutput, error) {
		version, err := t.version(*in.DefaultVersion)
		if err != nil {
			return nil, err
		}
		t.about.DefaultVersionNumber = aws.Int64(*version.about.VersionNumber)
		c.made = append(c.made, *t.about.LaunchTemplateId)
		return &ec2.ModifyLaunchTemplateOutput{LaunchTemplate: w.showTemplate(t)}, nil
	})
}

func (w *World) deleteLaunchTemplate(c *Call, in *ec2.DeleteLaunchTemplateInput) (*ec2.DeleteLaunchTemplateOutput, error) {
	t, err := w.askedTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	shown := w.showTemplate(t)
	w.launchTemplates.remove(*t.about.LaunchTemplateId)
	delete(w.labels, *t.about.LaunchTemplateId)
	c.made = append(c.made, *t.about.LaunchTemplateId)
	return &ec2.DeleteLaunchTemplateOutput{LaunchTemplate: shown}, nil
}

func (w *World) describeLaunchTemplates(c *Call, in *ec2.DescribeLaunchTemplatesInput) (*ec2.DescribeLaunchTemplatesOutput, error) {
	if err := w.authorise(c, anything(c)); err != nil {
		return nil, err
	}
	at := c.place()
	for _, id := range in.LaunchTemplateIds {
		if _, err := w.launchTemplate(at, &id, nil); err != nil {
			return nil, err
		}
	}
	for _, name := range in.LaunchTemplateNames {
		if _, err := w.launchTemplate(at, nil, &name); err != nil {
			return nil, err
		}
	}
	var seen []types.LaunchTemplate
	for id, t := range w.launchTemplates.all {
		if t.home != at || len(in.LaunchTemplateIds) > 0 && !slices.Contains(in.LaunchTemplateIds, id) ||
			len(in.LaunchTemplateNames) > 0 && !slices.Contains(in.LaunchTemplateNames, *t.about.LaunchTemplateName) {
			continue
		}
		seen = append(seen, *w.showTemplate(t))
	}
	return answerPage(seen, in.MaxResults, in.NextToken, in.Filters, templateFacets, func(list []types.LaunchTemplate, next *string) *ec2.DescribeLaunchTemplatesOutput {
		return &ec2.DescribeLaunchTemplatesOutput{LaunchTemplates: list, NextToken: next}
	})
}

var templateFacets = facets[types.LaunchTemplate]{
	tags: func(t types.LaunchTemplate) []types.Tag { return t.Tags },
	values: map[string]func(types.LaunchTemplate) []string{
		"launch-template-name": func(t types.LaunchTemplate) []string { return []string{*t.LaunchTemplateName} },
	},
}

func (w *World) describeLaunchTemplateVersions(c *Call, in *ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	if err := only(in, "LaunchTemplateId", "LaunchTemplateName", "Versions", "Filters", "MaxResults", "NextToken", "ResolveAlias"); err != nil {
		return nil, err
	}
	if err := w.authorise(c, anything(c)); err != nil {
		return nil, err
	}
	t, err := w.launchTemplate(c.place(), in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	asked := t.versions
	if len(in.Versions) > 0 {
		asked = nil
		for _, name := range in.Versions {
			version, err := t.version(name)
			if err != nil {
				return nil, err
			}
			asked = append(asked, version)
		}
	}
	var seen []types.LaunchTemplateVersion
	for _, version := range slices.Backward(asked) { // the newest first
		shown := t.show(version)
		if aws.ToBool(in.ResolveAlias) && shown.LaunchTemplateData.ImageId != nil {
			id, err := w.resolveImage(c, *shown.LaunchTemplateData.ImageId)
			if err != nil {
				return nil, err
			}
			shown.LaunchTemplateData.ImageId = &id
		}
		seen = append(seen, *shown)
	}
	return answerPage(seen, in.MaxResults, in.NextToken, in.Filters, versionFacets, func(list []types.LaunchTemplateVersion, next *string) *ec2.DescribeLaunchTemplateVersionsOutput {
		return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: list, NextToken: next}
	})
}

var versionFacets = facets[types.LaunchTemplateVersion]{
	values: map[string]func(types.LaunchTemplateVersion) []string{
		"image-id": func(v types.LaunchTemplateVersion) []string { return texts(v.LaunchTemplateData.ImageId) },
	},
}

// askedTemplate finds a launch template and asks whether the caller may do the call's action on it.
func (w *World) askedTemplate(c *Call, id, name *string) (*launchTemplate, error) {
	t, missing := w.launchTemplate(c.place(), id, name)
	question := ask(c, c.place(), "launch-template/*")
	if missing == nil {
		question = w.askOn(c, "launch-template", *t.about.LaunchTemplateId)
	}
	if err := w.authorise(c, question); err != nil {
		return nil, err
	}
	return t, missing
}

// launchTemplate finds a launch template by its id or its name.
func (w *World) launchTemplate(at place, id, name *string) (*launchTemplate, error) {
	if id != nil {
		if t, there := w.launchTemplates.get(*id); there && t.home == at {
			return t, nil
		}
		return nil, invalid("InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", *id)
	}
	for _, t := range w.launchTemplates.all {
		if t.home == at && name != nil && *t.about.LaunchTemplateName == *name {
			return t, nil
		}
	}
	return nil, invalid("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", aws.ToString(name))
}

// version finds a version by its number, $Latest or $Default.
func (t *launchTemplate) version(name string) (templateVersion, error) {
	n, err := strconv.ParseInt(name, 10, 64)
	switch name {
	case "$Latest":
		n, err = *t.about.LatestVersionNumber, nil
	case "$Default", "":
		n, err = *t.about.DefaultVersionNumber, nil
	}
	if err != nil || n < 1 || n > int64(len(t.versions)) {
		return templateVersion{}, invalid("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version %s", name)
	}
	return t.versions[n-1], nil
}

func (t *launchTemplate) show(version templateVersion) *types.LaunchTemplateVersion {
	shown := version.about
	shown.DefaultVersion = aws.Bool(*shown.VersionNumber == *t.about.DefaultVersionNumber)
	shown.LaunchTemplateData = &types.ResponseLaunchTemplateData{}
	reshape(version.data, shown.LaunchTemplateData)
	return &shown
}

func (w *World) showTemplate(t *launchTemplate) *types.LaunchTemplate {
	shown := t.about
	shown.DefaultVersionNumber, shown.LatestVersionNumber = aws.Int64(*shown.DefaultVersionNumber), aws.Int64(*shown.LatestVersionNumber)
	shown.Tags = w.tagsOf(*shown.LaunchTemplateId)
	return &shown
}
