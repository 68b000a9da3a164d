// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func showUser(u *user) *iamtypes.User {
	view := &iamtypes.User{
		Arn:        aws.String(u.arn),
		CreateDate: aws.Time(u.created),
		Path:       aws.String(u.path),
		UserId:     aws.String(u.id),
		UserName:   aws.String(u.name),
		Tags:       formatIAMTags(u.tags),
	}

	if u.permissionsBoundary != nil {
		view.PermissionsBoundary = showBoundary(u.permissionsBoundary)
	}

	return view
}

func (w *World) createUser(c *Call, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	if err := validateNewPrincipal(c, "UserName", in.UserName, in.Path); err != nil {
		return nil, err
	}

	created := &user{iamPrincipal: w.newPrincipal(c, "AIDA", "user", in.UserName, in.Path, in.Tags)}
	err := w.authorize(c, AuthorizationRequest{
		Action: "iam:CreateUser", Resource: created.arn, Context: requestTagContext(created.tags),
	})
	if err != nil {
		return nil, err
	}
	if _, taken := created.account.users.get(iamKey(created.name)); taken {
		return nil, entityExists("User", created.name)
	}

	boundary, err := w.findManagedPolicy(c, in.PermissionsBoundary)
	if err != nil {
		return nil, err
	}

	created.permissionsBoundary = boundary
	created.account.users.put(iamKey(created.name), created)
	c.recordChange(created.arn)
	return &iam.CreateUserOutput{User: showUser(created)}, nil
}

// authorizeUser authorizes an operation on a user of the caller's account and returns the user. Without a name it is
// the caller.
func (w *World) authorizeUser(c *Call, name *string) (*user, error) {
	if name == nil && c.caller.iamPrincipal != nil && c.caller.session == nil {
		name = &c.caller.iamPrincipal.name
	}
	if !matchesPattern(name, iamNamePattern) {
		return nil, validationError(c, "UserName", name, iamNameConstraint)
	}

	found, ok := c.caller.account.users.get(iamKey(*name))
	arn := c.caller.account.arn("iam", "", "user/"+*name)
	if ok {
		arn = found.arn
	}
	if err := w.authorize(c, AuthorizationRequest{Action: "iam:" + c.Operation, Resource: arn}); err != nil {
		return nil, err
	}
	if !ok {
		return nil, noSuchEntity("user", *name)
	}

	return found, nil
}

func (w *World) getUser(c *Call, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserOutput{User: showUser(found)}, nil
}

func (w *World) putUserPolicy(c *Call, in *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.PutUserPolicyOutput{}, w.putInlinePolicy(c, &found.iamPrincipal, in.PolicyName, in.PolicyDocument)
}

func (w *World) getUserPolicy(c *Call, in *iam.GetUserPolicyInput) (*iam.GetUserPolicyOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}

	text, ok := found.inlinePolicies.get(iamKey(aws.ToString(in.PolicyName)))
	if !ok {
		return nil, newAPIError(
			http.StatusNotFound, "NoSuchEntity", "The user policy with name %s cannot be found.", aws.ToString(in.PolicyName),
		)
	}

	return &iam.GetUserPolicyOutput{
		UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: encodeDocument(text.text),
	}, nil
}

func (w *World) deleteUserPolicy(c *Call, in *iam.DeleteUserPolicyInput) (*iam.DeleteUserPolicyOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.DeleteUserPolicyOutput{}, deleteInlinePolicy(c, &found.iamPrincipal, in.PolicyName)
}

func (w *World) attachUserPolicy(c *Call, in *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.AttachUserPolicyOutput{}, w.attachManagedPolicy(c, &found.iamPrincipal, in.PolicyArn)
}

func (w *World) putUserPermissionsBoundary(
	c *Call, in *iam.PutUserPermissionsBoundaryInput,
) (*iam.PutUserPermissionsBoundaryOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}

	boundary, err := w.findManagedPolicy(c, aws.String(aws.ToString(in.PermissionsBoundary)))
	if err != nil {
		return nil, err
	}

	found.permissionsBoundary = boundary
	c.recordChange(found.arn)
	return &iam.PutUserPermissionsBoundaryOutput{}, nil
}

