// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// KMSGrant holds the options of a block `kms_grant`.
type KMSGrant struct {
	// The ARN of the role, user or account that gets the grant. It must exist. May contain [template
	// variables](#template-variables). Default: the service-linked role `AWSServiceRoleForAutoScaling` of the target
	// account.
	GranteePrincipal string `mapstructure:"grantee_principal"`
	// The KMS operations that the grant allows. Default: those that Auto Scaling needs, `CreateGrant`, `Decrypt`,
	// `DescribeKey`, `Encrypt`, `GenerateDataKey`, `GenerateDataKeyWithoutPlaintext`, `ReEncryptFrom` and
	// `ReEncryptTo`.
	Operations []string `mapstructure:"operations"`
	// The name of the grant, up to 256 letters, digits and `:/_-`. Each grant of an account has its own name. May
	// contain [template variables](#template-variables). Default: `encrypted-ami:` and the name of the principal.
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
