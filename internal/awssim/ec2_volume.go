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

var volumeOperations = []namedOperation{
	newOperation((*World).createVolume),
	newOperation((*World).deleteVolume),
	newOperation((*World).describeVolumes),
}

// volume is an EBS volume.
type volume struct {
	id                   string
	location             location
	zone                 string
	created, availableAt time.Time
	sizeGiB              int32
	volumeType           types.VolumeType
	iops                 *int32
	throughput           *int32
	snapshot             string // source snapshot; empty for an empty volume
	lineage              string // original volume of the data
	keyARN               string // empty if unencrypted
	// the key cannot be used, so the volume disappears instead of becoming available (rule 1.8.6)
	failsToCreate bool
	deletedAt     time.Time // when its instance is terminated; zero for never
	lastSnapshot  time.Time
	platform      platform
}

// volumeSpec describes a volume to create.
type volumeSpec struct {
	zone       string
	snapshot   *snapshot // nil for an empty volume
	sizeGiB    *int32    // nil for the size of the snapshot
	volumeType types.VolumeType
	iops       *int32
	throughput *int32
	encryption encryptionParams
	tags       []types.TagSpecification
}

// newVolume creates a volume, for CreateVolume and for a launch. The key is checked when the volume becomes available.
// If it cannot be used, the volume disappears (rule 1.8.6).
func (w *World) newVolume(c *Call, spec volumeSpec) (*volume, error) {
	loc := c.location()
	created := &volume{
		location:   loc,
		zone:       spec.zone,
		created:    c.At,
		volumeType: spec.volumeType,
		iops:       spec.iops,
		throughput: spec.throughput,
	}
	if created.volumeType == "" {
		created.volumeType = types.VolumeTypeGp2
	}

	from, sourceARN := emptyVolume, ""
	if spec.snapshot != nil {
		from, sourceARN = dataSourceOf(spec.snapshot, loc), spec.snapshot.keyARN
		created.sizeGiB = spec.snapshot.sizeGiB
		created.snapshot = spec.snapshot.id
		created.lineage = spec.snapshot.lineage
		created.platform = spec.snapshot.platform
	}

	created.sizeGiB = max(created.sizeGiB, aws.ToInt32(spec.sizeGiB))
	created.setPerformance()

	choice, err := w.chooseEncryptionKey(c, volumeCreation, encryptionRequest{
		encryptionParams: spec.encryption,
		source:           from,
		sourceID:         created.snapshot,
		sameRegion:       true,
	})
	if err != nil {
		return nil, err
	}

	target := w.resolveKeyChoice(c, choice, spec.encryption.key, sourceARN)
	if target != nil {
		created.keyARN = *target.Arn
	}

	created.failsToCreate = w.isKeyDeleted(c, loc, sourceARN) ||
		w.violates(c, "1.8.6", choice != noKey && target == nil) ||
		w.isVolumeKeyDenied(c, w.findStorageKey(loc, sourceARN), target)

	created.id = w.newID(c, "vol-")
	if created.lineage == "" {
		created.lineage = created.id
	}

	created.availableAt = c.At.Add(w.randomDuration(created.id, time.Second, 4*time.Second))
	if created.failsToCreate {
		created.deletedAt = created.availableAt
	}

	w.volumes.put(created.id, created)
	w.tagNewResource(c, created.id, types.ResourceTypeVolume, spec.tags)
	return created, nil
}

// dataSourceOf returns which kind of data source a snapshot is for an account in a Region.
func dataSourceOf(s *snapshot, loc location) dataSource {
	switch {
	case !s.isEncrypted():
		return unencryptedSnapshot
	case s.location.account == loc.account:
		return ownEncryptedSnapshot
	}
	return sharedEncryptedSnapshot
}

// exists reports whether the volume exists at a time.
func (v *volume) exists(now time.Time) bool {
	return (!v.failsToCreate || now.Before(v.availableAt)) && (v.deletedAt.IsZero() || now.Before(v.deletedAt))
}

func (w *World) findOwnVolume(c *Call, id string) (*volume, bool) {
	found, ok := w.volumes.get(id)
	return found, ok && found.location == c.location() && found.exists(c.At)
}

