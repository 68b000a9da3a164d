// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var iamOperations = []named{
	op((*World).createRole),
	op((*World).getRole),
	op((*World).updateRole),
	op((*World).deleteRole),
	op((*World).updateAssumeRolePolicy),
	op((*World).putRolePolicy),
	op((*World).getRolePolicy),
	op((*World).deleteRolePolicy),
	op((*World).attachRolePolicy),
	op((*World).detachRolePolicy),
	op((*World).putRolePermissionsBoundary),
	op((*World).deleteRolePermissionsBoundary),
	op((*World).createServiceLinkedRole),
	op((*World).deleteServiceLinkedRole),
	op((*World).createPolicy),
	op((*World).createUser),
	op((*World).getUser),
	op((*World).putUserPolicy),
	op((*World).deleteUserPolicy),
	op((*World).attachUserPolicy),
	op((*World).putUserPermissionsBoundary),
	op((*World).createAccessKey),
	op((*World).deleteAccessKey),
	op((*World).createInstanceProfile),
	op((*World).getInstanceProfile),
	op((*World).addRoleToInstanceProfile),
}

var (
	iamName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	iamPath = regexp.MustCompile(`^/([!-~]+/)?$`)
)

const iamNameForm = `Member must satisfy regular expression pattern: [\w+=,.@-]+`

func noSuchEntity(kind, name string) *Refusal {
	return refuse(http.StatusNotFound, "NoSuchEntity", "The %s with name %s cannot be found.", kind, name)
}

func entityExists(kind, name string) *Refusal {
	return refuse(http.StatusConflict, "EntityAlreadyExists", "%s with name %s already exists.", kind, name)
}

func iamTags(tags []iamtypes.Tag) map[string]string {
	return tagMap(tags, func(t iamtypes.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) })
}

