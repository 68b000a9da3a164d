// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// How copies end in error.
const (
	sourceNotFound   = "Source snapshot is not found"       // 4.6.5
	sourceNotReady   = "Source snapshot is not complete"    // 4.6.5
	keyNotAccessible = "Given key ID is not accessible"     // 1.8.4
	sourceArchived   = "Source snapshot is in archive tier" // not captured
	brokeOff         = "Internal error"                     // not captured: a fault on purpose
)

// copySnapshot accepts nearly everything: what is wrong with the source or the grants shows later, in the copy (4.6.5, 1.8.4).
// The order of its checks is that of rule 6.4.
func (w *World) copySnapshot(c *Call, in *ec2.CopySnapshotInput) (*ec2.CopySnapshotOutput, error) {
	if err := w.checkCopySyntax(c, in); err != nil {
		return nil, err
	}
	at, id := c.place(), *in.SourceSnapshotId
	if err := w.authorise(c, creating(c, in.TagSpecifications, ask(c, at, "snapshot/*"), w.askSource(c, *in.SourceRegion, id))...); err != nil {
		return nil, err
	}
	if err := w.checkDestination(c, in); err != nil {
		return nil, err
	}
	if in.KmsKeyId != nil {
		if err := w.checkNamedKey(c, *in.KmsKeyId); err != nil {
			return nil, err
		}
	}
	source, readable := w.snapshotFor(at.account, *in.SourceRegion, id)
	from := plain
	if readable {
		from = originOf(source, at)
	}
	choice, err := w.chooseKey(c, copiesSnapshot, from, id, at.region == *in.SourceRegion, encryptionWish{in.Encrypted, in.KmsKeyId})
	if err != nil {
		return nil, err
	}
	if err := w.admitSnapshotCopy(c); err != nil {
		return nil, err
	}
	order := copyOrder{
		source: source, readable: readable, sourceID: id, sourceRegion: *in.SourceRegion, choice: choice, key: in.KmsKeyId,
		description: aws.ToString(in.Description), minutes: in.CompletionDurationMinutes, tags: in.TagSpecifications,
	}
	if order.minutes != nil && readable {
		if order.share, err = w.admitTimed(c, order.sourceRegion, *order.minutes, source); err != nil {
			return nil, err
		}
	}
	made := w.beginCopy(c, order)
	ends := &w.copiesTo(at).snapshots
	*ends = append(*ends, made.progress.ends)
	return &ec2.CopySnapshotOutput{SnapshotId: &made.id, Tags: w.tagsOf(made.id)}, nil
}

// checkCopySyntax is what CopySnapshot refuses before it asks IAM (6.4).
func (w *World) checkCopySyntax(c *Call, in *ec2.CopySnapshotInput) error {
	if err := only(in, "SourceRegion", "SourceSnapshotId", "CompletionDurationMinutes", "Description", "Encrypted", "KmsKeyId", "PresignedUrl", "TagSpecifications"); err != nil {
		return err
	}
	if in.SourceSnapshotId == nil {
		return missing("SourceSnapshotId")
	}
	if w.breaks(c, "6.4", !wellFormed(*in.SourceSnapshotId, "snap-")) {
		return invalid("InvalidParameterValue", "The specified snapshotId is invalid")
	}
	if in.SourceRegion == nil { // what AWS answers (NAT:copy_controls_contract)
		return refuse(http.StatusInternalServerError, "InternalError", "An internal error has occurred")
	}
	if _, known := findRegion(*in.SourceRegion); w.breaks(c, "6.4", !known || partitionOf(*in.SourceRegion) != partitionOf(c.Region)) {
		return invalid("InvalidRegion", "%s is not a valid region name.", *in.SourceRegion)
	}
	if m := in.CompletionDurationMinutes; m != nil && w.breaks(c, "4.8.1", !validDuration(int64(*m))) {
		return badDuration(int64(*m))
	}
	return w.checkTags(c, in.TagSpecifications, types.ResourceTypeSnapshot)
}

