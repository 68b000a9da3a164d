// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

var (
	sealKey = origin.NewKey()
	there   = distribution.Location{Account: "999999999999", Region: tokyo}
	home    = distribution.Location{Account: source, Region: tokyo}
)

// earlier is a world with one destination, in which an earlier run has sealed things.
func earlier() (distribution.Request, distribution.Facts) {
	req, facts := world()
	req.Targets[0].AccountIDs, req.Targets[0].Regions = []string{there.Account}, nil
	i := facts.Images[tokyo]
	i.SealKey = sealKey
	facts.Images[tokyo] = i
	facts.Earlier = map[distribution.Location]distribution.ExistingResources{}
	return req, facts
}

func ownMark(at distribution.Location, device, key, run string) origin.Mark {
	return origin.Mark{Account: source, Region: tokyo, ImageID: "ami-0aaaaaaaaaaaaaaaa", Device: device, Run: run, Place: at.Account + "/" + at.Region, KeyARN: key}
}

func tags(m origin.Mark, id string, proof origin.Proof) []ec2types.Tag {
	all := m.Tags(sealKey)
	switch proof {
	case origin.Both:
		all[origin.SealedID] = sealKey.SealID(id, all[origin.Sealed])
	case origin.None:
		all[origin.Sealed] = "00000000000000000000000000000000"
	}
	var list []ec2types.Tag
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, ec2types.Tag{Key: aws.String(key), Value: aws.String(all[key])})
	}
	return list
}

