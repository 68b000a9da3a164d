// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strconv"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// askSnapshot is the question about a snapshot of the Region of the call; one that is not there is asked about as
// any (NAT:sharing_controls).
func (w *World) askSnapshot(c *Call, id string) Ask {
	s, there := w.snapshots.get(id)
	if !there || s.home.region != c.Region {
		return ask(c, c.place(), "snapshot/*")
	}
	return ask(c, s.home, "snapshot/"+id).with(w.snapshotContext(s))
}

// askSource is the question about the source of a copy, which may be in another Region, another account's, or not there
// at all; unlike in askSnapshot its id is always asked about (6.5).
func (w *World) askSource(c *Call, region, id string) Ask {
	s, there := w.snapshots.get(id)
	if !there || s.home.region != region {
		return ask(c, place{c.place().account, region}, "snapshot/"+id)
	}
	return ask(c, s.home, "snapshot/"+id).with(w.snapshotContext(s))
}

func (w *World) snapshotContext(s *snapshot) iampolicy.Context {
	context := w.resourceTags(s.id)
	context["ec2:Owner"] = []string{s.home.account}
	context["ec2:SnapshotID"] = []string{s.id}
	context["ec2:Encrypted"] = []string{strconv.FormatBool(s.encrypted())}
	context["ec2:VolumeSize"] = []string{strconv.Itoa(int(s.gib))}
	context["ec2:SnapshotTime"] = []string{stamp(s.made)}
	context["ec2:ParentVolume"] = []string{arn(s.home, "volume/"+s.volume)}
	return context
}

// askNewImage is the question about an image that a call is to make: it belongs to the caller already.
func askNewImage(c *Call) Ask {
	return ask(c, c.place(), "image/*").with(iampolicy.Context{"ec2:Owner": {c.place().account}})
}

// askImage is the question about an image of a Region.
func (w *World) askImage(c *Call, region, id string) Ask {
	i, there := w.images.get(id)
	if !there || i.home.region != region {
		return ask(c, place{c.place().account, region}, "image/*")
	}
	return ask(c, i.home, "image/"+id).with(w.imageContext(i))
}

func (w *World) imageContext(i *image) iampolicy.Context {
	context := w.resourceTags(i.id)
	context["ec2:Owner"] = []string{i.home.account}
	context["ec2:ImageID"] = []string{i.id}
	context["ec2:ImageType"] = []string{"machine"}
	context["ec2:Public"] = []string{strconv.FormatBool(w.publicImage(i))}
	context["ec2:RootDeviceType"] = []string{string(i.about.RootDeviceType)}
	return context
}
