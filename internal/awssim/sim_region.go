// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"
)

// region is an AWS Region.
type region struct {
	name      string
	partition string
	optIn     bool // must be enabled per account (rule 5.8)
}

var regions = slices.Concat(
	newRegions("aws", false,
		"ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ca-central-1 "+
			"eu-central-1 eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2"),
	newRegions("aws", true,
		"af-south-1 ap-east-1 ap-east-2 ap-south-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 "+
			"ap-southeast-7 "+
			"ca-west-1 eu-central-2 eu-south-1 eu-south-2 il-central-1 me-central-1 me-south-1 mx-central-1"),
	newRegions("aws-us-gov", false, "us-gov-east-1 us-gov-west-1"),
	newRegions("aws-cn", false, "cn-north-1 cn-northwest-1"),
)

func newRegions(partition string, optIn bool, names string) (all []region) {
	for name := range strings.FieldsSeq(names) {
		all = append(all, region{name, partition, optIn})
	}
	return all
}

// findRegion returns a Region by name.
func findRegion(name string) (region, bool) {
	i := slices.IndexFunc(regions, func(r region) bool { return r.name == name })
	if i < 0 {
		return region{}, false
	}
	return regions[i], true
}

// partitionOf returns the partition of a Region, or "aws" for an unknown one.
func partitionOf(name string) string {
	if found, known := findRegion(name); known {
		return found.partition
	}
	return "aws"
}

// domainOf returns the DNS suffix of a Region's partition.
func domainOf(name string) string {
	if partitionOf(name) == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// EnableRegion enables an opt-in Region for an account (rule 5.8).
func (w *World) EnableRegion(account, region string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enabledRegions[location{account, region}] = true
}

// isRegionEnabled reports whether an account can use a Region.
func (w *World) isRegionEnabled(loc location) bool {
	found, known := findRegion(loc.region)
	return known && (!found.optIn || w.enabledRegions[loc])
}

// zonesOf returns the Availability Zones of a Region.
func zonesOf(region string) []string { return []string{region + "a", region + "b", region + "c"} }

// zoneID returns the ID of an Availability Zone, such as use1-az1 for us-east-1a. On AWS the letter of a zone stands
// for another ID in each account.
func zoneID(zone string) string {
	name, letter := zone[:len(zone)-1], zone[len(zone)-1]
	short := strings.NewReplacer(
		"northeast", "ne", "northwest", "nw", "southeast", "se", "southwest", "sw", "north", "n", "south", "s", "east", "e",
		"west", "w", "central", "c", "gov", "g", "-", "",
	).Replace(name)
	return short + "-az" + string('1'+letter-'a')
}
