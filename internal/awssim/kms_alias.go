// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

var aliasOperations = []namedOperation{
	newOperation((*World).createAlias),
	newOperation((*World).updateAlias),
	newOperation((*World).deleteAlias),
	newOperation((*World).listAliases),
}

// alias is the alias of a key in the same account and Region (rule 3.3.1).
type alias struct {
	name             string // such as "alias/golden"
	arn              string
	target           *key
	created, updated time.Time
}

var aliasPattern = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`)

// setTarget makes the alias point to a key, or to none if target is nil.
func (a *alias) setTarget(target *key, now time.Time) {
	if a.target != nil {
		a.target.aliases = slices.DeleteFunc(slices.Clone(a.target.aliases), func(name string) bool { return name == a.name })
	}
	if target != nil {
		target.aliases = append(slices.Clip(target.aliases), a.name)
	}
	a.target, a.updated = target, now
}

// validateAlias checks the alias name in a request. Names of AWS are reserved (rule 3.3.4).
func (w *World) validateAlias(c *Call, name *string) error {
	if w.violates(c, "B.5.10", !strings.HasPrefix(aws.ToString(name), "alias/")) {
		return badRequest(
			"ValidationException", `Alias must start with the prefix "alias/". Please see `+
				"https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
		)
	}
	if !matchesPattern(name, aliasPattern) {
		return validationError(
			c, "AliasName", name, "Member must satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$",
		)
	}
	if w.violates(c, "3.3.4", strings.HasPrefix(*name, "alias/aws/")) {
		return badRequest("InvalidAliasNameException", "Alias names that begin with alias/aws/ are reserved for AWS.")
	}
	return nil
}

// findAlias returns an alias in the caller's account and Region. The alias of a deleted key is not found.
func (w *World) findAlias(c *Call, name string) (*alias, bool) {
	found, ok := w.aliases.get(kmsARN(c.location(), name))
	if ok && found.target.isDeleted(c.At) {
		return nil, false
	}
	return found, ok
}

// newAliasAuthorization returns the request to perform the call's action on an alias, which has no resource policy.
func newAliasAuthorization(c *Call, name string) AuthorizationRequest {
	return AuthorizationRequest{Action: "kms:" + c.Operation, Resource: kmsARN(c.location(), name)}
}

func (w *World) createAlias(c *Call, in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	if err := w.validateAlias(c, in.AliasName); err != nil {
		return nil, err
	}

	use := keyUse{action: "kms:CreateAlias"}
	target, err := w.resolveKey(c, in.TargetKeyId, &use)
	if err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAliasAuthorization(c, *in.AliasName), target.newAuthorization(use)); err != nil {
		return nil, err
	}
	if err := w.validateAliasTarget(c, target); err != nil {
		return nil, err
	}

	arn := kmsARN(c.location(), *in.AliasName)
	if _, taken := w.findAlias(c, *in.AliasName); taken {
		return nil, badRequest("AlreadyExistsException", "An alias with the name %s already exists", arn)
	}

	created := &alias{name: *in.AliasName, arn: arn, created: c.At}
	created.setTarget(target, c.At)
	w.aliases.put(arn, created)
	c.recordChange(arn)
	return &kms.CreateAliasOutput{}, nil
}

// validateAliasTarget refuses a key that cannot have an alias.
func (w *World) validateAliasTarget(c *Call, k *key) error {
	if err := requireCustomerManaged(c, k); err != nil {
		return err
	}
	return w.requireKeyState(c, k, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport)
}

func (w *World) updateAlias(c *Call, in *kms.UpdateAliasInput) (*kms.UpdateAliasOutput, error) {
	if err := w.validateAlias(c, in.AliasName); err != nil {
		return nil, err
	}

	use := keyUse{action: "kms:UpdateAlias"}
	target, err := w.resolveKey(c, in.TargetKeyId, &use)
	if err != nil {
		return nil, err
	}

	found, ok := w.findAlias(c, *in.AliasName)
	requests := []AuthorizationRequest{newAliasAuthorization(c, *in.AliasName), target.newAuthorization(use)}
	if ok {
		requests = append(requests, found.target.newAuthorization(use))
	}
	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}
	if !ok {
		return nil, kmsNotFound("Alias %s is not found.", kmsARN(c.location(), *in.AliasName))
	}
	if err := w.validateAliasTarget(c, target); err != nil {
		return nil, err
	}
	if found.target.KeyUsage != target.KeyUsage ||
		(found.target.KeySpec == kmstypes.KeySpecSymmetricDefault) != (target.KeySpec == kmstypes.KeySpecSymmetricDefault) {
		return nil, badRequest(
			"ValidationException", "Alias %s cannot be changed to a key of another type or key usage.", found.arn,
		)
	}

	found.setTarget(target, c.At)
	c.recordChange(found.arn)
	return &kms.UpdateAliasOutput{}, nil
}

func (w *World) deleteAlias(c *Call, in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	if err := w.validateAlias(c, in.AliasName); err != nil {
		return nil, err
	}

	found, ok := w.findAlias(c, *in.AliasName)
	requests := []AuthorizationRequest{newAliasAuthorization(c, *in.AliasName)}
	if ok {
		requests = append(requests, found.target.newAuthorization(keyUse{action: "kms:DeleteAlias"}))
	}
	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}
	if !ok {
		return nil, kmsNotFound("Alias %s is not found.", kmsARN(c.location(), *in.AliasName))
	}

	found.setTarget(nil, c.At)
	w.aliases.remove(found.arn)
	c.recordChange(found.arn)
	return &kms.DeleteAliasOutput{}, nil
}

func (w *World) listAliases(c *Call, in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	var k *key
	use := keyUse{action: "kms:ListAliases"}
	if in.KeyId != nil {
		found, err := w.resolveKey(c, in.KeyId, &use)
		if err != nil {
			return nil, err
		}
		k = found
	}

	if err := w.authorize(c, AuthorizationRequest{Action: use.action, Resource: "*"}); err != nil {
		return nil, err
	}

	all := []kmstypes.AliasListEntry{}
	for _, a := range w.aliases.all {
		if a.target.location == c.location() && !a.target.isDeleted(c.At) && (k == nil || k == a.target) {
			all = append(all, kmstypes.AliasListEntry{
				AliasName:       &a.name,
				AliasArn:        &a.arn,
				TargetKeyId:     a.target.KeyId,
				CreationDate:    aws.Time(a.created),
				LastUpdatedDate: aws.Time(a.updated),
			})
		}
	}

	aliases, next, err := paginateKMS(c, all, in.Limit, 50, 100, in.Marker)
	if err != nil {
		return nil, err
	}

	return &kms.ListAliasesOutput{Aliases: aliases, NextMarker: next, Truncated: next != nil}, nil
}
