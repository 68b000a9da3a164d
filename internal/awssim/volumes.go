// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var volumeOperations = []named{
	op((*World).createVolume),
	op((*World).deleteVolume),
	op((*World).describeVolumes),
}

// volume is an EBS volume.
type volume struct {
	id          string
	home        place
	zone        string
	made, ready time.Time
	gib         int32
	kind        types.VolumeType
	iops        *int32
	throughput  *int32
	snapshot    string    // that it was made from; empty: none
	lineage     string    // the volume from which its data comes
	keyARN      string    // empty: unencrypted
	vanishes    bool      // its key cannot be used: it is gone when it should be ready (1.8.6)
	gone        time.Time // its instance ends then and takes it along; zero: never
	snapshotted time.Time
	platform    platform
}

// volumeSpec is what a volume is to be.
type volumeSpec struct {
	zone       string
	from       *snapshot // nil: empty
	gib        *int32    // nil: the snapshot's
	kind       types.VolumeType
	iops       *int32
	throughput *int32
	wish       encryptionWish
	tags       []types.TagSpecification
}

// newVolume begins a volume of the caller, for CreateVolume and for a launch. The key is not checked before the volume is
// to be ready: then one that cannot be used makes it vanish (1.8.6).
func (w *World) newVolume(c *Call, spec volumeSpec) (*volume, error) {
	at := c.place()
	made := &volume{home: at, zone: spec.zone, made: c.At, kind: spec.kind, iops: spec.iops, throughput: spec.throughput}
	if made.kind == "" {
		made.kind = types.VolumeTypeGp2
	}
	from, sourceARN := nothing, ""
	if spec.from != nil {
		from, sourceARN = originOf(spec.from, at), spec.from.keyARN
		made.gib, made.snapshot, made.lineage, made.platform = spec.from.gib, spec.from.id, spec.from.lineage, spec.from.platform
	}
	if spec.gib != nil {
		if *spec.gib < made.gib {
			return nil, invalid("InvalidParameterValue", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", *spec.gib, made.snapshot, made.gib)
		}
		made.gib = *spec.gib
	}
	if err := made.checkPerformance(); err != nil {
		return nil, err
	}
	choice, err := w.chooseKey(c, makesVolume, from, made.snapshot, true, spec.wish)
	if err != nil {
		return nil, err
	}
	target := w.chosenKey(c, choice, spec.wish.key, sourceARN)
	if target != nil {
		made.keyARN = *target.Arn
	}
	made.vanishes = w.keyLost(c, at, sourceARN) || w.breaks(c, "1.8.6", choice != noKey && target == nil) || w.volumeKeysFail(c, w.keyOf(at, sourceARN), target)
	made.id = w.newID(c, "vol-")
	if made.lineage == "" {
		made.lineage = made.id
	}
	made.ready = c.At.Add(w.between(made.id, time.Second, 4*time.Second))
	if made.vanishes {
		made.gone = made.ready
	}
	w.volumes.put(made.id, made)
	w.tagNew(c, made.id, types.ResourceTypeVolume, spec.tags)
	return made, nil
}

// originOf is what a snapshot is to an account.
func originOf(s *snapshot, at place) origin {
	switch {
	case !s.encrypted():
		return plain
	case s.home.account == at.account:
		return ownEncrypted
	}
	return foreignEncrypted
}

// checkPerformance fills in and checks what a volume type allows (9.0: EbsBlockDevice).
func (v *volume) checkPerformance() error {
	switch v.kind {
	case types.VolumeTypeGp3:
		if v.iops == nil {
			v.iops = aws.Int32(3000)
		}
		if v.throughput == nil {
			v.throughput = aws.Int32(125)
		}
		return within("gp3", v.iops, 3000, 80000, v.throughput, 125, 2000)
	case types.VolumeTypeIo1:
		return within("io1", v.iops, 100, 64000, v.throughput, 0, 0)
	case types.VolumeTypeIo2:
		return within("io2", v.iops, 100, 256000, v.throughput, 0, 0)
	}
	if v.iops != nil || v.throughput != nil {
		return invalid("InvalidParameterCombination", "The parameter iops and throughput are not supported for %s volumes.", v.kind)
	}
	if v.kind == types.VolumeTypeGp2 {
		v.iops = aws.Int32(min(max(100, 3*v.gib), 16000))
	}
	return nil
}

func within(kind string, iops *int32, least, most int32, throughput *int32, slow, fast int32) error {
	switch {
	case iops == nil:
		return invalid("MissingParameter", "The parameter iops must be specified for %s volumes.", kind)
	case *iops < least || *iops > most:
		return invalid("InvalidParameterValue", "Volume iops of %d is out of range for volume type %s; the range is %d to %d.", *iops, kind, least, most)
	case throughput != nil && (*throughput < slow || *throughput > fast):
		return invalid("InvalidParameterValue", "Throughput of %d MiB/s is out of range for volume type %s.", *throughput, kind)
	}
	return nil
}

// there reports whether the volume exists at a moment.
func (v *volume) there(now time.Time) bool {
	return (!v.vanishes || now.Before(v.ready)) && (v.gone.IsZero() || now.Before(v.gone))
}

// volumeOf finds a volume of the caller.
func (w *World) volumeOf(c *Call, id string) (*volume, bool) {
	found, there := w.volumes.get(id)
	return found, there && found.home == c.place() && found.there(c.At)
}

func noVolume(id string) *Refusal {
	return invalid("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

func (w *World) createVolume(c *Call, in *ec2.CreateVolumeInput) (*ec2.CreateVolumeOutput, error) {
	if err := only(in, "AvailabilityZone", "ClientToken", "Encrypted", "Iops", "KmsKeyId", "Size", "SnapshotId", "TagSpecifications", "Throughput", "VolumeType"); err != nil {
		return nil, err
	}
	zone := aws.ToString(in.AvailabilityZone)
	switch {
	case zone == "":
		return nil, missing("zone")
	case in.SnapshotId == nil && in.Size == nil:
		return nil, missing("size/snapshot")
	case !slices.Contains(zones(c.Region), zone):
		return nil, invalid("InvalidZone.NotFound", "The zone '%s' does not exist.", zone)
	case in.SnapshotId != nil && w.breaks(c, "2.5.10", !formed(*in.SnapshotId, "snap-")):
		return nil, noSnapshotID(*in.SnapshotId)
	case in.SnapshotId != nil && w.breaks(c, "2.5.10", !wellFormed(*in.SnapshotId, "snap-")):
		return nil, malformedSnapshot(*in.SnapshotId)
	}
	if err := w.checkTags(c, in.TagSpecifications, types.ResourceTypeVolume); err != nil {
		return nil, err
	}
	var from *snapshot
	asks := []Ask{ask(c, c.place(), "volume/*").with(newVolumeContext(c.Region, in))}
	if in.SnapshotId != nil { // looked up even before IAM is asked
		found, there := w.snapshotFor(c.place().account, c.Region, *in.SnapshotId)
		if w.breaks(c, "A.4.7", !there) || !there {
			return nil, invalid("InvalidSnapshot.NotFound", "Snapshot does not exist")
		}
		from, asks = found, append(asks, w.askSnapshot(c, found.id))
	}
	if err := w.authorise(c, creating(c, in.TagSpecifications, asks...)...); err != nil {
		return nil, err
	}
	return once(w, c, in.ClientToken, func() (*ec2.CreateVolumeOutput, error) {
		spec := volumeSpec{
			zone: zone, gib: in.Size, kind: in.VolumeType, iops: in.Iops, throughput: in.Throughput,
			wish: encryptionWish{in.Encrypted, in.KmsKeyId}, tags: in.TagSpecifications,
		}
		if from != nil {
			if state := from.state(c.At); w.breaks(c, "A.4.7", state != types.SnapshotStateCompleted) {
				return nil, invalid("IncorrectState", "Snapshot is in invalid state - %s", state)
			}
			spec.from = from
		}
		made, err := w.newVolume(c, spec)
		if err != nil {
			return nil, err
		}
		out := &ec2.CreateVolumeOutput{}
		reshape(w.viewVolume(c, made), out)
		out.OwnerId, out.VolumeArn, out.Operator, out.Attachments = nil, nil, nil, nil
		out.Encrypted = aws.Bool(made.keyARN != "" || spec.wish.on())
		if out.KmsKeyId = nil; spec.wish.key != nil {
			out.KmsKeyId = spec.wish.key
		} else if spec.from != nil && spec.from.keyARN == made.keyARN && made.keyARN != "" {
			out.KmsKeyId = &made.keyARN // the account's default key is not named yet
		}
		return out, nil
	})
}

// newVolumeContext is what a request says to conditions about the volume that it is to make.
func newVolumeContext(region string, in *ec2.CreateVolumeInput) iampolicy.Context {
	context := iampolicy.Context{
		"ec2:AvailabilityZone": {*in.AvailabilityZone}, "ec2:Encrypted": {strconv.FormatBool(aws.ToBool(in.Encrypted))}, "ec2:VolumeType": {string(cmp.Or(in.VolumeType, types.VolumeTypeGp2))},
	}
	if in.Size != nil {
		context["ec2:VolumeSize"] = []string{strconv.Itoa(int(*in.Size))}
	}
	if in.SnapshotId != nil {
		context["ec2:ParentSnapshot"] = []string{arn(place{region: region}, "snapshot/"+*in.SnapshotId)}
	}
	return context
}

func (w *World) deleteVolume(c *Call, in *ec2.DeleteVolumeInput) (*ec2.DeleteVolumeOutput, error) {
	if in.VolumeId == nil {
		return nil, missing("VolumeId")
	}
	if !formed(*in.VolumeId, "vol-") {
		return nil, invalid("InvalidParameterValue", "Value (%s) for parameter volumeId is invalid. Expected: 'vol-...'.", *in.VolumeId)
	}
	doomed, there := w.volumeOf(c, *in.VolumeId)
	which := ask(c, c.place(), "volume/*")
	if there {
		which = w.askOn(c, "volume", doomed.id)
	}
	if err := w.authorise(c, which); err != nil {
		return nil, err
	}
	if !there {
		return nil, noVolume(*in.VolumeId)
	}
	if holder, attached := w.attachedTo(c, doomed); attached {
		return nil, invalid("VolumeInUse", "Volume %s is currently attached to %s", doomed.id, *holder.InstanceId)
	}
	w.dropVolume(doomed)
	c.changed(doomed.id)
	return &ec2.DeleteVolumeOutput{}, nil
}

// dropVolume deletes a volume: for DeleteVolume and for the end of an instance.
func (w *World) dropVolume(v *volume) {
	w.volumes.remove(v.id)
	delete(w.labels, v.id)
}

// attachedTo is where a volume is attached.
func (w *World) attachedTo(c *Call, v *volume) (types.VolumeAttachment, bool) {
	for id, i := range w.instances.all {
		for _, d := range i.devices {
			if d.volume == v.id && !i.is(c.At, types.InstanceStateNameTerminated) {
				return types.VolumeAttachment{
					InstanceId: &id, Device: &d.name, VolumeId: &v.id, AttachTime: millis(d.attached), DeleteOnTermination: &d.deleteOnTermination,
					State: types.VolumeAttachmentStateAttached,
				}, true
			}
		}
	}
	return types.VolumeAttachment{}, false
}

func (w *World) viewVolume(c *Call, v *volume) types.Volume {
	seen := types.Volume{
		VolumeId: &v.id, VolumeArn: aws.String(arn(v.home, "volume/"+v.id)), OwnerId: &v.home.account, AvailabilityZone: &v.zone, CreateTime: millis(v.made),
		Size: &v.gib, VolumeType: v.kind, Iops: v.iops, Throughput: v.throughput, SnapshotId: &v.snapshot, State: types.VolumeStateAvailable,
		Encrypted: aws.Bool(v.keyARN != ""), MultiAttachEnabled: aws.Bool(false), Tags: w.tagsSeen(c, v.id),
		Operator: &types.OperatorResponse{Managed: aws.Bool(false), HiddenByDefault: aws.Bool(false)},
	}
	if v.keyARN != "" {
		seen.KmsKeyId = &v.keyARN
	}
	if holder, attached := w.attachedTo(c, v); attached {
		seen.State, seen.Attachments = types.VolumeStateInUse, []types.VolumeAttachment{holder}
	}
	if c.At.Before(v.ready) {
		seen.State = types.VolumeStateCreating
	}
	return seen
}

func (w *World) describeVolumes(c *Call, in *ec2.DescribeVolumesInput) (*ec2.DescribeVolumesOutput, error) {
	if err := only(in, "Filters", "MaxResults", "NextToken", "VolumeIds"); err != nil {
		return nil, err
	}
	if err := w.checkPage(c, "volumeIdsSet", len(in.VolumeIds), in.MaxResults); err != nil {
		return nil, err
	}
	if err := w.authorise(c, anything(c)); err != nil {
		return nil, err
	}
	var seen []types.Volume
	for _, id := range in.VolumeIds {
		found, there := w.volumeOf(c, id)
		if !there || !w.settled(c, found.made) {
			return nil, noVolume(id)
		}
		seen = append(seen, w.viewVolume(c, found))
	}
	if len(in.VolumeIds) == 0 {
		for _, v := range w.volumes.all {
			if v.home == c.place() && v.there(c.At) && w.settled(c, v.made) {
				seen = append(seen, w.viewVolume(c, v))
			}
		}
	}
	return answerPage(seen, in.MaxResults, in.NextToken, in.Filters, volumeFacets, func(list []types.Volume, next *string) *ec2.DescribeVolumesOutput {
		return &ec2.DescribeVolumesOutput{Volumes: list, NextToken: next}
	})
}

var volumeFacets = facets[types.Volume]{
	tags: func(v types.Volume) []types.Tag { return v.Tags },
	values: map[string]func(types.Volume) []string{
		"attachment.device": func(v types.Volume) []string {
			return ofAttachments(v, func(a types.VolumeAttachment) string { return *a.Device })
		},
		"attachment.instance-id": func(v types.Volume) []string {
			return ofAttachments(v, func(a types.VolumeAttachment) string { return *a.InstanceId })
		},
		"attachment.status": func(v types.Volume) []string {
			return ofAttachments(v, func(a types.VolumeAttachment) string { return string(a.State) })
		},
		"attachment.delete-on-termination": func(v types.Volume) []string {
			return ofAttachments(v, func(a types.VolumeAttachment) string { return strconv.FormatBool(*a.DeleteOnTermination) })
		},
		"availability-zone": func(v types.Volume) []string { return []string{*v.AvailabilityZone} },
		"create-time":       func(v types.Volume) []string { return []string{stamp(*v.CreateTime)} },
		"encrypted":         func(v types.Volume) []string { return []string{strconv.FormatBool(*v.Encrypted)} },
		"size":              func(v types.Volume) []string { return []string{strconv.Itoa(int(*v.Size))} },
		"snapshot-id":       func(v types.Volume) []string { return []string{*v.SnapshotId} },
		"status":            func(v types.Volume) []string { return []string{string(v.State)} },
		"volume-id":         func(v types.Volume) []string { return []string{*v.VolumeId} },
		"volume-type":       func(v types.Volume) []string { return []string{string(v.VolumeType)} },
	},
}

func ofAttachments(v types.Volume, value func(types.VolumeAttachment) string) (all []string) {
	for _, a := range v.Attachments {
		all = append(all, value(a))
	}
	return all
}
