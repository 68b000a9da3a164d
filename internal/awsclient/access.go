// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/middleware"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Access says where the source credentials come from. Empty fields leave the default of the SDK: the environment,
// profiles, SSO, web identity or the instance role.
type Access struct {
	Region                string // where the first calls are made; later calls go to the Regions of the images
	Profile               string // of the shared configuration and credentials files
	AccessKey             string
	SecretKey             distribution.Secret
	Token                 distribution.Secret // of a session
	SharedCredentialsFile string              // path
	AssumeRole            []distribution.Role // a chain, in order, each with its RoleARN; no role is assumed if empty
	CustomEndpointEC2     string              // URL
	MaxRetries            int                 // of one call; limited only by the run's context if 0
	InsecureSkipTLSVerify bool

	Version    string         // of the plugin, for the user agent
	HTTPClient aws.HTTPClient `json:"-"` // sends every call; the network if nil
	Seed       uint64         // of the jitter between retries; derived from the clock if 0
	Guard      Guard          `json:"-"` // checks every call
	OnOutage   func(Outage)   `json:"-"` // receives, from any goroutine, a call without an answer for a minute
}

// load loads the configuration as the SDK does, with our HTTP client, user agent and retryers. It makes no call. A
// profile named here takes precedence over the access key.
func (a Access) load(ctx context.Context, profile string, jitter *jitter) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(a.httpClient()),
		config.WithRetryer(func() aws.Retryer { return newRetryer(credentialAttempts, jitter) }),
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow }),
		config.WithAPIOptions([]func(*middleware.Stack) error{
			awsmiddleware.AddUserAgentKeyValue("packer-plugin-encrypted-ami", a.Version),
			useRejectedOnlyRetryer(jitter),
			requireResponse,
			boundAttempt,
		}),
	}
	settings := &profileSettings{}
	options = append(options, settings.loadOptions()...)
	if a.Region != "" {
		options = append(options, config.WithRegion(a.Region))
	}
	if a.SharedCredentialsFile != "" {
		options = append(options, config.WithSharedCredentialsFiles([]string{a.SharedCredentialsFile}))
	}

	switch {
	case profile != "":
		options = append(options, config.WithSharedConfigProfile(profile))
	case a.AccessKey != "":
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(a.AccessKey, string(a.SecretKey), string(a.Token))))
	case a.Profile != "":
		options = append(options, config.WithSharedConfigProfile(a.Profile))
	}

	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, explainCredentials(cmp.Or(profile, a.profileName()), err)
	}
	settings.complete(&cfg)
	cfg.RetryMaxAttempts = 0 // AWS_MAX_ATTEMPTS must not limit retries; only max_retries does
	return cfg, nil
}

func (a Access) httpClient() aws.HTTPClient {
	if a.HTTPClient != nil {
		return a.HTTPClient
	}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 64 // as many as there are calls in flight
		if a.InsecureSkipTLSVerify {
			t.TLSClientConfig = &tls.Config{
				MinVersion:         tls.VersionTLS12,
				InsecureSkipVerify: true, //nolint:gosec // the user asked for it
			}
		}
	})
}
