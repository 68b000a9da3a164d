// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var snapshotOperations = []namedOperation{
	newOperation((*World).copySnapshot),
	newOperation((*World).createSnapshot),
	newOperation((*World).deleteSnapshot),
	newOperation((*World).describeSnapshots),
	newOperation((*World).describeSnapshotAttribute),
	newOperation((*World).modifySnapshotAttribute),
	newOperation((*World).resetSnapshotAttribute),
	newOperation((*World).modifySnapshotTier),
	newOperation((*World).lockSnapshot),
	newOperation((*World).unlockSnapshot),
	newOperation((*World).describeLockedSnapshots),
}

// copiedVolume is the volume ID of copied snapshots (rule 1.3.11).
const copiedVolume = "vol-ffffffff"

// snapshot is an EBS snapshot. viewSnapshot returns what an account sees of it.
type snapshot struct {
	id          string
	location    location
	created     time.Time
	progress    progress
	volume      string // volume ID; copiedVolume for a copy
	source      string // source snapshot of a copy; empty for a snapshot of a volume
	description string
	sizeGiB     int32
	// original volume of the data; copies within a lineage are incremental (rule 4.7.1)
	lineage         string
	incremental     bool
	keyARN          string // empty if unencrypted
	failure         string // state message if it will fail; empty if it will succeed
	sharing         snapshotSharing
	durationMinutes *int32   // CompletionDurationMinutes of a time-based copy (rule 4.8.4)
	platform        platform // billing of the data (rule 2.3.3)
	outpost         *string
	archiving       *progress
	lock            *snapshotLock
	open            bool // created by StartSnapshot and not yet completed
}

func (s *snapshot) getLocation() location { return s.location }

// isEncrypted reports whether the snapshot is encrypted once it is complete.
func (s *snapshot) isEncrypted() bool { return s.keyARN != "" }

// lineageKey returns the lineage of the snapshot's data in its account and Region.
func (s *snapshot) lineageKey() lineageKey { return lineageKey{s.location, s.lineage} }

func (s *snapshot) state(now time.Time) types.SnapshotState {
	switch {
	case !s.progress.isDone(now):
		return types.SnapshotStatePending
	case s.failure != "":
		return types.SnapshotStateError
	}
	return types.SnapshotStateCompleted
}

// viewSnapshot returns the snapshot as the caller sees it, with the caller's own tags (rules 2.1.8 and B.7.2).
func (w *World) viewSnapshot(c *Call, s *snapshot) types.Snapshot {
	view := types.Snapshot{
		SnapshotId:                &s.id,
		OwnerId:                   &s.location.account,
		OwnerAlias:                ownerAlias(s.location.account),
		VolumeId:                  &s.volume,
		Description:               &s.description,
		StartTime:                 toMilliseconds(s.created),
		State:                     s.state(c.At),
		StorageTier:               types.StorageTierStandard,
		Encrypted:                 aws.Bool(s.isEncrypted()),
		VolumeSize:                &s.sizeGiB,
		OutpostArn:                s.outpost,
		TransferType:              types.TransferTypeStandard,
		CompletionDurationMinutes: s.durationMinutes,
	}

	if s.durationMinutes != nil {
		view.TransferType = types.TransferTypeTimeBased
	}
	view.Tags = w.tagsSeen(c, s.id)
	if s.isEncrypted() {
		view.KmsKeyId = &s.keyARN
	}

	switch view.State {
	case types.SnapshotStateCompleted:
		view.Progress, view.CompletionTime = aws.String("100%"), toMilliseconds(s.progress.ends)
		view.FullSnapshotSizeInBytes = aws.Int64(int64(s.sizeGiB) << 30)
	case types.SnapshotStateError:
		view.Progress, view.StateMessage = aws.String("0%"), &s.failure
		if s.failure != keyNotAccessible {
			view.VolumeSize = aws.Int32(0)
			hideEncryption(&view)
		}
	case types.SnapshotStatePending:
		view.Progress = aws.String(s.progress.percent(c.At))
		// A pending copy shows neither its size nor its encryption (rule 4.6.1).
		if w.violates(c, "4.6.1", s.source != "") {
			view.VolumeSize = aws.Int32(0)
			hideEncryption(&view)
			if !s.progress.hasStarted(c.At) {
				view.StateMessage = aws.String("Metadata not updated")
			}
		}
	}

	if s.archiving != nil && s.archiving.isDone(c.At) {
		view.StorageTier = types.StorageTierArchive
	}

	return view
}

