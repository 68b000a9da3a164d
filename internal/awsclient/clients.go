// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// FromBase is a value of distribution.Request.AssumeRoleFrom. Target roles are then assumed with the credentials that
// assume the top-level assume_role, not with its session.
const FromBase = "base"

// Pool holds the clients of every location. They use the source credentials, unless Assume has set others.
type Pool struct {
	access        Access
	jitter        *jitter
	baseConfig    aws.Config // without the top-level assume_role
	sourceConfig  aws.Config
	sourceSession *session // the credentials of sourceConfig

	monitor outageMonitor

	mu        sync.Mutex
	locations map[distribution.Location]*session
	sessions  map[string]*session // by account and role chain
	signer    *v4.Signer
	ec2       map[distribution.Location]*ec2.Client
	ssm       map[distribution.Location]*ssm.Client
	licenses  map[distribution.Location]*licensemanager.Client
	limiters  map[distribution.Location]map[string]*rate.Limiter // by operation
}

// New loads the configuration of the source credentials. It makes no call.
func New(ctx context.Context, access Access) (*Pool, error) {
	jitter := newJitter(access.Seed)
	base, err := access.load(ctx, "", jitter)
	if err != nil {
		return nil, fmt.Errorf("source credentials: %w", err)
	}
	p := &Pool{
		access:     access,
		jitter:     jitter,
		baseConfig: base,
		monitor:    outageMonitor{report: access.OnOutage, outages: map[outageScope]*outage{}},

		locations: map[distribution.Location]*session{},
		sessions:  map[string]*session{},
		signer:    v4.NewSigner(),
		ec2:       map[distribution.Location]*ec2.Client{},
		ssm:       map[distribution.Location]*ssm.Client{},
		licenses:  map[distribution.Location]*licensemanager.Client{},
		limiters:  map[distribution.Location]map[string]*rate.Limiter{},
	}
	p.sourceSession = p.assumeRoles(base, access.AssumeRole)
	p.sourceConfig = base.Copy()
	p.sourceConfig.Credentials = p.sourceSession
	return p, nil
}

// Region returns the Region of the option, the environment or the profile. Empty if none sets one.
func (p *Pool) Region() string { return p.sourceConfig.Region }

