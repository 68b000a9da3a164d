// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type SSMParameter
//go:generate packer-sdc struct-markdown

package config

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// SSMParameter is a parameter of the SSM Parameter Store, in each account and Region of the target, that names the image once it is
// verified. The block may be repeated. One that names the image already is left as it is.
type SSMParameter struct {
	// The name of the parameter, such as `/golden/ami`. May name [template variables](#template-variables).
	Name string `mapstructure:"name" required:"true"`
	// `String` or `SecureString`. The type of a parameter that exists cannot be changed. Default: `String`.
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

var (
	parameterTypes = []string{"String", distribution.SecureString}
	dataTypes      = []string{distribution.ImageParameter, "text"}
	tiers          = []string{"Standard", "Advanced", "Intelligent-Tiering"}
)

func (s *SSMParameter) parameter() distribution.Parameter {
	p := distribution.Parameter{
		Name:        distribution.Text(s.Name),
		Type:        cmp.Or(s.Type, parameterTypes[0]),
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
	p.template("name", s.Name, false)
	if s.Name == "" {
		p.add("name", "missing")
	}
	if literal(s.Name) {
		if err := plan.CheckParameterName(s.Name, distribution.Location{}); err != nil {
			p.add("name", "%q: %v", s.Name, err)
		}
	}
	p.oneOf("type", s.Type, parameterTypes)
	p.oneOf("data_type", s.DataType, dataTypes)
	p.oneOf("tier", s.Tier, tiers)
	secure := s.Type == distribution.SecureString
	if secure && s.DataType == distribution.ImageParameter { // rule 7.1
		p.add("data_type", "%q is for the type String only", s.DataType)
	}
	if !secure && (literal(s.Type) || s.Type == "") && s.KeyID != "" {
		p.add("key_id", "no effect on a String, which is not encrypted; give type = %q", distribution.SecureString)
	}
	p.template("key_id", s.KeyID, false)
	p.key("key_id", s.KeyID)
	p.template("description", s.Description, false)
	if literal(s.Description) && utf8.RuneCountInString(s.Description) > 1024 {
		p.add("description", "%d characters, AWS allows 1024", utf8.RuneCountInString(s.Description))
	}
	p.tags("tags", s.Tags)
	for _, key := range sorted(s.Tags) {
		p.template(element("tags", key), s.Tags[key], false)
	}
}

// oneOf judges a value of which there are few.
func (p *diagnostics) oneOf(field, value string, all []string) {
	if literal(value) && !slices.Contains(all, value) {
		p.add(field, "%q is none of %q", value, all)
	}
}
