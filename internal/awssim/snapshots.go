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

var snapshotOperations = []named{
	op((*World).copySnapshot),
	op((*World).createSnapshot),
	op((*World).deleteSnapshot),
	op((*World).describeSnapshots),
	op((*World).describeSnapshotAttribute),
	op((*World).modifySnapshotAttribute),
	op((*World).resetSnapshotAttribute),
	op((*World).modifySnapshotTier),
	op((*World).lockSnapshot),
	op((*World).unlockSnapshot),
	op((*World).describeLockedSnapshots),
}

// copiedVolume is the volume that copies of snapshots name (1.3.11).
const copiedVolume = "vol-ffffffff"

// snapshot is a snapshot as it was made; what is seen of it is told by view.
type snapshot struct {
	id          string
	home        place
	made        time.Time
	progress    progress
	volume      string // its volume, or copiedVolume
	source      string // the snapshot that it is a copy of; empty: made from a volume
	description string
	gib         int32
	lineage     string // the volume from which its data comes, through copies: what makes copies incremental (4.7.1)
	incremental bool
	keyARN      string // empty: unencrypted
	failure     string // how it ends in error; empty: well
	sharing     snapshotSharing
	minutes     *int32   // asked completion duration of a time-based copy (4.8.4)
	platform    platform // what its data is billed as (2.3.3)
	outpost     *string
	archiving   *progress
	lock        *snapshotLock
}

func (s *snapshot) of() place { return s.home }

// encrypted reports whether it will be encrypted when it is complete.
func (s *snapshot) encrypted() bool { return s.keyARN != "" }

// line is where the snapshot belongs in the history of its data.
func (s *snapshot) line() lineage { return lineage{s.home, s.lineage} }

func (s *snapshot) state(now time.Time) types.SnapshotState {
	switch {
	case !s.progress.done(now):
		return types.SnapshotStatePending
	case s.failure != "":
		return types.SnapshotStateError
	}
	return types.SnapshotStateCompleted
}

// view is the snapshot as an account sees it at a moment. Tags are the owner's alone (2.1.8).
func (w *World) viewSnapshot(c *Call, s *snapshot) types.Snapshot {
	seen := types.Snapshot{
		SnapshotId: &s.id, OwnerId: &s.home.account, OwnerAlias: ownerAlias(s.home.account), VolumeId: &s.volume, Description: &s.description, StartTime: millis(s.made),
		State: s.state(c.At), StorageTier: types.StorageTierStandard, Encrypted: aws.Bool(s.encrypted()), VolumeSize: &s.gib, OutpostArn: s.outpost,
		TransferType: types.TransferTypeStandard, CompletionDurationMinutes: s.minutes,
	}
	if s.minutes != nil {
		seen.TransferType = types.TransferTypeTimeBased
	}
	if s.home.account == c.place().account {
		seen.Tags = w.tagsSeen(c, s.id)
	}
	if s.encrypted() {
		seen.KmsKeyId = &s.keyARN
	}
	switch seen.State {
	case types.SnapshotStateCompleted:
		seen.Progress, seen.CompletionTime = aws.String("100%"), millis(s.progress.ends)
		seen.FullSnapshotSizeInBytes = aws.Int64(int64(s.gib) << 30)
	case types.SnapshotStateError:
		seen.Progress, seen.StateMessage = aws.String("0%"), &s.failure
		if s.failure != keyNotAccessible {
			seen.VolumeSize = aws.Int32(0)
			hideEncryption(&seen)
		}
	case types.SnapshotStatePending:
		seen.Progress = aws.String(s.progress.percent(c.At))
		// A pending copy says nothing of its size and encryption (4.6.1).
		if w.breaks(c, "4.6.1", s.source != "") {
			seen.VolumeSize = aws.Int32(0)
			hideEncryption(&seen)
			if !s.progress.started(c.At) {
				seen.StateMessage = aws.String("Metadata not updated")
			}
		}
	}
	if s.archiving != nil && s.archiving.done(c.At) {
		seen.StorageTier = types.StorageTierArchive
	}
	return seen
}

func hideEncryption(s *types.Snapshot) {
	s.Encrypted, s.KmsKeyId = aws.Bool(false), nil
}

// readableBy reports whether an account may read a snapshot: its owner, whom it is shared with, or all.
func (w *World) readableBy(account string, s *snapshot) bool {
	shared := s.sharing.with(account) && w.hasArrived(shareKey(s.id, account))
	return s.home.account == account || shared || w.isPublic(s)
}

// isPublic reports whether all may read a snapshot. Blocking all public sharing hides what was shared before (2.1.3).
func (w *World) isPublic(s *snapshot) bool {
	return s.sharing.public && w.setting(s.home).blockSnapshots != types.SnapshotBlockPublicAccessStateBlockAllSharing
}

// snapshotFor finds a snapshot of a Region that an account may read.
func (w *World) snapshotFor(account, region, id string) (*snapshot, bool) {
	found, there := w.snapshots.get(id)
	return found, there && found.home.region == region && w.readableBy(account, found)
}

