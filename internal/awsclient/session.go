// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
)

// A session lasts an hour, the maximum under role chaining (5.2). It is renewed five minutes before it expires.
const (
	sessionDuration = time.Hour
	expiryWindow    = 5 * time.Minute
	sessionName     = "encrypted-ami"
)

// SessionError means that credentials for an account could not be retrieved, or belong to another account. The call was
// not sent.
type SessionError struct {
	Account   string // for which credentials were requested
	Operation string // "sts:AssumeRole" or "sts:GetCallerIdentity"; empty if no call failed
	Err       error
}

// wrongAccountError is the account that the credentials belong to, if it is not the requested one (rule 5.10).
type wrongAccountError string

func (e wrongAccountError) Error() string { return "they belong to account " + string(e) }

func (e *SessionError) Error() string {
	return fmt.Sprintf("credentials for account %s: %v", e.Account, e.Err)
}

func (e *SessionError) Unwrap() error { return e.Err }

// RetryableError reports whether a call can be retried because the error of its session is transient.
func (e *SessionError) RetryableError() bool { return IsTransient(e.Err) }

// session holds the credentials of one account. The Regions of the account share it.
type session struct {
	*aws.CredentialsCache
	parent   *session                                    // whose credentials assumed the role; nil for the first
	identity atomic.Pointer[distribution.CallerIdentity] // nil until AWS has returned it

	// lock is a mutex whose Lock can be canceled. It is held during GetCallerIdentity, so that it is called once.
	lock chan struct{}
}

// renew discards the cached credentials of the chain, because AWS reported that they have expired (rule 5.4).
func (s *session) renew() {
	for ; s != nil; s = s.parent {
		s.Invalidate()
	}
}

func newSession(provider aws.CredentialsProvider, parent *session) *session {
	cache := aws.NewCredentialsCache(panicSafeProvider{provider}, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = expiryWindow
	})
	return &session{CredentialsCache: cache, parent: parent, lock: make(chan struct{}, 1)}
}

// panicSafeProvider returns a panic as an error. The cache retrieves credentials in its own goroutine, where the plugin
// cannot recover.
type panicSafeProvider struct{ provider aws.CredentialsProvider }

func (p panicSafeProvider) Retrieve(ctx context.Context) (credentials aws.Credentials, err error) {
	err = recovery.Do(func() (err error) {
		credentials, err = p.provider.Retrieve(ctx)
		return err
	})
	return credentials, err
}

// sdkSession returns a session that uses the SDK's own cache of the base credentials, so that renew can discard them.
func sdkSession(provider aws.CredentialsProvider) (*session, bool) {
	cache, ok := provider.(*aws.CredentialsCache)
	return &session{CredentialsCache: cache}, ok
}

// assumeRoles returns the session of the last role of a chain. The STS clients use the retryer of the configuration,
// which has a maximum number of attempts.
func (p *Pool) assumeRoles(cfg aws.Config, roles []distribution.Role) *session {
	last, ok := sdkSession(cfg.Credentials)
	if !ok {
		last = newSession(cfg.Credentials, nil)
	}
	for _, role := range roles {
		account, caller := accountOf(string(role.RoleARN)), last
		client := &assumeRoleClient{newClient: func() *sts.Client { return p.credentialClient(cfg, account, caller) }}
		provider := stscreds.NewAssumeRoleProvider(client, string(role.RoleARN), assumeRoleOptions(role))
		last = newSession(roleProvider{provider}, last)
		client.session = last
	}
	return last
}

// credentialClient returns a client for the calls that get the credentials of an account. An outage of STS counts as an
// outage of that account.
func (p *Pool) credentialClient(cfg aws.Config, account string, s *session) *sts.Client {
	at := distribution.Location{Account: account, Region: cfg.Region}
	cfg = cfg.Copy()
	cfg.Credentials = s
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), func(stack *middleware.Stack) error {
		// an expired session is renewed by the call that needs its credentials
		attempts := &attemptMiddleware{at: at, session: s, monitor: &p.monitor, renewals: maxRenewals}
		return stack.Finalize.Insert(attempts, "Retry", middleware.After)
	})
	return sts.NewFromConfig(cfg)
}

// assumeRoleClient stores the identity of the assumed role, which the response contains, in the session. It saves a
// call of GetCallerIdentity for each account.
type assumeRoleClient struct {
	newClient func() *sts.Client // a client for each hour takes less memory than one for each of 1,000 accounts
	session   *session
}

