// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package discover reads from AWS what a plan needs to know, and returns it as distribution.Facts. It decides nothing
// and changes nothing. A denied call is a fact as well.
package discover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
)

// atOnce is the number of destinations that discovery looks at concurrently.
const atOnce = 32

// Look fills the facts for a request, and gives the pool the credentials of each destination. The error is that the
// source credentials cannot be used at all, or that the context is over.
func Look(ctx context.Context, pool *awsclient.Pool, req distribution.Request) (distribution.Facts, error) {
	who, err := pool.Source(ctx)
	if err != nil {
		return distribution.Facts{}, fmt.Errorf("the source credentials cannot be used: "+
			"%w", awsclient.Refused("sts:GetCallerIdentity", err))
	}
	s := &survey{pool: pool, req: req, atOnce: atOnce, facts: distribution.Facts{
		At:       time.Now(),
		Source:   who,
		Images:   map[string]distribution.Image{},
		Defaults: map[distribution.Location]distribution.Default{},
		Keys:     map[distribution.Location]map[string]distribution.Key{},
		Sites:    map[distribution.Location]distribution.DestinationFacts{},
		Earlier:  map[distribution.Location]distribution.ExistingResources{},
	}}
	if err := s.regions(ctx); awsclient.HasEnded(err) { // since they were asked for
		return distribution.Facts{}, fmt.Errorf("the source credentials cannot be used: "+
			"%w", awsclient.Refused("ec2:DescribeRegions", err))
	}
	if req.Intent != nil {
		s.atOnce = maxConcurrentAccounts
		err = s.intent(ctx)
	} else {
		err = s.each(ctx, len(req.Images), func(ctx context.Context, i int) { s.image(ctx, req.Images[i]) })
	}
	if err != nil {
		return s.facts, err
	}
	if s.facts.Runs, err = req.Records.Read(ctx); err != nil {
		return s.facts, err
	}
	s.organizationalUnits(ctx)
	destinations := s.expand()
	sharers, _ := plan.Sharers(req, s.facts)
	sharers = slices.DeleteFunc(sharers, func(d distribution.Destination) bool {
		return slices.ContainsFunc(destinations, func(o distribution.Destination) bool { return o.At == d.At })
	})
	for _, d := range slices.Concat(destinations, sharers) {
		if err := pool.Assume(ctx, d, req.AssumeRoleFrom); err != nil {
			s.keep(func(f *distribution.Facts) {
				f.Sites[d.At] = distribution.DestinationFacts{Err: awsclient.Refused("profile", err)}
			})
		}
	}
	destinations, err = s.lookAtDestinations(ctx, destinations)
	err = errors.Join(
		err,
		s.staging(ctx, destinations),
		s.each(ctx, len(sharers), func(ctx context.Context, i int) { s.sharer(ctx, sharers[i]) }),
	)
	err = errors.Join(err, s.existingElsewhere(ctx, destinations))
	s.grants(ctx)
	s.sources(ctx)
	return s.facts, err
}

// expand returns the destinations that can be looked at. Decide reports what is wrong with the others.
func (s *survey) expand() []distribution.Destination {
	all, _ := plan.Expand(s.req, s.facts)
	return slices.DeleteFunc(all, func(d distribution.Destination) bool { return !s.facts.HasRegion(d.At.Region) })
}

// lookAtDestinations looks at destinations. It may find that earlier runs took another image of the artifact. Then it
// looks again at the destinations of that image, because their names may differ.
func (s *survey) lookAtDestinations(
	ctx context.Context,
	destinations []distribution.Destination,
) ([]distribution.Destination, error) {
	look := func(all []distribution.Destination) error {
		return s.each(ctx, len(all), func(ctx context.Context, i int) { s.destination(ctx, all[i]) })
	}
	err := look(destinations)
	now := s.expand()
	moved := slices.DeleteFunc(slices.Clone(now), func(d distribution.Destination) bool {
		return slices.ContainsFunc(
			destinations,
			func(o distribution.Destination) bool { return o.At == d.At && o.FromRegion == d.FromRegion },
		)
	})
	return now, errors.Join(err, look(moved))
}

// survey is one look at everything.
type survey struct {
	pool   *awsclient.Pool
	req    distribution.Request
	atOnce int // destinations

	mu    sync.Mutex // held for an entry into the facts, never across a call
	facts distribution.Facts
}

// each calls look for 0 to n-1 concurrently. The error is the context's, or a panic.
func (s *survey) each(ctx context.Context, n int, look func(context.Context, int)) error {
	var group errgroup.Group
	group.SetLimit(s.atOnce)
	for i := range n {
		group.Go(func() error {
			return recovery.Do(func() error {
				look(ctx, i)
				return ctx.Err()
			})
		})
	}
	return group.Wait()
}

// staging looks at what copies staged in the destinations' Regions depend on: the source account's key there, and what
// earlier runs staged.
func (s *survey) staging(ctx context.Context, destinations []distribution.Destination) error {
	from := map[string]string{} // Region -> Region of the image that goes there
	for _, image := range s.req.Images {
		if len(s.req.Shares) > 0 {
			from[image.Region] = image.Region
		}
	}
	for _, d := range destinations {
		if d.At.Account != s.facts.Source.Account {
			from[d.At.Region], from[d.FromRegion] = d.FromRegion, d.FromRegion
		}
	}
	regions := slices.Sorted(maps.Keys(from))
	return s.each(ctx, len(regions), func(ctx context.Context, i int) {
		at := distribution.Location{Account: s.facts.Source.Account, Region: regions[i]}
		s.keys(ctx, at, plan.SourceKey(s.req, at.Region))
		s.existing(ctx, at, true)
		s.permissions(ctx, at, isHandedOut)
	})
}

// keep enters something into the facts.
func (s *survey) keep(enter func(*distribution.Facts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	enter(&s.facts)
}

// unseen enters a look that was refused.
func (s *survey) lookupFailed(at distribution.Location, resource, operation string, err error) {
	s.missed(distribution.FailedLookup{At: at, Resource: resource, Refusal: *awsclient.Refused(operation, err)})
}

// blind enters a look that was refused, and that nothing is done without.
func (s *survey) requiredLookupFailed(at distribution.Location, resource, operation string, err error) {
	s.missed(
		distribution.FailedLookup{At: at, Resource: resource, Refusal: *awsclient.Refused(operation, err), Vital: true},
	)
}

func (s *survey) missed(look distribution.FailedLookup) {
	s.keep(func(f *distribution.Facts) { f.Unseen = append(f.Unseen, look) })
}

// keys describes the keys of an account and Region, each once. It skips empty strings.
func (s *survey) keys(ctx context.Context, at distribution.Location, asked ...string) {
	for _, key := range asked {
		if key == "" || s.keyKnown(at, key) {
			continue
		}
		seen := s.key(ctx, at, key)
		s.keep(func(f *distribution.Facts) {
			known := maps.Clone(f.Keys[at])
			if known == nil {
				known = map[string]distribution.Key{}
			}
			known[key] = seen
			f.Keys[at] = known
		})
	}
}

func (s *survey) keyKnown(at distribution.Location, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.facts.Keys[at][key]
	return known
}
