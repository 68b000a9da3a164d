// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// ebsOperations are the EBS direct APIs that create a snapshot without blocks (rule 4.9.1).
var ebsOperations = []namedOperation{
	newOperation((*World).startSnapshot),
	newOperation((*World).completeSnapshot),
}

const (
	snapshotBlockSize = 512 << 10
	defaultTimeout    = 60                                       // in minutes
	timedOut          = "The snapshot was not completed in time" // not observed on AWS
)

// startSnapshot creates a pending snapshot. It fails unless it is completed before its timeout (rule 4.9.2).
func (w *World) startSnapshot(c *Call, in *ebs.StartSnapshotInput) (*ebs.StartSnapshotOutput, error) {
	if err := w.validateStart(c, in); err != nil {
		return nil, err
	}

	specs := snapshotTags(in.Tags)
	if err := w.authorize(c, newStartAuthorizations(c, specs)...); err != nil {
		return nil, err
	}

	out, err := runIdempotent(w, c, in.ClientToken, func() (*ebs.StartSnapshotOutput, error) {
		id := w.newID(c, "snap-")
		key, err := w.keyToStart(c, in, id)
		if err != nil {
			c.changedIDs = nil
			return nil, err
		}
		return w.addStarted(c, in, id, key, specs), nil
	})

	var refusal *APIError
	if errors.As(err, &refusal) && refusal.Code == "IdempotentParameterMismatch" {
		return nil, newAPIError(
			http.StatusConflict, "ConflictException", "Current request does not match request stored with this token.",
		)
	}

	return out, err
}

// validateStart checks the parameters of a request.
func (w *World) validateStart(c *Call, in *ebs.StartSnapshotInput) error {
	err := refuseUnmodeled(in, "VolumeSize", "ClientToken", "Description", "Encrypted", "KmsKeyArn", "Tags", "Timeout")
	if err != nil {
		return err
	}
	if w.violates(c, "4.9.3", in.KmsKeyArn != nil && in.Encrypted != nil && !*in.Encrypted) {
		return ebsInvalid("INVALID_PARAMETER_VALUE", "Encrypt cannot be false when KmsKeyArn is specified")
	}
	if err := validateStartRanges(in); err != nil {
		return err
	}
	return w.validateStartTags(c, in.Tags)
}

// validateStartRanges checks sizes and lengths (API_StartSnapshot).
func validateStartRanges(in *ebs.StartSnapshotInput) error {
	size, timeout := aws.ToInt64(in.VolumeSize), aws.ToInt32(in.Timeout)
	switch {
	case in.VolumeSize == nil:
		return outOfRange("volumeSize", "null", "Member must not be null")
	case size < 1:
		return outOfRange("volumeSize", size, "Member must have value greater than or equal to 1")
	case size > 65536:
		return outOfRange("volumeSize", size, "Member must have value less than or equal to 65536")
	case in.Timeout != nil && timeout < 10:
		return outOfRange("timeout", timeout, "Member must have value greater than or equal to 10")
	case timeout > 60:
		return outOfRange("timeout", timeout, "Member must have value less than or equal to 60")
	case utf8.RuneCountInString(aws.ToString(in.Description)) > maxDescription:
		return outOfRange("description", *in.Description, "Member must have length less than or equal to 255")
	case len(aws.ToString(in.ClientToken)) > 255:
		return outOfRange("clientToken", *in.ClientToken, "Member must have length less than or equal to 255")
	}

	return nil
}

// validateStartTags refuses tags as EC2 does, in the form of the EBS direct APIs.
func (w *World) validateStartTags(c *Call, tags []ebstypes.Tag) error {
	var refusal *APIError
	for _, spec := range snapshotTags(tags) {
		if err := w.validateTags(c, spec.Tags); errors.As(err, &refusal) {
			return ebsInvalid("INVALID_TAG", "%s", refusal.Message)
		}
	}
	return nil
}