func volumeNotFound(id string) *APIError {
	return badRequest("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

// validateVolumeID refuses a malformed volume ID. EC2 checks the format before it looks the volume up.
func (w *World) validateVolumeID(c *Call, id string) error {
	if w.violates(c, "B.2.1", !hasIDFormat(id, "vol-")) {
		return badRequest("InvalidParameterValue", "Value (%s) for parameter volumeId is invalid. Expected: 'vol-...'.", id)
	}
	if w.violates(c, "B.2.1", !isValidID(id, "vol-")) {
		return badRequest("InvalidVolumeID.Malformed", "Invalid id: %q", id)
	}
	return nil
}

func (w *World) createVolume(c *Call, in *ec2.CreateVolumeInput) (*ec2.CreateVolumeOutput, error) {
	err := refuseUnmodeled(
		in, "AvailabilityZone", "ClientToken", "Encrypted", "Iops", "KmsKeyId", "Size", "SnapshotId", "TagSpecifications",
		"Throughput", "VolumeInitializationRate", "VolumeType",
	)
	if err != nil {
		return nil, err
	}
	if err := w.validateCreateVolume(c, in); err != nil {
		return nil, err
	}

	var from *snapshot
	requests := []AuthorizationRequest{
		newAuthorization(c, c.location(), "volume/*").withContext(newVolumeContext(c.Region, in)),
	}

	if in.SnapshotId != nil { // EC2 looks the snapshot up before it authorizes the call
		found, ok := w.findReadableSnapshot(c.location().account, c.Region, *in.SnapshotId)
		if w.violates(c, "A.4.7", !ok) || !ok {
			return nil, badRequest("InvalidSnapshot.NotFound", "Snapshot does not exist")
		}
		from, requests = found, append(requests, w.newSnapshotAuthorization(c, found.id))
	}

	if err := w.validateVolumeRequest(c, newVolumeRequest(in, from)); err != nil {
		return nil, err
	}

	if err := w.authorize(c, addTagOnCreate(c, in.TagSpecifications, requests...)...); err != nil {
		return nil, err
	}

	return runIdempotent(w, c, in.ClientToken, func() (*ec2.CreateVolumeOutput, error) {
		spec := volumeSpec{
			zone:       *in.AvailabilityZone,
			sizeGiB:    in.Size,
			volumeType: in.VolumeType,
			iops:       in.Iops,
			throughput: in.Throughput,
			encryption: encryptionParams{in.Encrypted, in.KmsKeyId},
			tags:       in.TagSpecifications,
		}

		if from != nil {
			if state := from.state(c.At); w.violates(c, "A.4.7", state != types.SnapshotStateCompleted) {
				return nil, badRequest("IncorrectState", "Snapshot is in invalid state - %s", state)
			}
			spec.snapshot = from
		}

		created, err := w.newVolume(c, spec)
		if err != nil {
			return nil, err
		}

		return w.createVolumeOutput(c, created, spec), nil
	})
}

// newVolumeRequest returns the parameters of CreateVolume that have bounds. A size below the size of the snapshot is
// raised to it.
func newVolumeRequest(in *ec2.CreateVolumeInput, from *snapshot) volumeRequest {
	asked := volumeRequest{
		volumeType: in.VolumeType,
		sizeGiB:    aws.ToInt32(in.Size),
		iops:       in.Iops,
		throughput: in.Throughput,
		rate:       in.VolumeInitializationRate,
		snapshot:   in.SnapshotId != nil,
	}
	if from != nil {
		asked.sizeGiB = max(asked.sizeGiB, from.sizeGiB)
	}
	return asked
}

// validateCreateVolume checks what CreateVolume refuses before it authorizes the call.
func (w *World) validateCreateVolume(c *Call, in *ec2.CreateVolumeInput) error {
	zone := aws.ToString(in.AvailabilityZone)
	switch {
	case zone == "":
		return missingParameter("zone")
	case in.SnapshotId == nil && in.Size == nil:
		return missingParameter("size/snapshot")
	case !slices.Contains(zonesOf(c.Region), zone):
		return badRequest("InvalidZone.NotFound", "The zone '%s' does not exist.", zone)
	case in.SnapshotId != nil && w.violates(c, "2.5.10", !hasIDFormat(*in.SnapshotId, "snap-")):
		return invalidSnapshotID(*in.SnapshotId)
	case in.SnapshotId != nil && w.violates(c, "2.5.10", !isValidID(*in.SnapshotId, "snap-")):
		return malformedSnapshotID(*in.SnapshotId)
	}

	return w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeVolume)
}

// createVolumeOutput returns a volume as CreateVolume shows it. The EBS default key is not shown.
func (w *World) createVolumeOutput(c *Call, created *volume, spec volumeSpec) *ec2.CreateVolumeOutput {
	out := &ec2.CreateVolumeOutput{}
	convertFields(w.viewVolume(c, created), out)
	out.OwnerId, out.VolumeArn, out.Operator, out.Attachments = nil, nil, nil, nil
	out.Encrypted = aws.Bool(created.keyARN != "" || spec.encryption.isRequested())

	out.KmsKeyId = spec.encryption.key
	keepsKey := spec.snapshot != nil && spec.snapshot.keyARN == created.keyARN
	if out.KmsKeyId == nil && keepsKey && created.keyARN != "" {
		out.KmsKeyId = &created.keyARN
	}
	return out
}

// newVolumeContext returns the condition keys of the volume in a request.
func newVolumeContext(region string, in *ec2.CreateVolumeInput) iampolicy.Context {
	context := iampolicy.Context{
		"ec2:AvailabilityZone": {*in.AvailabilityZone}, "ec2:Encrypted": {
			strconv.FormatBool(aws.ToBool(in.Encrypted)),
		}, "ec2:VolumeType": {
			string(cmp.Or(in.VolumeType, types.VolumeTypeGp2)),
		},
	}

	if in.Size != nil {
		context["ec2:VolumeSize"] = []string{strconv.Itoa(int(*in.Size))}
	}
	if in.SnapshotId != nil {
		context["ec2:ParentSnapshot"] = []string{ec2ARN(location{region: region}, "snapshot/"+*in.SnapshotId)}
	}

	return context
}

func (w *World) deleteVolume(c *Call, in *ec2.DeleteVolumeInput) (*ec2.DeleteVolumeOutput, error) {
	if in.VolumeId == nil {
		return nil, missingParameter("VolumeId")
	}
	if err := w.validateVolumeID(c, *in.VolumeId); err != nil {
		return nil, err
	}

	deleted, ok := w.findOwnVolume(c, *in.VolumeId)
	which := newAuthorization(c, c.location(), "volume/*")
	if ok {
		which = w.newAuthorizationOnOwn(c, "volume", deleted.id)
	}
	if err := w.authorize(c, which); err != nil {
		return nil, err
	}
	if !ok {
		return nil, volumeNotFound(*in.VolumeId)
	}
	if holder, attached := w.findAttachment(c, deleted); attached {
		return nil, badRequest("VolumeInUse", "Volume %s is currently attached to %s", deleted.id, *holder.InstanceId)
	}

	w.removeVolume(deleted)
	c.recordChange(deleted.id)
	return &ec2.DeleteVolumeOutput{}, nil
}

// removeVolume deletes a volume, for DeleteVolume and for the end of an instance.
func (w *World) removeVolume(v *volume) {
	w.volumes.remove(v.id)
	delete(w.resources, v.id)
}

func (w *World) findAttachment(c *Call, v *volume) (types.VolumeAttachment, bool) {
	for id, i := range w.instances.all {
		for _, d := range i.devices {
			if d.volume == v.id && !i.isInState(c.At, types.InstanceStateNameTerminated) {
				return types.VolumeAttachment{
					InstanceId:          &id,
					Device:              &d.name,
					VolumeId:            &v.id,
					AttachTime:          toMilliseconds(d.attached),
					DeleteOnTermination: &d.deleteOnTermination,
					State:               types.VolumeAttachmentStateAttached,
				}, true
			}
		}
	}

	return types.VolumeAttachment{}, false
}

func (w *World) viewVolume(c *Call, v *volume) types.Volume {
	view := types.Volume{
		VolumeId:           &v.id,
		VolumeArn:          aws.String(ec2ARN(v.location, "volume/"+v.id)),
		OwnerId:            &v.location.account,
		AvailabilityZone:   &v.zone,
		AvailabilityZoneId: aws.String(zoneID(v.zone)),
		CreateTime:         toMilliseconds(v.created),
		Size:               &v.sizeGiB,
		VolumeType:         v.volumeType,
		Iops:               v.iops,
		Throughput:         v.throughput,
		SnapshotId:         &v.snapshot,
		State:              types.VolumeStateAvailable,
		Encrypted:          aws.Bool(v.keyARN != ""),
		MultiAttachEnabled: aws.Bool(false),
		Tags:               w.tagsSeen(c, v.id),
		Operator:           &types.OperatorResponse{Managed: aws.Bool(false), HiddenByDefault: aws.Bool(false)},
	}

	if v.keyARN != "" {
		view.KmsKeyId = &v.keyARN
	}
	if holder, attached := w.findAttachment(c, v); attached {
		view.State, view.Attachments = types.VolumeStateInUse, []types.VolumeAttachment{holder}
	}
	if c.At.Before(v.availableAt) {
		view.State = types.VolumeStateCreating
	}

	return view
}

func (w *World) describeVolumes(c *Call, in *ec2.DescribeVolumesInput) (*ec2.DescribeVolumesOutput, error) {
	if err := refuseUnmodeled(in, "Filters", "MaxResults", "NextToken", "VolumeIds"); err != nil {
		return nil, err
	}
	if err := w.validatePage(c, "volumeIdsSet", len(in.VolumeIds), in.MaxResults); err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	var seen []types.Volume
	for _, id := range in.VolumeIds {
		if err := w.validateVolumeID(c, id); err != nil {
			return nil, err
		}
		found, ok := w.findOwnVolume(c, id)
		if !ok || !w.isVisible(c, found.created) {
			return nil, volumeNotFound(id)
		}
		seen = append(seen, w.viewVolume(c, found))
	}

	if len(in.VolumeIds) == 0 {
		for _, v := range w.volumes.all {
			if v.location == c.location() && v.exists(c.At) && w.isVisible(c, v.created) {
				seen = append(seen, w.viewVolume(c, v))
			}
		}
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, volumeFilters,
		func(list []types.Volume, next *string) *ec2.DescribeVolumesOutput {
			return &ec2.DescribeVolumesOutput{Volumes: list, NextToken: next}
		})
}

var volumeFilters = filterFields[types.Volume]{
	tags: func(v types.Volume) []types.Tag { return v.Tags },
	values: map[string]func(types.Volume) []string{
		"attachment.device": func(v types.Volume) []string {
			return attachmentValues(v, func(a types.VolumeAttachment) string { return *a.Device })
		},
		"attachment.instance-id": func(v types.Volume) []string {
			return attachmentValues(v, func(a types.VolumeAttachment) string { return *a.InstanceId })
		},
		"attachment.status": func(v types.Volume) []string {
			return attachmentValues(v, func(a types.VolumeAttachment) string { return string(a.State) })
		},
		"attachment.delete-on-termination": func(v types.Volume) []string {
			return attachmentValues(v, func(a types.VolumeAttachment) string {
				return strconv.FormatBool(*a.DeleteOnTermination)
			})
		},
		"availability-zone": func(v types.Volume) []string { return []string{*v.AvailabilityZone} },
		"create-time":       func(v types.Volume) []string { return []string{formatTime(*v.CreateTime)} },
		"encrypted":         func(v types.Volume) []string { return []string{strconv.FormatBool(*v.Encrypted)} },
		"size":              func(v types.Volume) []string { return []string{strconv.Itoa(int(*v.Size))} },
		"snapshot-id":       func(v types.Volume) []string { return []string{*v.SnapshotId} },
		"status":            func(v types.Volume) []string { return []string{string(v.State)} },
		"volume-id":         func(v types.Volume) []string { return []string{*v.VolumeId} },
		"volume-type":       func(v types.Volume) []string { return []string{string(v.VolumeType)} },
	},
}

func attachmentValues(v types.Volume, value func(types.VolumeAttachment) string) (all []string) {
	for _, a := range v.Attachments {
		all = append(all, value(a))
	}
	return all
}
