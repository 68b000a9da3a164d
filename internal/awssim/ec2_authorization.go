// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// ec2ARN returns the ARN of an EC2 resource such as "volume/vol-...". ARNs of images and snapshots name no account
// (rules 2.5.5 and 6.5).
func ec2ARN(loc location, resource string) string {
	if kind := resourceTypeOf(resource); kind == "image" || kind == "snapshot" {
		loc.account = ""
	}
	return fmt.Sprintf("arn:%s:ec2:%s:%s:%s", partitionOf(loc.region), loc.region, loc.account, resource)
}

// resourceTypeOf returns the resource type in a resource or ARN, such as "volume".
func resourceTypeOf(resource string) string {
	kind, _, _ := strings.Cut(resource[strings.LastIndex(resource, ":")+1:], "/")
	return kind
}

// newAuthorization returns the request to perform the call's action on an EC2 resource in a location.
func newAuthorization(c *Call, loc location, resource string) AuthorizationRequest {
	return AuthorizationRequest{Action: c.action(), Resource: ec2ARN(loc, resource), OwnerAccount: loc.account}
}

// newAuthorizationOnOwn returns the request for a resource of the caller, with the resource's tags as context.
func (w *World) newAuthorizationOnOwn(c *Call, kind, id string) AuthorizationRequest {
	return newAuthorization(c, c.location(), kind+"/"+id).withContext(w.resourceTagContext(id))
}

// newAuthorizationOnAll returns the request for an action that has no resource.
func newAuthorizationOnAll(c *Call) AuthorizationRequest {
	return AuthorizationRequest{Action: c.action(), Resource: "*"}
}

// addTagOnCreate adds the requests that tag-on-create needs. The tags are context of the request for the tagged
// resource. Each tagged resource type also needs ec2:CreateTags with ec2:CreateAction (rule 6.5).
func addTagOnCreate(c *Call, specs []types.TagSpecification, requests ...AuthorizationRequest) []AuthorizationRequest {
	for _, spec := range specs {
		tags := requestTagContext(parseTags(spec.Tags, func(t types.Tag) (string, string) {
			return aws.ToString(t.Key), aws.ToString(t.Value)
		}))
		for i := range requests {
			if resourceTypeOf(requests[i].Resource) == string(spec.ResourceType) {
				requests[i] = requests[i].withContext(tags)
			}
		}

		onTags := newAuthorization(c, c.location(), string(spec.ResourceType)+
			"/*").withContext(tags).withContext(iampolicy.Context{"ec2:CreateAction": {c.Operation}})
		onTags.Action = "ec2:CreateTags"
		requests = append(requests, onTags)
	}

	return requests
}

// withContext returns the request with more condition keys.
func (a AuthorizationRequest) withContext(context iampolicy.Context) AuthorizationRequest {
	both := maps.Clone(a.Context)
	if both == nil {
		both = iampolicy.Context{}
	}
	maps.Copy(both, context)
	a.Context = both
	return a
}

// missingParameter returns the error for a missing required parameter.
func missingParameter(parameter string) *APIError {
	return badRequest("MissingParameter", "The request must contain the parameter %s", parameter)
}
