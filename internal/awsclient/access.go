// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/middleware"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Access is where the source credentials come from. Empty fields leave the SDK's default: environment, profiles, SSO, web identity,
// instance role.
type Access struct {
	Region                string // of the first calls; EC2 is then asked where the images are
	Profile               string // of the shared configuration and credentials files
	AccessKey             string
	SecretKey             distribution.Secret
	Token                 distribution.Secret // of a session
	SharedCredentialsFile string              // path
	AssumeRole            []distribution.Role // hops, in order, each with its RoleARN; empty: the credentials as they are
	CustomEndpointEC2     string              // URL
	MaxRetries            int                 // repeats of one call; 0: only the run's context bounds them
	InsecureSkipTLSVerify bool

	Version    string         // of the plugin, for the user agent
	HTTPClient aws.HTTPClient `json:"-"` // carries every call; nil: over the network. Tests and the simulator come in here
	Seed       uint64         // of the jitter between repeats; 0: drawn from the clock
	Guard      Guard          `json:"-"` // what every call passes
	Silent     func(string)   `json:"-"` // hears, once and from any goroutine, of a call that nothing has answered for a minute; nil: nobody does
}

// One attempt of one call may take this long. Without a bound, a connection that fell silent would hold its call until the run ends.
const attemptTimeout = time.Minute

// load reads the configuration as the SDK does, with our HTTP client, user agent and retryers. It makes no call.
// The credentials of the profile, and no access key, are used when a profile is named here.
func (a Access) load(ctx context.Context, profile string, jitter *jitter) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(a.httpClient()),
		config.WithRetryer(func() aws.Retryer { return again(boundedAttempts, jitter) }),
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewEarly }),
		config.WithAPIOptions([]func(*middleware.Stack) error{
			awsmiddleware.AddUserAgentKeyValue("packer-plugin-encrypted-ami", a.Version),
			onceWithoutToken(jitter),
		}),
	}
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
	cfg.RetryMaxAttempts = 0 // AWS_MAX_ATTEMPTS would put a bound on the weather; max_retries is there for that
	return cfg, err
}

func (a Access) httpClient() aws.HTTPClient {
	if a.HTTPClient != nil {
		return a.HTTPClient
	}
	return awshttp.NewBuildableClient().WithTimeout(attemptTimeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 64 // as many as there are calls in flight
		if a.InsecureSkipTLSVerify {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // what the option says
		}
	})
}
