// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/hex"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// State messages of failed copies.
const (
	sourceNotFound   = "Source snapshot is not found"       // rule 4.6.5
	sourceNotReady   = "Source snapshot is not complete"    // rule 4.6.5
	keyNotAccessible = "Given key ID is not accessible"     // rule 1.8.4
	sourceArchived   = "Source snapshot is in archive tier" // not observed on AWS
	copyInterrupted  = "Internal error"                     // not observed on AWS; the message of an injected failure
)

// copySnapshot accepts most requests. Problems of the source or of the keys end in a failed copy (rules 4.6.5 and
// 1.8.4). The checks follow the order of rule 6.4.
func (w *World) copySnapshot(c *Call, in *ec2.CopySnapshotInput) (*ec2.CopySnapshotOutput, error) {
	if err := w.validateCopySnapshot(c, in); err != nil {
		return nil, err
	}

	loc, id := c.location(), *in.SourceSnapshotId
	err := w.authorize(
		c,
		addTagOnCreate(
			c, in.TagSpecifications, newAuthorization(c, loc, "snapshot/*"),
			w.newCopySourceAuthorization(c, *in.SourceRegion, id),
		)...,
	)
	if err != nil {
		return nil, err
	}
	if err := w.validateDestination(c, in); err != nil {
		return nil, err
	}

	if in.KmsKeyId != nil {
		if err := w.validateRequestedKey(c, *in.KmsKeyId); err != nil {
			return nil, err
		}
	}

	source, readable := w.findReadableSnapshot(loc.account, *in.SourceRegion, id)
	from := unencryptedSnapshot
	if readable {
		from = dataSourceOf(source, loc)
	}

	choice, err := w.chooseEncryptionKey(c, snapshotCopy, encryptionRequest{
		encryptionParams: encryptionParams{in.Encrypted, in.KmsKeyId},
		source:           from,
		sourceID:         id,
		sameRegion:       loc.region == *in.SourceRegion,
	})
	if err != nil {
		return nil, err
	}
	if err := w.checkSnapshotCopyQuota(c); err != nil {
		return nil, err
	}

	params := snapshotCopyParams{
		source:          source,
		readable:        readable,
		sourceID:        id,
		sourceRegion:    *in.SourceRegion,
		keyChoice:       choice,
		keyID:           in.KmsKeyId,
		description:     aws.ToString(in.Description),
		durationMinutes: in.CompletionDurationMinutes,
		tags:            in.TagSpecifications,
	}
	if params.durationMinutes != nil && readable {
		params.throughputShare, err = w.checkThroughputQuota(c, params.sourceRegion, *params.durationMinutes, source)
		if err != nil {
			return nil, err
		}
	}

	created := w.startSnapshotCopy(c, params)
	ends := &w.copyEndTimesIn(loc).snapshots
	*ends = append(*ends, created.progress.ends)
	return &ec2.CopySnapshotOutput{SnapshotId: &created.id, Tags: w.tagsOf(created.id)}, nil
}

// validateCopySnapshot checks what CopySnapshot refuses before it authorizes the call (rule 6.4).
func (w *World) validateCopySnapshot(c *Call, in *ec2.CopySnapshotInput) error {
	err := refuseUnmodeled(
		in, "SourceRegion", "SourceSnapshotId", "CompletionDurationMinutes", "Description", "Encrypted", "KmsKeyId",
		"PresignedUrl", "TagSpecifications",
	)
	if err != nil {
		return err
	}
	if in.SourceSnapshotId == nil {
		return missingParameter("SourceSnapshotId")
	}
	if w.violates(c, "6.4", !isValidID(*in.SourceSnapshotId, "snap-")) {
		return badRequest("InvalidParameterValue", "The specified snapshotId is invalid")
	}
	if in.SourceRegion == nil { // what AWS returns (stackd:copy_controls_contract)
		return newAPIError(http.StatusInternalServerError, "InternalError", "An internal error has occurred")
	}

	if err := w.validateDescription(c, in.Description); err != nil {
		return err
	}

	_, known := findRegion(*in.SourceRegion)
	if w.violates(c, "6.4", !known || partitionOf(*in.SourceRegion) != partitionOf(c.Region)) {
		return badRequest("InvalidRegion", "%s is not a valid region name.", *in.SourceRegion)
	}
	if m := in.CompletionDurationMinutes; m != nil && w.violates(c, "4.8.1", !isValidDuration(int64(*m))) {
		return invalidDuration(int64(*m))
	}

	return w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeSnapshot)
}

