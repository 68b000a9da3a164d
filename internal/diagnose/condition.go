// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// actionCondition returns the condition that docs/policies has for an action, so that advice never allows more. It
// returns false if the values of that condition are unknown.
func (m match) actionCondition(action string) (condition distribution.Condition, known bool) {
	switch action {
	case "ec2:DeleteSnapshot", "ec2:DeregisterImage", "ec2:TerminateInstances":
		return m.removalCondition(action), true
	case "ec2:DisableImageDeregistrationProtection":
		return nil, true
	case "ec2:ModifySnapshotAttribute", "ec2:ModifyImageAttribute":
		return m.stepCondition(action)
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

// stepCondition returns the condition that depends on the step. False if there is no step, or if it decides none.
func (m match) stepCondition(action string) (condition distribution.Condition, known bool) {
	if m.Step == nil {
		return nil, false
	}
	return m.Step.PolicyCondition(action)
}

// removalCondition limits the removal of resources to our own, unless the step replaces another one.
func (m match) removalCondition(action string) distribution.Condition {
	if condition, known := m.stepCondition(action); known {
		return condition
	}
	return resourceHasTag(provenance.TagSource)
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
	if condition, known := m.stepCondition("kms:CreateGrant"); known {
		return condition
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
