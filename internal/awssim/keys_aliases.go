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

var aliasOperations = []named{
	op((*World).createAlias),
	op((*World).updateAlias),
	op((*World).deleteAlias),
	op((*World).listAliases),
}

// alias is a name for a key of the same account and Region (3.3.1).
type alias struct {
	name          string // "alias/golden"
	arn           string
	target        *key
	made, updated time.Time
}

var aliasForm = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`)

// pointTo lets an alias name a key, and no other any more; nil: none.
func (a *alias) pointTo(target *key, now time.Time) {
	if a.target != nil {
		a.target.aliases = slices.DeleteFunc(slices.Clone(a.target.aliases), func(name string) bool { return name == a.name })
	}
	if target != nil {
		target.aliases = append(slices.Clip(target.aliases), a.name)
	}
	a.target, a.updated = target, now
}

// checkAlias is the syntax of an alias that a user makes or changes: those of AWS are its own (3.3.4).
func (w *World) checkAlias(c *Call, name *string) error {
	if !matches(name, aliasForm) {
		return ill(c, "AliasName", name, "Member must satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$")
	}
	if w.breaks(c, "3.3.4", strings.HasPrefix(*name, "alias/aws/")) {
		return invalid("InvalidAliasNameException", "Alias names that begin with alias/aws/ are reserved for AWS.")
	}
	return nil
}

// findAlias looks an alias of the caller's account and Region up; one whose key has been deleted has gone with it.
func (w *World) findAlias(c *Call, name string) (*alias, bool) {
	found, there := w.aliases.get(kmsARN(c.place(), name))
	if there && found.target.gone(c.At) {
		return nil, false
	}
	return found, there
}

// askAlias is the question whether the caller may do something with an alias: it has no policy of its own.
func askAlias(c *Call, name string) Ask {
	return Ask{Action: "kms:" + c.Operation, Resource: kmsARN(c.place(), name)}
}

func (w *World) createAlias(c *Call, in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	if err := w.checkAlias(c, in.AliasName); err != nil {
		return nil, err
	}
	use := keyUse{action: "kms:CreateAlias"}
	target, err := w.namedKey(c, in.TargetKeyId, &use)
	if err != nil {
		return nil, err
	}
	if err := w.authorise(c, askAlias(c, *in.AliasName), target.ask(use)); err != nil {
		return nil, err
	}
	if err := w.aliasable(c, target); err != nil {
		return nil, err
	}
	arn := kmsARN(c.place(), *in.AliasName)
	if _, taken := w.findAlias(c, *in.AliasName); taken {
		return nil, invalid("AlreadyExistsException", "An alias with the name %s already exists", arn)
	}
	made := &alias{name: *in.AliasName, arn: arn, made: c.At}
	made.pointTo(target, c.At)
	w.aliases.put(arn, made)
	c.changed(arn)
	return &kms.CreateAliasOutput{}, nil
}

// aliasable refuses a key that cannot be given an alias.
func (w *World) aliasable(c *Call, k *key) error {
	if err := mustBeCustomers(c, k); err != nil {
		return err
	}
	return w.mustBe(c, k, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport)
}

func (w *World) updateAlias(c *Call, in *kms.UpdateAliasInput) (*kms.UpdateAliasOutput, error) {
	if err := w.checkAlias(c, in.AliasName); err != nil {
		return nil, err
	}
	use := keyUse{action: "kms:UpdateAlias"}
	target, err := w.namedKey(c, in.TargetKeyId, &use)
	if err != nil {
		return nil, err
	}
	found, there := w.findAlias(c, *in.AliasName)
	asks := []Ask{askAlias(c, *in.AliasName), target.ask(use)}
	if there {
		asks = append(asks, found.target.ask(use))
	}
	if err := w.authorise(c, asks...); err != nil {
		return nil, err
	}
	if !there {
		return nil, notFound("Alias %s is not found.", kmsARN(c.place(), *in.AliasName))
	}
	if err := w.aliasable(c, target); err != nil {
		return nil, err
	}
	if found.target.KeyUsage != target.KeyUsage || (found.target.KeySpec == kmstypes.KeySpecSymmetricDefault) != (target.KeySpec == kmstypes.KeySpecSymmetricDefault) {
		return nil, invalid("ValidationException", "Alias %s cannot be changed to a key of another type or key usage.", found.arn)
	}
	found.pointTo(target, c.At)
	c.changed(found.arn)
	return &kms.UpdateAliasOutput{}, nil
}

func (w *World) deleteAlias(c *Call, in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	if err := w.checkAlias(c, in.AliasName); err != nil {
		return nil, err
	}
	found, there := w.findAlias(c, *in.AliasName)
	asks := []Ask{askAlias(c, *in.AliasName)}
	if there {
		asks = append(asks, found.target.ask(keyUse{action: "kms:DeleteAlias"}))
	}
	if err := w.authorise(c, asks...); err != nil {
		return nil, err
	}
	if !there {
		return nil, notFound("Alias %s is not found.", kmsARN(c.place(), *in.AliasName))
	}
	found.pointTo(nil, c.At)
	w.aliases.remove(found.arn)
	c.changed(found.arn)
	return &kms.DeleteAliasOutput{}, nil
}

func (w *World) listAliases(c *Call, in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	var of *key
	use := keyUse{action: "kms:ListAliases"}
	if in.KeyId != nil {
		found, err := w.namedKey(c, in.KeyId, &use)
		if err != nil {
			return nil, err
		}
		of = found
	}
	if err := w.authorise(c, Ask{Action: use.action, Resource: "*"}); err != nil {
		return nil, err
	}
	all := []kmstypes.AliasListEntry{}
	for _, a := range w.aliases.all {
		if a.target.home == c.place() && !a.target.gone(c.At) && (of == nil || of == a.target) {
			all = append(all, kmstypes.AliasListEntry{
				AliasName: &a.name, AliasArn: &a.arn, TargetKeyId: a.target.KeyId, CreationDate: aws.Time(a.made), LastUpdatedDate: aws.Time(a.updated),
			})
		}
	}
	aliases, next, err := kmsPage(c, all, in.Limit, 50, 100, in.Marker)
	if err != nil {
		return nil, err
	}
	return &kms.ListAliasesOutput{Aliases: aliases, NextMarker: next, Truncated: next != nil}, nil
}
