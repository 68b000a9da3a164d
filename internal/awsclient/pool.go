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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

// FromBase makes target roles be assumed with the credentials before the top-level assume_role (plan.Request.AssumeRoleFrom).
const FromBase = "base"

// Pool has a client for every place. Source places use the source credentials; Assume says which others use what.
type Pool struct {
	access Access
	jitter *jitter
	base   aws.Config // before the top-level assume_role
	source aws.Config
	own    *session // credentials of source

	unanswered unanswered

	mu       sync.Mutex
	places   map[distribution.Location]*session
	sessions map[string]*session // by account and chain
	ec2      map[distribution.Location]*ec2.Client
	kms      map[distribution.Location]*kms.Client
	ssm      map[distribution.Location]*ssm.Client
	licenses map[distribution.Location]*licensemanager.Client
	buckets  map[distribution.Location]map[string]*rate.Limiter
}

// New reads the configuration for the source credentials. It makes no call.
func New(ctx context.Context, access Access) (*Pool, error) {
	jitter := newJitter(access.Seed)
	base, err := access.load(ctx, "", jitter)
	if err != nil {
		return nil, fmt.Errorf("source credentials: %w", err)
	}
	own := chain(base, access.AssumeRole)
	source := base.Copy()
	source.Credentials = own
	return &Pool{
		access: access, jitter: jitter, base: base, source: source, own: own,
		places:   map[distribution.Location]*session{},
		sessions: map[string]*session{},
		ec2:      map[distribution.Location]*ec2.Client{},
		kms:      map[distribution.Location]*kms.Client{},
		ssm:      map[distribution.Location]*ssm.Client{},
		licenses: map[distribution.Location]*licensemanager.Client{},
		buckets:  map[distribution.Location]map[string]*rate.Limiter{},

		unanswered: unanswered{silent: access.Silent},
	}, nil
}

// Region is that of the configuration: option, environment or profile; "" where none names one.
func (p *Pool) Region() string { return p.source.Region }

// Assume makes the clients of a destination's place use its roles or profile. It makes no call to AWS.
func (p *Pool) Assume(ctx context.Context, d distribution.Destination, assumeRoleFrom string) error {
	if len(d.Roles) == 0 && d.Profile == "" {
		return nil
	}
	key := d.At.Account + "\n" + chainKey(d.Profile, d.Roles)
	p.mu.Lock()
	shared := p.sessions[key]
	p.mu.Unlock()
	if shared == nil {
		cfg := p.source
		switch {
		case d.Profile != "":
			var err error
			if cfg, err = p.access.load(ctx, d.Profile, p.jitter); err != nil {
				return fmt.Errorf("profile %q of target %q: %w", d.Profile, d.Target, err)
			}
		case assumeRoleFrom == FromBase:
			cfg = p.base
		}
		shared = p.proved(d.At.Account, chain(cfg, d.Roles))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[key] == nil { // else another Region of the account was faster
		p.sessions[key] = shared
	}
	p.places[d.At] = p.sessions[key]
	return nil
}

// proved binds a session to an account: it hands out no credentials of another one.
func (p *Pool) proved(account string, from *session) *session {
	cfg := p.source.Copy()
	cfg.Credentials = from
	return cached(accountCheckedProvider{account, from, sts.NewFromConfig(cfg)}, from)
}

// sessionOf is a place's session; the source credentials, proved to be the account's, where Assume said nothing. Call it with mu held.
func (p *Pool) sessionOf(at distribution.Location) *session {
	if s := p.places[at]; s != nil {
		return s
	}
	key := at.Account + "\nsource"
	if p.sessions[key] == nil {
		p.sessions[key] = p.proved(at.Account, p.own)
	}
	p.places[at] = p.sessions[key]
	return p.places[at]
}

// outage is how long AWS may be out of reach at first: what is built is not protected yet.
const outage = 15 * time.Minute

// Source is who the source credentials are (5.9). AWS is asked once.
func (p *Pool) Source(ctx context.Context) (distribution.CallerIdentity, error) {
	if who := p.own.who.Load(); who != nil {
		return *who, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, outage, fmt.Errorf("AWS was out of reach for %v", outage))
	defer cancel()
	who, err := identity(ctx, p.watched(p.own))
	if err != nil {
		return who, p.TimeoutError(ctx, err)
	}
	p.own.who.Store(&who)
	return who, nil
}

// retryer repeats as long as the context lasts, or as often as max_retries says.
func (p *Pool) retryer() func() aws.Retryer {
	attempts := 0
	if p.access.MaxRetries > 0 {
		attempts = p.access.MaxRetries + 1
	}
	return func() aws.Retryer { return again(attempts, p.jitter) }
}

// Identity is who acts at a place, asked for in the source's Region: the place's own may not be enabled. It fails with a *SessionError when the credentials are not the place's account's.
func (p *Pool) Identity(ctx context.Context, at distribution.Location) (distribution.CallerIdentity, error) {
	p.mu.Lock()
	cfg, session := p.config(at), p.sessionOf(at)
	p.mu.Unlock()
	select {
	case session.turn <- struct{}{}:
		defer func() { <-session.turn }()
	case <-ctx.Done():
		return distribution.CallerIdentity{}, context.Cause(ctx)
	}
	if who := session.under.who.Load(); who != nil && who.Account == at.Account {
		return *who, nil
	}
	cfg.Region = cmp.Or(p.source.Region, at.Region)
	who, err := identity(ctx, cfg)
	if err == nil {
		session.under.who.Store(&who)
	}
	return who, err
}

func identity(ctx context.Context, cfg aws.Config) (distribution.CallerIdentity, error) {
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return distribution.CallerIdentity{}, err
	}
	who := distribution.CallerIdentity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}
	if fields := strings.SplitN(who.ARN, ":", 3); len(fields) == 3 {
		who.Partition = fields[1]
	}
	return who, nil
}

