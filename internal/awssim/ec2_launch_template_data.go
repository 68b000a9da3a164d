// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var launchTemplateNamePattern = regexp.MustCompile(`^[a-zA-Z0-9().\-/_]{3,128}$`)

// Bounds of the hop limit of instance metadata (SDK LaunchTemplateInstanceMetadataOptionsRequest).
const (
	minHopLimit = 1
	maxHopLimit = 64
)

// validateTemplateData checks the data of a launch template as far as EC2 does. EC2 stores unknown images, instance
// types and key pairs (rule A.4.12).
func (w *World) validateTemplateData(c *Call, data *types.RequestLaunchTemplateData) error {
	if data == nil {
		return nil
	}

	if options := data.MetadataOptions; options != nil && options.HttpPutResponseHopLimit != nil {
		hops := *options.HttpPutResponseHopLimit
		if w.violates(c, "B.4.3", hops < minHopLimit || hops > maxHopLimit) {
			return badRequest(
				"InvalidParameterValue",
				"A value of ‘%d’ is not valid for http-put-response-hop-limit. Specify a value between %d and %d, and try "+
					"again.", hops, minHopLimit, maxHopLimit,
			)
		}
	}

	return nil
}

// noTemplateData returns the error for a launch template without data. A dry run does not return this error.
func noTemplateData() error {
	return badRequest(
		"MissingParameter",
		"No launch template data was provided. Launch template data is required to create a launch template.",
	)
}

// templateWarning returns the warning about an instance type that does not exist. Nil if there is none.
func (w *World) templateWarning(c *Call, data types.RequestLaunchTemplateData) *types.ValidationWarning {
	unknown := data.InstanceType != "" && !slices.Contains(data.InstanceType.Values(), data.InstanceType)
	if !w.violates(c, "B.4.4", unknown) {
		return nil
	}
	return &types.ValidationWarning{Errors: []types.ValidationError{{
		Code: aws.String("InvalidInstanceType"),
		Message: aws.String(fmt.Sprintf(
			"The following supplied instance types do not exist: [%s]", data.InstanceType,
		)),
	}}}
}

// refuseNameAndID refuses a request that names a launch template by ID and by name.
func (w *World) refuseNameAndID(c *Call, id, name *string, verb string) error {
	if w.violates(c, "B.4.5", id != nil && name != nil) {
		return badRequest(
			"InvalidParameterCombination", "Either provide launch template ID or launch template name to %s the template.",
			verb,
		)
	}
	return nil
}

// requireLaunchTemplates refuses IDs and names of launch templates that do not exist.
func (w *World) requireLaunchTemplates(c *Call, ids, names []string) error {
	const message = "At least one of the launch templates specified in the request does not exist."
	for _, id := range ids {
		if _, err := w.findLaunchTemplate(c.location(), &id, nil); err != nil {
			return badRequest("InvalidLaunchTemplateId.NotFound", message)
		}
	}
	for _, name := range names {
		if _, err := w.findLaunchTemplate(c.location(), nil, &name); err != nil {
			return badRequest("InvalidLaunchTemplateName.NotFoundException", message)
		}
	}
	return nil
}

// deleteLaunchTemplateVersions deletes versions, and reports those that it cannot delete. The default version cannot be
// deleted.
func (w *World) deleteLaunchTemplateVersions(
	c *Call, in *ec2.DeleteLaunchTemplateVersionsInput,
) (*ec2.DeleteLaunchTemplateVersionsOutput, error) {
	if len(in.Versions) == 0 {
		return nil, missingParameter("LaunchTemplateVersion")
	}
	if err := w.refuseNameAndID(c, in.LaunchTemplateId, in.LaunchTemplateName, "modify"); err != nil {
		return nil, err
	}

	t, err := w.authorizeTemplate(c, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}

	out := &ec2.DeleteLaunchTemplateVersionsOutput{}
	for _, name := range in.Versions {
		version, problem := t.deletableVersion(w, c, name)
		if problem != nil {
			number, _ := strconv.ParseInt(name, 10, 64)
			out.UnsuccessfullyDeletedLaunchTemplateVersions = append(
				out.UnsuccessfullyDeletedLaunchTemplateVersions, types.DeleteLaunchTemplateVersionsResponseErrorItem{
					LaunchTemplateId:   t.metadata.LaunchTemplateId,
					LaunchTemplateName: t.metadata.LaunchTemplateName,
					VersionNumber:      &number,
					ResponseError:      problem,
				},
			)
			continue
		}

		t.versions = slices.DeleteFunc(t.versions, func(v templateVersion) bool {
			return *v.metadata.VersionNumber == version
		})
		c.recordChange(*t.metadata.LaunchTemplateId)
		out.SuccessfullyDeletedLaunchTemplateVersions = append(
			out.SuccessfullyDeletedLaunchTemplateVersions, types.DeleteLaunchTemplateVersionsResponseSuccessItem{
				LaunchTemplateId:   t.metadata.LaunchTemplateId,
				LaunchTemplateName: t.metadata.LaunchTemplateName,
				VersionNumber:      &version,
			},
		)
	}

	return out, nil
}

// deletableVersion returns the number of a version that can be deleted, or why it cannot.
func (t *launchTemplate) deletableVersion(w *World, c *Call, name string) (int64, *types.ResponseError) {
	version, err := t.findVersion(w, c, name)
	if err != nil {
		return 0, &types.ResponseError{
			Code: types.LaunchTemplateErrorCodeLaunchTemplateVersionDoesNotExist, Message: aws.String(messageOf(err)),
		}
	}
	if *version.metadata.VersionNumber == *t.metadata.DefaultVersionNumber {
		return 0, &types.ResponseError{
			Code: types.LaunchTemplateErrorCodeUnexpectedError, Message: aws.String("Cannot delete the default version."),
		}
	}
	return *version.metadata.VersionNumber, nil
}
