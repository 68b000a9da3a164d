// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// administrator is the managed policy of AWS that the world knows; it knows no other.
const administrator = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// findPolicy looks a managed policy up that the caller's account may attach; nil has none.
func (w *World) findPolicy(c *Call, arn *string) (*managedPolicy, error) {
	if arn == nil {
		return nil, nil
	}
	if *arn == "arn:"+c.caller.account.partition+":iam::aws:policy/AdministratorAccess" {
		return &managedPolicy{iamtypes.Policy{Arn: arn, PolicyName: aws.String("AdministratorAccess")}, mustParse(administrator, iampolicy.Identity)}, nil
	}
	found, there := c.caller.account.policies.get(*arn)
	if !there {
		return nil, refuse(http.StatusNotFound, "NoSuchEntity", "Policy %s does not exist or is not attachable.", *arn)
	}
	return found, nil
}

func (w *World) createPolicy(c *Call, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	if err := only(in, "PolicyName", "PolicyDocument", "Path", "Description"); err != nil {
		return nil, err
	}
	if err := checkNew(c, "PolicyName", in.PolicyName, in.Path); err != nil {
		return nil, err
	}
	path := aws.ToString(in.Path)
	if path == "" {
		path = "/"
	}
	arn := c.caller.account.arn("iam", "", "policy"+path+*in.PolicyName)
	if err := w.authorise(c, Ask{Action: "iam:CreatePolicy", Resource: arn}); err != nil {
		return nil, err
	}
	text, err := iamDocument(in.PolicyDocument, iampolicy.Identity)
	if err != nil {
		return nil, err
	}
	if _, taken := c.caller.account.policies.get(arn); taken {
		return nil, refuse(http.StatusConflict, "EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", *in.PolicyName)
	}
	made := &managedPolicy{document: text, Policy: iamtypes.Policy{
		Arn: aws.String(arn), PolicyName: in.PolicyName, Path: aws.String(path), CreateDate: aws.Time(c.At), UpdateDate: aws.Time(c.At),
		PolicyId: aws.String("ANPA" + w.drawText(17, "policy", arn)), DefaultVersionId: aws.String("v1"), IsAttachable: true, Description: in.Description,
	}}
	c.caller.account.policies.put(arn, made)
	c.changed(arn)
	return &iam.CreatePolicyOutput{Policy: &made.Policy}, nil
}

// putInline puts a policy on a user or role under a name.
func putInline(c *Call, h *holder, name, text *string) error {
	if !matches(name, iamName) {
		return ill(c, "PolicyName", name, iamNameForm)
	}
	made, err := iamDocument(text, iampolicy.Identity)
	if err != nil {
		return err
	}
	h.inline.put(*name, made)
	c.changed(h.arn)
	return nil
}

func removeInline(c *Call, h *holder, name *string) error {
	if _, there := h.inline.get(aws.ToString(name)); !there {
		return noSuchEntity("policy", aws.ToString(name))
	}
	h.inline.remove(*name)
	c.changed(h.arn)
	return nil
}

func (w *World) attach(c *Call, h *holder, arn *string) error {
	found, err := w.findPolicy(c, aws.String(aws.ToString(arn)))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(h.attached, func(p *managedPolicy) bool { return *p.Arn == *found.Arn }) {
		h.attached = append(h.attached, found)
	}
	c.changed(h.arn)
	return nil
}

func (w *World) putRolePolicy(c *Call, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.PutRolePolicyOutput{}, putInline(c, &found.holder, in.PolicyName, in.PolicyDocument)
}

func (w *World) getRolePolicy(c *Call, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	found, err := w.roleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	text, there := found.inline.get(aws.ToString(in.PolicyName))
	if !there {
		return nil, refuse(http.StatusNotFound, "NoSuchEntity", "The role policy with name %s cannot be found.", aws.ToString(in.PolicyName))
	}
	return &iam.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: aws.String(url.QueryEscape(text.text))}, nil
}

func (w *World) deleteRolePolicy(c *Call, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.DeleteRolePolicyOutput{}, removeInline(c, &found.holder, in.PolicyName)
}

func (w *World) attachRolePolicy(c *Call, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.AttachRolePolicyOutput{}, w.attach(c, &found.holder, in.PolicyArn)
}

func (w *World) detachRolePolicy(c *Call, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(found.attached, func(p *managedPolicy) bool { return *p.Arn == aws.ToString(in.PolicyArn) })
	if at < 0 {
		return nil, refuse(http.StatusNotFound, "NoSuchEntity", "Policy %s was not found.", aws.ToString(in.PolicyArn))
	}
	found.attached = slices.Delete(found.attached, at, at+1)
	c.changed(found.arn)
	return &iam.DetachRolePolicyOutput{}, nil
}

func (w *World) putRolePermissionsBoundary(c *Call, in *iam.PutRolePermissionsBoundaryInput) (*iam.PutRolePermissionsBoundaryOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	boundary, err := w.findPolicy(c, aws.String(aws.ToString(in.PermissionsBoundary)))
	if err != nil {
		return nil, err
	}
	found.boundary = boundary
	c.changed(found.arn)
	return &iam.PutRolePermissionsBoundaryOutput{}, nil
}

func (w *World) deleteRolePermissionsBoundary(c *Call, in *iam.DeleteRolePermissionsBoundaryInput) (*iam.DeleteRolePermissionsBoundaryOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	found.boundary = nil
	c.changed(found.arn)
	return &iam.DeleteRolePermissionsBoundaryOutput{}, nil
}
