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

// atOnce is the maximum number of destinations that are looked up concurrently.
const atOnce = 32

// Look looks up the facts for a request, and sets the credentials of each destination in the pool. It returns an error
// if the source credentials cannot be used, or if the context has ended.
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
	sharers, _ := plan.Assess(req, s.facts).Sharers()
	all := sharers
	sharers = slices.DeleteFunc(slices.Clone(sharers), func(d distribution.Destination) bool {
		return slices.ContainsFunc(destinations, func(o distribution.Destination) bool { return o.At == d.At })
	})
	for _, d := range slices.Concat(destinations, sharers) {
		if err := pool.Assume(ctx, d, req.AssumeRoleFrom); err != nil {
			s.keep(func(f *distribution.Facts) {
				f.Sites[d.At] = distribution.DestinationFacts{Err: awsclient.Refused("profile", err)}
			})
		}
	}
	assumed := slices.Concat(destinations, sharers)
	destinations, err = s.lookEverywhere(ctx, destinations, sharers)
	s.compareExternalIDs(assumed)
	err = errors.Join(err, s.existingElsewhere(ctx, destinations))
	err = errors.Join(err, s.sharePointers(ctx), s.allowedImages(ctx, all))
	s.grants(ctx)
	s.sources(ctx)
	s.sourceReleases(ctx)
	err = errors.Join(err, s.usage(ctx, destinations))
	return s.facts, err
}

// expand returns the destinations that can be looked up. Decide reports the problems of the others.
func (s *survey) expand() []distribution.Destination {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, _ := plan.Assess(s.req, s.facts).Expand()
	return slices.DeleteFunc(all, func(d distribution.Destination) bool { return !s.facts.HasRegion(d.At.Region) })
}

// lookEverywhere looks up the destinations, the accounts of share blocks and the staging locations. It does so
// concurrently, so that Regions that do not answer do not delay each other.
func (s *survey) lookEverywhere(
	ctx context.Context, destinations, sharers []distribution.Destination,
) ([]distribution.Destination, error) {
	isDestination := func(at distribution.Location) bool {
		return slices.ContainsFunc(destinations, func(d distribution.Destination) bool { return d.At == at })
	}
	all := s.stagingLocations(destinations)
	staged := slices.DeleteFunc(slices.Clone(all), isDestination)

	var group errgroup.Group
	group.Go(func() error { return s.staging(ctx, staged) })
	group.Go(func() error {
		return s.each(ctx, len(sharers), func(ctx context.Context, i int) { s.sharer(ctx, sharers[i]) })
	})
	now, err := s.lookAtDestinations(ctx, destinations)
	err = errors.Join(err, group.Wait())

	rest := slices.DeleteFunc(s.stagingLocations(now), func(at distribution.Location) bool {
		return slices.Contains(staged, at)
	})
	return now, errors.Join(err, s.staging(ctx, rest))
}

// lookAtDestinations looks up the destinations. If earlier runs copied from another image of the artifact, it repeats
// the lookup for the destinations of that image, because their names may differ.
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

// survey is one lookup of all facts.
type survey struct {
	pool   *awsclient.Pool
	req    distribution.Request
	atOnce int // destinations

	mu    sync.Mutex // held for an entry into the facts, never across a call
	facts distribution.Facts
}

// each calls look concurrently with 0 to n-1. It returns an error only if the context has ended or a call panicked.
func (s *survey) each(ctx context.Context, n int, look func(context.Context, int)) error {
	var group errgroup.Group
	slots := make(chan struct{}, s.atOnce)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() error {
			ctx, release := awsclient.WithSlot(ctx, func() { <-slots })
			defer release()
			return recovery.Do(func() error {
				look(ctx, i)
				return ctx.Err()
			})
		})
	}
	return group.Wait()
}

// stagingLocations returns the sorted locations where the source account may stage copies for destinations.
func (s *survey) stagingLocations(destinations []distribution.Destination) []distribution.Location {
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
	var all []distribution.Location
	for _, region := range slices.Sorted(maps.Keys(from)) {
		all = append(all, distribution.Location{Account: s.facts.Source.Account, Region: region})
	}
	return all
}

// staging looks up what staged copies depend on: the source account's key, and existing staged copies.
func (s *survey) staging(ctx context.Context, all []distribution.Location) error {
	return s.each(ctx, len(all), func(ctx context.Context, i int) {
		at := all[i]
		s.keys(ctx, at, plan.SourceKey(s.req, at.Region))
		s.existing(ctx, at, true)
		s.permissions(ctx, at, isOfShareBlocks)
	})
}

// keep changes the facts under the lock.
func (s *survey) keep(enter func(*distribution.Facts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	enter(&s.facts)
}

// lookupFailed records a lookup that AWS refused.
func (s *survey) lookupFailed(at distribution.Location, resource, operation string, err error) {
	s.missed(distribution.FailedLookup{At: at, Resource: resource, Refusal: *awsclient.Refused(operation, err)})
}

// requiredLookupFailed records a refused lookup without which a destination cannot be planned.
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
		seen, isKnown := s.keyByARN(at, key)
		if !isKnown {
			seen = s.key(ctx, at, key)
		}
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

// keyByARN returns a key that was described by its alias or ID before.
func (s *survey) keyByARN(at distribution.Location, arn string) (distribution.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range s.facts.Keys[at] {
		if key.Metadata != nil && key.ARN() == arn {
			return key, true
		}
	}
	return distribution.Key{}, false
}

func (s *survey) keyKnown(at distribution.Location, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.facts.Keys[at][key]
	return known
}
