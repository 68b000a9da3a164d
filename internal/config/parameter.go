// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type SSMParameter
//go:generate packer-sdc struct-markdown

package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// SSMParameter holds the options of a block `ssm_parameter`.
type SSMParameter struct {
	// The name, such as `/golden/ami`. May contain [template variables](#template-variables).
	Name string `mapstructure:"name" required:"true"`
	// `String` or `SecureString`. An existing parameter of another type is an error, because AWS would convert it.
	// Default: `String`.
	Type string `mapstructure:"type"`
	// `aws:ec2:image`, which AWS validates, and which launch templates and Auto Scaling groups accept with
	// `resolve:ssm:`; or `text`. It cannot change on an existing parameter. Default: `aws:ec2:image`, or `text` for a
	// `SecureString`.
	DataType string `mapstructure:"data_type"`
	// The key of a `SecureString`: an alias, a key ID, or an ARN. The target needs `kms:Encrypt` on it, in the
	// advanced tier `kms:GenerateDataKey`. Readers need `kms:Decrypt`. May contain [template
	// variables](#template-variables). Default: `alias/aws/ssm`.
	KeyID string `mapstructure:"key_id"`
	// `Standard`, `Advanced` or `Intelligent-Tiering`. Default: the account's setting.
	Tier string `mapstructure:"tier"`
	// The description, at most 1024 characters. May contain [template variables](#template-variables). Default: none.
	Description string `mapstructure:"description"`
	// Tags of the parameter, added to existing ones. The values may contain [template
	// variables](#template-variables).
	Tags map[string]string `mapstructure:"tags"`
	// `false` makes it an error if the parameter names another AMI. Default: `true`.
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

// parameterTags holds the limits of the tags of a parameter.
var parameterTags = tagLimits{awslimits.ParameterTags, awslimits.ParameterTagKey, awslimits.ParameterTagValue, 0}

// parameters checks the parameters of a block.
func (p *diagnostics) parameters(all []SSMParameter) {
	for i, parameter := range all {
		in := p.in(index("ssm_parameter", i))
		parameter.check(in)
		same := func(o SSMParameter) bool {
			return literal(o.Name) && strings.TrimPrefix(o.Name, "/") == strings.TrimPrefix(parameter.Name, "/")
		}
		if slices.ContainsFunc(all[:i], same) {
			in.add("name", "%q is named twice", parameter.Name)
		}
	}
}

// check checks a parameter.
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

// shortestParameterARN is the part before the name in the shortest possible ARN of a parameter. The plan checks the
// name with the real account and Region.
const shortestParameterARN = "arn:aws:ssm:us-east-1:123456789012:parameter/"