func (c *assumeRoleClient) AssumeRole(
	ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options),
) (*sts.AssumeRoleOutput, error) {
	out, err := c.newClient().AssumeRole(ctx, in, options...)
	if err == nil && out.AssumedRoleUser != nil {
		if identity := newCallerIdentity(aws.ToString(out.AssumedRoleUser.Arn)); identity.Account != "" {
			c.session.identity.Store(&identity)
		}
	}
	return out, err
}

// newCallerIdentity returns the identity with an ARN. Its account is empty if the ARN has none.
func newCallerIdentity(text string) distribution.CallerIdentity {
	parsed, err := arn.Parse(text)
	if err != nil {
		return distribution.CallerIdentity{}
	}
	return distribution.CallerIdentity{Account: parsed.AccountID, ARN: text, Partition: parsed.Partition}
}

// withKnownIdentity answers GetCallerIdentity without a call if the identity is known once the credentials are loaded.
// Otherwise AWS is called. Errors of the credentials are retried and reported as for any call.
func withKnownIdentity(known func() *distribution.CallerIdentity) func(*sts.Options) {
	answer := func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		identity := known()
		if identity == nil {
			return next.HandleFinalize(ctx, in)
		}
		out := &sts.GetCallerIdentityOutput{Account: &identity.Account, Arn: &identity.ARN}
		return middleware.FinalizeOutput{Result: out}, middleware.Metadata{}, nil
	}
	return func(o *sts.Options) {
		o.APIOptions = append(slices.Clip(o.APIOptions), func(stack *middleware.Stack) error {
			named := middleware.FinalizeMiddlewareFunc("encrypted-ami:identity", answer)
			return stack.Finalize.Insert(named, "Signing", middleware.Before)
		})
	}
}

// roleProvider assumes a role. Its errors do not show the external id.
type roleProvider struct{ *stscreds.AssumeRoleProvider }

func (p roleProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := p.AssumeRoleProvider.Retrieve(ctx)
	if err != nil {
		err = redactedError{err}
	}
	return credentials, err
}

func assumeRoleOptions(role distribution.Role) func(*stscreds.AssumeRoleOptions) {
	return func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = cmp.Or(string(role.SessionName), sessionName)
		o.Duration = sessionDuration
		if role.Duration > 0 {
			o.Duration = role.Duration
		}
		o.ExternalID = optionalString(string(role.ExternalID))
		o.SourceIdentity = optionalString(string(role.SourceIdentity))
		o.Policy = optionalString(role.Policy)
		for _, arn := range role.PolicyARNs {
			o.PolicyARNs = append(o.PolicyARNs, ststypes.PolicyDescriptorType{Arn: aws.String(arn)})
		}
		for _, key := range slices.Sorted(maps.Keys(role.Tags)) {
			o.Tags = append(o.Tags, ststypes.Tag{Key: aws.String(key), Value: aws.String(role.Tags[key])})
		}
		o.TransitiveTagKeys = role.TransitiveTagKeys
	}
}

func optionalString(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// chainKey returns a key that is equal for destinations that can share a session. It contains external IDs, so it must
// stay in memory.
func chainKey(profile string, roles []distribution.Role) string {
	type hop struct {
		distribution.Role
		ExternalID string
	}
	hops := make([]hop, len(roles))
	for i, role := range roles {
		hops[i] = hop{role, string(role.ExternalID)}
	}
	text, err := json.Marshal(hops)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return profile + "\n" + string(text)
}

// accountCheckedProvider returns credentials only if they belong to the account, so no call can reach another one (5.9,
// 5.10).
type accountCheckedProvider struct {
	account string
	profile string // that the first credentials come from; empty if none
	session *session
	client  *sts.Client // with the credentials of the session
}

func (p accountCheckedProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := p.session.Retrieve(ctx)
	if err != nil {
		return credentials, &SessionError{p.account, Operation(err), explainCredentials(p.profile, err)}
	}
	if identity := p.session.identity.Load(); identity != nil {
		credentials.AccountID = identity.Account
	}
	if credentials.AccountID == "" { // unknown for some profiles and access keys, always known for an assumed role
		identity, err := p.client.GetCallerIdentity(ctx, nil)
		if err != nil {
			return aws.Credentials{}, &SessionError{p.account, Operation(err), err}
		}
		credentials.AccountID = aws.ToString(identity.Account)
	}
	if credentials.AccountID != p.account {
		return aws.Credentials{}, &SessionError{Account: p.account, Err: wrongAccountError(credentials.AccountID)}
	}
	return credentials, nil
}
