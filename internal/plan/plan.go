// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package plan decides what a run does. It returns a Plan, with steps and findings, from a Request (the options) and
// Facts (the results of lookups). It is pure: it has no client, no clock and no Packer.
package plan

import (
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Plan holds the steps of a run, and the findings about them.
type Plan struct {
	Images       []ImagePlan       // per source Region
	Destinations []DestinationPlan // per account and Region of the targets
	Routes       []RegionRoute     // per Region of the targets that has no image of its own
	Shares       []SharePlan       // per source Region: the result of the share blocks
	Steps        []step.Step       // sorted by their dependencies
	Findings     []distribution.Finding
	Estimate     Estimate
	KeyAliases   map[string]string        `json:"-"`          // by the ARN of the key
	Move         distribution.PointerMove `json:",omitempty"` // of promote and rollback

	Keys map[provenance.SourceImage]provenance.SigningKeys `json:"-"` // prove what runs created
}

// find adds findings.
func (p *Plan) find(found ...[]distribution.Finding) {
	p.Findings = append(p.Findings, slices.Concat(found...)...)
}

// Refuses reports whether an error of the plan is about a destination. Such a destination has failed, and is not
// skipped.
func (p Plan) Refuses(at distribution.Location) bool {
	return slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
		isThere := func(failure distribution.Failure) bool { return failure.At == at }
		return f.Level == distribution.Refused && (f.Location == at || slices.ContainsFunc(f.Also, isThere))
	})
}

// Refused reports whether a finding prevents the run.
func (p Plan) Refused() bool {
	for _, f := range p.Findings {
		if f.Level == distribution.Refused {
			return true
		}
	}
	return false
}

// AccountsByTarget returns the accounts of each target, by its name.
func (p Plan) AccountsByTarget() map[string][]string {
	accounts := map[string][]string{}
	for _, d := range p.Destinations {
		if !slices.Contains(accounts[d.Target], d.At.Account) {
			accounts[d.Target] = append(accounts[d.Target], d.At.Account)
		}
	}
	return accounts
}

// Mutates reports whether a step makes or changes something.
func (p Plan) Mutates() bool {
	return slices.ContainsFunc(p.Steps, func(s step.Step) bool { return len(calls(s)) > 0 })
}

// Audience returns with whom the steps share: account ids, and ARNs of organizations and units.
func (p Plan) Audience() []string {
	var all []string
	for _, s := range p.Steps {
		all = append(all, s.Meta().Location.Account)
		all = append(all, s.Audience()...)
	}

	return distribution.Union(all, nil)
}

// ImagePlan describes the handling of a source image.
type ImagePlan struct {
	Account string // owner
	Region  string
	ImageID string
	Name    string `json:",omitempty"` // empty if unknown
	Devices []DevicePlan
	Causes  []string // possible reasons why it is encrypted
}

// DevicePlan describes the handling of one volume of an image.
type DevicePlan struct {
	Device      string // /dev/xvda
	SnapshotID  string
	GiB         int32
	Encrypted   bool
	KeyARN      string        // empty if not encrypted
	Staged      bool          // copied within the source account first
	StageKeyARN string        // key of the staged copy
	Why         StagingReason // empty if nothing is planned
}

// DestinationPlan describes the copy for one account and Region.
type DestinationPlan struct {
	At              distribution.Location
	Target          string              // name of the target block
	Optional        bool                // its failure does not fail the run
	LeftOut         bool                // a finding excludes it, and the run continues without it
	FromRegion      string              // of the source image
	Method          distribution.Method // BySnapshot or ByImage
	MethodWhy       string              // why Auto has become ByImage. Empty if it has not
	Name            string
	KeyARN          string
	Carried         []distribution.AttributeOutcome
	Pointers        []distribution.Pointer // references to publish
	ExistingImageID string                 `json:",omitempty"` // with mode = "verify": empty if there is none
	Passed          bool                   `json:",omitempty"` // with mode = "verify" or "usage": no finding is an error
}

// Estimate holds the cost and duration of a plan.
type Estimate struct {
	Copies         int
	BuilderCopies  int            // full copies of amazon-ebs, if the build has not run yet
	GiBStored      int64          // full size of all copies
	GiBStaged      int64          // of which staged copies are deleted
	GiBTransferred int64          // between Regions
	USDTimed       float64        // once, for time-based copies, if every block is in use
	Calls          map[string]int // number of mutating calls by action: "ec2:CopySnapshot"
	Takes          time.Duration  // expected duration, including waits in queues
}

// USDPerMonth returns what the permanent copies cost at list price if every block is in use.
func (e Estimate) USDPerMonth() float64 {
	return float64(e.GiBStored-e.GiBStaged) * distribution.USDPerGiBMonth
}

// USDOnce returns what the transfer between Regions costs at list price (4.7.3).
func (e Estimate) USDOnce() float64 {
	return float64(e.GiBTransferred) * distribution.USDPerGiBTransferred
}

// Assessment holds the request and the facts of a run, and what follows from both. All decisions are methods of it, so
// that they share what was derived once.
type Assessment struct {
	req      distribution.Request
	facts    distribution.Facts
	existing map[destinationKey]existingImages // of the destinations that were asked for

	// missingWatermarks are the keys that the source images lack, by Region. Their Facts have them, because the run
	// attaches them before it copies the images.
	missingWatermarks map[string][]string
}

// destinationKey identifies a destination and the image that it gets.
type destinationKey struct {
	target string
	at     distribution.Location
	from   string
}

// Assess returns the assessment of a request and facts.
func Assess(req distribution.Request, facts distribution.Facts) *Assessment {
	a := &Assessment{req: req, existing: map[destinationKey]existingImages{}}
	facts.Images, a.missingWatermarks = withWatermarks(req, facts)
	a.facts = facts
	return a
}

// with returns the assessment of the same request with other facts.
func (a *Assessment) with(facts distribution.Facts) *Assessment { return Assess(a.req, facts) }
