// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Access options choose the source credentials: those of the account that owns the AMI. They have the names and the
// meaning of amazon-ebs. Default: the usual sources of the AWS SDK, which are environment variables, shared
// configuration and credentials files, IAM Identity Center, web identity, and the roles of containers and instances.
type Access struct {
	// The profile in the shared configuration and credentials files. `credential_process` and `sso_session` work.
	// `packer validate` fails if the profile is missing.
	Profile string `mapstructure:"profile"`
	// The access key. Requires `secret_key`. Conflicts with `profile` and `shared_credentials_file`.
	AccessKey string `mapstructure:"access_key"`
	// The secret key of `access_key`. Declare its variable as sensitive.
	SecretKey string `mapstructure:"secret_key"`
	// The session token of a temporary `access_key`. A run that outlives the session fails. `profile` and
	// `assume_role` are renewed.
	Token string `mapstructure:"token"`
	// The path of a credentials file. `packer validate` fails if it cannot be read. Default: `~/.aws/credentials`.
	SharedCredentialsFile string `mapstructure:"shared_credentials_file"`
	// A role in the source account, assumed with the credentials above. See [assume_role](#assume_role).
	AssumeRole *AssumeRole `mapstructure:"assume_role"`
}

// Credentials returns the source credentials.
func (a *Access) Credentials() awsclient.Access {
	access := awsclient.Access{
		Profile:               a.Profile,
		AccessKey:             a.AccessKey,
		SecretKey:             distribution.Secret(a.SecretKey),
		Token:                 distribution.Secret(a.Token),
		SharedCredentialsFile: a.SharedCredentialsFile,
	}
	if a.AssumeRole != nil {
		access.AssumeRole = []distribution.Role{a.AssumeRole.role()}
	}
	return access
}

func (a *Access) check(p *diagnostics) {
	if a.AccessKey != "" && a.SecretKey == "" {
		p.add("secret_key", "missing; access_key needs it")
	}
	if a.AccessKey == "" {
		if a.SecretKey != "" {
			p.add("access_key", "missing; secret_key needs it")
		}
		if a.Token != "" {
			p.add("access_key", "missing; token needs it")
		}
	} else {
		if a.Profile != "" {
			p.add("profile", "no effect beside access_key; give one of them")
		}
		if a.SharedCredentialsFile != "" {
			p.add("shared_credentials_file", "no effect beside access_key; give one of them")
		}
	}
	if a.AssumeRole != nil {
		a.AssumeRole.checkTopLevel(p.in("assume_role"))
	}
}
