// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// profileClient calls STS for the roles of a profile. The SDK creates its client before it reads AWS_ENDPOINT_URL and
// endpoint_url of the profile, so these would be ignored.
type profileClient struct {
	settings    *profileSettings
	role        stscreds.AssumeRoleAPIClient
	webIdentity stscreds.AssumeRoleWithWebIdentityAPIClient
}

// profileSettings holds what the SDK knows only after it has created the STS client of a profile.
type profileSettings struct {
	endpoint *string                 // nil if none is configured
	process  aws.CredentialsProvider // of credential_process; nil without one
}

// loadOptions returns the options that make the roles of a profile use the settings.
func (s *profileSettings) loadOptions() []func(*config.LoadOptions) error {
	return []func(*config.LoadOptions) error{
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			if o.Client != nil { // it is nil if the SDK only validates the options
				o.Client = profileClient{settings: s, role: o.Client}
			}
		}),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			if o.Client != nil {
				o.Client = profileClient{settings: s, webIdentity: o.Client}
			}
		}),
	}
}

// complete reads the settings from a loaded configuration. It also makes the errors of a credential process contain the
// output of the process.
func (s *profileSettings) complete(cfg *aws.Config) {
	s.endpoint = cfg.BaseEndpoint
	command := credentialProcess(cfg.ConfigSources)
	if command == "" {
		return
	}
	s.process = aws.NewCredentialsCache(processProvider{command}, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = expiryWindow
	})
	if isProcess(cfg.Credentials) {
		cfg.Credentials = s.process
	}
}

// credentialProcess returns the command of the profile, or of the last profile in its chain of source_profile.
func credentialProcess(sources []any) string {
	for _, source := range sources {
		if shared, ok := source.(config.SharedConfig); ok {
			profile := &shared
			for profile.Source != nil {
				profile = profile.Source
			}
			return profile.CredentialProcess
		}
	}
	return ""
}

func isProcess(provider aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(provider, (*processcreds.Provider)(nil))
}

// configure completes the options of a call.
func (s *profileSettings) configure(o *sts.Options) {
	if o.BaseEndpoint == nil { // AWS_ENDPOINT_URL_STS takes precedence
		o.BaseEndpoint = s.endpoint
	}
	if s.process != nil && isProcess(o.Credentials) {
		o.Credentials = s.process
	}
}

func (c profileClient) AssumeRole(
	ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options),
) (*sts.AssumeRoleOutput, error) {
	return c.role.AssumeRole(ctx, in, append(options, c.settings.configure)...)
}

func (c profileClient) AssumeRoleWithWebIdentity(
	ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, options ...func(*sts.Options),
) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return c.webIdentity.AssumeRoleWithWebIdentity(ctx, in, append(options, c.settings.configure)...)
}