// validateDestination compares PresignedUrl with the other parameters (rule 9.0). It does not verify the signature.
func (w *World) validateDestination(c *Call, in *ec2.CopySnapshotInput) error {
	if said := c.extraParameters["DestinationRegion"]; w.violates(c, "6.4", said != "" && said != c.Region) {
		return badRequest(
			"InvalidParameterValue", "DestinationRegion '%s' does not match the current region (%s).", said, c.Region,
		)
	}
	if in.PresignedUrl == nil || *in.PresignedUrl == "" {
		return nil
	}

	signed, err := url.Parse(*in.PresignedUrl)
	if w.violates(c, "9.0", err != nil || signed.Scheme != "http" && signed.Scheme != "https") {
		return badRequest("InvalidParameterValue", "The protocol in PresignedUrl should be http or https")
	}
	if err != nil {
		return nil
	}

	query := signed.Query()
	if id := query.Get("SourceSnapshotId"); w.violates(c, "9.0", id != *in.SourceSnapshotId) {
		return badRequest("InvalidParameterValue",
			"The source snapshot specified in PresignedUrl '%s' does not match the source snapshot in the request: '%s'", id,
			*in.SourceSnapshotId)
	}
	if to := query.Get("DestinationRegion"); w.violates(c, "9.0", to != c.Region) {
		return badRequest("InvalidParameterValue", "The destination region specified in PresignedUrl: '%s' is incorrect", to)
	}

	return nil
}

// snapshotCopyParams are the parameters of a snapshot copy, for CopySnapshot and CopyImage.
type snapshotCopyParams struct {
	source          *snapshot
	readable        bool // the caller can read the source
	sourceID        string
	sourceRegion    string
	keyChoice       keyChoice
	keyID           *string // the key in the request
	description     string
	durationMinutes *int32
	throughputShare float64 // granted share of the requested throughput (rule 4.8.2)
	tags            []types.TagSpecification
}

// startSnapshotCopy creates the new snapshot, which inherits only data and size (rule 1.3.11). It also decides how the
// copy ends.
func (w *World) startSnapshotCopy(c *Call, params snapshotCopyParams) *snapshot {
	loc := c.location()
	created := &snapshot{
		id:              w.newID(c, "snap-", params.sourceID),
		location:        loc,
		created:         c.At,
		volume:          copiedVolume,
		source:          params.sourceID,
		description:     params.description,
		durationMinutes: params.durationMinutes,
	}

	sourceARN := ""
	if params.readable {
		created.sizeGiB = params.source.sizeGiB
		created.lineage = params.source.lineage
		created.platform = params.source.platform
		sourceARN = params.source.keyARN
	}

	target := w.resolveKeyChoice(c, params.keyChoice, params.keyID, sourceARN)
	if target != nil {
		created.keyARN = *target.Arn
	}

	created.failure = w.copyFailure(c, params, created, target)
	if created.failure != "" {
		created.progress = w.newFailureProgress(c.At, created.id)
	} else {
		w.scheduleCopy(c, params, created)
		if c.fault == LateCopyFailure {
			created.failure = copyInterrupted
		}
	}

	if w.chooses(ArbitraryVolumeIDs) {
		created.volume = "vol-0" + hex.EncodeToString(w.randomBytes(8, "volume of a copy", created.id))
	}

	w.addSnapshot(created)
	w.tagNewResource(c, created.id, types.ResourceTypeSnapshot, params.tags)
	return created
}

// copyFailure returns the state message of a copy that will fail. Empty if it will succeed.
func (w *World) copyFailure(c *Call, params snapshotCopyParams, created *snapshot, target *key) string {
	switch {
	case w.violates(c, "4.6.5", !params.readable), !params.readable:
		return sourceNotFound
	case w.violates(c, "4.6.5", params.source.state(c.At) != types.SnapshotStateCompleted):
		return sourceNotReady
	case params.source.archiving != nil:
		return sourceArchived
	}

	created.incremental = w.hasCompleteSnapshot(c, created.location, created.lineage, created.keyARN)
	lost := w.isKeyDeleted(c, params.source.location, params.source.keyARN)
	source := w.findStorageKey(params.source.location, params.source.keyARN)
	switch {
	case lost, params.keyChoice != noKey && target == nil,
		w.isCopyKeyDenied(c, source, target, created.incremental),
		w.isDirectCopyDenied(c, params.source.location, source, target):
		return keyNotAccessible
	}

	return ""
}

// scheduleCopy sets the progress of a copy that will succeed.
func (w *World) scheduleCopy(c *Call, params snapshotCopyParams, created *snapshot) {
	job := SnapshotJob{
		SnapshotID:  created.id,
		SourceID:    params.sourceID,
		Account:     created.location.account,
		Region:      created.location.region,
		FromRegion:  params.sourceRegion,
		GiB:         created.sizeGiB,
		Incremental: created.incremental,
	}

	created.progress = w.newProgress(c.At, job)
	if params.durationMinutes != nil {
		w.scheduleTimeBasedCopy(c, params, created)
	}
	if w.onCopyScheduled != nil {
		w.onCopyScheduled(CopySchedule{job, c.At, created.progress.starts, created.progress.ends})
	}
}

// addSnapshot stores a snapshot and adds it to its lineage.
func (w *World) addSnapshot(s *snapshot) {
	w.snapshots.put(s.id, s)
	w.lineages[s.lineageKey()] = append(w.lineages[s.lineageKey()], s.id)
}