func (w *World) createAccessKey(c *Call, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if len(found.accessKeys) == 2 {
		return nil, newAPIError(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	}

	id := "AKIA" + w.randomText(16, "access key", found.arn)
	secret := base64.StdEncoding.EncodeToString(w.randomBytes(30, "secret", id))
	w.accessKeys[id] = found
	c.recordChange(id)
	found.accessKeys = append(found.accessKeys, iamtypes.AccessKeyMetadata{
		AccessKeyId: &id,
		CreateDate:  aws.Time(c.At),
		Status:      iamtypes.StatusTypeActive,
		UserName:    aws.String(found.name),
	})

	return &iam.CreateAccessKeyOutput{AccessKey: &iamtypes.AccessKey{
		AccessKeyId:     &id,
		SecretAccessKey: &secret,
		UserName:        aws.String(found.name),
		Status:          iamtypes.StatusTypeActive,
		CreateDate:      aws.Time(c.At),
	}}, nil
}

func (w *World) deleteAccessKey(c *Call, in *iam.DeleteAccessKeyInput) (*iam.DeleteAccessKeyOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}

	at := slices.IndexFunc(found.accessKeys, func(k iamtypes.AccessKeyMetadata) bool {
		return *k.AccessKeyId == aws.ToString(in.AccessKeyId)
	})
	if at < 0 {
		return nil, newAPIError(
			http.StatusNotFound, "NoSuchEntity", "The Access Key with id %s cannot be found.", aws.ToString(in.AccessKeyId),
		)
	}

	found.accessKeys = slices.Delete(found.accessKeys, at, at+1)
	delete(w.accessKeys, *in.AccessKeyId)
	c.recordChange(*in.AccessKeyId)
	return &iam.DeleteAccessKeyOutput{}, nil
}

func (w *World) createInstanceProfile(
	c *Call, in *iam.CreateInstanceProfileInput,
) (*iam.CreateInstanceProfileOutput, error) {
	if err := refuseUnmodeled(in, "InstanceProfileName", "Path"); err != nil {
		return nil, err
	}
	if err := validateNewPrincipal(c, "InstanceProfileName", in.InstanceProfileName, in.Path); err != nil {
		return nil, err
	}

	path := aws.ToString(in.Path)
	if path == "" {
		path = "/"
	}

	arn := c.caller.account.arn("iam", "", "instance-profile"+path+*in.InstanceProfileName)
	if err := w.authorize(c, AuthorizationRequest{Action: "iam:CreateInstanceProfile", Resource: arn}); err != nil {
		return nil, err
	}
	if _, taken := c.caller.account.profiles.get(iamKey(*in.InstanceProfileName)); taken {
		return nil, newAPIError(
			http.StatusConflict, "EntityAlreadyExists", "Instance Profile %s already exists.", *in.InstanceProfileName,
		)
	}

	created := &instanceProfile{InstanceProfile: iamtypes.InstanceProfile{
		Arn:                 aws.String(arn),
		InstanceProfileName: in.InstanceProfileName,
		Path:                aws.String(path),
		CreateDate:          aws.Time(c.At),
		InstanceProfileId:   aws.String("AIPA" + w.randomText(17, "instance profile", arn)),
	}}

	c.caller.account.profiles.put(iamKey(*in.InstanceProfileName), created)
	c.recordChange(arn)
	return &iam.CreateInstanceProfileOutput{InstanceProfile: showProfile(created)}, nil
}

func showProfile(p *instanceProfile) *iamtypes.InstanceProfile {
	view := p.InstanceProfile
	if p.role != nil {
		view.Roles = []iamtypes.Role{*showRole(p.role)}
	}
	return &view
}

// authorizeInstanceProfile authorizes an operation on an instance profile and returns the profile.
func (w *World) authorizeInstanceProfile(c *Call, name *string) (*instanceProfile, error) {
	if !matchesPattern(name, iamNamePattern) {
		return nil, validationError(c, "InstanceProfileName", name, iamNameConstraint)
	}

	found, ok := c.caller.account.profiles.get(iamKey(*name))
	arn := c.caller.account.arn("iam", "", "instance-profile/"+*name)
	if ok {
		arn = *found.Arn
	}
	if err := w.authorize(c, AuthorizationRequest{Action: "iam:" + c.Operation, Resource: arn}); err != nil {
		return nil, err
	}
	if !ok {
		return nil, newAPIError(http.StatusNotFound, "NoSuchEntity", "Instance Profile %s cannot be found.", *name)
	}

	return found, nil
}

func (w *World) getInstanceProfile(c *Call, in *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error) {
	found, err := w.authorizeInstanceProfile(c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return &iam.GetInstanceProfileOutput{InstanceProfile: showProfile(found)}, nil
}

func (w *World) addRoleToInstanceProfile(
	c *Call, in *iam.AddRoleToInstanceProfileInput,
) (*iam.AddRoleToInstanceProfileOutput, error) {
	found, err := w.authorizeInstanceProfile(c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}

	added, ok := c.caller.account.roles.get(iamKey(aws.ToString(in.RoleName)))
	if !ok {
		return nil, noSuchEntity("role", aws.ToString(in.RoleName))
	}
	if found.role != nil {
		return nil, newAPIError(
			http.StatusConflict, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
		)
	}

	found.role = added
	c.recordChange(*found.Arn)
	return &iam.AddRoleToInstanceProfileOutput{}, nil
}