// checkDestination compares what the request says twice (9.0: PresignedUrl). Signatures are not looked at.
func (w *World) checkDestination(c *Call, in *ec2.CopySnapshotInput) error {
	if said := c.extras["DestinationRegion"]; w.breaks(c, "6.4", said != "" && said != c.Region) {
		return invalid("InvalidParameterValue", "DestinationRegion '%s' does not match the current region (%s).", said, c.Region)
	}
	if in.PresignedUrl == nil || *in.PresignedUrl == "" {
		return nil
	}
	signed, err := url.Parse(*in.PresignedUrl)
	if w.breaks(c, "9.0", err != nil || signed.Scheme != "http" && signed.Scheme != "https") {
		return invalid("InvalidParameterValue", "The protocol in PresignedUrl should be http or https")
	}
	if err != nil {
		return nil
	}
	query := signed.Query()
	if id := query.Get("SourceSnapshotId"); w.breaks(c, "9.0", id != *in.SourceSnapshotId) {
		return invalid("InvalidParameterValue",
			"The source snapshot specified in PresignedUrl '%s' does not match the source snapshot in the request: '%s'", id, *in.SourceSnapshotId)
	}
	if to := query.Get("DestinationRegion"); w.breaks(c, "9.0", to != c.Region) {
		return invalid("InvalidParameterValue", "The destination region specified in PresignedUrl: '%s' is incorrect", to)
	}
	return nil
}

// copyOrder is a snapshot copy to be made, for CopySnapshot and for CopyImage.
type copyOrder struct {
	source       *snapshot
	readable     bool // the caller may read the source
	sourceID     string
	sourceRegion string
	choice       keyChoice
	key          *string // as the request names it
	description  string
	minutes      *int32
	share        float64 // of the throughput that the minutes ask for (4.8.2)
	tags         []types.TagSpecification
}

// beginCopy makes the new snapshot, which inherits data and size and nothing else (1.3.11), and decides how it will end.
func (w *World) beginCopy(c *Call, order copyOrder) *snapshot {
	at := c.place()
	made := &snapshot{
		id: w.newID(c, "snap-"), home: at, made: c.At, volume: copiedVolume, source: order.sourceID, description: order.description, minutes: order.minutes,
	}
	sourceARN := ""
	if order.readable {
		made.gib, made.lineage, made.platform, sourceARN = order.source.gib, order.source.lineage, order.source.platform, order.source.keyARN
	}
	target := w.chosenKey(c, order.choice, order.key, sourceARN)
	if target != nil {
		made.keyARN = *target.Arn
	}
	made.failure = w.copyFailure(c, order, made, target)
	if made.failure != "" {
		made.progress = w.failing(c.At, made.id)
	} else {
		w.schedule(c, order, made)
		if c.fault == LateFailure {
			made.failure = brokeOff
		}
	}
	w.addSnapshot(made)
	w.tagNew(c, made.id, types.ResourceTypeSnapshot, order.tags)
	return made
}

// copyFailure is how a copy ends in error; empty: it does not.
func (w *World) copyFailure(c *Call, order copyOrder, made *snapshot, target *key) string {
	switch {
	case w.breaks(c, "4.6.5", !order.readable), !order.readable:
		return sourceNotFound
	case w.breaks(c, "4.6.5", order.source.state(c.At) != types.SnapshotStateCompleted):
		return sourceNotReady
	case order.source.archiving != nil:
		return sourceArchived
	}
	made.incremental = w.holdsData(c, made.home, made.lineage, made.keyARN)
	lost := w.keyLost(c, order.source.home, order.source.keyARN)
	if lost || order.choice != noKey && target == nil || w.copyKeysFail(c, w.keyOf(order.source.home, order.source.keyARN), target, made.incremental) {
		return keyNotAccessible
	}
	return ""
}

// schedule sets the course of a copy that ends well.
func (w *World) schedule(c *Call, order copyOrder, made *snapshot) {
	job := SnapshotJob{
		SnapshotID: made.id, SourceID: order.sourceID, Account: made.home.account, Region: made.home.region, FromRegion: order.sourceRegion,
		GiB: made.gib, Incremental: made.incremental,
	}
	made.progress = w.run(c.At, job)
	if order.minutes != nil {
		w.scheduleTimed(c, order, made)
	}
	if w.copied != nil {
		w.copied(Copied{job, c.At, made.progress.starts, made.progress.ends})
	}
}

// addSnapshot keeps a snapshot and its place in the history of its data.
func (w *World) addSnapshot(s *snapshot) {
	w.snapshots.put(s.id, s)
	w.lineages[s.line()] = append(w.lineages[s.line()], s.id)
}
