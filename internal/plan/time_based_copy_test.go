// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// sized returns a request and facts for volumes of these sizes in GiB that need no staged copy. One account requests
// time-based copies.
func sized(minutes int, gib ...int32) (distribution.Request, distribution.Facts) {
	req, facts := world()
	req.Targets[0].AccountIDs, req.Targets[0].Regions, req.Targets[0].CopyMinutes = others[:1], []string{tokyo}, minutes
	image := facts.Images[tokyo]
	image.Image.BlockDeviceMappings, image.Snapshots = nil, map[string]distribution.Snapshot{}
	for i, size := range gib {
		id := "snap-0" + string(rune('a'+i))
		image.Image.BlockDeviceMappings = append(image.Image.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String("/dev/xvd" + string(rune('a'+i))), Ebs: &ec2types.EbsBlockDevice{
				SnapshotId: &id,
				VolumeSize: &size,
			},
		})
		image.Snapshots[id] = snapshot(id, size, keyARN(source, tokyo, "cust"))
	}
	facts.Images[tokyo] = image
	return req, facts
}

// A completion duration that AWS cannot meet is reported with the shortest possible one. Copies that may wait for each
// other are reported too (4.8).
func TestDecide_completionDuration(t *testing.T) {
	byImage := func(r *distribution.Request, _ *distribution.Facts) { r.Targets[0].Method = distribution.ByImage }
	var out strings.Builder
	for _, c := range []struct {
		name    string
		minutes int
		gib     []int32
		change  func(*distribution.Request, *distribution.Facts)
	}{
		{"439 GiB go in 15 minutes", 15, []int32{439}, nil},
		{"440 GiB do not", 15, []int32{8, 440}, nil},
		{
			"of a large volume only a little was ever written",
			15,
			[]int32{16384},
			func(_ *distribution.Request, f *distribution.Facts) {
				s := f.Images[tokyo].Snapshots["snap-0a"]
				s.FullSnapshotSizeInBytes = aws.Int64(100 << 30)
				f.Images[tokyo].Snapshots["snap-0a"] = s
			},
		},
		{"snapshots that are too many for the throughput take turns", 15, []int32{400, 400, 400, 400, 400}, nil},
		{"an image cannot", 15, []int32{400, 400, 400, 400, 400}, byImage},
		{"an image whose snapshots fit", 30, []int32{400, 400, 400, 400, 400}, byImage},
		{
			"three accounts copy the same snapshot",
			30,
			[]int32{100},
			func(r *distribution.Request, _ *distribution.Facts) { r.Targets[0].AccountIDs = others },
		},
		{"one account copies it to two Regions", 30, []int32{100}, func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Regions = []string{tokyo, oregon}
			f.Keys[distribution.Location{
				Account: source,
				Region:  oregon,
			}] = map[string]distribution.Key{"alias/golden-source": {}}
		}},
		{
			"three accounts, without a time",
			0,
			[]int32{100},
			func(r *distribution.Request, _ *distribution.Facts) { r.Targets[0].AccountIDs = others },
		},
	} {
		req, facts := sized(c.minutes, c.gib...)
		if c.change != nil {
			c.change(&req, &facts)
		}
		p := plan.Assess(req, facts).Decide()
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, f := range p.Findings {
			if strings.HasPrefix(f.Reference, "4.8") {
				fmt.Fprintf(
					&out,
					"%s %s: %s %s: %s, because %s: %s\n",
					f.Level,
					f.Reference,
					f.Field,
					f.Resource,
					f.Summary,
					f.Detail,
					f.Remediation,
				)
			}
		}
		for _, s := range p.Steps {
			if _, is := s.(step.Copying); is {
				fmt.Fprintf(&out, "%s: %d MiB a second\n", s, s.Meta().Rate)
			}
		}
		fmt.Fprintf(&out, "about %s\n\n", p.Estimate.Takes)
	}
	golden.Equal(t, "testdata/timed.golden", out.String())
}

// The prices are those of the EBS User Guide, time-based copies (4.8.3).
func TestEstimate_timeBasedCopyPrice(t *testing.T) {
	for minutes, usd := range map[int]float64{
		0: 0, 15: 0.020, 30: 0.018, 45: 0.018, 60: 0.016, 105: 0.016, 120: 0.014, 225: 0.014,
		240: 0.012, 465: 0.012, 480: 0.010, 945: 0.010, 960: 0.005, 2880: 0.005,
	} {
		for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
			req, facts := world()
			req.Targets[0].CopyMinutes, req.Targets[0].Method = minutes, method
			want := usd * 128 * 6 // GiB to each of six destinations; staged copies are not time-based
			if got := plan.Assess(req, facts).Decide().Estimate.USDTimed; math.Abs(got-want) > 1e-6 {
				t.Errorf("%s, %d minutes: $%.3f, want $%.3f", method, minutes, got, want)
			}
		}
	}
}

// The expected duration includes the time that copies wait in queues.
func TestEstimate_queues(t *testing.T) {
	for _, c := range []struct {
		name    string
		minutes int
		gib     []int32
		least   time.Duration
	}{
		{"all at once", 60, []int32{400, 400, 400}, time.Hour},
		{"in two turns, for the throughput", 15, []int32{439, 439, 439, 439, 439}, 30 * time.Minute},
		{"in three turns, for the throughput", 15, []int32{439, 439, 439, 439, 439, 439, 439, 439, 439}, 45 * time.Minute},
		{"in two turns, because AWS allows twenty copies", 30, make([]int32, 26), time.Hour},
		{"in two turns, without a time", 0, make([]int32, 26), 2 * time.Minute},
	} {
		req, facts := sized(c.minutes, c.gib...)
		if got := plan.Assess(req, facts).Decide().Estimate.Takes; got < c.least || got > c.least+10*time.Second {
			t.Errorf("%s: %s are expected, want %s and a few calls", c.name, got, c.least)
		}
	}
}
