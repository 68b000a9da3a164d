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

// ec2ARN is the ARN of a resource of EC2, "volume/vol-..." of a place. Those of images and snapshots name no account
// (2.5.5, 6.5).
func ec2ARN(loc location, resource string) string {
	if kind := resourceTypeOf(resource); kind == "image" || kind == "snapshot" {
		loc.account = ""
	}
	return fmt.Sprintf("arn:%s:ec2:%s:%s:%s", partitionOf(loc.region), loc.region, loc.account, resource)
}

// resourceTypeOf is the kind of thing that a resource or an ARN of EC2 names: "volume".
func resourceTypeOf(resource string) string {
	kind, _, _ := strings.Cut(resource[strings.LastIndex(resource, ":")+1:], "/")
	return kind
}

// newAuthorization is the question whether the caller may do the call's action on a resource of EC2 that belongs to a
// place.
func newAuthorization(c *Call, loc location, resource string) AuthorizationRequest {
	return AuthorizationRequest{Action: c.action(), Resource: ec2ARN(loc, resource), OwnerAccount: loc.account}
}

// newAuthorizationOnOwn is ask about a resource of the caller, with its tags for the policies to look at.
func (w *World) newAuthorizationOnOwn(c *Call, kind, id string) AuthorizationRequest {
	return newAuthorization(c, c.location(), kind+"/"+id).withContext(w.resourceTagContext(id))
}

// newAuthorizationOnAll is the question whether the caller may do the call's action, which knows no resources.
func newAuthorizationOnAll(c *Call) AuthorizationRequest {
	return AuthorizationRequest{Action: c.action(), Resource: "*"}
}

// addTagOnCreate adds to the questions of a call that makes things what their tags ask: the tags are known to every
// question, and each kind of tagged thing needs ec2:CreateTags with ec2:CreateAction (6.5).
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

// withContext adds to what the policies may look at.
func (a AuthorizationRequest) withContext(context iampolicy.Context) AuthorizationRequest {
	both := maps.Clone(a.Context)
	if both == nil {
		both = iampolicy.Context{}
	}
	maps.Copy(both, context)
	a.Context = both
	return a
}

// missingParameter refuses a request that lacks a parameter.
func missingParameter(parameter string) *APIError {
	return badRequest("MissingParameter", "The request must contain the parameter %s", parameter)
}
