// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// organizationPolicy is a service control policy or a resource control policy.
type organizationPolicy struct {
	orgtypes.PolicySummary
	*policyDocument
}

// policyTypes are the policy types that affect authorization.
var policyTypes = []orgtypes.PolicyType{
	orgtypes.PolicyTypeServiceControlPolicy, orgtypes.PolicyTypeResourceControlPolicy,
}

var policyKinds = map[orgtypes.PolicyType]iampolicy.Kind{
	orgtypes.PolicyTypeServiceControlPolicy:  iampolicy.ServiceControl,
	orgtypes.PolicyTypeResourceControlPolicy: iampolicy.ResourceControl,
}

// fullAccessPolicy returns the AWS policy that is attached to every root, organizational unit and account when a policy
// type is enabled.
func fullAccessPolicy(o *organization, kind orgtypes.PolicyType) *organizationPolicy {
	name, text := "FullAWSAccess", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	if kind == orgtypes.PolicyTypeResourceControlPolicy {
		name = "RCPFullAWSAccess"
		text = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`
	}

	id := "p-" + name
	if found, ok := o.policies.get(id); ok {
		return found
	}

	created := &organizationPolicy{
		PolicySummary: orgtypes.PolicySummary{
			Id:          &id,
			Name:        &name,
			Type:        kind,
			AwsManaged:  true,
			Description: aws.String("Allows access to every operation"),
			Arn:         aws.String("arn:" + o.management.partition + ":organizations::aws:policy/" + string(kind) + "/" + id),
		},
		policyDocument: mustParsePolicy(text, policyKinds[kind]),
	}

	o.policies.put(id, created)
	return created
}

func (w *World) enablePolicyType(
	c *Call, in *organizations.EnablePolicyTypeInput,
) (*organizations.EnablePolicyTypeOutput, error) {
	root, err := w.authorizeParent(c, in.RootId)
	if err != nil {
		return nil, err
	}

	o := root.organization
	switch _, known := policyKinds[in.PolicyType]; {
	case root != o.root:
		return nil, badRequest("RootNotFoundException", "You specified a root that doesn't exist.")
	case !known:
		return nil, badRequest(
			"PolicyTypeNotAvailableForOrganizationException", "The simulated AWS does not know policies of the type %s.",
			in.PolicyType,
		)
	case o.enabled[in.PolicyType]:
		return nil, badRequest("PolicyTypeAlreadyEnabledException", "The specified policy type is already enabled.")
	}

	o.enabled[in.PolicyType] = true
	c.recordChange(o.root.id)
	o.root.attachToSubtree(fullAccessPolicy(o, in.PolicyType))
	view := showRoot(o.root)
	return &organizations.EnablePolicyTypeOutput{Root: &view}, nil
}

// attachToSubtree attaches a policy to a node and all nodes below it.
func (n *node) attachToSubtree(p *organizationPolicy) {
	n.attached = append(n.attached, p)
	for _, child := range n.children {
		child.attachToSubtree(p)
	}
}

func parseOrganizationPolicy(text *string, kind orgtypes.PolicyType) (*policyDocument, error) {
	created, err := parsePolicy(aws.ToString(text), policyKinds[kind])
	if err != nil {
		return nil, badRequest(
			"MalformedPolicyDocumentException",
			"The provided policy document does not meet the requirements of the specified policy type: %v", err,
		)
	}
	if len(created.text) > 5120 {
		return nil, badRequest("ConstraintViolationException", "You have exceeded the maximum policy size.")
	}
	return created, nil
}

// createOrganizationPolicy implements CreatePolicy of Organizations. IAM has an operation of the same name with another
// input.
func (w *World) createOrganizationPolicy(
	c *Call, in *organizations.CreatePolicyInput,
) (*organizations.CreatePolicyOutput, error) {
	if err := refuseUnmodeled(in, "Content", "Description", "Name", "Type"); err != nil {
		return nil, err
	}

	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, err
	}
	if !o.enabled[in.Type] {
		return nil, badRequest(
			"PolicyTypeNotEnabledException", "The specified policy type isn't currently enabled in this root.",
		)
	}

	for _, other := range o.policies.all {
		if *other.Name == aws.ToString(in.Name) {
			return nil, badRequest("DuplicatePolicyException", "A policy with the same name already exists.")
		}
	}

	text, err := parseOrganizationPolicy(in.Content, in.Type)
	if err != nil {
		return nil, err
	}

	id := "p-" + w.randomLowercase(8, "organization policy", o.id)
	kind := map[orgtypes.PolicyType]string{
		orgtypes.PolicyTypeServiceControlPolicy:  "service_control_policy",
		orgtypes.PolicyTypeResourceControlPolicy: "resource_control_policy",
	}[in.Type]

	created := &organizationPolicy{policyDocument: text, PolicySummary: orgtypes.PolicySummary{
		Id:          &id,
		Name:        in.Name,
		Description: in.Description,
		Type:        in.Type,
		Arn:         aws.String(o.management.arn("organizations", "", "policy/"+o.id+"/"+kind+"/"+id)),
	}}

	o.policies.put(id, created)
	c.recordChange(id)
	return &organizations.CreatePolicyOutput{Policy: showPolicy(created)}, nil
}

func showPolicy(p *organizationPolicy) *orgtypes.Policy {
	return &orgtypes.Policy{Content: &p.text, PolicySummary: &p.PolicySummary}
}

// authorizeOrganizationPolicy authorizes a manager's operation on a policy. It returns the organization and the policy.
func (w *World) authorizeOrganizationPolicy(c *Call, id *string) (*organization, *organizationPolicy, error) {
	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, nil, err
	}
	found, ok := o.policies.get(aws.ToString(id))
	if !ok {
		return nil, nil, badRequest("PolicyNotFoundException", "You specified a policy that doesn't exist.")
	}
	return o, found, nil
}

func (w *World) describePolicy(
	c *Call, in *organizations.DescribePolicyInput,
) (*organizations.DescribePolicyOutput, error) {
	_, found, err := w.authorizeOrganizationPolicy(c, in.PolicyId)
	if err != nil {
		return nil, err
	}
	return &organizations.DescribePolicyOutput{Policy: showPolicy(found)}, nil
}

func (w *World) updateOrganizationPolicy(
	c *Call, in *organizations.UpdatePolicyInput,
) (*organizations.UpdatePolicyOutput, error) {
	_, found, err := w.authorizeOrganizationPolicy(c, in.PolicyId)
	if err != nil {
		return nil, err
	}
	if found.AwsManaged {
		return nil, badRequest("PolicyChangesInProgressException", "A policy of AWS cannot be changed.")
	}

	if in.Content != nil {
		text, err := parseOrganizationPolicy(in.Content, found.Type)
		if err != nil {
			return nil, err
		}
		found.policyDocument = text
	}

	if in.Name != nil {
		found.Name = in.Name
	}
	if in.Description != nil {
		found.Description = in.Description
	}

	c.recordChange(*found.Id)
	return &organizations.UpdatePolicyOutput{Policy: showPolicy(found)}, nil
}

// authorizeAttachment authorizes attaching or detaching a policy. It returns the target and the policy.
func (w *World) authorizeAttachment(c *Call, id, target *string) (*node, *organizationPolicy, error) {
	o, found, err := w.authorizeOrganizationPolicy(c, id)
	if err != nil {
		return nil, nil, err
	}
	at := o.root.find(aws.ToString(target))
	if at == nil {
		return nil, nil, badRequest("TargetNotFoundException", "You specified a target that doesn't exist.")
	}
	return at, found, nil
}

func (w *World) attachPolicy(c *Call, in *organizations.AttachPolicyInput) (*organizations.AttachPolicyOutput, error) {
	at, attached, err := w.authorizeAttachment(c, in.PolicyId, in.TargetId)
	if err != nil {
		return nil, err
	}
	if slices.Contains(at.attached, attached) {
		return nil, badRequest(
			"DuplicatePolicyAttachmentException", "The selected policy is already attached to the specified target.",
		)
	}

	at.attached = append(at.attached, attached)
	c.recordChange(at.id)
	return &organizations.AttachPolicyOutput{}, nil
}

func (w *World) detachPolicy(c *Call, in *organizations.DetachPolicyInput) (*organizations.DetachPolicyOutput, error) {
	at, detached, err := w.authorizeAttachment(c, in.PolicyId, in.TargetId)
	if err != nil {
		return nil, err
	}

	same := 0
	for _, attached := range at.attached {
		if attached.Type == detached.Type {
			same++
		}
	}

	switch {
	case !slices.Contains(at.attached, detached):
		return nil, badRequest(
			"PolicyNotAttachedException", "The policy isn't attached to the specified target in the specified root.",
		)
	case *detached.Id == "p-RCPFullAWSAccess":
		return nil, badRequest("ConstraintViolationException", "You can't detach RCPFullAWSAccess.")
	case same == 1:
		return nil, badRequest(
			"ConstraintViolationException", "You attempted to remove the last policy of its type from a target.",
		)
	}

	at.attached = slices.DeleteFunc(at.attached, func(p *organizationPolicy) bool { return p == detached })
	c.recordChange(at.id)
	return &organizations.DetachPolicyOutput{}, nil
}

func (w *World) listPoliciesForTarget(
	c *Call, in *organizations.ListPoliciesForTargetInput,
) (*organizations.ListPoliciesForTargetOutput, error) {
	o, err := w.authorizeManager(c, organizationARN(c, in.TargetId))
	if err != nil {
		return nil, err
	}

	at := o.root.find(aws.ToString(in.TargetId))
	if at == nil {
		return nil, badRequest("TargetNotFoundException", "You specified a target that doesn't exist.")
	}

	view := []orgtypes.PolicySummary{}
	for _, attached := range at.attached {
		if attached.Type == in.Filter {
			view = append(view, attached.PolicySummary)
		}
	}

	page, next, err := paginateOrganizations(view, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}

	return &organizations.ListPoliciesForTargetOutput{Policies: page, NextToken: next}, nil
}
