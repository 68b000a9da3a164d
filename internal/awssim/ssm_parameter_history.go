// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// getParameterHistory returns the versions of a parameter, oldest first.
func (w *World) getParameterHistory(
	c *Call, in *ssm.GetParameterHistoryInput,
) (*ssm.GetParameterHistoryOutput, error) {
	name := parseParameterName(c.location(), aws.ToString(in.Name))
	if err := w.authorize(c, name.newAuthorization(w, c, "ssm:GetParameterHistory")); err != nil {
		return nil, err
	}

	found, ok := name.find(w, c)
	if !ok || found.location != c.location() {
		return nil, parameterNotFound(name.name)
	}

	all := []ssmtypes.ParameterHistory{}
	for _, version := range found.visibleVersions(c.At) {
		value := version.value
		if aws.ToBool(in.WithDecryption) && version.kind == ssmtypes.ParameterTypeSecureString {
			plain, err := w.decryptParameter(c, found, value)
			if err != nil {
				return nil, err
			}
			value = plain
		}

		all = append(all, ssmtypes.ParameterHistory{
			AllowedPattern:   version.pattern,
			DataType:         &found.dataType,
			Description:      version.description,
			KeyId:            version.keyID,
			Labels:           []string{},
			LastModifiedDate: aws.Time(version.visibleAt),
			LastModifiedUser: &version.modifiedBy,
			Name:             &found.name,
			Policies:         []ssmtypes.ParameterInlinePolicy{},
			Tier:             version.tier,
			Type:             version.kind,
			Value:            &value,
			Version:          version.number,
		})
	}

	page, next, err := paginateParameters(c, all, in.MaxResults, 50, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &ssm.GetParameterHistoryOutput{Parameters: page, NextToken: next}, nil
}

// deleteParameters deletes up to ten parameters. It lists names that do not exist.
func (w *World) deleteParameters(c *Call, in *ssm.DeleteParametersInput) (*ssm.DeleteParametersOutput, error) {
	if len(in.Names) < 1 || len(in.Names) > 10 {
		return nil, validationError(c, "Names", len(in.Names), "Member must have length between 1 and 10")
	}

	var requests []AuthorizationRequest
	for _, given := range in.Names {
		requests = append(requests, parseParameterName(c.location(), given).newAuthorization(w, c, "ssm:DeleteParameters"))
	}
	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	out := &ssm.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	for _, given := range in.Names {
		found, ok := parseParameterName(c.location(), given).find(w, c)
		if !ok || found.location != c.location() {
			out.InvalidParameters = append(out.InvalidParameters, given)
			continue
		}
		w.parameterState.inLocation(found.location).remove(found.name)
		c.recordChange(found.arn())
		out.DeletedParameters = append(out.DeletedParameters, given)
	}

	return out, nil
}