// ownSnapshot finds a snapshot of the caller; others' count as absent (2.1.7).
func (w *World) ownSnapshot(c *Call, id *string) (*snapshot, error) {
	found, there := w.snapshots.get(aws.ToString(id))
	if w.breaks(c, "2.1.7", !there || found.home != c.place()) {
		return nil, noSnapshot(aws.ToString(id))
	}
	if !there {
		return nil, noSnapshot(aws.ToString(id))
	}
	return found, nil
}

func noSnapshot(id string) *Refusal {
	return invalid("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
}

// noSnapshotID and malformedSnapshot refuse what cannot be a snapshot's id (NAT:volume_controls_snapshot_ids).
func noSnapshotID(id string) *Refusal {
	return invalid("InvalidParameterValue", "Value (%s) for parameter snapshotId is invalid. Expected: 'snap-...'.", id)
}

func malformedSnapshot(id string) *Refusal {
	return invalid("InvalidSnapshotID.Malformed", "Value ( %s ) for parameter SNAPSHOT is invalid. ", id)
}

func (w *World) createSnapshot(c *Call, in *ec2.CreateSnapshotInput) (*ec2.CreateSnapshotOutput, error) {
	if err := only(in, "VolumeId", "Description", "OutpostArn", "TagSpecifications"); err != nil {
		return nil, err
	}
	if in.VolumeId == nil {
		return nil, missing("VolumeId")
	}
	at := c.place()
	from, there := w.volumeOf(c, *in.VolumeId)
	volumeARN := "volume/*"
	if there {
		volumeARN = "volume/" + *in.VolumeId
	}
	if err := w.checkTags(c, in.TagSpecifications, types.ResourceTypeSnapshot); err != nil {
		return nil, err
	}
	if err := w.authorise(c, creating(c, in.TagSpecifications, ask(c, at, "snapshot/*"), ask(c, at, volumeARN))...); err != nil {
		return nil, err
	}
	if !there {
		return nil, noVolume(*in.VolumeId)
	}
	// One volume takes one snapshot in fifteen seconds (EC2 API reference: error codes).
	if w.breaks(c, "4.2", c.At.Sub(from.snapshotted) < 15*time.Second) {
		return nil, invalid("SnapshotCreationPerVolumeRateExceeded",
			"The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep interval between requests.")
	}
	made := w.snapshotVolume(c, from, aws.ToString(in.Description), in.TagSpecifications)
	made.outpost = in.OutpostArn
	out := &ec2.CreateSnapshotOutput{
		SnapshotId: &made.id, OwnerId: &at.account, VolumeId: in.VolumeId, VolumeSize: &made.gib, Description: &made.description, StartTime: millis(c.At),
		State: types.SnapshotStatePending, Progress: aws.String(""), Encrypted: aws.Bool(made.encrypted()), OutpostArn: in.OutpostArn, Tags: w.tagsOf(made.id),
	}
	return out, nil
}

// snapshotVolume begins a snapshot of a volume, under the volume's key (1.2.1). It needs no right on the key.
func (w *World) snapshotVolume(c *Call, from *volume, description string, tags []types.TagSpecification) *snapshot {
	at := c.place()
	made := &snapshot{
		id: w.newID(c, "snap-"), home: at, made: c.At, volume: from.id, description: description, gib: from.gib,
		lineage: from.lineage, keyARN: from.keyARN, platform: from.platform,
	}
	made.incremental = w.holdsData(c, at, made.lineage, made.keyARN)
	made.progress = w.run(c.At, SnapshotJob{
		SnapshotID: made.id, SourceID: from.id, Account: at.account, Region: at.region, FromRegion: at.region, GiB: made.gib, Incremental: made.incremental,
	})
	from.snapshotted = c.At
	w.addSnapshot(made)
	w.tagNew(c, made.id, types.ResourceTypeSnapshot, tags)
	return made
}

// holdsData reports whether a place has a complete snapshot of the same data under the same key: then a new one is
// incremental and needs no new data key (3.1.9, 4.7.1).
func (w *World) holdsData(c *Call, at place, data, keyARN string) bool {
	for _, id := range w.lineages[lineage{at, data}] {
		one, there := w.snapshots.get(id)
		if there && one.keyARN == keyARN && one.state(c.At) == types.SnapshotStateCompleted && one.archiving == nil {
			return true
		}
	}
	return false
}

func (w *World) deleteSnapshot(c *Call, in *ec2.DeleteSnapshotInput) (*ec2.DeleteSnapshotOutput, error) {
	if in.SnapshotId == nil {
		return nil, missing("SnapshotId")
	}
	if err := w.authorise(c, w.askSnapshot(c, *in.SnapshotId)); err != nil {
		return nil, err
	}
	doomed, err := w.ownSnapshot(c, in.SnapshotId)
	if err != nil {
		return nil, err
	}
	if users := w.imagesOf(doomed.id); w.breaks(c, "2.5.8", len(users) > 0) {
		return nil, invalid("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", doomed.id, commas(users))
	}
	if w.breaks(c, "9.3", doomed.lock.holds(c.At)) {
		return nil, locked(doomed.id)
	}
	w.dropSnapshot(c, doomed)
	return &ec2.DeleteSnapshotOutput{}, nil
}

func (w *World) dropSnapshot(c *Call, s *snapshot) {
	w.snapshots.remove(s.id)
	delete(w.labels, s.id)
	w.lineages[s.line()] = slices.DeleteFunc(w.lineages[s.line()], func(id string) bool { return id == s.id })
	c.made = append(c.made, s.id)
}

func (w *World) describeSnapshots(c *Call, in *ec2.DescribeSnapshotsInput) (*ec2.DescribeSnapshotsOutput, error) {
	if err := w.checkPage(c, "snapshotIdsSet", len(in.SnapshotIds), in.MaxResults); err != nil {
		return nil, err
	}
	for _, id := range in.SnapshotIds {
		if w.breaks(c, "2.5.10", !formed(id, "snap-")) {
			return nil, noSnapshotID(id)
		}
		if w.breaks(c, "2.5.10", !wellFormed(id, "snap-")) {
			return nil, invalid("InvalidSnapshotID.Malformed", "Invalid id: %q", id)
		}
	}
	if err := w.authorise(c, anything(c)); err != nil {
		return nil, err
	}
	account := c.place().account
	var seen []types.Snapshot
	show := func(s *snapshot) { seen = append(seen, w.viewSnapshot(c, s)) }
	if len(in.SnapshotIds) > 0 {
		for _, id := range slices.Compact(slices.Sorted(slices.Values(in.SnapshotIds))) {
			s, there := w.snapshots.get(id)
			there = there && s.home.region == c.Region && w.settled(c, s.made)
			if w.breaks(c, "2.1.7", !there || !w.readableBy(account, s)) || !there {
				return nil, noSnapshot(id)
			}
			if w.restorable(s, account, in) {
				show(s)
			}
		}
	} else {
		for _, s := range w.snapshots.by(in.OwnerIds, c.place()) {
			if s.home.region == c.Region && w.readableBy(account, s) && w.restorable(s, account, in) && w.settled(c, s.made) {
				show(s)
			}
		}
	}
	return answerPage(seen, in.MaxResults, in.NextToken, in.Filters, snapshotFacets, func(list []types.Snapshot, next *string) *ec2.DescribeSnapshotsOutput {
		return &ec2.DescribeSnapshotsOutput{Snapshots: list, NextToken: next}
	})
}

// restorable reports whether a snapshot is of the owners and for the users that a call names.
func (w *World) restorable(s *snapshot, caller string, in *ec2.DescribeSnapshotsInput) bool {
	return (len(in.OwnerIds) == 0 || slices.ContainsFunc(in.OwnerIds, func(owner string) bool { return isOwner(s.home.account, owner, caller) })) &&
		(len(in.RestorableByUserIds) == 0 || slices.ContainsFunc(in.RestorableByUserIds, func(user string) bool { return w.restorableBy(user, caller, s) }))
}

// restorableBy judges one of RestorableByUserIds. Another account than the caller's is taken for nobody: whom a snapshot
// is shared with is not for others to see.
func (w *World) restorableBy(user, caller string, s *snapshot) bool {
	switch {
	case user == "all":
		return w.isPublic(s)
	case user == "self" || user == caller:
		return w.readableBy(caller, s)
	}
	return s.home.account == caller && s.sharing.with(user)
}

var snapshotFacets = facets[types.Snapshot]{
	tags: func(s types.Snapshot) []types.Tag { return s.Tags },
	values: map[string]func(types.Snapshot) []string{
		"description":   func(s types.Snapshot) []string { return []string{aws.ToString(s.Description)} },
		"encrypted":     func(s types.Snapshot) []string { return []string{strconv.FormatBool(*s.Encrypted)} },
		"owner-alias":   func(s types.Snapshot) []string { return texts(s.OwnerAlias) },
		"owner-id":      func(s types.Snapshot) []string { return []string{*s.OwnerId} },
		"progress":      func(s types.Snapshot) []string { return texts(s.Progress) },
		"snapshot-id":   func(s types.Snapshot) []string { return []string{*s.SnapshotId} },
		"start-time":    func(s types.Snapshot) []string { return []string{stamp(*s.StartTime)} },
		"status":        func(s types.Snapshot) []string { return []string{string(s.State)} },
		"storage-tier":  func(s types.Snapshot) []string { return []string{string(s.StorageTier)} },
		"transfer-type": func(s types.Snapshot) []string { return []string{string(s.TransferType)} },
		"volume-id":     func(s types.Snapshot) []string { return []string{*s.VolumeId} },
		"volume-size":   func(s types.Snapshot) []string { return []string{strconv.Itoa(int(*s.VolumeSize))} },
	},
}
