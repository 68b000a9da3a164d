// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"maps"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// sourceKey returns the policy of the keys that encrypt shared snapshots. The source account administers them. Targets
// may use them through AWS to decrypt for their copies. No target may encrypt with them, or create a grant itself (rule
// 3.2.3).
func (s Setup) sourceKey() Document {
	target := s.target()
	on := func(action string) bool {
		return slices.ContainsFunc(
			target.needs[action],
			func(resource string) bool { return slices.Contains(s.SourceKeyARNs, resource) },
		)
	}
	var principal distribution.Principals
	for _, account := range s.Targets {
		principal = append(principal, s.root(account))
	}
	// a condition on the role's ARN instead of a principal: KMS refuses a principal that does not exist, and a recreated
	// role is a new principal
	when := distribution.Condition{"ArnLike": {"aws:PrincipalArn": {s.roleARN("*", s.TargetRole)}}}
	if s.Organization != "" {
		principal, when = distribution.Everyone, when.And(s.principalInOrganization())
	}
	return document(
		s.administered(s.SourceAccount),
		distribution.Statement{
			Sid: "TargetsCopy", Effect: "Allow", Principal: principal, Resource: []string{"*"}, Condition: when,
			Action: target.actions(func(action string) bool { return on(action) && action != "kms:CreateGrant" }),
		},
		distribution.Statement{
			Sid:       "AWSCopiesForTargets",
			Effect:    "Allow",
			Principal: principal,
			Resource:  []string{"*"},
			Condition: distribution.ForAWS().And(when),
			Action:    []string{"kms:CreateGrant"},
		},
	)
}

// ownAccount is the ID of the statement that every key policy has.
const ownAccount = "OwnAccount"

// administered returns the statement that lets the IAM policies of an account permit the use of its key (rule 3.2.1).
func (s Setup) administered(account string) distribution.Statement {
	return distribution.Statement{
		Sid:       ownAccount,
		Effect:    "Allow",
		Principal: distribution.Principals{s.root(account)},
		Action:    []string{"kms:*"},
		Resource:  []string{"*"},
	}
}

// trust returns the trust policy of the role in the target accounts.
func (s Setup) trust() Document {
	var when distribution.Condition
	if s.ExternalID != "" {
		when = distribution.Condition{"StringEquals": {"sts:ExternalId": {s.ExternalID}}}
	}
	return document(
		distribution.Statement{
			Sid:       "BuildRole",
			Effect:    "Allow",
			Principal: distribution.Principals{s.buildRole()},
			Action:    []string{"sts:AssumeRole"},
			Condition: when,
		},
	)
}

// These actions are needed on the key of the volumes of a launch: by the caller (rule 3.1.5), and by a service-linked
// role (rule 8.2).
var (
	launch = []string{
		"kms:Decrypt",
		"kms:DescribeKey",
		"kms:GenerateDataKeyWithoutPlaintext",
		"kms:ReEncryptFrom",
		"kms:ReEncryptTo",
	}
	linked     = []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}
	linkedRole = "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
)

// targetKey returns the policy of a target's own key. The target administers it, and Auto Scaling may launch with it.
func (s Setup) targetKey(account string) Document {
	role := distribution.Principals{s.roleARN(account, linkedRole)}
	return document(
		s.administered(account),
		distribution.Statement{
			Sid:       "AutoScalingLaunches",
			Effect:    "Allow",
			Principal: role,
			Action:    linked,
			Resource:  []string{"*"},
		},
		distribution.Statement{
			Sid:       "AWSLaunchesForAutoScaling",
			Effect:    "Allow",
			Principal: role,
			Action:    []string{"kms:CreateGrant"},
			Resource:  []string{"*"},
			Condition: distribution.ForAWS(),
		},
	)
}

// launchRole returns the policy of a role in a target account that launches its own image.
func (s Setup) launchRole() Document {
	alias := s.ownAlias()
	keys := []string{"arn:" + s.partition() + ":kms:*:*:key/*"}
	return document(
		distribution.Statement{Sid: "UseKey", Effect: "Allow", Action: launch, Resource: keys, Condition: alias},
		distribution.Statement{
			Sid:       "LetAWSUseKey",
			Effect:    "Allow",
			Action:    []string{"kms:CreateGrant"},
			Resource:  keys,
			Condition: distribution.ForAWS().And(alias),
		},
	)
}

// anotherAccount is a second target of the plan for an organization. No policy names it.
const anotherAccount = "000000000000"

// Policies returns all policies of a setup by file name.
func (s Setup) Policies() map[string]Document {
	if s.Organization != "" { // no policy names a target, so the plan needs few
		s.Targets = s.Targets[:1:1]
		if s.Targets[0] != anotherAccount { // with one account, a plan may need the source key of one Region only
			s.Targets = append(s.Targets, anotherAccount)
		}
	}
	all := map[string]Document{
		"build-role.json":        s.build().policy(),
		"target-role.json":       s.target().policy(),
		"target-role-trust.json": s.trust(),
		"source-key.json":        s.sourceKey(),
		"target-key.json":        s.targetKey(s.Targets[0]),
		"launch-role.json":       s.launchRole(),
	}
	if s.with("share") {
		maps.Copy(all, s.shared())
	}
	return all
}