// left is a snapshot that an earlier run left.
func left(at distribution.Location, id, device, key string, gib int32, state ec2types.SnapshotState, proof origin.Proof, run string) ec2types.Snapshot {
	s := snapshot(id, gib, key).Snapshot
	s.OwnerId, s.VolumeId, s.State = aws.String(at.Account), aws.String("vol-ffffffff"), state
	s.StartTime = aws.Time(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	if state == ec2types.SnapshotStatePending { // as 4.6.1 has it
		s.VolumeSize, s.Encrypted, s.KmsKeyId = aws.Int32(0), aws.Bool(false), nil
	}
	s.Tags = tags(ownMark(at, device, key, run), id, proof)
	return s
}

// staging is a snapshot that an earlier run staged.
func staging(at distribution.Location, id, device, key string, gib int32, state ec2types.SnapshotState, proof origin.Proof, run string) ec2types.Snapshot {
	s := left(at, id, device, key, gib, state, proof, run)
	m := ownMark(at, device, key, run)
	m.Staged = origin.Temporary
	s.Tags = tags(m, id, proof)
	return s
}

func finished() (distribution.Request, distribution.Facts) {
	req, facts := earlier()
	own := keyARN(there.Account, tokyo, "own")
	registered := *facts.Images[tokyo].Image
	registered.ImageId, registered.OwnerId = aws.String("ami-0ccccccccccccccc1"), aws.String(there.Account)
	registered.Tags = tags(ownMark(there, "", "", "run-0"), "ami-0ccccccccccccccc1", origin.Both)
	registered.BlockDeviceMappings = slices.Clone(registered.BlockDeviceMappings)
	var snapshots []ec2types.Snapshot
	for i, m := range registered.BlockDeviceMappings {
		id := fmt.Sprintf("snap-0copy%d", i)
		gib := aws.ToInt32(m.Ebs.VolumeSize)
		snapshots = append(snapshots, left(there, id, aws.ToString(m.DeviceName), own, gib, ec2types.SnapshotStateCompleted, origin.Both, "run-0"))
		registered.BlockDeviceMappings[i].Ebs = &ec2types.EbsBlockDevice{SnapshotId: &id, VolumeSize: m.Ebs.VolumeSize}
	}
	facts.Earlier[there] = distribution.ExistingResources{Snapshots: snapshots, Images: []ec2types.Image{registered}}
	site := facts.Sites[there]
	site.NameUsed = &registered
	facts.Sites[there] = site
	return req, facts
}

// unsealed makes the image one that was changed, or registered wrongly, and whose run died before it sealed it, or could not.
func unsealed(facts *distribution.Facts) {
	image := &facts.Earlier[there].Images[0]
	image.EnaSupport, image.Tags = nil, tags(ownMark(there, "", "", "run-0"), *image.ImageId, origin.First)
}

// turned makes the alias of the destination's key lead to another one.
func turned(facts *distribution.Facts) {
	for asked := range facts.Keys[there] {
		facts.Keys[there][asked] = key(there.Account, tokyo, "new")
	}
}

func TestWhatEarlierRunsLeftIsTakenUp(t *testing.T) {
	own, staged := keyARN(there.Account, tokyo, "own"), keyARN(source, tokyo, "cust")
	const completed, pending, failed = ec2types.SnapshotStateCompleted, ec2types.SnapshotStatePending, ec2types.SnapshotStateError
	in := func(at distribution.Location, snapshots ...ec2types.Snapshot) func() (distribution.Request, distribution.Facts) {
		return func() (distribution.Request, distribution.Facts) {
			req, facts := earlier()
			facts.Earlier[at] = distribution.ExistingResources{Snapshots: snapshots}
			return req, facts
		}
	}
	var out strings.Builder
	for _, c := range []struct {
		name  string
		world func() (distribution.Request, distribution.Facts)
	}{
		{"a finished run: nothing is changed", finished},
		{"a finished run whose staged snapshot and share stayed", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[home] = distribution.ExistingResources{Snapshots: []ec2types.Snapshot{staging(home, "snap-0staged", "/dev/xvda", staged, 8, completed, origin.Both, "run-0")}}
			s := facts.Images[tokyo].Snapshots["snap-0b"]
			s.SharedWith = []string{"777777777777", there.Account}
			facts.Images[tokyo].Snapshots["snap-0b"] = s
			return req, facts
		}},
		{"one copy completed, one under way", in(there,
			left(there, "snap-0done", "/dev/xvda", own, 8, completed, origin.Both, "run-0"), left(there, "snap-0going", "/dev/xvdb", own, 100, pending, origin.Both, "run-0"))},
		{"a staged copy under way", in(home, staging(home, "snap-0going", "/dev/xvda", staged, 8, pending, origin.Both, "run-0"))},
		{"a failed copy is removed", in(there, left(there, "snap-0failed", "/dev/xvda", own, 8, failed, origin.Both, "run-0"))},
		{"a second copy is removed, the older stays", in(there,
			left(there, "snap-0first", "/dev/xvda", own, 8, completed, origin.Both, "run-0"), left(there, "snap-0second", "/dev/xvda", own, 8, completed, origin.Both, "run-0b"))},
		{"the second seal is missing: given", in(there, left(there, "snap-0half", "/dev/xvda", own, 8, completed, origin.First, "run-0"))},
		{"two of one run with the first seal only: neither", in(there,
			left(there, "snap-0half", "/dev/xvda", own, 8, completed, origin.First, "run-0"), left(there, "snap-0half2", "/dev/xvda", own, 8, completed, origin.First, "run-0"))},
		{"a wrong seal: neither used nor removed", in(there, left(there, "snap-0evil", "/dev/xvda", own, 8, completed, origin.None, "run-0"))},
		{"ours under a weaker key: removed", in(there, left(there, "snap-0weak", "/dev/xvda", keyARN(there.Account, tokyo, "weak"), 8, completed, origin.Both, "run-0"))},
		{"copies of a release under another name: left to it", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].Name = aws.String("golden 0")
			facts.Sites[there] = distribution.DestinationFacts{Identity: facts.Sites[there].Identity}
			return req, facts
		}},
		{"not what it has to be, and with the first seal alone: it stays", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			unsealed(&facts)
			return req, facts
		}},
		{"finished, and changed since: it stays", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].ImdsSupport = ec2types.ImdsSupportValuesV20
			return req, facts
		}},
		{"finished, and changed since, and the target lets it make way", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].ImdsSupport = ec2types.ImdsSupportValuesV20
			req.Targets[0].Lifecycle.ForceDeregister = true
			return req, facts
		}},
		{"finished, and the alias leads to another key now: it stays", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			turned(&facts)
			return req, facts
		}},
		{"finished, and the alias leads to another key now, and the target lets it make way", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			turned(&facts)
			req.Targets[0].Lifecycle.ForceDeregister = true
			return req, facts
		}},
		{"a prepared image under the predictable name", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].Tags = tags(ownMark(there, "", "", "run-0"), "ami-0other", origin.Both)
			return req, facts
		}},
	} {
		req, facts := c.world()
		p := plan.Decide(req, facts)
		inOrder(t, p.Steps)
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, f := range p.Findings {
			fmt.Fprintf(&out, "%s: %s\n", f.Level, f.Summary)
		}
		for _, s := range p.Steps {
			fmt.Fprintf(&out, "%s: %s\n", s.Meta().ID, s)
		}
	}
	golden.Equal(t, "testdata/earlier.golden", out.String())
}

