// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	lmtypes "github.com/aws/aws-sdk-go-v2/service/licensemanager/types"
)

// licenseOperations are the operations of License Manager: license configurations and their association with images.
// Error codes and the resources of authorization requests are inferred. Launches are not counted, and associations
// cannot be removed.
var licenseOperations = []namedOperation{
	newOperation((*World).createLicenseConfiguration),
	newOperation((*World).updateLicenseSpecificationsForResource),
	newOperation((*World).listLicenseSpecificationsForResource),
}

// licenseState holds the resources of License Manager.
type licenseState struct {
	licenses   orderedMap[location] // by ARN
	associated map[string][]string  // sorted ARNs of license configurations by image ARN
}

func newLicenseState() licenseState {
	return licenseState{licenses: newOrderedMap[location](), associated: map[string][]string{}}
}

func (w *World) createLicenseConfiguration(
	c *Call, in *licensemanager.CreateLicenseConfigurationInput,
) (*licensemanager.CreateLicenseConfigurationOutput, error) {
	if err := refuseUnmodeled(in, "Name", "LicenseCountingType"); err != nil {
		return nil, err
	}

	err := w.authorize(c, AuthorizationRequest{Action: "license-manager:CreateLicenseConfiguration", Resource: "*"})
	if err != nil {
		return nil, err
	}

	loc := c.location()
	arn := "arn:" + partitionOf(loc.region) + ":license-manager:" + loc.region + ":" + loc.account +
		":license-configuration:" + w.newID(c, "lic-")

	w.licenses.put(arn, loc)
	c.recordChange(arn)
	return &licensemanager.CreateLicenseConfigurationOutput{LicenseConfigurationArn: &arn}, nil
}

func (w *World) updateLicenseSpecificationsForResource(
	c *Call, in *licensemanager.UpdateLicenseSpecificationsForResourceInput,
) (*licensemanager.UpdateLicenseSpecificationsForResourceOutput, error) {
	if err := refuseUnmodeled(in, "ResourceArn", "AddLicenseSpecifications"); err != nil {
		return nil, err
	}
	if len(in.AddLicenseSpecifications) == 0 {
		return nil, newAPIError(
			http.StatusBadRequest, "UnsupportedOperation",
			"The simulated AWS does not model an update that adds no license specification.",
		)
	}

	var added []string
	var requests []AuthorizationRequest
	for i := range in.AddLicenseSpecifications {
		if err := refuseUnmodeled(&in.AddLicenseSpecifications[i], "LicenseConfigurationArn"); err != nil {
			return nil, err
		}
		arn := aws.ToString(in.AddLicenseSpecifications[i].LicenseConfigurationArn)
		added = append(added, arn)
		requests = append(requests, AuthorizationRequest{
			Action: "license-manager:UpdateLicenseSpecificationsForResource", Resource: arn,
		})
	}

	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	image, err := w.findLicensedImage(c, in.ResourceArn)
	if err != nil {
		return nil, err
	}

	for _, arn := range added {
		if loc, ok := w.licenses.get(arn); !ok || loc != c.location() {
			return nil, badRequest("InvalidParameterValueException", "The license configuration %s does not exist.", arn)
		}
	}

	has := slices.Concat(w.associated[image], added)
	slices.Sort(has)
	w.associated[image] = slices.Compact(has)
	c.recordChange(image)
	return &licensemanager.UpdateLicenseSpecificationsForResourceOutput{}, nil
}

func (w *World) listLicenseSpecificationsForResource(
	c *Call, in *licensemanager.ListLicenseSpecificationsForResourceInput,
) (*licensemanager.ListLicenseSpecificationsForResourceOutput, error) {
	if err := refuseUnmodeled(in, "ResourceArn", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}

	err := w.authorize(c, AuthorizationRequest{
		Action: "license-manager:ListLicenseSpecificationsForResource", Resource: "*",
	})
	if err != nil {
		return nil, err
	}

	image, err := w.findLicensedImage(c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if in.MaxResults == nil { // AWS does not document the default page size, so it is the smallest
		in.MaxResults = aws.Int32(1)
	}

	arns, next, err := paginate(w.associated[image], in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}

	out := &licensemanager.ListLicenseSpecificationsForResourceOutput{NextToken: next}
	for _, arn := range arns {
		out.LicenseSpecifications = append(out.LicenseSpecifications, lmtypes.LicenseSpecification{
			LicenseConfigurationArn: aws.String(arn),
		})
	}

	return out, nil
}

// findLicensedImage returns the caller's own image with an ARN.
func (w *World) findLicensedImage(c *Call, arn *string) (string, error) {
	_, id, _ := strings.Cut(aws.ToString(arn), "::image/")
	i, ok := w.images.get(id)
	if !ok || i.deregistered || i.location != c.location() ||
		*arn != "arn:"+partitionOf(c.Region)+":ec2:"+c.Region+"::image/"+id {
		return "", badRequest("InvalidParameterValueException", "The resource %s does not exist.", aws.ToString(arn))
	}
	return *arn, nil
}
