// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// AuthorizationRequest asks the policies whether the caller may perform an action on a resource.
type AuthorizationRequest struct {
	Action       string // such as "ec2:CopySnapshot"
	Resource     string // ARN; "*" if the action has no resource
	OwnerAccount string // account of the resource; empty for the caller's account
	Context      iampolicy.Context
	Allowed      bool // set by the evaluation

	resourcePolicies resourcePolicies
}

// resourcePolicies holds what the resource itself allows: the policy of a key or role, and grants.
type resourcePolicies struct {
	policy *iampolicy.Document // nil if the resource type has none
	grants []iampolicy.Grant   // on the key
	grant  *iampolicy.Grant    // the grant that kms:CreateGrant creates or kms:RetireGrant retires
	exempt bool                // AWS managed key; policies of an organization do not apply
}

// authorize evaluates the requests in order and returns the first refusal. If all are allowed, an EC2 dry run ends with
// DryRunOperation (rules 6.1 and 6.2). Every operation calls it once, after it validated the parameters and before it
// checks the state (rule 6.4). A KMS dry run also checks the key state and ends in endKMSDryRun (rule 6.6).
func (w *World) authorize(c *Call, requests ...AuthorizationRequest) error {
	for _, request := range requests {
		decision, err := w.evaluate(c, request)
		if err != nil {
			return err
		}
		if w.violates(c, c.ruleFor(request), !decision.Allowed) {
			return w.accessDenied(c, request, decision)
		}
	}

	if c.DryRun && w.chooses(ActingDryRuns) {
		return nil
	}
	if w.violates(c, "6.1", c.DryRun && c.Service == "ec2") {
		return newAPIError(
			http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.",
		)
	}

	return nil
}

// ruleFor returns the rule that refuses a request which the policies do not allow.
func (c *Call) ruleFor(request AuthorizationRequest) string {
	switch {
	case c.Service == "sts":
		return "5.6"
	case request.resourcePolicies.exempt:
		return "3.2.5"
	case c.Service == "kms" && request.isCrossAccount(c):
		return "3.2.1"
	case c.Service == "ssm":
		return "7.6"
	}
	return "6.2"
}

// isCrossAccount reports whether the resource belongs to another account than the caller.
func (a AuthorizationRequest) isCrossAccount(c *Call) bool {
	return a.OwnerAccount != "" && a.OwnerAccount != c.caller.account.number
}

// evaluate evaluates one request and records it.
func (w *World) evaluate(c *Call, request AuthorizationRequest) (iampolicy.Decision, error) {
	owner := c.caller.account
	if request.OwnerAccount != "" {
		owner = w.account(request.OwnerAccount, owner.partition)
	}

	policies := c.caller.policies
	policies.Resource = request.resourcePolicies.policy
	policies.Grants = w.arrivedGrants(c, request.resourcePolicies.grants)
	if !request.resourcePolicies.exempt {
		policies.ResourceControl = owner.policyLevels(orgtypes.PolicyTypeResourceControlPolicy)
	}

	context := w.globalContext(c)
	maps.Copy(context, request.Context)
	decision, err := iampolicy.Evaluate(iampolicy.Request{
		Principal:       c.caller.principal,
		Action:          request.Action,
		Resource:        request.Resource,
		ResourceAccount: owner.number,
		ResourceMember:  owner.membership(),
		Context:         context,
		Grant:           request.resourcePolicies.grant,
	}, policies)
	if err != nil {
		return decision, badRequest("UnsupportedOperation", "The simulated AWS cannot evaluate the policies: %v", err)
	}

	request.Allowed = decision.Allowed
	c.authorizations = append(c.authorizations, request)
	return decision, nil
}

// globalContext returns the condition keys of every call.
func (w *World) globalContext(c *Call) iampolicy.Context {
	context := iampolicy.Context{
		"aws:CurrentTime":     {c.At.UTC().Format(time.RFC3339)},
		"aws:EpochTime":       {strconv.FormatInt(c.At.Unix(), 10)},
		"aws:RequestedRegion": {c.Region},
		"aws:SecureTransport": {"true"},
		"aws:userid":          {c.caller.userID()},
	}

	if c.Service == "ec2" {
		context["ec2:Region"] = []string{c.Region}
	}

	for key, value := range c.caller.tags() {
		context["aws:PrincipalTag/"+key] = []string{value}
	}

	if h := c.caller.iamPrincipal; h != nil && c.caller.isUser() {
		context["aws:username"] = []string{h.name}
	}

	if s := c.caller.session; s != nil {
		context["aws:TokenIssueTime"] = []string{s.issued.UTC().Format(time.RFC3339)}
		context["aws:MultiFactorAuthPresent"] = []string{"false"}
		if s.sourceIdentity != "" {
			context["aws:SourceIdentity"] = []string{s.sourceIdentity}
		}
	}

	return context
}

// requestTagContext returns the condition keys of the tags in a request.
func requestTagContext(tags map[string]string) iampolicy.Context {
	context := iampolicy.Context{}
	for _, key := range sortedKeys(tags) {
		context["aws:RequestTag/"+key] = []string{tags[key]}
		context["aws:TagKeys"] = append(context["aws:TagKeys"], key)
	}
	return context
}

// accessDenied returns the service's error, which names the type of the policy that denied the request (rules 6.2 and
// A.4.11).
func (w *World) accessDenied(c *Call, request AuthorizationRequest, decision iampolicy.Decision) *APIError {
	resource, why := " on resource: "+request.Resource, decision.Text()
	if c.Service == "ec2" && request.Resource == "*" {
		resource = ""
	}

	if c.Service == "kms" && request.isCrossAccount(c) {
		// For a key of another account, KMS reveals neither the ARN nor the policy.
		resource = " on this resource"
		if decision.By == iampolicy.Resource {
			why = "because the resource does not exist in this Region, no resource-based policies allow access, or a " +
				"resource-based policy explicitly denies access"
		}
	}

	text := fmt.Sprintf(
		"User: %s is not authorized to perform: %s%s %s", c.caller.principal.ARN, request.Action, resource, why,
	)

	switch c.Service {
	case "ec2":
		text = "You are not authorized to perform this operation. " + text
		if resource != "" {
			text += ". Encoded authorization failure message: " + w.encodeAuthorizationFailure(c, request, decision)
		}
		return newAPIError(http.StatusForbidden, "UnauthorizedOperation", "%s", text)
	case "sts", "iam":
		return newAPIError(http.StatusForbidden, "AccessDenied", "%s", text)
	case "ebs":
		return newAPIError(http.StatusForbidden, "AccessDeniedException", "%s", text)
	}

	return badRequest("AccessDeniedException", "%s", text)
}
