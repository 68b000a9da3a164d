// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// maxReferencedImages is the maximum number of images in a call of DescribeImageReferences (EC2 API reference).
const maxReferencedImages = 10

// referenceActions are the actions that DescribeImageReferences performs for the caller, by resource type (AWS managed
// policy AmazonEC2ImageReferencesAccessPolicy).
var referenceActions = map[types.ImageReferenceResourceType][]string{
	types.ImageReferenceResourceTypeEc2Instance: {"ec2:DescribeInstances"},
	types.ImageReferenceResourceTypeEc2LaunchTemplate: {
		"ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions",
	},
	types.ImageReferenceResourceTypeSsmParameter:            {"ssm:DescribeParameters", "ssm:GetParameters"},
	types.ImageReferenceResourceTypeImageBuilderImageRecipe: {"imagebuilder:ListImageRecipes"},
	types.ImageReferenceResourceTypeImageBuilderContainerRecipe: {
		"imagebuilder:ListContainerRecipes", "imagebuilder:GetContainerRecipe",
	},
}

// referenceSearch is what a call of DescribeImageReferences searches.
type referenceSearch struct {
	resourceTypes []types.ImageReferenceResourceType
	versionDepth  int      // number of newest versions of a launch template
	states        []string // states of instances; nil for all
}

// includes reports whether the call searches a resource type.
func (s referenceSearch) includes(kind types.ImageReferenceResourceType) bool {
	return slices.Contains(s.resourceTypes, kind)
}

// describeImageReferences returns the caller's resources that name an image (rule 9.12). Recipes of Image Builder are
// not modeled, so it finds none.
func (w *World) describeImageReferences(
	c *Call, in *ec2.DescribeImageReferencesInput,
) (*ec2.DescribeImageReferencesOutput, error) {
	search, err := w.parseReferenceSearch(c, in)
	if err != nil {
		return nil, err
	}

	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}
	for _, kind := range search.resourceTypes {
		if err := w.authorizeReferences(c, kind); err != nil {
			return nil, err
		}
	}

	found := slices.Concat(
		w.instanceReferences(c, in.ImageIds, search), w.templateReferences(c, in.ImageIds, search),
		w.parameterReferences(c, in.ImageIds, search),
	)
	page, next, err := paginate(found, in.MaxResults, in.NextToken)
	return &ec2.DescribeImageReferencesOutput{ImageReferences: page, NextToken: next}, err
}

// parseReferenceSearch checks the request and returns what it searches.
func (w *World) parseReferenceSearch(c *Call, in *ec2.DescribeImageReferencesInput) (referenceSearch, error) {
	search := referenceSearch{versionDepth: 10}
	switch everything := aws.ToBool(in.IncludeAllResourceTypes); {
	case len(in.ImageIds) == 0:
		return search, missingParameter("ImageIds")
	case w.violates(c, "B.10.1", len(in.ImageIds) > maxReferencedImages):
		return search, badRequest(
			"InvalidParameterValue", "The number of image IDs exceeds the maximum of %d.", maxReferencedImages,
		)
	case w.violates(c, "B.10.2", !everything && len(in.ResourceTypes) == 0):
		return search, badRequest(
			"MissingParameter", "Either IncludeAllResourceTypes or ResourceTypes must be specified.",
		)
	case everything:
		search.resourceTypes = types.ImageReferenceResourceType("").Values()
	}

	for _, id := range in.ImageIds {
		if !isValidID(id, "ami-") {
			return search, malformedImageID(id)
		}
	}

	for _, request := range in.ResourceTypes {
		if !search.includes(request.ResourceType) {
			search.resourceTypes = append(search.resourceTypes, request.ResourceType)
		}
		for _, option := range request.ResourceTypeOptions {
			if err := search.set(request.ResourceType, option); err != nil {
				return search, err
			}
		}
	}

	return search, nil
}