// Assume sets the roles or the profile for the clients of a destination. It makes no call to AWS.
func (p *Pool) Assume(ctx context.Context, d distribution.Destination, assumeRoleFrom string) error {
	if len(d.Roles) == 0 && d.Profile == "" {
		return nil
	}
	key := d.At.Account + "\n" + chainKey(d.Profile, d.Roles)
	p.mu.Lock()
	s := p.sessions[key]
	p.mu.Unlock()
	if s == nil {
		var err error
		if s, err = p.newDestinationSession(ctx, d, assumeRoleFrom); err != nil {
			return err
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[key] == nil { // a concurrent call for another Region may have created it
		p.sessions[key] = s
	}
	p.locations[d.At] = p.sessions[key]
	return nil
}

func (p *Pool) newDestinationSession(
	ctx context.Context, d distribution.Destination, assumeRoleFrom string,
) (*session, error) {
	cfg := p.sourceConfig
	switch {
	case d.Profile != "":
		var err error
		if cfg, err = p.access.load(ctx, d.Profile, p.jitter); err != nil {
			return nil, fmt.Errorf("profile %q of target %q: %w", d.Profile, d.Target, err)
		}
	case assumeRoleFrom == FromBase:
		cfg = p.baseConfig
	}
	profile := cmp.Or(d.Profile, p.access.profileName())
	return p.newCheckedSession(d.At.Account, profile, p.assumeRoles(cfg, d.Roles)), nil
}

// newCheckedSession returns a session that returns the credentials of parent if they belong to the account, and an
// error otherwise.
func (p *Pool) newCheckedSession(account, profile string, parent *session) *session {
	client := p.credentialClient(p.sourceConfig, account, parent)
	return newSession(accountCheckedProvider{account, profile, parent, client}, parent)
}

// sessionOf returns the session of a location, with the source credentials if Assume has set none. If the location has
// no account, it does not check the account of the source credentials, which would need a call of STS. The caller must
// hold mu.
func (p *Pool) sessionOf(at distribution.Location) *session {
	if at.Account == "" {
		return p.sourceSession
	}
	if s := p.locations[at]; s != nil {
		return s
	}
	key := at.Account + "\nsource"
	if p.sessions[key] == nil {
		p.sessions[key] = p.newCheckedSession(at.Account, p.access.profileName(), p.sourceSession)
	}
	p.locations[at] = p.sessions[key]
	return p.locations[at]
}

// Source returns the identity of the source credentials (5.9). It calls AWS once.
func (p *Pool) Source(ctx context.Context) (distribution.CallerIdentity, error) {
	if identity := p.sourceSession.identity.Load(); identity != nil {
		return *identity, nil
	}
	at := distribution.Location{Region: p.sourceConfig.Region}
	identity, err := getCallerIdentity(ctx, p.newConfig(at, p.sourceSession))
	if err != nil {
		return identity, p.TimeoutError(ctx, explainCredentials(p.access.profileName(), err))
	}
	p.sourceSession.identity.Store(&identity)
	return identity, nil
}

// Identity returns the caller at a location. It calls STS in the source's Region, because the location's Region may not
// be enabled. It returns a *SessionError if the credentials do not belong to the account.
func (p *Pool) Identity(ctx context.Context, at distribution.Location) (distribution.CallerIdentity, error) {
	if at.Account == "" {
		return p.Source(ctx)
	}
	p.mu.Lock()
	cfg, s := p.locationConfig(at), p.sessionOf(at)
	p.mu.Unlock()
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return distribution.CallerIdentity{}, context.Cause(ctx)
	}

	if identity := s.parent.identity.Load(); identity != nil && identity.Account == at.Account {
		return *identity, nil
	}
	cfg.Region = cmp.Or(p.sourceConfig.Region, at.Region)
	identity, err := getCallerIdentity(ctx, cfg, withKnownIdentity(s.parent.identity.Load))
	if err == nil {
		s.parent.identity.Store(&identity)
	}
	return identity, err
}

func getCallerIdentity(
	ctx context.Context, cfg aws.Config, options ...func(*sts.Options),
) (distribution.CallerIdentity, error) {
	out, err := sts.NewFromConfig(cfg, options...).GetCallerIdentity(ctx, nil)
	if err != nil {
		return distribution.CallerIdentity{}, err
	}
	identity := distribution.CallerIdentity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}
	if parts := strings.SplitN(identity.ARN, ":", 3); len(parts) == 3 {
		identity.Partition = parts[1]
	}
	return identity, nil
}

// locationConfig returns the configuration for the clients of a location. The caller must hold mu.
func (p *Pool) locationConfig(at distribution.Location) aws.Config {
	cfg := p.newConfig(at, p.sessionOf(at))
	cfg.Region = at.Region
	return cfg
}

// newConfig returns a configuration with a session, retries, session renewal, the guard and the outage monitor.
func (p *Pool) newConfig(at distribution.Location, s *session) aws.Config {
	cfg := p.sourceConfig.Copy()
	cfg.Credentials = s
	cfg.Retryer = p.newRetryer
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), func(stack *middleware.Stack) error {
		if !hasAttempts(stack) {
			return nil
		}
		if err := p.access.Guard.addTo(stack); err != nil {
			return err
		}
		attempts := &attemptMiddleware{at: at, session: s, monitor: &p.monitor}
		interruption := middleware.FinalizeMiddlewareFunc("encrypted-ami:interruption", attempts.explainInterruption)
		if err := stack.Finalize.Insert(interruption, "Retry", middleware.Before); err != nil {
			return err
		}
		return stack.Finalize.Insert(attempts, "Retry", middleware.After)
	})
	return cfg
}

