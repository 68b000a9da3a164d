// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"

// Access is where the source credentials come from. Empty fields leave the SDK's default: environment, profiles, SSO, web identity,
// instance role.
type Access struct {
	Region                   string // of the first calls; EC2 is then asked where the images are
	Profile                  string // of the shared configuration and credentials files
	AccessKey                string
	SecretKey                plan.Secret
	Token                    plan.Secret // of a session
	SharedCredentialsFile    string      // path
	AssumeRole               []plan.Role // hops, in order, each with its RoleARN; empty: the credentials as they are
	CustomEndpointEC2        string      // URL
	MaxRetries               int         // repeats of one call; 0: only the run's context bounds them
	SkipCredentialValidation bool        // no sts:GetCallerIdentity before anything else
	InsecureSkipTLSVerify    bool
}
