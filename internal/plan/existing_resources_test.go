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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

var (
	signingKey = provenance.NewSigningKey(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	there      = distribution.Location{Account: "999999999999", Region: tokyo}
	home       = distribution.Location{Account: source, Region: tokyo}
)

// proof says which proof a resource has that a run created it.
type proof int

const (
	forged   proof = iota // its signature belongs to another resource
	unsigned              // it has the evidence of the creating call alone
	signed
)

// earlier returns a request and facts with one destination and a signing key on the source image.
func earlier() (distribution.Request, distribution.Facts) {
	req, facts := world()
	req.Targets[0].AccountIDs, req.Targets[0].Regions = []string{there.Account}, nil
	i := facts.Images[tokyo]
	i.Keys = provenance.SigningKeys{signingKey}
	facts.Images[tokyo] = i
	facts.Earlier = map[distribution.Location]distribution.ExistingResources{}
	return req, facts
}

func statement(at distribution.Location, id, device, key, run string) provenance.Statement {
	return provenance.Statement{
		ResourceID: id, Account: at.Account, Region: at.Region, Source: ownSource, Run: run,
		Role: provenance.Temporary, Release: signingKey.Release, KeyARN: key, Device: device,
	}
}

var ownSource = provenance.SourceImage{Account: source, Region: tokyo, ImageID: "ami-0aaaaaaaaaaaaaaaa"}

func tags(s provenance.Statement, how proof) []ec2types.Tag {
	all := signingKey.SignedTags(s)
	switch how {
	case unsigned:
		all = provenance.CreationTags(s.Source, s.Run)
	case forged:
		s.ResourceID = "other"
		all = signingKey.SignedTags(s)
	}
	var list []ec2types.Tag
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, ec2types.Tag{Key: aws.String(key), Value: aws.String(all[key])})
	}
	return list
}

