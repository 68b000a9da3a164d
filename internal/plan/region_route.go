// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
	"math"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Way is how copies get to the accounts of a Region that has no image of its own.
type RegionRoute struct {
	Region    string
	Accounts  int    // that copy
	Route            // the cheaper one
	Otherwise *Route // staged there in place of straight, or the reverse; nil: that is closed, for want of a key of the source account
}

// Route is where the accounts of a Region copy from, and what that moves.
type Route struct {
	From           string // the Region itself: staged there once, for all of them; else each copies straight from there
	GiBTransferred int64  // between Regions
	GiBCopied      int64  // altogether: less where the staging serves other Regions, too
}

// network is what leads from an image to the Regions that have none of their own.
type routeGraph struct {
	sourceRegion
	crowds []destinationRegion // sorted by Region
}

// gate is an image of the artifact as others copy from it.
type sourceRegion struct {
	region string
	open   bool  // the source account has a key there to stage under
	usable bool  // it is, or nothing has to be staged
	whole  int64 // GiB: the size of the image
	first  int64 // GiB: how much of it has to be staged before, for them alone
}

// crowd is the accounts that shall have the image in a Region, others than the source account among them.
type destinationRegion struct {
	region   string
	accounts int64
	open     bool // the source account has a key there to stage under
}

// shared reports whether one transfer to the Region serves several accounts. Then staging there saves the others; for a single one it saves nothing.
func (c destinationRegion) shared() bool { return c.open && c.accounts > 1 }

// ways chooses the cheaper route to every Region that has no image of its own, sorted by Region. It rests on all destinations of the
// request and on the source, not on who is left out or served already: a run that is taken up goes the same way.
func ways(req distribution.Request, facts distribution.Facts, all []distribution.Destination) []RegionRoute {
	n := networkOf(req, facts, all)
	tell := func(c destinationRegion, staged []string) Route {
		r := n.route(c, staged)
		if len(n.crowds) == 1 { // else it serves other Regions, too
			r.GiBCopied += n.before(staged)
		}
		return r
	}
	staged := n.best()
	var chosen []RegionRoute
	for _, c := range n.crowds {
		w := RegionRoute{Region: c.region, Accounts: int(c.accounts), Route: tell(c, staged)}
		if other, open := n.otherwise(c, staged); open {
			r := tell(c, other)
			w.Otherwise = &r
		}
		chosen = append(chosen, w)
	}
	return chosen
}

// best is where to stage for the least between Regions, then the least to copy: wherever accounts share it, and in one Region more at
// most, because all others can copy straight from one. Where all is alike, nobody copies by way of a third Region; then it is staged.
func (n routeGraph) best() []string {
	var shared []string
	for _, c := range n.crowds {
		if c.shared() {
			shared = append(shared, c.region)
		}
	}
	var choices [][]string
	for _, c := range n.crowds {
		if c.open && !c.shared() {
			choices = append(choices, distribution.Union(shared, []string{c.region}))
		}
	}
	return slices.MinFunc(append(choices, shared), func(a, b []string) int { return slices.Compare(n.cost(a), n.cost(b)) })
}

// otherwise is where to stage where a Region is served the other way: best without it, or there as well.
func (n routeGraph) otherwise(c destinationRegion, staged []string) (other []string, open bool) {
	if !slices.Contains(staged, c.region) {
		return distribution.Union(staged, []string{c.region}), c.open
	}
	n.crowds = slices.Clone(n.crowds)
	n.crowds[slices.Index(n.crowds, c)].open = false
	other = n.best()
	return other, n.leads(other)
}

// cost is what a choice of Regions to stage in comes to: GiB between Regions, GiB copied, accounts that copy by way of a third Region.
func (n routeGraph) cost(staged []string) []int64 {
	if !n.leads(staged) {
		return []int64{math.MaxInt64}
	}
	across, copied, around := int64(0), n.before(staged), int64(0)
	for _, c := range n.crowds {
		r := n.route(c, staged)
		across, copied = across+r.GiBTransferred, copied+r.GiBCopied
		if r.From != c.region && r.From != n.region {
			around += c.accounts
		}
	}
	return []int64{across, copied, around}
}

// leads reports whether every Region is served where it is staged in some.
func (n routeGraph) leads(staged []string) bool { return n.usable || len(staged) > 0 }

// from is where the accounts of all other Regions copy straight from.
func (n routeGraph) from(staged []string) string {
	if len(staged) == 0 || n.usable && n.first == 0 {
		return n.region
	}
	return staged[0]
}

// before is what is staged in the image's own Region for copies straight from there, in GiB.
func (n routeGraph) before(staged []string) int64 {
	if len(staged) == len(n.crowds) || n.from(staged) != n.region {
		return 0
	}
	return n.first
}

// route is how a Region is served where it is staged in some.
func (n routeGraph) route(c destinationRegion, staged []string) Route {
	if slices.Contains(staged, c.region) {
		return Route{From: c.region, GiBTransferred: n.whole, GiBCopied: n.whole * (1 + c.accounts)}
	}
	return Route{From: n.from(staged), GiBTransferred: n.whole * c.accounts, GiBCopied: n.whole * c.accounts}
}

// networkOf counts who shall have an image where there is none.
func networkOf(req distribution.Request, facts distribution.Facts, all []distribution.Destination) routeGraph {
	var n routeGraph
	byImage, places := false, make([]distribution.Location, len(all))
	crowds, others := map[string]destinationRegion{}, map[string]bool{}
	for i, d := range all {
		places[i] = d.At
		if d.FromRegion == d.At.Region {
			continue
		}
		byImage = byImage || d.Method == distribution.ByImage
		n.region = d.FromRegion // one goes to all
		c := crowds[d.At.Region]
		c.region, c.accounts, c.open = d.At.Region, c.accounts+1, canStage(req, facts, d.At.Region)
		crowds[c.region], others[c.region] = c, others[c.region] || d.At.Account != facts.Source.Account
	}
	for _, region := range slices.Sorted(maps.Keys(crowds)) {
		if others[region] {
			n.crowds = append(n.crowds, crowds[region])
		}
	}
	n.sourceRegion = gateOf(req, facts, places, n.region)
	if byImage && n.first > 0 {
		n.first = n.whole
	}
	return n
}

// gateOf looks at the image of a Region as others copy from it: what is staged there anyway costs nothing.
func gateOf(req distribution.Request, facts distribution.Facts, places []distribution.Location, region string) sourceRegion {
	s := &shareSource{at: distribution.Location{Account: facts.Source.Account, Region: region}, from: region}
	s.keyARN = sourceKeyARN(req, facts, s.at)
	g := sourceRegion{region: region, open: canStage(req, facts, region)}
	for _, v := range volumes(facts.Images[region]) {
		g.whole += v.gib()
		if it, _ := s.item(req, facts, v); it.staged {
			g.first += v.gib()
		}
	}
	g.usable = g.open || g.first == 0
	if len(req.Shares) > 0 || slices.ContainsFunc(places, func(at distribution.Location) bool { return at.Region == region && at.Account != facts.Source.Account }) {
		g.first = 0
	}
	return g
}
