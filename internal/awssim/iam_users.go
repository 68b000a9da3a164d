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
	shown := &iamtypes.User{
		Arn: aws.String(u.arn), CreateDate: aws.Time(u.made), Path: aws.String(u.path), UserId: aws.String(u.id), UserName: aws.String(u.name),
		Tags: shownIAMTags(u.tags),
	}
	if u.boundary != nil {
		shown.PermissionsBoundary = showBoundary(u.boundary)
	}
	return shown
}

func (w *World) createUser(c *Call, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	if err := checkNew(c, "UserName", in.UserName, in.Path); err != nil {
		return nil, err
	}
	made := &user{holder: w.newHolder(c, "AIDA", "user", in.UserName, in.Path, in.Tags)}
	if err := w.authorise(c, Ask{Action: "iam:CreateUser", Resource: made.arn, Context: tagContext(made.tags)}); err != nil {
		return nil, err
	}
	if _, taken := made.account.users.get(made.name); taken {
		return nil, entityExists("User", made.name)
	}
	boundary, err := w.findPolicy(c, in.PermissionsBoundary)
	if err != nil {
		return nil, err
	}
	made.boundary = boundary
	made.account.users.put(made.name, made)
	c.changed(made.arn)
	return &iam.CreateUserOutput{User: showUser(made)}, nil
}

// userOf authorises an operation on a user of the caller's account and gives the user: the caller where none is named.
func (w *World) userOf(c *Call, name *string) (*user, error) {
	if name == nil && c.caller.holder != nil && c.caller.session == nil {
		name = &c.caller.holder.name
	}
	if !matches(name, iamName) {
		return nil, ill(c, "UserName", name, iamNameForm)
	}
	found, there := c.caller.account.users.get(*name)
	arn := c.caller.account.arn("iam", "", "user/"+*name)
	if there {
		arn = found.arn
	}
	if err := w.authorise(c, Ask{Action: "iam:" + c.Operation, Resource: arn}); err != nil {
		return nil, err
	}
	if !there {
		return nil, noSuchEntity("user", *name)
	}
	return found, nil
}

func (w *World) getUser(c *Call, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserOutput{User: showUser(found)}, nil
}

func (w *World) putUserPolicy(c *Call, in *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.PutUserPolicyOutput{}, putInline(c, &found.holder, in.PolicyName, in.PolicyDocument)
}

func (w *World) deleteUserPolicy(c *Call, in *iam.DeleteUserPolicyInput) (*iam.DeleteUserPolicyOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.DeleteUserPolicyOutput{}, removeInline(c, &found.holder, in.PolicyName)
}

func (w *World) attachUserPolicy(c *Call, in *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.AttachUserPolicyOutput{}, w.attach(c, &found.holder, in.PolicyArn)
}

func (w *World) putUserPermissionsBoundary(c *Call, in *iam.PutUserPermissionsBoundaryInput) (*iam.PutUserPermissionsBoundaryOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	boundary, err := w.findPolicy(c, aws.String(aws.ToString(in.PermissionsBoundary)))
	if err != nil {
		return nil, err
	}
	found.boundary = boundary
	c.changed(found.arn)
	return &iam.PutUserPermissionsBoundaryOutput{}, nil
}

