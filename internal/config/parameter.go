// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type SSMParameter
//go:generate packer-sdc struct-markdown

package config

import (
	"cmp"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// SSMParameter is a parameter of the SSM Parameter Store, in each account and Region of the target, that names the image once it is
// verified. The block may be repeated. One that names the image already is left as it is.
type SSMParameter struct {
	// The name of the parameter, such as `/golden/ami`. May name [template variables](#template-variables).
	Name string `mapstructure:"name" required:"true"`
	// `String` or `SecureString`. An existing parameter of another type is refused, because AWS would convert it. Default: `String`.
	Type string `mapstructure:"type"`
	// `aws:ec2:image`, which AWS checks, and which launch templates and Auto Scaling groups take with `resolve:ssm:`; or `text`. The data
	// type of a parameter that exists cannot be changed. Default: `aws:ec2:image`, `text` for a `SecureString`, which can have no other.
	DataType string `mapstructure:"data_type"`
	// The key that a `SecureString` is encrypted with: an alias, a key id, or the ARN of either. The target's credentials need
	// `kms:Encrypt` on it, `kms:GenerateDataKey` in the advanced tier; whoever reads the parameter, `kms:Decrypt`. Default: the account's
	// `alias/aws/ssm`. May name [template variables](#template-variables).
	KeyID string `mapstructure:"key_id"`
	// `Standard`, `Advanced` or `Intelligent-Tiering`. Default: as the account has it set.
	Tier string `mapstructure:"tier"`
	// The description, at most 1024 characters. Default: none. May name [template variables](#template-variables).
	Description string `mapstructure:"description"`
	// Tags of the parameter. Where it exists already, they are added to its own.
	// The values may name [template variables](#template-variables).
	Tags map[string]string `mapstructure:"tags"`
	// `false` refuses a run that would change a parameter which names something else. Default: `true`.
	Overwrite config.Trilean `mapstructure:"overwrite"`
}

// stringParameter is the default type of a parameter.
const stringParameter = "String"

func (s *SSMParameter) parameter() distribution.Parameter {
	p := distribution.Parameter{
		Name:        distribution.Text(s.Name),
		Type:        cmp.Or(s.Type, stringParameter),
		DataType:    cmp.Or(s.DataType, distribution.ImageParameter),
		KeyID:       distribution.Text(s.KeyID),
		Tier:        s.Tier,
		Description: distribution.Text(s.Description),
		Tags:        texts(s.Tags),
		Overwrite:   !s.Overwrite.False(),
	}
	if p.Type == distribution.SecureString {
		p.DataType = "text"
	}
	return p
}

// check judges a parameter.
func (s *SSMParameter) check(p *diagnostics) {
	p.text("name", s.Name)
	if s.Name == "" {
		p.add("name", "missing")
	}
	if literal(s.Name) {
		if err := awslimits.CheckParameterName(s.Name, shortestParameterARN); err != nil {
			p.add("name", "%s %w", abridged(s.Name), err)
		}
	}
	p.limit("type", awslimits.ParameterType, s.Type)
	p.limit("data_type", awslimits.ParameterDataType, s.DataType)
	p.limit("tier", awslimits.ParameterTier, s.Tier)
	secure := s.Type == distribution.SecureString
	if literal(s.Type) {
		if err := awslimits.CheckParameterType(s.Type, s.DataType); err != nil {
			p.add("data_type", "%q %w", s.DataType, err)
		}
	}
	if !secure && (literal(s.Type) || s.Type == "") && s.KeyID != "" {
		p.add("key_id", "no effect on a String, which is not encrypted; give type = %q", distribution.SecureString)
	}
	p.text("key_id", s.KeyID)
	p.key("key_id", s.KeyID)
	p.limit("key_id", awslimits.ParameterKeyID, s.KeyID)
	p.text("description", s.Description)
	p.limit("description", awslimits.ParameterDescription, s.Description)
	p.tags("tags", s.Tags, parameterTags)
	p.texts("tags", s.Tags)
}

// shortestParameterARN is what precedes the name in the shortest ARN of a parameter. The plan checks the name with the
// ARN of its own account and Region.
const shortestParameterARN = "arn:aws:ssm:us-east-1:123456789012:parameter/"