func hideEncryption(s *types.Snapshot) {
	s.Encrypted, s.KmsKeyId = aws.Bool(false), nil
}

// isReadableBy reports whether an account can read a snapshot, as its owner or because it is shared.
func (w *World) isReadableBy(account string, s *snapshot) bool {
	shared := s.sharing.includes(account) && w.hasArrived(shareKey(s.id, account))
	return s.location.account == account || shared || w.isPublicSnapshot(s)
}

// isPublicSnapshot reports whether all accounts can read a snapshot. Blocking all public sharing also hides snapshots
// that are already public (rule 2.1.3).
func (w *World) isPublicSnapshot(s *snapshot) bool {
	return s.sharing.public &&
		w.settingsOf(s.location).blockSnapshots != types.SnapshotBlockPublicAccessStateBlockAllSharing
}

// findReadableSnapshot returns a snapshot in a Region that an account can read.
func (w *World) findReadableSnapshot(account, region, id string) (*snapshot, bool) {
	found, ok := w.snapshots.get(id)
	return found, ok && found.location.region == region && w.isReadableBy(account, found)
}

// findOwnSnapshot returns a snapshot of the caller. Snapshots of other accounts are not found (rule 2.1.7).
func (w *World) findOwnSnapshot(c *Call, id *string) (*snapshot, error) {
	found, ok := w.snapshots.get(aws.ToString(id))
	if w.violates(c, "2.1.7", !ok || found.location != c.location()) {
		return nil, snapshotNotFound(aws.ToString(id))
	}
	if !ok {
		return nil, snapshotNotFound(aws.ToString(id))
	}
	return found, nil
}

func snapshotNotFound(id string) *APIError {
	return badRequest("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
}

// invalidSnapshotID returns the error for a value that is not a snapshot ID (stackd:volume_controls_snapshot_ids).
func invalidSnapshotID(id string) *APIError {
	return badRequest("InvalidParameterValue", "Value (%s) for parameter snapshotId is invalid. Expected: 'snap-...'.", id)
}

func malformedSnapshotID(id string) *APIError {
	return badRequest("InvalidSnapshotID.Malformed", "Value ( %s ) for parameter SNAPSHOT is invalid. ", id)
}

func (w *World) createSnapshot(c *Call, in *ec2.CreateSnapshotInput) (*ec2.CreateSnapshotOutput, error) {
	if err := refuseUnmodeled(in, "VolumeId", "Description", "OutpostArn", "TagSpecifications"); err != nil {
		return nil, err
	}
	if in.VolumeId == nil {
		return nil, missingParameter("VolumeId")
	}

	if err := w.validateVolumeID(c, *in.VolumeId); err != nil {
		return nil, err
	}
	if err := w.validateDescription(c, in.Description); err != nil {
		return nil, err
	}

	loc := c.location()
	from, ok := w.findOwnVolume(c, *in.VolumeId)
	volumeARN := "volume/*"
	if ok {
		volumeARN = "volume/" + *in.VolumeId
	}
	if err := w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeSnapshot); err != nil {
		return nil, err
	}

	err := w.authorize(
		c,
		addTagOnCreate(
			c, in.TagSpecifications, newAuthorization(c, loc, "snapshot/*"), newAuthorization(c, loc, volumeARN),
		)...,
	)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, volumeNotFound(*in.VolumeId)
	}
	// A volume accepts one snapshot in 15 seconds (EC2 API reference, error codes).
	if w.violates(c, "4.2", c.At.Sub(from.lastSnapshot) < 15*time.Second) {
		return nil, badRequest("SnapshotCreationPerVolumeRateExceeded",
			"The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep "+
				"interval between requests.")
	}

	created := w.startVolumeSnapshot(c, from, aws.ToString(in.Description), in.TagSpecifications)
	created.outpost = in.OutpostArn
	out := &ec2.CreateSnapshotOutput{
		SnapshotId:  &created.id,
		OwnerId:     &loc.account,
		VolumeId:    in.VolumeId,
		VolumeSize:  &created.sizeGiB,
		Description: &created.description,
		StartTime:   toMilliseconds(c.At),
		State:       types.SnapshotStatePending,
		Progress:    aws.String(""),
		Encrypted:   aws.Bool(created.isEncrypted()),
		OutpostArn:  in.OutpostArn,
		Tags:        w.tagsOf(created.id),
	}

	return out, nil
}