// set applies an option of a resource type.
func (s *referenceSearch) set(kind types.ImageReferenceResourceType, option types.ResourceTypeOption) error {
	switch {
	case kind == types.ImageReferenceResourceTypeEc2LaunchTemplate &&
		option.OptionName == types.ImageReferenceOptionNameVersionDepth && len(option.OptionValues) == 1:
		n, err := strconv.Atoi(option.OptionValues[0])
		if err != nil || n < 1 || n > 10000 {
			return badRequest(
				"InvalidParameterValue", "The version depth %q is not between 1 and 10000.", option.OptionValues[0],
			)
		}
		s.versionDepth = n
	case kind == types.ImageReferenceResourceTypeEc2Instance &&
		option.OptionName == types.ImageReferenceOptionNameStateName:
		s.states = append(s.states, option.OptionValues...)
	default:
		return newAPIError(
			http.StatusBadRequest, "InvalidParameterValue", "The option %s is not valid for the resource type %s.",
			option.OptionName, kind,
		)
	}

	return nil
}

// authorizeReferences checks the permissions that the search of a resource type needs. EC2 uses them for the caller, so
// a policy can allow them through EC2 only.
func (w *World) authorizeReferences(c *Call, kind types.ImageReferenceResourceType) error {
	for _, action := range referenceActions[kind] {
		request := AuthorizationRequest{Action: action, Resource: "*", Context: iampolicy.Context{
			"aws:CalledVia": {"ec2-images.amazonaws.com"}, "aws:ViaAWSService": {"true"},
		}}
		decision, err := w.evaluate(c, request)
		if err != nil {
			return err
		}
		if w.violates(c, "B.10.3", !decision.Allowed) {
			return w.accessDenied(c, request, decision)
		}
	}
	return nil
}

func newReference(image string, kind types.ImageReferenceResourceType, arn string) types.ImageReference {
	return types.ImageReference{ImageId: &image, ResourceType: kind, Arn: &arn}
}

// instanceReferences returns the instances of images. Terminated instances are references while they are described,
// unless the request leaves out their state.
func (w *World) instanceReferences(c *Call, images []string, search referenceSearch) (found []types.ImageReference) {
	const kind = types.ImageReferenceResourceTypeEc2Instance
	if !search.includes(kind) {
		return nil
	}

	for _, i := range w.instances.all {
		image := aws.ToString(i.attributes.ImageId)
		if i.location != c.location() || !slices.Contains(images, image) || i.isExpired(c.At) {
			continue
		}
		state := string(i.transitionAt(c.At).state)
		if w.violates(c, "B.10.4", search.states != nil && !slices.Contains(search.states, state)) {
			continue
		}
		found = append(found, newReference(image, kind, ec2ARN(c.location(), "instance/"+i.id)))
	}

	return found
}

// templateReferences returns the launch templates with an image in one of their newest versions.
func (w *World) templateReferences(c *Call, images []string, search referenceSearch) (found []types.ImageReference) {
	const kind = types.ImageReferenceResourceTypeEc2LaunchTemplate
	if !search.includes(kind) {
		return nil
	}

	for id, t := range w.launchTemplates.all {
		for _, version := range t.versions[max(0, len(t.versions)-search.versionDepth):] {
			image := aws.ToString(version.data.ImageId)
			if t.location == c.location() && slices.Contains(images, image) {
				found = append(found, newReference(image, kind, ec2ARN(c.location(), "launch-template/"+id)))
			}
		}
	}

	return found
}

// parameterReferences returns the parameters of the data type aws:ec2:image whose newest value is an image.
func (w *World) parameterReferences(c *Call, images []string, search referenceSearch) (found []types.ImageReference) {
	const kind = types.ImageReferenceResourceTypeSsmParameter
	if !search.includes(kind) {
		return nil
	}

	for _, p := range w.sortedParameters(c, func(p *parameter) bool { return p.dataType == imageDataType }) {
		versions := p.visibleVersions(c.At)
		if image := versions[len(versions)-1].value; slices.Contains(images, image) {
			found = append(found, newReference(image, kind, p.arn()))
		}
	}

	return found
}
