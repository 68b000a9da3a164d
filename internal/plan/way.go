// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"maps"
	"slices"
)

// Way is how copies get to the accounts of a Region that has no image of its own.
type Way struct {
	Region    string
	Accounts  int    // that copy
	Route            // the cheaper one
	Otherwise *Route // the other one; nil: there is none, for want of a key of the source account
}

// Route is where the accounts of a Region copy from, and what that moves.
type Route struct {
	From           string // the Region itself: staged there once, for all of them; else each copies straight from there
	GiBTransferred int64  // between Regions
	GiBCopied      int64  // altogether: less where the staging serves other Regions, too
}

// crowd is who shall have the image in a Region.
type crowd struct {
	region, image string // image: the Region of the image
	foreign, own  int    // accounts; the source account
	open          bool   // the source account has a key there to stage under
}

func (c crowd) accounts() int64 { return int64(c.foreign + c.own) }

// shared reports whether one transfer to the Region serves several accounts. Then staging there saves the others; for a single one it saves nothing.
func (c crowd) shared() bool { return c.open && c.accounts() > 1 }

// ways chooses the cheaper route to every Region that has no image of its own, sorted by Region: the one with less between Regions, then
// with less to copy; where both are alike, staged there. It rests on all destinations of the request and on the source, not on
// who is left out or served already: a run that is taken up goes the same way.
func ways(req Request, facts Facts, all []Destination) []Way {
	crowds := crowdsOf(req, facts, all)
	var chosen []Way
	for _, c := range crowds {
		if c.foreign == 0 || c.region == c.image {
			continue
		}
		whole, _ := weights(req, facts, c.image)
		from, first, usable := straightFrom(req, facts, crowds, c)
		staged := Route{From: c.region, GiBTransferred: whole, GiBCopied: whole * (1 + c.accounts())}
		straight := Route{From: from, GiBTransferred: whole * c.accounts(), GiBCopied: first + whole*c.accounts()}
		w := Way{Region: c.region, Accounts: int(c.accounts())}
		switch {
		case !c.open:
			w.Route = straight
		case !usable:
			w.Route = staged
		case c.shared() || first == whole:
			w.Route, w.Otherwise = staged, &straight
		default:
			w.Route, w.Otherwise = straight, &staged
		}
		chosen = append(chosen, w)
	}
	return chosen
}

// straightFrom is the Region from which a Region's accounts copy straight, and what has to be staged there for them alone, in GiB: that of the
// image, where nothing has to be or others need it there as well; else one in which it is staged anyway.
func straightFrom(req Request, facts Facts, crowds []crowd, c crowd) (from string, first int64, usable bool) {
	_, first = weights(req, facts, c.image)
	usable = first == 0 || canStage(req, facts, c.image)
	staged := ""
	for _, o := range crowds {
		switch {
		case o.image != c.image || o.region == c.region || o.foreign == 0:
		case o.region == c.image:
			first = 0
		case o.shared():
			if staged == "" {
				staged = o.region
			}
		}
	}
	if first > 0 && staged != "" {
		return staged, 0, true
	}
	alike := slices.ContainsFunc(crowds, func(o crowd) bool {
		return o.image == c.image && o.region != c.region && o.region != o.image && o.foreign > 0 && !o.shared()
	})
	if alike {
		first = 0
	}
	return c.image, first, usable
}

// crowdsOf counts the accounts of every Region of the targets, sorted by Region.
func crowdsOf(req Request, facts Facts, all []Destination) []crowd {
	crowds := map[string]crowd{}
	for _, d := range all {
		c := crowds[d.At.Region]
		c.region, c.image, c.open = d.At.Region, d.FromRegion, canStage(req, facts, d.At.Region)
		if d.At.Account == facts.Source.Account {
			c.own++
		} else {
			c.foreign++
		}
		crowds[d.At.Region] = c
	}
	var sorted []crowd
	for _, region := range slices.Sorted(maps.Keys(crowds)) {
		sorted = append(sorted, crowds[region])
	}
	return sorted
}

// weights are the size of an image in GiB, and of those of its volumes that have to be staged before others copy them.
func weights(req Request, facts Facts, region string) (whole, staged int64) {
	s := &supply{at: Place{facts.Source.Account, region}, from: region}
	s.keyARN = facts.Keys[s.at][SourceKey(req, region)].arn()
	for _, v := range volumes(facts.Images[region]) {
		whole += v.gib()
		if it, _ := s.item(req, facts, v); it.staged {
			staged += v.gib()
		}
	}
	return whole, staged
}