func shownIAMTags(tags map[string]string) (shown []iamtypes.Tag) {
	for _, key := range sortedKeys(tags) {
		shown = append(shown, iamtypes.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return shown
}

// newHolder makes what a user and a role have in common; what says whether its name is free.
func (w *World) newHolder(c *Call, prefix, kind string, name, path *string, tags []iamtypes.Tag) holder {
	where := aws.ToString(path)
	if where == "" {
		where = "/"
	}
	return holder{
		account: c.caller.account, path: where, name: *name, made: c.At, tags: iamTags(tags), inline: newShelf[*document](),
		arn: c.caller.account.arn("iam", "", kind+where+*name),
		id:  prefix + w.drawText(17, "principal", c.caller.account.number, kind, *name),
	}
}

// checkNew is the syntax of a new user or role.
func checkNew(c *Call, member string, name, path *string) error {
	switch {
	case !matches(name, iamName):
		return ill(c, member, name, iamNameForm)
	case path != nil && !iamPath.MatchString(*path):
		return ill(c, "Path", path, `Member must satisfy regular expression pattern: (/)|(/[!-~]+/)`)
	}
	return nil
}

// iamDocument reads a policy that is put on something of IAM.
func iamDocument(text *string, kind iampolicy.Kind) (*document, error) {
	made, err := parseDocument(aws.ToString(text), kind)
	if err != nil {
		return nil, invalid("MalformedPolicyDocument", "Syntax errors in policy. (%v)", err)
	}
	return made, nil
}

// trustDocument reads a trust policy: whom it names must be there.
func (w *World) trustDocument(text *string) (*document, error) {
	made, err := iamDocument(text, iampolicy.Trust)
	if err != nil {
		return nil, err
	}
	for _, name := range namedPrincipals(made.text) {
		if !w.principalExists(name) {
			return nil, invalid("MalformedPolicyDocument", `Invalid principal in policy: "AWS":"%s"`, name)
		}
	}
	return made, nil
}

func showRole(r *role) *iamtypes.Role {
	shown := &iamtypes.Role{
		Arn: aws.String(r.arn), CreateDate: aws.Time(r.made), Path: aws.String(r.path), RoleId: aws.String(r.id), RoleName: aws.String(r.name),
		AssumeRolePolicyDocument: aws.String(url.QueryEscape(r.trust.text)), Description: r.description,
		MaxSessionDuration: aws.Int32(int32(r.longest.Seconds())), Tags: shownIAMTags(r.tags),
	}
	if r.boundary != nil {
		shown.PermissionsBoundary = showBoundary(r.boundary)
	}
	return shown
}

func showBoundary(p *managedPolicy) *iamtypes.AttachedPermissionsBoundary {
	return &iamtypes.AttachedPermissionsBoundary{PermissionsBoundaryArn: p.Arn, PermissionsBoundaryType: iamtypes.PermissionsBoundaryAttachmentTypePolicy}
}

func (w *World) createRole(c *Call, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	if err := checkNew(c, "RoleName", in.RoleName, in.Path); err != nil {
		return nil, err
	}
	longest := time.Duration(aws.ToInt32(in.MaxSessionDuration)) * time.Second
	if in.MaxSessionDuration == nil {
		longest = time.Hour
	}
	if w.breaks(c, "5.1", longest < time.Hour || longest > 12*time.Hour) {
		return nil, ill(c, "MaxSessionDuration", in.MaxSessionDuration, "Member must have value between 3600 and 43200")
	}
	made := &role{holder: w.newHolder(c, "AROA", "role", in.RoleName, in.Path, in.Tags), description: in.Description, longest: longest}
	if err := w.authorise(c, Ask{Action: "iam:CreateRole", Resource: made.arn, Context: tagContext(made.tags)}); err != nil {
		return nil, err
	}
	if _, taken := made.account.roles.get(made.name); taken {
		return nil, entityExists("Role", made.name)
	}
	var err error
	if made.trust, err = w.trustDocument(in.AssumeRolePolicyDocument); err != nil {
		return nil, err
	}
	if made.boundary, err = w.findPolicy(c, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	made.account.roles.put(made.name, made)
	c.changed(made.arn)
	return &iam.CreateRoleOutput{Role: showRole(made)}, nil
}

// roleOf authorises an operation on a role of the caller's account and gives the role.
func (w *World) roleOf(c *Call, name *string) (*role, error) {
	if !matches(name, iamName) {
		return nil, ill(c, "RoleName", name, iamNameForm)
	}
	found, there := c.caller.account.roles.get(*name)
	arn := c.caller.account.arn("iam", "", "role/"+*name)
	if there {
		arn = found.arn
	}
	if err := w.authorise(c, Ask{Action: "iam:" + c.Operation, Resource: arn}); err != nil {
		return nil, err
	}
	if !there {
		return nil, noSuchEntity("role", *name)
	}
	return found, nil
}

// ownRoleOf is roleOf where the role's owner changes it: nobody changes a service-linked one (8.1).
func (w *World) ownRoleOf(c *Call, name *string) (*role, error) {
	found, err := w.roleOf(c, name)
	if err == nil && w.breaks(c, "8.1", found.serviceLinked()) {
		return nil, invalid("UnmodifiableEntity", "Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", found.name)
	}
	return found, err
}

func (w *World) getRole(c *Call, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	found, err := w.roleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRoleOutput{Role: showRole(found)}, nil
}

func (w *World) updateRole(c *Call, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	longest := time.Duration(aws.ToInt32(in.MaxSessionDuration)) * time.Second
	if w.breaks(c, "5.1", in.MaxSessionDuration != nil && (longest < time.Hour || longest > 12*time.Hour)) {
		return nil, ill(c, "MaxSessionDuration", in.MaxSessionDuration, "Member must have value between 3600 and 43200")
	}
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if in.MaxSessionDuration != nil {
		found.longest = longest
	}
	if in.Description != nil {
		found.description = in.Description
	}
	c.changed(found.arn)
	return &iam.UpdateRoleOutput{}, nil
}

func (w *World) deleteRole(c *Call, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if len(found.inline.ids) > 0 {
		return nil, refuse(http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	if len(found.attached) > 0 {
		return nil, refuse(http.StatusConflict, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	}
	for _, profile := range found.account.profiles.all {
		if profile.role == found {
			return nil, refuse(http.StatusConflict, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
		}
	}
	c.changed(found.arn)
	found.account.roles.remove(found.name)
	w.forget(&found.holder)
	return &iam.DeleteRoleOutput{}, nil
}

func (w *World) updateAssumeRolePolicy(c *Call, in *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error) {
	found, err := w.ownRoleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	trust, err := w.trustDocument(in.PolicyDocument)
	if err != nil {
		return nil, err
	}
	found.trust = trust
	c.changed(found.arn)
	return &iam.UpdateAssumeRolePolicyOutput{}, nil
}

// serviceLinkedRoles are the services that have one here, its name, and what it may do: nothing with keys (8.1).
var serviceLinkedRoles = map[string]struct{ name, actions string }{
	"autoscaling.amazonaws.com": {"AWSServiceRoleForAutoScaling", `"ec2:CreateFleet","ec2:CreateTags","ec2:DeleteTags","ec2:Describe*",` +
		`"ec2:GetInstanceTypesFromInstanceRequirements","ec2:ModifyInstanceAttribute","ec2:RunInstances","ec2:StartInstances","ec2:StopInstances",` +
		`"ec2:TerminateInstances","ssm:GetParameters"`},
	"spot.amazonaws.com": {"AWSServiceRoleForEC2Spot", `"ec2:CreateTags","ec2:Describe*","ec2:RunInstances","ec2:StartInstances","ec2:StopInstances"`},
}

func (w *World) createServiceLinkedRole(c *Call, in *iam.CreateServiceLinkedRoleInput) (*iam.CreateServiceLinkedRoleOutput, error) {
	service := aws.ToString(in.AWSServiceName)
	linked, known := serviceLinkedRoles[service]
	name := linked.name
	if in.CustomSuffix != nil {
		name += "_" + *in.CustomSuffix
	}
	made := &role{
		service: service, description: in.Description, longest: time.Hour,
		holder: w.newHolder(c, "AROA", "role", &name, aws.String("/aws-service-role/"+service+"/"), nil),
		trust: mustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"`+service+`"},"Action":"sts:AssumeRole"}]}`,
			iampolicy.Trust),
	}
	ask := Ask{Action: "iam:CreateServiceLinkedRole", Resource: made.arn, Context: iampolicy.Context{"iam:AWSServiceName": {service}}}
	if err := w.authorise(c, ask); err != nil {
		return nil, err
	}
	if !known {
		return nil, refuse(http.StatusNotFound, "AccessDenied", "Cannot find Service Linked Role template for %s", service)
	}
	if in.CustomSuffix != nil && service != "autoscaling.amazonaws.com" {
		return nil, invalid("InvalidInput", "Custom suffix is not allowed for %s", service)
	}
	if _, taken := made.account.roles.get(name); taken {
		return nil, invalid("InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name)
	}
	may := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[` + linked.actions + `],"Resource":"*"}]}`
	made.inline.put(name, mustParse(may, iampolicy.Identity))
	made.account.roles.put(name, made)
	c.changed(made.arn)
	return &iam.CreateServiceLinkedRoleOutput{Role: showRole(made)}, nil
}

// deleteServiceLinkedRole deletes at once, though AWS asks the service first.
func (w *World) deleteServiceLinkedRole(c *Call, in *iam.DeleteServiceLinkedRoleInput) (*iam.DeleteServiceLinkedRoleOutput, error) {
	found, err := w.roleOf(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if !found.serviceLinked() {
		return nil, invalid("InvalidInput", "%s is not a service-linked role.", found.name)
	}
	c.changed(found.arn)
	found.account.roles.remove(found.name)
	w.forget(&found.holder)
	task := "task" + found.path + found.name + "/" + w.drawUUID("deletion", found.id)
	return &iam.DeleteServiceLinkedRoleOutput{DeletionTaskId: &task}, nil
}
