// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// KMSGrant lets a principal use the key of every copy of a target, or, in a `share` block, the key of the shared image: without any option, the account's service-linked role of Auto Scaling, which may use a
// customer managed key only by its key policy or by a grant. An image that it may not use cannot be launched by an Auto Scaling group. The role of the target, or of
// the share block, makes the grant (`kms:CreateGrant`) before anything is copied. A run that finds the grant makes no second one, and no run takes it back: see the manifest for its id.
// The block may be repeated.
type KMSGrant struct {
	// The ARN of who shall use the key: a role, a user, or an account's root. It has to exist. May name [template variables](#template-variables). Default: the
	// service-linked role of Auto Scaling, `arn:{{ .Partition }}:iam::{{ .AccountId }}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling`.
	GranteePrincipal string `mapstructure:"grantee_principal"`
	// The KMS operations that the grant allows. Default: what a launch by Auto Scaling takes, `CreateGrant`, `Decrypt`, `DescribeKey`, `Encrypt`,
	// `GenerateDataKey`, `GenerateDataKeyWithoutPlaintext`, `ReEncryptFrom` and `ReEncryptTo`.
	Operations []string `mapstructure:"operations"`
	// The name of the grant, up to 256 letters, digits and `:/_-`. May name [template variables](#template-variables). Default: `encrypted-ami:` and the name of
	// the principal. The grants of an account have names of their own.
	Name string `mapstructure:"name"`
}

func (g *KMSGrant) grant() distribution.Grant {
	return distribution.Grant{
		Name:       distribution.Text(g.Name),
		Grantee:    distribution.Text(g.GranteePrincipal),
		Operations: slices.Sorted(slices.Values(g.Operations)),
	}
}

func (g *KMSGrant) check(p *diagnostics) {
	if p.limit("grantee_principal", awslimits.Grantee, g.GranteePrincipal) && literal(g.GranteePrincipal) {
		p.partition("grantee_principal", awslimits.Match(awslimits.Grantee, g.GranteePrincipal)[1])
	}
	p.text("grantee_principal", g.GranteePrincipal)
	for i, operation := range g.Operations {
		p.limit(index("operations", i), awslimits.GrantOperation, operation)
	}
	p.twice("operations", g.Operations)
	p.text("name", g.Name)
	p.limit("name", awslimits.GrantName, g.Name)
}
