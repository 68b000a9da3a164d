// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
	"math"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// RegionRoute is the route of copies to a Region without a source image.
type RegionRoute struct {
	Region    string
	Accounts  int    // that get a copy
	Route            // the cheaper route
	Otherwise *Route // the other route. Nil if the source account has no key for it
}

// Route is where the accounts of a Region copy from, and how much that copies.
type Route struct {
	From           string // the Region itself if one staged copy there serves all accounts
	GiBTransferred int64  // between Regions
	GiBCopied      int64  // in total, without staged copies that other Regions share
}

// routeGraph holds the Region of a source image and the Regions without one.
type routeGraph struct {
	sourceRegion
	destinations []destinationRegion // sorted by Region
}

// sourceRegion is the Region of a source image that accounts copy from.
type sourceRegion struct {
	region    string
	canStage  bool  // the source account has a key there for staged copies
	usable    bool  // canStage, or nothing must be staged
	sizeGiB   int64 // of the image
	stagedGiB int64 // of the image that must be staged first, for these accounts alone
}

// destinationRegion is a Region without a source image, with at least one account that is not the source account.
type destinationRegion struct {
	region   string
	accounts int64 // that get a copy
	canStage bool  // the source account has a key there for staged copies
}

// savesTransfers reports whether one staged copy in the Region serves several accounts.
func (d destinationRegion) savesTransfers() bool { return d.canStage && d.accounts > 1 }

// regionRoutes returns the cheaper route to every Region without a source image, sorted by Region. It depends on
// all destinations of the request, not on those that are excluded or complete, so that a resumed run takes the same
// routes.
func (a *Assessment) regionRoutes(all []distribution.Destination) []RegionRoute {
	g := a.newRouteGraph(all)
	routeTo := func(d destinationRegion, staged []string) Route {
		r := g.route(d, staged)
		if len(g.destinations) == 1 { // else other Regions share the staged copy
			r.GiBCopied += g.stagedAtSource(staged)
		}
		return r
	}

	staged := g.cheapestStaging()
	var routes []RegionRoute
	for _, d := range g.destinations {
		w := RegionRoute{Region: d.region, Accounts: int(d.accounts), Route: routeTo(d, staged)}
		if other, possible := g.otherStaging(d, staged); possible {
			r := routeTo(d, other)
			w.Otherwise = &r
		}
		routes = append(routes, w)
	}

	return routes
}

// cheapestStaging returns the Regions to stage copies in. It minimizes the transfer between Regions, then the GiB
// copied, then the accounts that copy from a third Region. It stages wherever several accounts share the copy, and in
// at most one other Region, because all others can copy from that one.
func (g routeGraph) cheapestStaging() []string {
	var shared []string
	for _, d := range g.destinations {
		if d.savesTransfers() {
			shared = append(shared, d.region)
		}
	}

	var choices [][]string
	for _, d := range g.destinations {
		if d.canStage && !d.savesTransfers() {
			choices = append(choices, distribution.Union(shared, []string{d.region}))
		}
	}

	return slices.MinFunc(append(choices, shared), func(a, b []string) int { return slices.Compare(g.cost(a), g.cost(b)) })
}

// otherStaging returns the Regions to stage in if a Region is served by its other route.
func (g routeGraph) otherStaging(d destinationRegion, staged []string) (other []string, possible bool) {
	if !slices.Contains(staged, d.region) {
		return distribution.Union(staged, []string{d.region}), d.canStage
	}
	g.destinations = slices.Clone(g.destinations)
	g.destinations[slices.Index(g.destinations, d)].canStage = false
	other = g.cheapestStaging()
	return other, g.servesAll(other)
}

// cost returns what staging in some Regions costs: GiB between Regions, GiB copied, accounts that copy from a third
// Region.
func (g routeGraph) cost(staged []string) []int64 {
	if !g.servesAll(staged) {
		return []int64{math.MaxInt64}
	}

	transferred, copied, indirect := int64(0), g.stagedAtSource(staged), int64(0)
	for _, d := range g.destinations {
		r := g.route(d, staged)
		transferred += r.GiBTransferred
		copied += r.GiBCopied
		if r.From != d.region && r.From != g.region {
			indirect += d.accounts
		}
	}

	return []int64{transferred, copied, indirect}
}

// servesAll reports whether every Region has a route if copies are staged in some.
func (g routeGraph) servesAll(staged []string) bool { return g.usable || len(staged) > 0 }

// from returns the Region that accounts copy from if their own Region has no staged copy.
func (g routeGraph) from(staged []string) string {
	if len(staged) == 0 || g.usable && g.stagedGiB == 0 {
		return g.region
	}
	return staged[0]
}

// stagedAtSource returns the GiB that must be staged in the Region of the source image.
func (g routeGraph) stagedAtSource(staged []string) int64 {
	if len(staged) == len(g.destinations) || g.from(staged) != g.region {
		return 0
	}
	return g.stagedGiB
}

// route returns the route to a Region if copies are staged in some Regions.
func (g routeGraph) route(d destinationRegion, staged []string) Route {
	if slices.Contains(staged, d.region) {
		return Route{From: d.region, GiBTransferred: g.sizeGiB, GiBCopied: g.sizeGiB * (1 + d.accounts)}
	}
	return Route{From: g.from(staged), GiBTransferred: g.sizeGiB * d.accounts, GiBCopied: g.sizeGiB * d.accounts}
}

// newRouteGraph counts the accounts of every Region without a source image.
func (a *Assessment) newRouteGraph(all []distribution.Destination) routeGraph {
	var g routeGraph
	byImage, locations := false, make([]distribution.Location, len(all))
	byRegion, hasOtherAccount := map[string]destinationRegion{}, map[string]bool{}
	for i, d := range all {
		locations[i] = d.At
		if d.FromRegion == d.At.Region {
			continue
		}
		byImage = byImage || d.Method == distribution.ByImage
		g.region = d.FromRegion // the same for all
		region := byRegion[d.At.Region]
		region.region = d.At.Region
		region.accounts++
		region.canStage = a.canStage(d.At.Region)
		byRegion[region.region] = region
		hasOtherAccount[region.region] = hasOtherAccount[region.region] || d.At.Account != a.facts.Source.Account
	}

	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		if hasOtherAccount[region] {
			g.destinations = append(g.destinations, byRegion[region])
		}
	}

	g.sourceRegion = a.newSourceRegion(locations, g.region)
	if byImage && g.stagedGiB > 0 {
		g.stagedGiB = g.sizeGiB
	}

	return g
}

// newSourceRegion returns the Region of a source image. What is staged there for other reasons costs nothing.
func (a *Assessment) newSourceRegion(locations []distribution.Location, region string) sourceRegion {
	s := &shareSource{location: distribution.Location{Account: a.facts.Source.Account, Region: region}, region: region}
	s.keyARN = a.sourceKeyARN(s.location)
	r := sourceRegion{region: region, canStage: a.canStage(region)}
	for _, v := range volumes(a.facts.Images[region]) {
		r.sizeGiB += v.gib()
		if sv, _ := s.newSourceVolume(a, v); sv.isStaged {
			r.stagedGiB += v.gib()
		}
	}

	r.usable = r.canStage || r.stagedGiB == 0

	copiesWithinRegion := func(at distribution.Location) bool {
		return at.Region == region && at.Account != a.facts.Source.Account
	}
	if len(a.req.Shares) > 0 || slices.ContainsFunc(locations, copiesWithinRegion) {
		r.stagedGiB = 0
	}

	return r
}
