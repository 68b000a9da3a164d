// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Plan is what is going to happen, and what stands against it.
type Plan struct {
	Images       []ImagePlan       // per source Region
	Destinations []DestinationPlan // per account and Region of the targets
	Ways         []RegionRoute     // per Region of the targets that has no image of its own
	Shares       []SharePlan       // per source Region: what comes of the share blocks
	Steps        []step.Step       // each after all that it waits for
	Findings     []distribution.Finding
	Estimate     Estimate
}

// Refused reports whether a finding forbids to begin.
func (p Plan) Refused() bool {
	for _, f := range p.Findings {
		if f.Level == distribution.Refused {
			return true
		}
	}
	return false
}

// ImagePlan says what becomes of a source image.
type ImagePlan struct {
	Account string // that owns it
	Region  string
	ImageID string
	Devices []DevicePlan
	Causes  []string // consistent explanations of the encryption that was found; several: it cannot be told which
}

// DevicePlan says what becomes of one volume of an image, and why.
type DevicePlan struct {
	Device      string // /dev/xvda
	SnapshotID  string
	GiB         int32
	Encrypted   bool
	KeyARN      string // "" when unencrypted
	Staged      bool   // copied in the source account first
	StageKeyARN string // under this key
	Why         string // "" where nothing is planned for it
}

// DestinationPlan says how one account gets its copy in one Region.
type DestinationPlan struct {
	At         distribution.Location
	Target     string              // name of the target block
	Optional   bool                // its failure does not fail the run
	LeftOut    bool                // a finding forbids it, and the run goes on without it
	FromRegion string              // where the copies come from
	Method     distribution.Method // BySnapshot or ByImage
	MethodWhy  string              // why auto took ByImage; "" where it did not
	Name       string
	KeyARN     string
	Carried    []distribution.AttributeOutcome
	Pointers   []distribution.Pointer // what shall name the image for others
	Stands     string                 `json:",omitempty"` // of Check: the image that is there; "" for none
	Sound      bool                   `json:",omitempty"` // of Check: all is as a finished run leaves it
}

// Estimate is what the plan costs.
type Estimate struct {
	Copies         int
	BuilderCopies  int            // full copies that amazon-ebs makes before, of a build that is yet to come
	GiBStored      int64          // full size of all copies
	GiBStaged      int64          // of them, those that the run deletes again
	GiBTransferred int64          // between Regions
	USDTimed       float64        // once, for the time that AWS promises for copies, if every block of them is in use
	Calls          map[string]int // how often each action is called that makes or changes something: "ec2:CopySnapshot"
	Takes          time.Duration  // as expected, with what waits for room in its lane
}

// USDPerMonth is what the copies that stay cost at list price, if every block of them is in use.
func (e Estimate) USDPerMonth() float64 {
	return float64(e.GiBStored-e.GiBStaged) * distribution.USDPerGiBMonth
}

// USDOnce is what the transfer between Regions costs at list price (4.7.3).
func (e Estimate) USDOnce() float64 {
	return float64(e.GiBTransferred) * distribution.USDPerGiBTransferred
}