// newStartAuthorizations returns the authorization requests: the resource snapshot/null, and ec2:CreateTags for tags.
// There is no ec2:CreateAction here (rule 4.9.6).
func newStartAuthorizations(c *Call, specs []types.TagSpecification) []AuthorizationRequest {
	authorizations := addTagOnCreate(c, specs, newAuthorization(c, c.location(), "snapshot/null"))
	for i := range authorizations {
		delete(authorizations[i].Context, "ec2:CreateAction")
	}
	return authorizations
}

// keyToStart returns the ARN of the key of a new snapshot, which the caller must be able to use. Empty for none.
func (w *World) keyToStart(c *Call, in *ebs.StartSnapshotInput, id string) (string, error) {
	name := aws.ToString(in.KmsKeyArn)
	if name == "" {
		byDefault := w.settingsOf(c.location()).encryptByDefault
		if !byDefault && !aws.ToBool(in.Encrypted) {
			return "", nil
		}
		if byDefault && in.Encrypted != nil && !*in.Encrypted {
			return "", badRequest(
				"UnsupportedOperation", "The simulated AWS does not know what Encrypted=false does under encryption by default.",
			)
		}
		name = *w.ebsDefaultKey(c.location()).Arn
	}

	return name, w.authorizeStartKey(c, name, id)
}

// authorizeStartKey refuses a key that does not exist, that the caller must not use, or that is disabled.
func (w *World) authorizeStartKey(c *Call, name, id string) error {
	found, ok := w.keys.get(name)
	if !ok || found.location.region != c.Region || found.isDeleted(c.At) {
		return &APIError{
			Status:  http.StatusNotFound,
			Code:    "ResourceNotFoundException",
			Message: "KMS key not found.",
			Reason:  "DEPENDENCY_RESOURCE_NOT_FOUND",
		}
	}

	request := found.newAuthorization(keyUse{
		action: "kms:GenerateDataKey", service: "ec2", context: iampolicy.Context{"kms:EncryptionContext:aws:ebs:id": {id}},
	})

	decision, err := w.evaluate(c, request)
	if err != nil {
		return err
	}

	if w.violates(c, "4.9.4", !decision.Allowed) {
		why := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s",
			c.caller.principal.ARN, request.Action, request.Resource, decision.Text())
		return kmsRefused(c, why, "AccessDeniedException")
	}

	if state := found.stateAt(c.At); w.violates(c, "4.9.4", state != kmstypes.KeyStateEnabled) {
		why := fmt.Sprintf("%s is %s.", name, strings.ToLower(string(state)))
		return kmsRefused(c, why, "DisabledException")
	}

	return nil
}

// kmsRefused returns the error of the EBS direct APIs for an error of KMS.
func kmsRefused(c *Call, why, code string) *APIError {
	return ebsInvalid("INVALID_DEPENDENCY_REQUEST",
		"Invalid parameters for a dependent service: com.amazonaws.services.kms.model.AWSKMSException: %s "+
			"(Service: AWSKMS; Status Code: 400; Error Code: %s; Request ID: %s; Proxy: null)", why, code, c.ID)
}

// addStarted adds the pending snapshot.
func (w *World) addStarted(
	c *Call, in *ebs.StartSnapshotInput, id, key string, specs []types.TagSpecification,
) *ebs.StartSnapshotOutput {
	minutes := defaultTimeout
	if in.Timeout != nil {
		minutes = int(*in.Timeout)
	}

	ends := c.At.Add(time.Duration(minutes) * time.Minute)
	created := &snapshot{
		id:          id,
		location:    c.location(),
		created:     c.At,
		progress:    progress{starts: ends, ends: ends, at99Percent: ends},
		volume:      copiedVolume,
		description: aws.ToString(in.Description),
		sizeGiB:     int32(*in.VolumeSize),
		lineage:     id,
		keyARN:      key,
		failure:     timedOut,
		open:        true,
	}

	w.addSnapshot(created)
	w.tagNewResource(c, id, types.ResourceTypeSnapshot, specs)
	out := &ebs.StartSnapshotOutput{
		BlockSize:   aws.Int32(snapshotBlockSize),
		Description: in.Description,
		OwnerId:     &created.location.account,
		SnapshotId:  &created.id,
		StartTime:   toMilliseconds(c.At),
		Status:      ebstypes.StatusPending,
		Tags:        in.Tags,
		VolumeSize:  in.VolumeSize,
	}

	if key != "" {
		out.KmsKeyArn = &created.keyARN
	}

	return out
}

