// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var replicaOperations = []namedOperation{newOperation((*World).replicateKey)}

// multiRegionID returns the ID of a multi-Region key: "mrk-" and 32 digits (rule 3.6.1).
func multiRegionID(uuid string) string { return "mrk-" + strings.ReplaceAll(uuid, "-", "") }

// configuration returns the Regions of a multi-Region key.
func (f *multiRegionKeySet) configuration(k *key, now time.Time) *kmstypes.MultiRegionConfiguration {
	where := func(k *key) kmstypes.MultiRegionKey {
		return kmstypes.MultiRegionKey{Arn: k.Arn, Region: &k.location.region}
	}

	primary := where(f.primary)
	view := &kmstypes.MultiRegionConfiguration{
		MultiRegionKeyType: kmstypes.MultiRegionKeyTypeReplica, PrimaryKey: &primary,
		ReplicaKeys: []kmstypes.MultiRegionKey{},
	}

	if k == f.primary {
		view.MultiRegionKeyType = kmstypes.MultiRegionKeyTypePrimary
	}

	for _, replica := range f.primary.existingReplicas(now) {
		view.ReplicaKeys = append(view.ReplicaKeys, where(replica))
	}

	return view
}

// WithReplicaCreation sets how long a new replica is Creating. By default, it is Enabled before the next call.
func WithReplicaCreation(duration time.Duration) Option {
	return func(w *World) { w.replicaCreationTime = duration }
}

// replicateKey creates a replica in another Region. It has the ID and material of the primary key. All other properties
// are its own (rule 3.6.1).
func (w *World) replicateKey(c *Call, in *kms.ReplicateKeyInput) (*kms.ReplicateKeyOutput, error) {
	use := keyUse{
		action: "kms:ReplicateKey", context: iampolicy.Context{"kms:ReplicaRegion": {aws.ToString(in.ReplicaRegion)}},
	}

	primary, err := w.resolveKey(c, in.KeyId, &use)
	if err != nil {
		return nil, err
	}

	to := location{c.caller.account.number, aws.ToString(in.ReplicaRegion)}
	tags := parseKMSTags(in.Tags)
	create := AuthorizationRequest{
		Action: "kms:CreateKey", Resource: "*", Context: requestTagContext(tags),
	}.withContext(iampolicy.Context{"aws:RequestedRegion": {to.region}})

	if err := w.authorize(c, primary.newAuthorization(use), create); err != nil {
		return nil, err
	}
	if w.violates(c, "3.6.3", !*primary.MultiRegion || !primary.isPrimary()) {
		return nil, badRequest("UnsupportedOperationException", "%s is not a multi-region primary key.", *primary.Arn)
	}
	if err := w.requireKeyState(c, primary, kmstypes.KeyStateEnabled, kmstypes.KeyStatePendingImport); err != nil {
		return nil, err
	}
	if err := w.validateReplicaRegion(c, primary, to); err != nil {
		return nil, err
	}
	if _, ok := w.findKey(to, *primary.KeyId); ok {
		return nil, badRequest("AlreadyExistsException", "A key with the ID %s is in %s already.", *primary.KeyId, to.region)
	}

	text, err := w.keyPolicyDocument(c, in.Policy)
	if err != nil {
		return nil, err
	}

	of := kmstypes.KeyMetadata{
		KeyId:        primary.KeyId,
		Description:  aws.String(aws.ToString(in.Description)),
		KeyManager:   kmstypes.KeyManagerTypeCustomer,
		Origin:       primary.Origin,
		CreationDate: aws.Time(c.At),
		KeySpec:      primary.KeySpec,
		KeyUsage:     primary.KeyUsage,
		MultiRegion:  aws.Bool(true),
	}

	created := w.newKey(to, of, text)
	if err := w.checkPolicyLockout(c, created, text, in.BypassPolicyLockoutSafetyCheck); err != nil {
		w.keys.remove(*created.Arn)
		return nil, err
	}

	created.tags, created.keySet = tags, primary.keySet
	created.availableAt = c.At.Add(max(w.replicaCreationTime, time.Millisecond))
	if created.Origin == kmstypes.OriginTypeAwsKms {
		created.material = primary.material
	}

	primary.keySet.replicas = append(primary.keySet.replicas, created)
	c.recordChange(*created.Arn)
	return &kms.ReplicateKeyOutput{
		ReplicaKeyMetadata: created.metadata(c.At), ReplicaPolicy: &text.text, ReplicaTags: formatKMSTags(tags),
	}, nil
}

// validateReplicaRegion refuses a Region that cannot have a replica.
func (w *World) validateReplicaRegion(c *Call, primary *key, to location) error {
	found, known := findRegion(to.region)
	switch {
	case w.violates(c, "B.5.9", to.region == primary.location.region):
		return badRequest(
			"ValidationException", "%s cannot have a replica because it contains the primary.", to.region,
		)
	case w.violates(c, "B.5.9", known && found.partition != c.caller.account.partition):
		return badRequest(
			"ValidationException",
			"The replica key Region must be in the same AWS partition as the primary key Region.",
		)
	case !known || !w.isRegionEnabled(to):
		return badRequest("ValidationException", "The Region %s is not available to this account.", to.region)
	}
	return nil
}