// startVolumeSnapshot starts a snapshot of a volume under the volume's key (rule 1.2.1). It needs no permission on the
// key.
func (w *World) startVolumeSnapshot(
	c *Call, from *volume, description string, tags []types.TagSpecification,
) *snapshot {
	loc := c.location()
	created := &snapshot{
		id:          w.newID(c, "snap-"),
		location:    loc,
		created:     c.At,
		volume:      from.id,
		description: description,
		sizeGiB:     from.sizeGiB,
		lineage:     from.lineage,
		keyARN:      from.keyARN,
		platform:    from.platform,
	}

	created.incremental = w.hasCompleteSnapshot(c, loc, created.lineage, created.keyARN)
	created.progress = w.newProgress(c.At, SnapshotJob{
		SnapshotID:  created.id,
		SourceID:    from.id,
		Account:     loc.account,
		Region:      loc.region,
		FromRegion:  loc.region,
		GiB:         created.sizeGiB,
		Incremental: created.incremental,
	})

	from.lastSnapshot = c.At
	w.addSnapshot(created)
	w.tagNewResource(c, created.id, types.ResourceTypeSnapshot, tags)
	return created
}

// hasCompleteSnapshot reports whether the account and Region have a complete snapshot of the same data under the same
// key. Then a new snapshot is incremental and needs no new data key (rules 3.1.9 and 4.7.1).
func (w *World) hasCompleteSnapshot(c *Call, loc location, data, keyARN string) bool {
	for _, id := range w.lineages[lineageKey{loc, data}] {
		one, ok := w.snapshots.get(id)
		if ok && one.keyARN == keyARN && one.state(c.At) == types.SnapshotStateCompleted && one.archiving == nil {
			return true
		}
	}
	return false
}

func (w *World) deleteSnapshot(c *Call, in *ec2.DeleteSnapshotInput) (*ec2.DeleteSnapshotOutput, error) {
	if in.SnapshotId == nil {
		return nil, missingParameter("SnapshotId")
	}
	if err := w.authorize(c, w.newSnapshotAuthorization(c, *in.SnapshotId)); err != nil {
		return nil, err
	}

	deleted, err := w.findOwnSnapshot(c, in.SnapshotId)
	if err != nil {
		return nil, err
	}
	if users := w.imagesUsing(deleted.id); w.violates(c, "2.5.8", len(users) > 0) {
		return nil, badRequest(
			"InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", deleted.id, joinIDs(users),
		)
	}
	if w.violates(c, "9.3", deleted.lock.isActive(c.At)) {
		return nil, w.snapshotLocked(deleted.id)
	}

	w.removeSnapshot(c, deleted)
	return &ec2.DeleteSnapshotOutput{}, nil
}

func (w *World) removeSnapshot(c *Call, s *snapshot) {
	w.snapshots.remove(s.id)
	delete(w.resources, s.id)
	w.lineages[s.lineageKey()] = slices.DeleteFunc(w.lineages[s.lineageKey()], func(id string) bool { return id == s.id })
	c.changedIDs = append(c.changedIDs, s.id)
}