// left returns a snapshot of an earlier run: a copy for a destination, or a staged copy.
func left(
	at distribution.Location,
	id, device, key string,
	gib int32,
	state ec2types.SnapshotState,
	how proof,
	run string,
) ec2types.Snapshot {
	s := snapshot(id, gib, key).Snapshot
	s.OwnerId, s.VolumeId, s.State = aws.String(at.Account), aws.String("vol-ffffffff"), state
	s.StartTime = aws.Time(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	if state == ec2types.SnapshotStatePending { // rule 4.6.1: a pending copy shows no key
		s.VolumeSize, s.Encrypted, s.KmsKeyId = aws.Int32(0), aws.Bool(false), nil
	}
	s.Tags = tags(statement(at, id, device, key, run), how)
	call := provenance.Call{
		Kind:    provenance.Snapshot,
		Account: at.Account,
		Region:  at.Region,
		Source:  ownSource,
		Run:     run,
		Purpose: id,
	}
	s.Description = aws.String(signingKey.CallToken(call).Description("a copy"))
	return s
}

// delivered returns the tags of an image that an earlier run delivered.
func delivered(id, key string, how proof) []ec2types.Tag {
	s := statement(there, id, "", key, "run-0")
	s.Role = provenance.Delivery
	return tags(s, how)
}

func finished() (distribution.Request, distribution.Facts) {
	req, facts := earlier()
	own := keyARN(there.Account, tokyo, "own")
	registered := *facts.Images[tokyo].Image
	registered.ImageId, registered.OwnerId = aws.String("ami-0ccccccccccccccc1"), aws.String(there.Account)
	registered.Tags = delivered("ami-0ccccccccccccccc1", own, signed)
	registered.BlockDeviceMappings = slices.Clone(registered.BlockDeviceMappings)
	var snapshots []ec2types.Snapshot
	for i, m := range registered.BlockDeviceMappings {
		id := fmt.Sprintf("snap-0copy%d", i)
		gib := aws.ToInt32(m.Ebs.VolumeSize)
		snapshots = append(
			snapshots,
			left(there, id, aws.ToString(m.DeviceName), own, gib, ec2types.SnapshotStateCompleted, signed, "run-0"),
		)
		registered.BlockDeviceMappings[i].Ebs = &ec2types.EbsBlockDevice{SnapshotId: &id, VolumeSize: m.Ebs.VolumeSize}
	}
	facts.Earlier[there] = distribution.ExistingResources{Snapshots: snapshots, Images: []ec2types.Image{registered}}
	site := facts.Sites[there]
	site.NameUsed = &registered
	facts.Sites[there] = site
	return req, facts
}

// unfinished makes the image differ from the request. Its run ended before it signed the image.
func unfinished(facts *distribution.Facts) {
	image := &facts.Earlier[there].Images[0]
	image.EnaSupport, image.Tags = nil, delivered(*image.ImageId, keyARN(there.Account, tokyo, "own"), unsigned)
}

// withAnotherKey points the alias of the destination's key to another key.
func withAnotherKey(facts *distribution.Facts) {
	for asked := range facts.Keys[there] {
		facts.Keys[there][asked] = key(there.Account, tokyo, "new")
	}
}

func TestDecide_existingResources(t *testing.T) {
	own, staged := keyARN(there.Account, tokyo, "own"), keyARN(source, tokyo, "cust")
	const (
		completed = ec2types.SnapshotStateCompleted
		pending   = ec2types.SnapshotStatePending
		failed    = ec2types.SnapshotStateError
	)
	type newWorld func() (distribution.Request, distribution.Facts)
	in := func(at distribution.Location, snapshots ...ec2types.Snapshot) newWorld {
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
			facts.Earlier[home] = distribution.ExistingResources{
				Snapshots: []ec2types.Snapshot{left(home, "snap-0staged", "/dev/xvda", staged, 8, completed, signed, "run-0")},
			}
			s := facts.Images[tokyo].Snapshots["snap-0b"]
			s.SharedWith = []string{"777777777777", there.Account}
			facts.Images[tokyo].Snapshots["snap-0b"] = s
			return req, facts
		}},
		{"one copy completed, one in progress", in(there,
			left(there, "snap-0done", "/dev/xvda", own, 8, completed, signed, "run-0"),
			left(there, "snap-0going", "/dev/xvdb", own, 100, pending, signed, "run-0"))},
		{"a staged copy in progress", in(home, left(home, "snap-0going", "/dev/xvda", staged, 8, pending, signed, "run-0"))},
		{"a failed copy is removed", in(there, left(there, "snap-0failed", "/dev/xvda", own, 8, failed, signed, "run-0"))},
		{"a second copy is removed, the older stays", in(there,
			left(there, "snap-0first", "/dev/xvda", own, 8, completed, signed, "run-0"),
			left(there, "snap-0second", "/dev/xvda", own, 8, completed, signed, "run-0b"))},
		{
			"evidence of the call, without a signature: deleted",
			in(there, left(there, "snap-0half", "/dev/xvda", own, 8, completed, unsigned, "run-0")),
		},
		{"two of one run without a signature: both are deleted", in(there,
			left(there, "snap-0half", "/dev/xvda", own, 8, completed, unsigned, "run-0"),
			left(there, "snap-0half2", "/dev/xvda", own, 8, completed, unsigned, "run-0"))},
		{
			"a wrong signature: neither used nor deleted",
			in(there, left(there, "snap-0evil", "/dev/xvda", own, 8, completed, forged, "run-0")),
		},
		{
			"ours under a weaker key: removed",
			in(
				there,
				left(there, "snap-0weak", "/dev/xvda", keyARN(there.Account, tokyo, "weak"), 8, completed, signed, "run-0"),
			),
		},
		{"copies of a release under another name: left to it", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].Name = aws.String("golden 0")
			facts.Sites[there] = distribution.DestinationFacts{Identity: facts.Sites[there].Identity}
			return req, facts
		}},
		{"not as wanted, and not signed: it is deleted", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			unfinished(&facts)
			return req, facts
		}},
		{"finished, and changed since: it stays", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].ImdsSupport = ec2types.ImdsSupportValuesV20
			return req, facts
		}},
		{"finished, and changed since, and force_deregister", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].ImdsSupport = ec2types.ImdsSupportValuesV20
			req.Targets[0].Lifecycle.ForceDeregister = true
			return req, facts
		}},
		{"finished, and the alias leads to another key now: it stays", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			withAnotherKey(&facts)
			return req, facts
		}},
		{
			"finished, and the alias leads to another key now, and force_deregister",
			func() (distribution.Request, distribution.Facts) {
				req, facts := finished()
				withAnotherKey(&facts)
				req.Targets[0].Lifecycle.ForceDeregister = true
				return req, facts
			},
		},
		{"a prepared image under the predictable name", func() (distribution.Request, distribution.Facts) {
			req, facts := finished()
			facts.Earlier[there].Images[0].Tags = delivered("ami-0other", own, signed)
			return req, facts
		}},
	} {
		req, facts := c.world()
		p := plan.Assess(req, facts).Decide()
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

func TestCleanUp_unfinishedAndProven(t *testing.T) {
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
				left(there, "snap-0done", "/dev/xvda", own, 8, ec2types.SnapshotStateCompleted, signed, "run-0"),
				left(there, "snap-0evil", "/dev/xvdb", own, 100, ec2types.SnapshotStateCompleted, forged, "run-0"),
				left(there, "snap-0going", "/dev/xvdc", own, 20, ec2types.SnapshotStatePending, signed, "run-0"),
			}}
			f.Earlier[home] = distribution.ExistingResources{
				Snapshots: []ec2types.Snapshot{
					left(home, "snap-0staged", "/dev/xvda", staged, 8, ec2types.SnapshotStateCompleted, signed, "run-0"),
				},
			}
			s := f.Images[tokyo].Snapshots["snap-0b"]
			s.SharedWith = []string{there.Account}
			f.Images[tokyo].Snapshots["snap-0b"] = s
		}},
		{"not as wanted, and not signed: deleted with its snapshots", finished, unfinished},
		{
			"finished, and changed since: stays with its snapshots",
			finished,
			func(f *distribution.Facts) { f.Earlier[there].Images[0].EnaSupport = nil },
		},
		{"finished, and the alias leads to another key now: stays with its snapshots", finished, withAnotherKey},
		{"a role that cannot be assumed hinders no other", finished, func(f *distribution.Facts) {
			f.Sites[there] = distribution.DestinationFacts{
				Err: &distribution.APIError{Operation: "sts:AssumeRole", Status: 403, Code: "AccessDenied", Message: "no"},
			}
		}},
	} {
		req, facts := c.world()
		c.change(&facts)
		p := plan.Assess(req, facts).CleanUp()
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