// config is what a place's clients are made from: its Region, its session, repeats as long as the context lasts. Call it with mu held.
func (p *Pool) config(at distribution.Location) aws.Config {
	cfg := p.watched(p.sessionOf(at))
	cfg.Region = at.Region
	return cfg
}

// watched is the configuration with a session, whose calls are repeated, have their session renewed, and are known while nothing answers them.
func (p *Pool) watched(session *session) aws.Config {
	cfg := p.source.Copy()
	cfg.Credentials = session
	cfg.Retryer = p.retryer()
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), func(stack *middleware.Stack) error {
		if !sends(stack) {
			return nil
		}
		if err := p.access.Guard.add(stack); err != nil {
			return err
		}
		return stack.Finalize.Insert(&attempt{session: session, unanswered: &p.unanswered}, "Retry", middleware.After)
	})
	return cfg
}

// EC2 is the client of a place. It is written out for each service: a client that a generic function is given brings all operations of its service
// into the binary, megabytes of them.
func (p *Pool) EC2(at distribution.Location) *ec2.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ec2[at] == nil {
		p.ec2[at] = ec2.NewFromConfig(p.config(at), func(o *ec2.Options) {
			if p.access.CustomEndpointEC2 != "" {
				o.BaseEndpoint = aws.String(p.access.CustomEndpointEC2)
			}
			o.APIOptions = append(o.APIOptions, p.atRate(at, ofEC2))
		})
	}
	return p.ec2[at]
}

// KMS is the client of a place.
func (p *Pool) KMS(at distribution.Location) *kms.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kms[at] == nil {
		p.kms[at] = kms.NewFromConfig(p.config(at), p.keysAtRate(at))
	}
	return p.kms[at]
}

// KMSIn is a client for another Region than a place's, with the place's credentials.
func (p *Pool) KMSIn(at distribution.Location, region string) *kms.Client {
	if region == at.Region {
		return p.KMS(at)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cfg := p.config(at)
	cfg.Region = region
	return kms.NewFromConfig(cfg, p.keysAtRate(distribution.Location{Account: at.Account, Region: region}))
}

// keysAtRate is atRate for KMS, which throttles the account that calls, whoever owns the key (KMS developer guide, request quotas).
func (p *Pool) keysAtRate(at distribution.Location) func(*kms.Options) {
	return func(o *kms.Options) { o.APIOptions = append(o.APIOptions, p.atRate(at, ofKMS)) }
}

// LicenseManager is the client of a place.
func (p *Pool) LicenseManager(at distribution.Location) *licensemanager.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.licenses[at] == nil {
		p.licenses[at] = licensemanager.NewFromConfig(p.config(at))
	}
	return p.licenses[at]
}

// SSM is the client of a place.
func (p *Pool) SSM(at distribution.Location) *ssm.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ssm[at] == nil {
		p.ssm[at] = ssm.NewFromConfig(p.config(at))
	}
	return p.ssm[at]
}

// Organizations is a client for the organization, with the source credentials or a chain of roles that they assume.
func (p *Pool) Organizations(roles []distribution.Role) *organizations.Client {
	cfg := p.source.Copy()
	if len(roles) > 0 {
		cfg.Credentials = chain(cfg, roles)
	}
	return organizations.NewFromConfig(cfg)
}

// atRate lets the calls of a place wait for the token that AWS would ask for.
func (p *Pool) atRate(at distribution.Location, of bucketOf) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		if m, ok := stack.Finalize.Get((*attempt)(nil).ID()); ok {
			m.(*attempt).bucket = p.bucket(at, stack.ID(), of(stack.ID()))
		}
		return nil
	}
}

// bucket is the one of an operation at a place; nil: it has none. No operation of EC2 has the name of one of KMS.
func (p *Pool) bucket(at distribution.Location, operation string, b bucket) *rate.Limiter {
	if b == (bucket{}) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buckets[at] == nil {
		p.buckets[at] = map[string]*rate.Limiter{}
	}
	if p.buckets[at][operation] == nil {
		p.buckets[at][operation] = rate.NewLimiter(b.refill, b.size)
	}
	return p.buckets[at][operation]
}