func (w *World) createAccessKey(c *Call, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if len(found.keys) == 2 {
		return nil, refuse(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	}
	id := "AKIA" + w.drawText(16, "access key", found.arn)
	secret := base64.StdEncoding.EncodeToString(w.drawBytes(30, "secret", id))
	w.accessKeys[id] = found
	c.changed(id)
	found.keys = append(found.keys, iamtypes.AccessKeyMetadata{AccessKeyId: &id, CreateDate: aws.Time(c.At), Status: iamtypes.StatusTypeActive, UserName: aws.String(found.name)})
	return &iam.CreateAccessKeyOutput{AccessKey: &iamtypes.AccessKey{
		AccessKeyId: &id, SecretAccessKey: &secret, UserName: aws.String(found.name), Status: iamtypes.StatusTypeActive, CreateDate: aws.Time(c.At),
	}}, nil
}

func (w *World) deleteAccessKey(c *Call, in *iam.DeleteAccessKeyInput) (*iam.DeleteAccessKeyOutput, error) {
	found, err := w.userOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(found.keys, func(k iamtypes.AccessKeyMetadata) bool { return *k.AccessKeyId == aws.ToString(in.AccessKeyId) })
	if at < 0 {
		return nil, refuse(http.StatusNotFound, "NoSuchEntity", "The Access Key with id %s cannot be found.", aws.ToString(in.AccessKeyId))
	}
	found.keys = slices.Delete(found.keys, at, at+1)
	delete(w.accessKeys, *in.AccessKeyId)
	c.changed(*in.AccessKeyId)
	return &iam.DeleteAccessKeyOutput{}, nil
}

func (w *World) createInstanceProfile(c *Call, in *iam.CreateInstanceProfileInput) (*iam.CreateInstanceProfileOutput, error) {
	if err := only(in, "InstanceProfileName", "Path"); err != nil {
		return nil, err
	}
	if err := checkNew(c, "InstanceProfileName", in.InstanceProfileName, in.Path); err != nil {
		return nil, err
	}
	path := aws.ToString(in.Path)
	if path == "" {
		path = "/"
	}
	arn := c.caller.account.arn("iam", "", "instance-profile"+path+*in.InstanceProfileName)
	if err := w.authorise(c, Ask{Action: "iam:CreateInstanceProfile", Resource: arn}); err != nil {
		return nil, err
	}
	if _, taken := c.caller.account.profiles.get(*in.InstanceProfileName); taken {
		return nil, refuse(http.StatusConflict, "EntityAlreadyExists", "Instance Profile %s already exists.", *in.InstanceProfileName)
	}
	made := &instanceProfile{InstanceProfile: iamtypes.InstanceProfile{
		Arn: aws.String(arn), InstanceProfileName: in.InstanceProfileName, Path: aws.String(path), CreateDate: aws.Time(c.At),
		InstanceProfileId: aws.String("AIPA" + w.drawText(17, "instance profile", arn)),
	}}
	c.caller.account.profiles.put(*in.InstanceProfileName, made)
	c.changed(arn)
	return &iam.CreateInstanceProfileOutput{InstanceProfile: showProfile(made)}, nil
}

func showProfile(p *instanceProfile) *iamtypes.InstanceProfile {
	shown := p.InstanceProfile
	if p.role != nil {
		shown.Roles = []iamtypes.Role{*showRole(p.role)}
	}
	return &shown
}

// profileOf authorises an operation on an instance profile of the caller's account and gives the profile.
func (w *World) profileOf(c *Call, name *string) (*instanceProfile, error) {
	if !matches(name, iamName) {
		return nil, ill(c, "InstanceProfileName", name, iamNameForm)
	}
	found, there := c.caller.account.profiles.get(*name)
	arn := c.caller.account.arn("iam", "", "instance-profile/"+*name)
	if there {
		arn = *found.Arn
	}
	if err := w.authorise(c, Ask{Action: "iam:" + c.Operation, Resource: arn}); err != nil {
		return nil, err
	}
	if !there {
		return nil, refuse(http.StatusNotFound, "NoSuchEntity", "Instance Profile %s cannot be found.", *name)
	}
	return found, nil
}

func (w *World) getInstanceProfile(c *Call, in *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error) {
	found, err := w.profileOf(c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return &iam.GetInstanceProfileOutput{InstanceProfile: showProfile(found)}, nil
}

func (w *World) addRoleToInstanceProfile(c *Call, in *iam.AddRoleToInstanceProfileInput) (*iam.AddRoleToInstanceProfileOutput, error) {
	found, err := w.profileOf(c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	added, there := c.caller.account.roles.get(aws.ToString(in.RoleName))
	if !there {
		return nil, noSuchEntity("role", aws.ToString(in.RoleName))
	}
	if found.role != nil {
		return nil, refuse(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	}
	found.role = added
	c.changed(*found.Arn)
	return &iam.AddRoleToInstanceProfileOutput{}, nil
}
