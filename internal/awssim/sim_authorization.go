// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// Ask is one question to the policies: may the caller do this action on this resource?
type AuthorizationRequest struct {
	Action       string // "ec2:CopySnapshot"
	Resource     string // ARN; "*" where the action has no resource
	OwnerAccount string // account of the resource; "" is the caller's own
	Context      iampolicy.Context
	Allowed      bool // the answer

	resourcePolicies resourcePolicies
}

// guard is the resource's own side of a question: what a KMS key or a role says about who may use it.
type resourcePolicies struct {
	policy *iampolicy.Document // nil: resources of this kind have none
	grants []iampolicy.Grant   // on the key
	grant  *iampolicy.Grant    // what kms:CreateGrant is to make, or kms:RetireGrant to retire
	exempt bool                // a key that AWS manages: no organization's policy bears on it
}

// authorise asks the policies all questions, in order, and returns the first refusal; where all is allowed and the call is a dry
// run of EC2, DryRunOperation (6.1, 6.2). It is called once by each operation, between its checks of syntax and its checks of
// state (6.4). A dry run of KMS checks the key's state as well, and ends in endDryRun (6.6).
func (w *World) authorize(c *Call, asks ...AuthorizationRequest) error {
	for _, ask := range asks {
		decision, err := w.evaluate(c, ask)
		if err != nil {
			return err
		}
		if w.violates(c, c.ruleFor(ask), !decision.Allowed) {
			return w.accessDenied(c, ask, decision)
		}
	}
	if w.violates(c, "6.1", c.DryRun && c.Service == "ec2") {
		return newAPIError(http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	return nil
}

// ruleOf is the rule by which a question that is answered no refuses the call.
func (c *Call) ruleFor(ask AuthorizationRequest) string {
	switch {
	case c.Service == "sts":
		return "5.6"
	case ask.resourcePolicies.exempt:
		return "3.2.5"
	case c.Service == "kms" && ask.isCrossAccount(c):
		return "3.2.1"
	case c.Service == "ssm":
		return "7.6"
	}
	return "6.2"
}

// foreign reports whether a question is about what belongs to another account than the caller's.
func (a AuthorizationRequest) isCrossAccount(c *Call) bool {
	return a.OwnerAccount != "" && a.OwnerAccount != c.caller.account.number
}

// decide answers one question, and notes it for the recorder.
func (w *World) evaluate(c *Call, ask AuthorizationRequest) (iampolicy.Decision, error) {
	owner := c.caller.account
	if ask.OwnerAccount != "" {
		owner = w.account(ask.OwnerAccount, owner.partition)
	}
	policies := c.caller.policies
	policies.Resource, policies.Grants = ask.resourcePolicies.policy, w.arrivedGrants(c, ask.resourcePolicies.grants)
	if !ask.resourcePolicies.exempt {
		policies.ResourceControl = owner.policyLevels(orgtypes.PolicyTypeResourceControlPolicy)
	}
	context := w.globalContext(c)
	maps.Copy(context, ask.Context)
	decision, err := iampolicy.Evaluate(iampolicy.Request{
		Principal: c.caller.principal, Action: ask.Action, Resource: ask.Resource,
		ResourceAccount: owner.number, ResourceMember: owner.membership(), Context: context, Grant: ask.resourcePolicies.grant,
	}, policies)
	if err != nil {
		return decision, badRequest("UnsupportedOperation", "The simulated AWS cannot tell what the policies say: %v", err)
	}
	ask.Allowed = decision.Allowed
	c.authorizations = append(c.authorizations, ask)
	return decision, nil
}

// globalContext is what is known of every call.
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

// tagContext is the tags that a call is to put on what it makes.
func requestTagContext(tags map[string]string) iampolicy.Context {
	context := iampolicy.Context{}
	for _, key := range sortedKeys(tags) {
		context["aws:RequestTag/"+key] = []string{tags[key]}
		context["aws:TagKeys"] = append(context["aws:TagKeys"], key)
	}
	return context
}

// denied refuses in the words of the service, which name the kind of policy that refused (6.2, A.4.11).
func (w *World) accessDenied(c *Call, ask AuthorizationRequest, decision iampolicy.Decision) *APIError {
	resource, why := " on resource: "+ask.Resource, decision.Text()
	if c.Service == "ec2" && ask.Resource == "*" {
		resource = ""
	}
	if c.Service == "kms" && ask.isCrossAccount(c) {
		// Another account's key: neither its ARN nor what its policy says is told.
		resource = " on this resource"
		if decision.By == iampolicy.Resource {
			why = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
		}
	}
	text := fmt.Sprintf("User: %s is not authorized to perform: %s%s %s", c.caller.principal.ARN, ask.Action, resource, why)
	switch c.Service {
	case "ec2":
		text = "You are not authorized to perform this operation. " + text
		if resource != "" {
			text += ". Encoded authorization failure message: " +
				base64.RawURLEncoding.EncodeToString(w.randomBytes(96, "authorization failure", c.caller.principal.ARN, ask.Action, ask.Resource))
		}
		return newAPIError(http.StatusForbidden, "UnauthorizedOperation", "%s", text)
	case "sts", "iam":
		return newAPIError(http.StatusForbidden, "AccessDenied", "%s", text)
	case "ebs":
		return newAPIError(http.StatusForbidden, "AccessDeniedException", "%s", text)
	}
	return badRequest("AccessDeniedException", "%s", text)
}
