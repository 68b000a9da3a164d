// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// RegionRoute is the route of copies to a Region without a source image. Either the source account stages one copy in
// that Region, and all accounts copy it. Or each account copies from another Region.
type RegionRoute struct {
	Region         string
	Accounts       int    // that get a copy
	From           string // the Region itself if one staged copy there serves all accounts
	GiBTransferred int64  // between Regions
}

// routeGraph holds the Region of a source image and the Regions without one.
type routeGraph struct {
	sourceRegion
	forTime      bool                // prefer the routes whose copies end first
	destinations []destinationRegion // sorted by Region
}

// sourceRegion is the Region of a source image that accounts copy from.
type sourceRegion struct {
	region      string
	canStage    bool          // the source account has a key there for staged copies
	usable      bool          // canStage, or nothing must be staged
	sizeGiB     int64         // of the image
	stagedGiB   int64         // of the image that must be staged first, for these accounts alone
	directTime  time.Duration // until accounts have copied from this Region, staging included
	stagingTime time.Duration // until accounts have copied a staged copy in their own Region
}

// destinationRegion is a Region without a source image, with at least one account that is not the source account.
type destinationRegion struct {
	region   string
	accounts int64 // that get a copy
	canStage bool  // the source account has a key there for staged copies
}

// regionRoutes returns the route to every Region without a source image, sorted by Region. It depends on all
// destinations of the request, not on those that are excluded or complete, so that a resumed run takes the same
// routes.
func (a *Assessment) regionRoutes(all []distribution.Destination) []RegionRoute {
	g := a.newRouteGraph(all)
	staged := g.stagedRegions()
	var routes []RegionRoute
	for _, d := range g.destinations {
		route := RegionRoute{
			Region:         d.region,
			Accounts:       int(d.accounts),
			From:           g.from(staged),
			GiBTransferred: g.sizeGiB * d.accounts,
		}
		if slices.Contains(staged, d.region) {
			route.From, route.GiBTransferred = d.region, g.sizeGiB
		}
		routes = append(routes, route)
	}

	return routes
}

// stagedRegions returns the Regions to stage copies in.
//
// For the least transfer, these are the Regions in which several accounts share the copy. If there is none, and the
// image cannot be copied from its own Region, one other Region serves all. For the least time, nothing is staged if
// direct copies end earlier. If they do not, the least transfer decides.
func (g routeGraph) stagedRegions() []string {
	if g.forTime && g.usable && g.directTime < g.stagingTime {
		return nil
	}

	var staged []string
	for _, d := range g.destinations {
		if d.canStage && d.accounts > 1 {
			staged = append(staged, d.region)
		}
	}

	if len(staged) > 0 || g.usable {
		return staged
	}

	for _, d := range g.destinations {
		if d.canStage {
			return []string{d.region}
		}
	}

	return nil
}

// from returns the Region that accounts copy from if their own Region has no staged copy. A copy that is staged in
// another Region anyway saves staging one in the Region of the source image.
func (g routeGraph) from(staged []string) string {
	if len(staged) == 0 || g.usable && g.stagedGiB == 0 {
		return g.region
	}
	return staged[0]
}

// newRouteGraph counts the accounts of every Region without a source image.
func (a *Assessment) newRouteGraph(all []distribution.Destination) routeGraph {
	g := routeGraph{forTime: a.req.OptimizeForTime}
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

	g.sourceRegion = a.newSourceRegion(locations, g.region, byImage)
	return g
}

// newSourceRegion returns the Region of a source image. What is staged there for other reasons costs nothing. If an
// account copies by image and a volume must be staged, all volumes are.
func (a *Assessment) newSourceRegion(locations []distribution.Location, region string, byImage bool) sourceRegion {
	s := &shareSource{location: distribution.Location{Account: a.facts.Source.Account, Region: region}, region: region}
	s.keyARN = a.sourceKeyARN(s.location)
	r := sourceRegion{region: region, canStage: a.canStage(region)}
	for _, v := range volumes(a.facts.Images[region]) {
		r.sizeGiB += v.gib()
		r.stagingTime = max(r.stagingTime, 2*copyTime(v, 0))
		r.directTime = max(r.directTime, copyTime(v, 0))
		if sv, _ := s.newSourceVolume(a, v); sv.isStaged {
			r.stagedGiB += v.gib()
			r.directTime = max(r.directTime, 2*copyTime(v, 0))
		}
	}

	if byImage && r.stagedGiB > 0 {
		r.stagedGiB, r.directTime = r.sizeGiB, r.stagingTime
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