// completeSnapshot ends a snapshot without blocks, the only kind that the simulated AWS creates this way (rule 4.9.1).
func (w *World) completeSnapshot(c *Call, in *ebs.CompleteSnapshotInput) (*ebs.CompleteSnapshotOutput, error) {
	if err := w.validateComplete(in); err != nil {
		return nil, err
	}
	if err := w.authorize(c, w.newSnapshotAuthorization(c, *in.SnapshotId)); err != nil {
		return nil, err
	}

	found, ok := w.snapshots.get(*in.SnapshotId)
	if w.violates(c, "4.9.5", !ok || found.location != c.location()) || !ok {
		return nil, &APIError{
			Status:  http.StatusNotFound,
			Code:    "ResourceNotFoundException",
			Reason:  "SNAPSHOT_NOT_FOUND",
			Message: fmt.Sprintf("The snapshot '%s' does not exist.", *in.SnapshotId),
		}
	}
	if w.violates(c, "4.9.5", !found.open || found.progress.isDone(c.At)) {
		return nil, ebsInvalid("INVALID_SNAPSHOT_ID", "The snapshot %s is not pending.", found.id)
	}

	ends := c.At.Add(w.randomDuration(found.id+" completion", 5*time.Second, time.Minute))
	found.open, found.failure, found.progress = false, "", progress{starts: c.At, ends: ends, at99Percent: ends}
	c.recordChange(found.id)
	return &ebs.CompleteSnapshotOutput{Status: ebstypes.StatusPending}, nil
}

// emptyChecksum is the aggregated checksum of no blocks.
var emptyChecksum = func() string {
	sum := sha256.Sum256(nil)
	return base64.StdEncoding.EncodeToString(sum[:])
}()

// validateComplete checks the parameters of a request.
func (w *World) validateComplete(in *ebs.CompleteSnapshotInput) error {
	count := aws.ToInt32(in.ChangedBlocksCount)
	aggregated := in.ChecksumAlgorithm != "" || in.ChecksumAggregationMethod != ""
	switch {
	case in.ChangedBlocksCount == nil:
		return outOfRange("changedBlocksCount", "null", "Member must not be null")
	case count < 0:
		return outOfRange("changedBlocksCount", count, "Member must have value greater than or equal to 0")
	case in.Checksum != nil && in.ChecksumAlgorithm == "":
		return ebsInvalid("INVALID_PARAMETER_VALUE", "Invalid parameter combination. Checksum algorithm is missing.")
	case in.Checksum == nil && aggregated:
		return ebsInvalid("INVALID_PARAMETER_VALUE", "Invalid parameter combination. Snapshot checksum is missing.")
	case count > 0 || in.Checksum != nil && *in.Checksum != emptyChecksum:
		return badRequest("UnsupportedOperation", "The simulated AWS knows snapshots without blocks only.")
	}

	return nil
}

// snapshotTags converts tags to EC2's type. Nil for no tags.
func snapshotTags(tags []ebstypes.Tag) []types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	spec := types.TagSpecification{ResourceType: types.ResourceTypeSnapshot}
	for _, tag := range tags {
		spec.Tags = append(spec.Tags, types.Tag{Key: tag.Key, Value: tag.Value})
	}
	return []types.TagSpecification{spec}
}

func ebsInvalid(reason, format string, arguments ...any) *APIError {
	refusal := badRequest("ValidationException", format, arguments...)
	refusal.Reason = reason
	return refusal
}

func outOfRange(member string, value any, constraint string) *APIError {
	return badRequest(
		"ValidationException", "1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value,
		member, constraint,
	)
}
