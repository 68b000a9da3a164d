// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Audience lists the accounts, organizations and organizational units that a run may share with, according to its plan.
type Audience struct {
	mu      sync.Mutex
	allowed map[string]bool
}

// Allow adds account ids, and ARNs of organizations and organizational units.
func (a *Audience) Allow(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.allowed == nil {
		a.allowed = map[string]bool{}
	}
	for _, id := range ids {
		a.allowed[id] = true
	}
}

func (a *Audience) allows(id string) bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.allowed[id]
}

var (
	errPublic      = errors.New("it would make something public")
	errOldSharing  = errors.New("it shares by parameters that the plugin does not use")
	errUnencrypted = errors.New("it would copy without encryption or without naming the key")
)

// check returns why a call must not share with its recipients. Nil if it may. Unsharing is always allowed.
func (a *Audience) check(input any) error {
	switch in := input.(type) {
	case *ec2.ModifySnapshotAttributeInput:
		if len(in.GroupNames) > 0 || len(in.UserIds) > 0 {
			return errOldSharing
		}
		if in.CreateVolumePermission == nil {
			return nil
		}
		for _, added := range in.CreateVolumePermission.Add {
			if err := a.checkGrantee(string(added.Group), aws.ToString(added.UserId)); err != nil {
				return err
			}
		}
	case *ec2.ModifyImageAttributeInput:
		if len(in.UserGroups)+len(in.UserIds)+len(in.OrganizationArns)+len(in.OrganizationalUnitArns) > 0 {
			return errOldSharing
		}
		if in.LaunchPermission == nil {
			return nil
		}
		return a.checkLaunchPermissions(in.LaunchPermission.Add)
	case *kms.CreateGrantInput:
		return a.checkGrantee("", accountOf(aws.ToString(in.GranteePrincipal)))
	}
	return nil
}

func (a *Audience) checkLaunchPermissions(added []ec2types.LaunchPermission) error {
	for _, p := range added {
		recipient := aws.ToString(p.UserId) + aws.ToString(p.OrganizationArn) + aws.ToString(p.OrganizationalUnitArn)
		if err := a.checkGrantee(string(p.Group), recipient); err != nil {
			return err
		}
	}
	return nil
}

func (a *Audience) checkGrantee(group, id string) error {
	switch {
	case group != "":
		return errPublic
	case !a.allows(id):
		return fmt.Errorf("%q is not in the plan", id)
	}
	return nil
}

// accountOf returns the account of a principal, which is an ARN or an account id.
func accountOf(principal string) string {
	if parts := strings.Split(principal, ":"); len(parts) > 4 {
		return parts[4]
	}
	return principal
}

// checkEncryption returns why a copy must not be created. A copy must be encrypted with a key that the call names. Nil
// if it is.
func checkEncryption(input any) error {
	encrypted, key := aws.Bool(true), aws.String("any")
	switch in := input.(type) {
	case *ec2.CopySnapshotInput:
		encrypted, key = in.Encrypted, in.KmsKeyId
	case *ec2.CopyImageInput:
		encrypted, key = in.Encrypted, in.KmsKeyId
	}
	if !aws.ToBool(encrypted) || aws.ToString(key) == "" {
		return errUnencrypted
	}
	return nil
}
