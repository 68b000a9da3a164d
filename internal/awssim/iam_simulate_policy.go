// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// simulatePrincipalPolicy evaluates actions with the policies of a user or role, for each resource.
func (w *World) simulatePrincipalPolicy(
	c *Call, in *iam.SimulatePrincipalPolicyInput,
) (*iam.SimulatePrincipalPolicyOutput, error) {
	err := refuseUnmodeled(in, "ActionNames", "ContextEntries", "PolicySourceArn", "ResourceArns")
	if err != nil {
		return nil, err
	}

	arn := aws.ToString(in.PolicySourceArn)
	if err := w.authorize(c, AuthorizationRequest{Action: "iam:SimulatePrincipalPolicy", Resource: arn}); err != nil {
		return nil, err
	}

	source, ok := w.findPolicySource(c, arn)
	if !ok {
		return nil, newAPIError(404, "NoSuchEntity", "The principal %s does not exist.", arn)
	}

	context := iampolicy.Context{}
	for _, entry := range in.ContextEntries {
		context[aws.ToString(entry.ContextKeyName)] = entry.ContextKeyValues
	}

	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}

	out := &iam.SimulatePrincipalPolicyOutput{EvaluationResults: []iamtypes.EvaluationResult{}}
	for _, action := range in.ActionNames {
		for _, resource := range resources {
			result, err := source.simulate(action, resource, context)
			if err != nil {
				return nil, err
			}
			out.EvaluationResults = append(out.EvaluationResults, *result)
		}
	}

	return out, nil
}

// findPolicySource returns the user or role of the caller's account with an ARN.
func (w *World) findPolicySource(c *Call, arn string) (*iamPrincipal, bool) {
	for _, one := range c.caller.account.users.all {
		if one.arn == arn {
			return &one.iamPrincipal, true
		}
	}
	for _, one := range c.caller.account.roles.all {
		if one.arn == arn {
			return &one.iamPrincipal, true
		}
	}
	return nil, false
}

// simulate evaluates one action on one resource with the policies of the principal and its organization. Policies of
// the resource do not count (SDK SimulatePrincipalPolicy).
func (h *iamPrincipal) simulate(
	action, resource string, context iampolicy.Context,
) (*iamtypes.EvaluationResult, error) {
	policies := iampolicy.Policies{ServiceControl: h.account.policyLevels(orgtypes.PolicyTypeServiceControlPolicy)}
	h.addPolicies(&policies)
	decision, err := iampolicy.Evaluate(iampolicy.Request{
		Principal: iampolicy.Principal{ARN: h.arn, Account: h.account.number, Member: h.account.membership()},
		Action:    action,
		Resource:  resource,
		Context:   context,
	}, policies)
	if err != nil {
		return nil, badRequest("InvalidInput", "The simulated AWS cannot evaluate the policies: %v", err)
	}

	result := &iamtypes.EvaluationResult{
		EvalActionName:       &action,
		EvalResourceName:     &resource,
		EvalDecision:         iamtypes.PolicyEvaluationDecisionTypeImplicitDeny,
		MatchedStatements:    []iamtypes.Statement{},
		MissingContextValues: []string{},
	}
	switch {
	case decision.Allowed:
		result.EvalDecision = iamtypes.PolicyEvaluationDecisionTypeAllowed
	case decision.Explicit:
		result.EvalDecision = iamtypes.PolicyEvaluationDecisionTypeExplicitDeny
	}
	if (decision.Allowed || decision.Explicit) && decision.Statement != "" {
		result.MatchedStatements = append(result.MatchedStatements, iamtypes.Statement{SourcePolicyId: &decision.Statement})
	}
	if decision.By == iampolicy.ServiceControl {
		result.OrganizationsDecisionDetail = &iamtypes.OrganizationsDecisionDetail{AllowedByOrganizations: decision.Allowed}
	}

	return result, nil
}