func TestCleaningRemovesWhatIsUnfinishedAndProvablyOurs(t *testing.T) {
	own, staged := keyARN(there.Account, tokyo, "own"), keyARN(source, tokyo, "cust")
	var out strings.Builder
	for _, c := range []struct {
		name   string
		world  func() (distribution.Request, distribution.Facts)
		change func(*distribution.Facts)
	}{
		{"nothing left", earlier, func(*distribution.Facts) {}},
		{"finished: stays", finished, func(*distribution.Facts) {}},
		{"copies, a staged snapshot, a share, and somebody else's", earlier, func(f *distribution.Facts) {
			f.Earlier[there] = distribution.ExistingResources{Snapshots: []ec2types.Snapshot{
				left(there, "snap-0done", "/dev/xvda", own, 8, ec2types.SnapshotStateCompleted, origin.Both, "run-0"),
				left(there, "snap-0evil", "/dev/xvdb", own, 100, ec2types.SnapshotStateCompleted, origin.None, "run-0"),
				left(there, "snap-0going", "/dev/xvdc", own, 20, ec2types.SnapshotStatePending, origin.Both, "run-0"),
			}}
			f.Earlier[home] = distribution.ExistingResources{Snapshots: []ec2types.Snapshot{staging(home, "snap-0staged", "/dev/xvda", staged, 8, ec2types.SnapshotStateCompleted, origin.Both, "run-0")}}
			s := f.Images[tokyo].Snapshots["snap-0b"]
			s.SharedWith = []string{there.Account}
			f.Images[tokyo].Snapshots["snap-0b"] = s
		}},
		{"not what it has to be, and with the first seal alone: stays with its snapshots", finished, unsealed},
		{"finished, and changed since: stays with its snapshots", finished, func(f *distribution.Facts) { f.Earlier[there].Images[0].EnaSupport = nil }},
		{"finished, and the alias leads to another key now: stays with its snapshots", finished, turned},
		{"a role that cannot be assumed hinders no other", finished, func(f *distribution.Facts) {
			f.Sites[there] = distribution.DestinationFacts{Err: &distribution.APIError{Operation: "sts:AssumeRole", Status: 403, Code: "AccessDenied", Message: "no"}}
		}},
	} {
		req, facts := c.world()
		c.change(&facts)
		p := plan.Clean(req, facts)
		inOrder(t, p.Steps)
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, f := range p.Findings {
			fmt.Fprintf(&out, "%s: %s\n", f.Level, f.Summary)
		}
		for _, s := range p.Steps {
			fmt.Fprintf(&out, "%s: %s\n", s.Meta().ID, s)
		}
	}
	golden.Equal(t, "testdata/cleaning.golden", out.String())
}
