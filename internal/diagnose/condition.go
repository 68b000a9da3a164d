// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// actionCondition returns the condition that docs/policies has for an action, so that advice never allows more. It
// returns false if the values of that condition are unknown.
func (m match) actionCondition(action string) (condition distribution.Condition, known bool) {
	switch action {
	case "ec2:DeleteSnapshot", "ec2:DeregisterImage", "ec2:TerminateInstances":
		return m.removalCondition(), true
	case "ec2:DisableImageDeregistrationProtection":
		return nil, true
	case "ec2:ModifySnapshotAttribute", "ec2:ModifyImageAttribute":
		return m.sharingCondition()
	case "ec2:CreateTags":
		return m.taggingCondition(), true
	case "ec2:DeleteTags":
		return tagKeysAreLike(provenance.TagPrefix + "*"), true
	case "kms:CreateGrant":
		return m.grantCondition(), true
	}

	// DescribeImageReferences calls other services for the caller.
	if m.Refusal.Operation == "ec2:DescribeImageReferences" && !strings.HasPrefix(action, "ec2:") {
		return distribution.Condition{"ForAnyValue:StringEquals": {"aws:CalledVia": {"ec2-images.amazonaws.com"}}}, true
	}
	return nil, true
}

// removalCondition limits the removal of resources to our own. With force_deregister, the image is another one.
func (m match) removalCondition() distribution.Condition {
	if s, ok := m.Step.(*step.DeregisterImage); ok && s.Name != "" {
		return nil
	}
	return resourceHasTag(provenance.TagSource)
}

// sharingCondition limits sharing to the accounts of the step, and never allows to share with the public.
func (m match) sharingCondition() (condition distribution.Condition, known bool) {
	switch s := m.Step.(type) {
	case *step.ShareSnapshot:
		return shareWith(s.Accounts)
	case *step.ShareImage:
		return shareWith(s.With.Accounts)
	case *step.UnshareSnapshot, *step.UnshareImage:
		return distribution.Condition{"Null": {
			"ec2:Add/group":     {"true"},
			"ec2:Add/userId":    {"true"},
			"ec2:Remove/userId": {"false"},
		}}, true
	}
	return nil, false
}

func shareWith(accounts []string) (condition distribution.Condition, known bool) {
	if len(accounts) == 0 {
		return nil, false
	}
	return distribution.Condition{
		"ForAllValues:StringEquals": {"ec2:Add/userId": accounts},
		"Null":                      {"ec2:Add/group": {"true"}, "ec2:Add/userId": {"false"}},
	}, true
}

// taggingCondition limits tags to our own in the source account, and to those of new resources in a target (6.5).
func (m match) taggingCondition() distribution.Condition {
	if m.At.Account == m.SourceAccount {
		return tagKeysAreLike(provenance.TagPrefix + "*")
	}
	if call, isEC2 := strings.CutPrefix(m.Refusal.Operation, "ec2:"); isEC2 && call != "CreateTags" {
		return distribution.Condition{"StringEquals": {"ec2:CreateAction": {call}}}
	}
	return tagKeysAreLike(provenance.TagPrefix + "*").And(resourceHasTag(provenance.TagSource))
}

// grantCondition limits grants to those of AWS services (3.2.3), or to the grant that the step itself creates.
func (m match) grantCondition() distribution.Condition {
	if s, ok := m.Step.(*step.CreateGrant); ok {
		return oneGrant(s.Grantee, s.Operations)
	}
	return distribution.ForAWS()
}

func oneGrant(grantee string, operations []string) distribution.Condition {
	return distribution.Condition{
		"StringEquals":              {"kms:GranteePrincipal": {grantee}},
		"ForAllValues:StringEquals": {"kms:GrantOperations": operations},
	}
}

func resourceHasTag(key string) distribution.Condition {
	return distribution.Condition{"Null": {"aws:ResourceTag/" + key: {"false"}}}
}

func tagKeysAreLike(pattern string) distribution.Condition {
	return distribution.Condition{
		"ForAllValues:StringLike": {"aws:TagKeys": {pattern}},
		"Null":                    {"aws:TagKeys": {"false"}},
	}
}
