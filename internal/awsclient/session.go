// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
)

// A session lasts an hour, the most that role chaining allows (5.2), and is renewed five minutes early.
const (
	sessionLength = time.Hour
	renewEarly    = 5 * time.Minute
	sessionName   = "encrypted-ami"
)

// SessionError says that the credentials for an account could not be had, or are another account's. Nothing was sent.
type SessionError struct {
	Account   string // for which credentials were wanted
	Operation string // "sts:AssumeRole", "sts:GetCallerIdentity"; "" where it was not a call
	Err       error
}

// otherAccount is whose the credentials are, where they are not the wanted account's (5.10).
type otherAccount string

func (e otherAccount) Error() string { return "they belong to account " + string(e) }

func (e *SessionError) Error() string {
	return fmt.Sprintf("credentials for account %s: %v", e.Account, e.Err)
}

func (e *SessionError) Unwrap() error { return e.Err }

// RetryableError lets a call be made again when its session failed for a reason that passes.
func (e *SessionError) RetryableError() bool { return IsTransient(e.Err) }

// session is the credentials of one account, shared by its Regions.
type session struct {
	*aws.CredentialsCache
	under *session                                    // the hop before; nil for the first
	turn  chan struct{}                               // held by whoever asks for its identity, so that it is asked for once
	who   atomic.Pointer[distribution.CallerIdentity] // nil: nobody has asked yet
}

// renew forgets what is cached: AWS says that it has expired (5.4).
func (s *session) renew() {
	for ; s != nil; s = s.under {
		s.Invalidate()
	}
}

func cached(from aws.CredentialsProvider, under *session) *session {
	cache := aws.NewCredentialsCache(panicSafeProvider{from}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewEarly })
	return &session{CredentialsCache: cache, under: under, turn: make(chan struct{}, 1)}
}

// calm makes an error of a panic: the cache asks in a goroutine of its own, where nobody else could.
type panicSafeProvider struct{ from aws.CredentialsProvider }

func (c panicSafeProvider) Retrieve(ctx context.Context) (credentials aws.Credentials, err error) {
	err = recovery.Do(func() (err error) {
		credentials, err = c.from.Retrieve(ctx)
		return err
	})
	return credentials, err
}

// own takes the cache that the SDK put round the base credentials, so that renewing reaches it.
func own(provider aws.CredentialsProvider) (*session, bool) {
	cache, ok := provider.(*aws.CredentialsCache)
	return &session{CredentialsCache: cache}, ok
}

// chain assumes roles one after the other. The STS clients use the configuration's bounded retryer.
func chain(cfg aws.Config, roles []distribution.Role) *session {
	last, ok := own(cfg.Credentials)
	if !ok {
		last = cached(cfg.Credentials, nil)
	}
	for _, role := range roles {
		hop := cfg.Copy()
		hop.Credentials = last
		last = cached(assumed{stscreds.NewAssumeRoleProvider(sts.NewFromConfig(hop), string(role.RoleARN), assume(role))}, last)
	}
	return last
}

// assumed is a role whose errors do not show its external id.
type assumed struct{ *stscreds.AssumeRoleProvider }

func (a assumed) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := a.AssumeRoleProvider.Retrieve(ctx)
	if err != nil {
		err = redactedError{err}
	}
	return credentials, err
}

func assume(role distribution.Role) func(*stscreds.AssumeRoleOptions) {
	return func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName
		if role.SessionName != "" {
			o.RoleSessionName = string(role.SessionName)
		}
		o.Duration = sessionLength
		if role.Duration > 0 {
			o.Duration = role.Duration
		}
		o.ExternalID = given(string(role.ExternalID))
		o.SourceIdentity = given(string(role.SourceIdentity))
		o.Policy = given(role.Policy)
		for _, arn := range role.PolicyARNs {
			o.PolicyARNs = append(o.PolicyARNs, ststypes.PolicyDescriptorType{Arn: aws.String(arn)})
		}
		for _, key := range slices.Sorted(maps.Keys(role.Tags)) {
			o.Tags = append(o.Tags, ststypes.Tag{Key: aws.String(key), Value: aws.String(role.Tags[key])})
		}
		o.TransitiveTagKeys = role.TransitiveTagKeys
	}
}

func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// chainKey tells whether two destinations can share a session. It holds external ids: it stays in memory.
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

// proved hands out credentials only when they belong to the account (5.9, 5.10): what they sign cannot land in another one.
type accountCheckedProvider struct {
	account string
	from    *session
	sts     *sts.Client // with the credentials that are to be proved
}

func (p accountCheckedProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := p.from.Retrieve(ctx)
	if err != nil {
		return credentials, &SessionError{p.account, Operation(err), err}
	}
	if who := p.from.who.Load(); who != nil {
		credentials.AccountID = who.Account
	}
	if credentials.AccountID == "" { // an assumed role tells it, a profile or access key need not
		identity, err := p.sts.GetCallerIdentity(ctx, nil)
		if err != nil {
			return aws.Credentials{}, &SessionError{p.account, Operation(err), err}
		}
		credentials.AccountID = aws.ToString(identity.Account)
	}
	if credentials.AccountID != p.account {
		return aws.Credentials{}, &SessionError{Account: p.account, Err: otherAccount(credentials.AccountID)}
	}
	return credentials, nil
}
