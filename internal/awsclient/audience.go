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

// Audience is with whom a run may share: the accounts of its plan, and the organizations and units that its share blocks name.
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

// check reports why a call must not share what it shares. Withdrawing is always allowed.
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
	for _, one := range added {
		ids := aws.ToString(one.UserId) + aws.ToString(one.OrganizationArn) + aws.ToString(one.OrganizationalUnitArn)
		if err := a.checkGrantee(string(one.Group), ids); err != nil {
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

// accountOf returns the account in an ARN, or the text itself if it is none: an account id is a principal too.
func accountOf(principal string) string {
	if parts := strings.Split(principal, ":"); len(parts) > 4 {
		return parts[4]
	}
	return principal
}

// checkEncryption reports why a copy must not be made: it is always encrypted, under a key that the call names.
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
