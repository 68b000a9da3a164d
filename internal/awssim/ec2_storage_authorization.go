// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strconv"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// newSnapshotAuthorization returns the request for a snapshot in the call's Region. For an unknown snapshot the
// resource is snapshot/* (stackd:sharing_controls).
func (w *World) newSnapshotAuthorization(c *Call, id string) AuthorizationRequest {
	s, ok := w.snapshots.get(id)
	if !ok || s.location.region != c.Region {
		return newAuthorization(c, c.location(), "snapshot/*")
	}
	return newAuthorization(c, s.location, "snapshot/"+id).withContext(w.snapshotContext(s))
}

// newCopySourceAuthorization returns the request for the source of a copy, in any Region and account. Unlike
// newSnapshotAuthorization it always contains the ID (rule 6.5).
func (w *World) newCopySourceAuthorization(c *Call, region, id string) AuthorizationRequest {
	s, ok := w.snapshots.get(id)
	if !ok || s.location.region != region {
		return newAuthorization(c, location{c.location().account, region}, "snapshot/"+id)
	}
	return newAuthorization(c, s.location, "snapshot/"+id).withContext(w.snapshotContext(s))
}

func (w *World) snapshotContext(s *snapshot) iampolicy.Context {
	context := w.resourceTagContext(s.id)
	context["ec2:Owner"] = []string{s.location.account}
	context["ec2:SnapshotID"] = []string{s.id}
	context["ec2:Encrypted"] = []string{strconv.FormatBool(s.isEncrypted())}
	context["ec2:VolumeSize"] = []string{strconv.Itoa(int(s.sizeGiB))}
	context["ec2:SnapshotTime"] = []string{formatTime(s.created)}
	context["ec2:ParentVolume"] = []string{ec2ARN(s.location, "volume/"+s.volume)}
	return context
}

// newImageCreationAuthorization returns the request for an image that the call creates. The caller is its owner.
func newImageCreationAuthorization(c *Call) AuthorizationRequest {
	return newAuthorization(c, c.location(), "image/*").withContext(iampolicy.Context{"ec2:Owner": {c.location().account}})
}

// newImageAuthorization returns the request for an image in a Region.
func (w *World) newImageAuthorization(c *Call, region, id string) AuthorizationRequest {
	i, ok := w.images.get(id)
	if !ok || i.location.region != region {
		return newAuthorization(c, location{c.location().account, region}, "image/*")
	}
	return newAuthorization(c, i.location, "image/"+id).withContext(w.imageContext(i))
}

func (w *World) imageContext(i *image) iampolicy.Context {
	context := w.resourceTagContext(i.id)
	context["ec2:Owner"] = []string{i.location.account}
	context["ec2:ImageID"] = []string{i.id}
	context["ec2:ImageType"] = []string{"machine"}
	context["ec2:Public"] = []string{strconv.FormatBool(w.isPublicImage(i))}
	context["ec2:RootDeviceType"] = []string{string(i.attributes.RootDeviceType)}
	return context
}