// newRetryer returns a retryer that is limited by max_retries, or by the context alone if that is not set.
func (p *Pool) newRetryer() aws.Retryer {
	attempts := 0
	if p.access.MaxRetries > 0 {
		attempts = p.access.MaxRetries + 1
	}
	return newRetryer(attempts, p.jitter)
}

// EC2 returns the client of a location. Each service has a method of its own: a generic function would link all
// operations of its services, which adds megabytes to the binary.
func (p *Pool) EC2(at distribution.Location) *ec2.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ec2[at] == nil {
		p.ec2[at] = ec2.NewFromConfig(p.locationConfig(at), func(o *ec2.Options) {
			if p.access.CustomEndpointEC2 != "" {
				o.BaseEndpoint = aws.String(p.access.CustomEndpointEC2)
			}
			o.APIOptions = append(o.APIOptions, p.limitRate(at, ec2RateLimit))
			o.HTTPSignerV4 = p.signer // one cache of keys for 1,000 clients
		})
	}
	return p.ec2[at]
}

// KMS returns a client for a location. It is not kept: 1,000 locations need it for a few calls each.
func (p *Pool) KMS(at distribution.Location) *kms.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return kms.NewFromConfig(p.locationConfig(at), p.limitKMSRate(at))
}

// EBS returns the client of the EBS direct APIs for a location.
func (p *Pool) EBS(at distribution.Location) *ebs.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ebs.NewFromConfig(p.locationConfig(at))
}

// KMSIn returns a client with the credentials of a location for another Region.
func (p *Pool) KMSIn(at distribution.Location, region string) *kms.Client {
	if region == at.Region {
		return p.KMS(at)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	in := distribution.Location{Account: at.Account, Region: region}
	cfg := p.newConfig(in, p.sessionOf(at))
	cfg.Region = region
	return kms.NewFromConfig(cfg, p.limitKMSRate(in))
}

// limitKMSRate limits the calls of the caller's account. KMS throttles that account, not the owner of the key (KMS
// Developer Guide, request quotas).
func (p *Pool) limitKMSRate(at distribution.Location) func(*kms.Options) {
	return func(o *kms.Options) { o.APIOptions = append(o.APIOptions, p.limitRate(at, kmsRateLimit)) }
}

// LicenseManager returns the client of a location.
func (p *Pool) LicenseManager(at distribution.Location) *licensemanager.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.licenses[at] == nil {
		p.licenses[at] = licensemanager.NewFromConfig(p.locationConfig(at))
	}
	return p.licenses[at]
}

// SSM returns the client of a location.
func (p *Pool) SSM(at distribution.Location) *ssm.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ssm[at] == nil {
		p.ssm[at] = ssm.NewFromConfig(p.locationConfig(at))
	}
	return p.ssm[at]
}

// Organizations returns a client with the source credentials, or with a chain of roles that they assume.
func (p *Pool) Organizations(roles []distribution.Role) *organizations.Client {
	cfg := p.sourceConfig.Copy()
	if len(roles) > 0 {
		cfg.Credentials = p.assumeRoles(cfg, roles)
	}
	return organizations.NewFromConfig(cfg)
}

// limitRate makes the calls of a location wait for a token, so that AWS does not throttle them.
func (p *Pool) limitRate(at distribution.Location, limits rateLimits) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		if m, ok := stack.Finalize.Get((*attemptMiddleware)(nil).ID()); ok {
			m.(*attemptMiddleware).limiter = p.limiter(at, stack.ID(), limits(stack.ID()))
		}
		return nil
	}
}

// limiter returns the limiter of an operation at a location. Nil if it has no limit. The name of the operation is
// enough as a key, because EC2 and KMS have no name in common.
func (p *Pool) limiter(at distribution.Location, operation string, limit rateLimit) *rate.Limiter {
	if limit == (rateLimit{}) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limiters[at] == nil {
		p.limiters[at] = map[string]*rate.Limiter{}
	}
	if p.limiters[at][operation] == nil {
		p.limiters[at][operation] = rate.NewLimiter(limit.perSecond, limit.burst)
	}
	return p.limiters[at][operation]
}
