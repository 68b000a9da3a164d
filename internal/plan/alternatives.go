// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Alternative is another template for the same images, with its cost.
type Alternative struct {
	What     string   // the difference
	How      []string // what to change, line by line
	Builder  bool     // the lines are for amazon-ebs
	Estimate Estimate
}

// Alternatives returns the alternatives to a plan, each with the estimate of its own plan. It skips those whose plan
// would be refused.
func (a *Assessment) Alternatives() []Alternative {
	destinations, _ := a.Expand()
	open, _ := a.openDestinations(destinations)
	sources, _ := a.route(destinations, open)
	var found alternatives
	if intent := a.req.Intent; intent != nil && isTrue(intent.EncryptBoot) && intent.KMSKeyID != "" {
		changed, lines := a.withoutEncryptBoot()
		found.add(Alternative{
			What:    "encrypt the volumes at launch, so that the builder does not copy them",
			How:     lines,
			Builder: true,
		}, changed)
	}

	for _, s := range sources {
		found.addForSource(a, s)
	}

	found.addOtherRoutes(a, destinations)
	for _, region := range a.transferRegions(sources) {
		at := distribution.Location{Account: a.facts.Source.Account, Region: region}
		key := SourceKey(a.req, region)
		withNewKey := withKey(a.facts, at, key, assumedKey(at))
		if a.with(withNewKey).sourceRegionOf(destinations, region) == region {
			found.add(Alternative{
				What: "transfer once to " + region + " for all its accounts",
				How:  []string{"create a key in the source account that is called " + key + " in " + region},
			}, a.with(withNewKey))
		}
	}

	return found
}

type alternatives []Alternative

// add adds an alternative with the estimate of its plan, unless that plan is refused.
func (all *alternatives) add(found Alternative, changed *Assessment) {
	if p := changed.Decide(); !p.Refused() {
		found.Estimate = p.Estimate
		*all = append(*all, found)
	}
}

// addForSource adds an alternative that avoids the staged copies in the Region of a source image.
func (all *alternatives) addForSource(a *Assessment, s *shareSource) {
	if lines := s.launchMappings(a.req); len(lines) > 0 {
		all.add(Alternative{
			What:    "build with " + SourceKey(a.req, s.location.Region) + " in " + s.location.Region,
			How:     lines,
			Builder: true,
		}, a.with(withVolumesUnderKey(a.facts, s)))
	}
}

// addOtherRoutes adds the other value of optimize_for as an alternative, if it changes the routes between Regions.
func (all *alternatives) addOtherRoutes(a *Assessment, destinations []distribution.Destination) {
	req, found := a.req, Alternative{
		What: "copy directly between Regions in each account",
		How:  []string{`optimize_for = "time"`},
	}
	if req.OptimizeForTime {
		found = Alternative{
			What: "transfer once to each Region for all its accounts",
			How:  []string{`optimize_for = "cost"`},
		}
	}

	req.OptimizeForTime = !req.OptimizeForTime
	other := Assess(req, a.facts)
	if !slices.Equal(other.regionRoutes(destinations), a.regionRoutes(destinations)) {
		all.add(found, other)
	}
}

// sourceRegionOf returns the Region that the accounts of a Region without a source image copy from. Empty if the
// Region has an image.
func (a *Assessment) sourceRegionOf(all []distribution.Destination, region string) string {
	for _, w := range a.regionRoutes(all) {
		if w.Region == region {
			return w.From
		}
	}
	return ""
}

// launchMappings returns the lines for amazon-ebs that make staged copies unnecessary. Nil if nothing is staged.
func (s *shareSource) launchMappings(req distribution.Request) []string {
	var lines []string
	for _, v := range s.items {
		if v.isStaged && s.region == s.location.Region {
			lines = append(lines, LaunchMapping(v.device(), SourceKey(req, s.location.Region))...)
		}
	}
	return lines
}

// LaunchMapping returns the lines for amazon-ebs that encrypt a volume with a key at launch (1.1.10, 1.2.1).
func LaunchMapping(device, key string) []string {
	return []string{
		"launch_block_device_mappings {",
		fmt.Sprintf("  device_name           = %q", device),
		"  encrypted             = true",
		fmt.Sprintf("  kms_key_id            = %q", key),
		"  delete_on_termination = true",
		"}",
	}
}

// withVolumesUnderKey returns facts in which the volumes of a source have its key.
func withVolumesUnderKey(facts distribution.Facts, s *shareSource) distribution.Facts {
	image := facts.Images[s.region]
	image.Snapshots = maps.Clone(image.Snapshots)
	for _, v := range s.items {
		snapshot := v.snapshot
		snapshot.Encrypted, snapshot.KmsKeyId = aws.Bool(true), aws.String(s.keyARN)
		image.Snapshots[v.id()] = snapshot
	}
	facts.Images = maps.Clone(facts.Images)
	facts.Images[s.region] = image
	return facts
}

// transferRegions returns the Regions without a staged copy that other accounts copy to from another Region, if the
// request names a key for them.
func (a *Assessment) transferRegions(sources []*shareSource) []string {
	regions := map[string]bool{}
	for _, s := range sources {
		for _, d := range s.consumers {
			isElsewhere := d.At.Region != s.location.Region && d.At.Account != a.facts.Source.Account
			if isElsewhere && SourceKey(a.req, d.At.Region) != "" {
				regions[d.At.Region] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(regions))
}

// assumedKey returns a key for the plan of an alternative. It counts as usable, although it does not exist yet.
func assumedKey(at distribution.Location) distribution.Key {
	partition := distribution.PartitionOf(at.Region)
	arn := strings.Join([]string{"arn", partition, "kms", at.Region, at.Account, "key/supposed"}, ":")
	return distribution.Key{Metadata: &kmstypes.KeyMetadata{
		Arn:        aws.String(arn),
		KeyState:   kmstypes.KeyStateEnabled,
		KeyManager: kmstypes.KeyManagerTypeCustomer,
		KeySpec:    kmstypes.KeySpecSymmetricDefault,
		KeyUsage:   kmstypes.KeyUsageTypeEncryptDecrypt,
	}}
}

// withKey returns facts with another key.
func withKey(
	facts distribution.Facts,
	at distribution.Location,
	asked string,
	key distribution.Key,
) distribution.Facts {
	keys := maps.Clone(facts.Keys[at])
	if keys == nil {
		keys = map[string]distribution.Key{}
	}
	keys[asked] = key
	facts.Keys = maps.Clone(facts.Keys)
	facts.Keys[at] = keys
	return facts
}