func (w *World) describeSnapshots(c *Call, in *ec2.DescribeSnapshotsInput) (*ec2.DescribeSnapshotsOutput, error) {
	if err := w.validatePage(c, "snapshotIdsSet", len(in.SnapshotIds), in.MaxResults); err != nil {
		return nil, err
	}

	for _, id := range in.SnapshotIds {
		if w.violates(c, "2.5.10", !hasIDFormat(id, "snap-")) {
			return nil, invalidSnapshotID(id)
		}
		if w.violates(c, "2.5.10", !isValidID(id, "snap-")) {
			return nil, badRequest("InvalidSnapshotID.Malformed", "Invalid id: %q", id)
		}
	}

	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	seen, err := w.findSnapshots(c, in)
	if err != nil {
		return nil, err
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, snapshotFilters,
		func(list []types.Snapshot, next *string) *ec2.DescribeSnapshotsOutput {
			return &ec2.DescribeSnapshotsOutput{Snapshots: list, NextToken: next}
		})
}

// findSnapshots returns the snapshots with the IDs in a request, or all that the caller can read.
func (w *World) findSnapshots(c *Call, in *ec2.DescribeSnapshotsInput) (seen []types.Snapshot, err error) {
	account := c.location().account
	if len(in.SnapshotIds) == 0 {
		for _, s := range w.snapshots.ownedBy(in.OwnerIds, c.location()) {
			readable := s.location.region == c.Region && w.isReadableBy(account, s)
			if readable && w.matchesSnapshotRequest(s, account, in) && w.isVisible(c, s.created) {
				seen = append(seen, w.viewSnapshot(c, s))
			}
		}
		return seen, nil
	}

	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.SnapshotIds))) {
		s, ok := w.snapshots.get(id)
		ok = ok && s.location.region == c.Region && w.isVisible(c, s.created)
		if w.violates(c, "2.1.7", !ok || !w.isReadableBy(account, s)) || !ok {
			return nil, snapshotNotFound(id)
		}
		if w.matchesSnapshotRequest(s, account, in) {
			seen = append(seen, w.viewSnapshot(c, s))
		}
	}

	return seen, nil
}

// matchesSnapshotRequest reports whether a snapshot matches OwnerIds and RestorableByUserIds.
func (w *World) matchesSnapshotRequest(s *snapshot, caller string, in *ec2.DescribeSnapshotsInput) bool {
	return (len(in.OwnerIds) == 0 ||
		slices.ContainsFunc(in.OwnerIds, func(owner string) bool {
			return matchesOwner(s.location.account, owner, caller)
		})) &&
		(len(in.RestorableByUserIds) == 0 ||
			slices.ContainsFunc(in.RestorableByUserIds, func(user string) bool { return w.isRestorableBy(user, caller, s) }))
}

// isRestorableBy reports whether a snapshot matches one of RestorableByUserIds. Only the owner can see which other
// accounts a snapshot is shared with.
func (w *World) isRestorableBy(user, caller string, s *snapshot) bool {
	switch user {
	case "all":
		return w.isPublicSnapshot(s)
	case "self", caller:
		return w.isReadableBy(caller, s)
	}
	return s.location.account == caller && s.sharing.includes(user)
}

var snapshotFilters = filterFields[types.Snapshot]{
	tags: func(s types.Snapshot) []types.Tag { return s.Tags },
	values: map[string]func(types.Snapshot) []string{
		"description":   func(s types.Snapshot) []string { return []string{aws.ToString(s.Description)} },
		"encrypted":     func(s types.Snapshot) []string { return []string{strconv.FormatBool(*s.Encrypted)} },
		"owner-alias":   func(s types.Snapshot) []string { return optionalValues(s.OwnerAlias) },
		"owner-id":      func(s types.Snapshot) []string { return []string{*s.OwnerId} },
		"progress":      func(s types.Snapshot) []string { return optionalValues(s.Progress) },
		"snapshot-id":   func(s types.Snapshot) []string { return []string{*s.SnapshotId} },
		"start-time":    func(s types.Snapshot) []string { return []string{formatTime(*s.StartTime)} },
		"status":        func(s types.Snapshot) []string { return []string{string(s.State)} },
		"storage-tier":  func(s types.Snapshot) []string { return []string{string(s.StorageTier)} },
		"transfer-type": func(s types.Snapshot) []string { return []string{string(s.TransferType)} },
		"volume-id":     func(s types.Snapshot) []string { return []string{*s.VolumeId} },
		"volume-size":   func(s types.Snapshot) []string { return []string{strconv.Itoa(int(*s.VolumeSize))} },
	},
}
