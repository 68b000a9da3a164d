// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

const (
	frankfurt = "eu-central-1"
	virginia  = "us-east-1"
)

// abroad returns a request and facts for an unencrypted image of 100 GiB in Tokyo. One account in some Regions gets
// copies, and the source has keys in other Regions.
func abroad(keys []string, targets ...string) (distribution.Request, distribution.Facts) {
	req, facts := world()
	req.Targets[0].AccountIDs, req.Targets[0].Regions = others[:1], targets
	req.Targets[0].KMSKeyID = "alias/own"
	image := facts.Images[tokyo]
	image.Image.BlockDeviceMappings = image.Image.BlockDeviceMappings[2:] // the one of 100 GiB
	image.Snapshots["snap-0b"] = snapshot("snap-0b", 100, "")
	facts.Keys = map[distribution.Location]map[string]distribution.Key{}
	for _, region := range keys {
		facts.Keys[distribution.Location{
			Account: source,
			Region:  region,
		}] = map[string]distribution.Key{"alias/golden-source": key(source, region, "cust")}
	}
	for _, region := range targets {
		at := distribution.Location{Account: others[0], Region: region}
		facts.Keys[at] = map[string]distribution.Key{"alias/own": key(others[0], region, "own")}
		facts.Sites[at] = distribution.DestinationFacts{
			Identity: distribution.CallerIdentity{Account: others[0], Partition: "aws"},
		}
	}
	return req, facts
}

// second adds an image of the artifact in Frankfurt, under a key.
func second(req *distribution.Request, facts *distribution.Facts, key string) {
	req.Images = append(req.Images, distribution.SourceImage{Region: frankfurt, ImageID: "ami-0bbbbbbbbbbbbbbbb"})
	image := facts.Images[tokyo]
	copied := *image.Image
	copied.ImageId = aws.String("ami-0bbbbbbbbbbbbbbbb")
	image.Image, image.Snapshots = &copied, map[string]distribution.Snapshot{"snap-0b": snapshot("snap-0b", 100, key)}
	facts.Images[frankfurt] = image
}

func TestRegionRoutes_cheapest(t *testing.T) {
	toOregon := func(from string) []plan.RegionRoute {
		return []plan.RegionRoute{{Region: oregon, Accounts: 1, From: from, GiBTransferred: 100}}
	}
	for name, c := range map[string]struct {
		keys, targets []string
		second        string // key of a second image, in Frankfurt
		want          []plan.RegionRoute
	}{
		"from the image that is under the source's key already, not from the build's": {
			[]string{tokyo, frankfurt},
			[]string{oregon},
			keyARN(source, frankfurt, "cust"),
			toOregon(frankfurt),
		},
		"from the build's where both must be staged": {
			[]string{tokyo, frankfurt},
			[]string{oregon},
			"",
			toOregon(tokyo),
		},
		"from the image that is staged for others in its Region": {
			[]string{tokyo, frankfurt},
			[]string{frankfurt, oregon},
			"",
			toOregon(frankfurt),
		},
		"from the image whose Region has a key": {
			[]string{frankfurt},
			[]string{oregon},
			"",
			toOregon(frankfurt),
		},
	} {
		req, facts := abroad(c.keys, c.targets...)
		second(&req, &facts, c.second)
		if p := plan.Assess(req, facts).Decide(); p.Refused() || !reflect.DeepEqual(p.Routes, c.want) {
			t.Errorf("%s: %+v %+v", name, p.Routes, p.Findings)
		}
	}
}

func TestRegionRoutes_noKeyAtSource(t *testing.T) {
	req, facts := abroad([]string{frankfurt, oregon}, frankfurt, virginia, oregon)
	p := plan.Assess(req, facts).Decide()
	want := []plan.RegionRoute{
		{Region: frankfurt, Accounts: 1, From: frankfurt, GiBTransferred: 100},
		{Region: virginia, Accounts: 1, From: frankfurt, GiBTransferred: 100},
		{Region: oregon, Accounts: 1, From: frankfurt, GiBTransferred: 100},
	}
	if p.Refused() || !reflect.DeepEqual(p.Routes, want) {
		t.Errorf("%+v %+v", p.Routes, p.Findings)
	}
	if p.Estimate.GiBTransferred != 300 || p.Estimate.GiBStaged != 100 {
		t.Errorf("%+v", p.Estimate)
	}
	if choices := plan.Assess(req, facts).Alternatives(); len(choices) > 0 {
		t.Errorf("no other choice changes anything: %+v", choices)
	}
}

// A direct copy is faster unless the largest volume must be staged in the Region of the image first.
func TestRegionRoutes_forTime(t *testing.T) {
	for name, c := range map[string]struct {
		keys []string // ARN of the key of each volume, from the largest. Empty if it is not encrypted
		want string   // the Region that the accounts copy from
	}{
		"nothing is staged":            {[]string{keyARN(source, tokyo, "cust"), keyARN(source, tokyo, "cust")}, tokyo},
		"the smaller volume is staged": {[]string{keyARN(source, tokyo, "cust"), ""}, tokyo},
		"the largest volume is staged": {[]string{"", keyARN(source, tokyo, "cust")}, oregon},
		"all volumes are staged":       {[]string{"", ""}, oregon},
	} {
		req, facts := world()
		req.OptimizeForTime, req.Targets[0].Regions = true, []string{oregon}
		image := facts.Images[tokyo]
		image.Image.BlockDeviceMappings = slices.Delete(image.Image.BlockDeviceMappings, 1, 2)
		image.Snapshots["snap-0a"] = snapshot("snap-0a", 8, c.keys[1])
		image.Snapshots["snap-0b"] = snapshot("snap-0b", 100, c.keys[0])
		p := plan.Assess(req, facts).Decide()
		if p.Refused() || len(p.Routes) != 1 || p.Routes[0].From != c.want {
			t.Errorf("%s: got %+v, want copies from %s: %+v", name, p.Routes, c.want, p.Findings)
		}
	}
}
