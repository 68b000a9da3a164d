// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Access options choose the source credentials: those of the account that owns the image. They have amazon-ebs's names and meanings,
// so one local value can serve the builder and the post-processor. Where none is given, the AWS SDK looks at its usual locations:
// environment variables, the shared configuration and credentials files, IAM Identity Center, web identity, the roles of containers and instances.
type Access struct {
	// The profile of the shared configuration and credentials files. Every kind of profile works, `credential_process` and
	// `sso_session` included.
	Profile string `mapstructure:"profile"`
	// The access key. Use it with `secret_key`; neither goes together with `profile` or `shared_credentials_file`, which
	// would have no effect.
	AccessKey string `mapstructure:"access_key"`
	// The secret key that belongs to `access_key`. Declare its variable as sensitive.
	SecretKey string `mapstructure:"secret_key"`
	// The session token that belongs to `access_key`, where the key is a temporary one. A run that outlives the session fails:
	// prefer `profile` or `assume_role`, whose sessions are renewed.
	Token string `mapstructure:"token"`
	// The path of a credentials file, instead of `~/.aws/credentials`.
	SharedCredentialsFile string `mapstructure:"shared_credentials_file"`
	// A role of the source account, assumed with the credentials above. See [assume_role](#assume_role).
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
