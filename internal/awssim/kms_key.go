// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var kmsOperations = concat(
	keyOperations, keyStateOperations, aliasOperations, cryptoOperations, grantOperations, importOperations,
	replicaOperations,
)

// kmsState holds the resources of KMS.
type kmsState struct {
	keys         orderedMap[*key]   // by ARN
	aliases      orderedMap[*alias] // by ARN
	grantTokens  map[string]*key
	importTokens map[string]*importParameters
	wrappingKeys wrappingKeys
	// how long a new replica is Creating (WithReplicaCreation)
	replicaCreationTime time.Duration
}

func newKMSState() kmsState {
	return kmsState{
		keys:         newOrderedMap[*key](),
		aliases:      newOrderedMap[*alias](),
		grantTokens:  map[string]*key{},
		importTokens: map[string]*importParameters{},
		wrappingKeys: wrappingKeys{},
	}
}

// key is a KMS key.
type key struct {
	kmstypes.KeyMetadata // as created; stateAt returns the current state
	location             location
	policy               *policyDocument
	aliases              []string
	grants               orderedMap[*grant] // by ID
	tags                 map[string]string
	disabled             bool
	availableAt          time.Time // a replica is Creating until then
	deletionWindow       int32     // in days; zero if no deletion is scheduled
	deletionScheduled    time.Time
	material             *keyMaterialSet
	keySet               *multiRegionKeySet
	rotationPeriod       int32     // in days; zero if automatic rotation is off
	rotationStarted      time.Time // start of the last automatic rotation period
	onDemandRotation     time.Time // start of the last on-demand rotation
}

// keyMaterialSet holds the key materials of a key, oldest first. A replica shares it with its primary key, except for
// imported material.
type keyMaterialSet struct {
	materials         []*keyMaterial
	onDemandRotations int // number of rotations so far
}

// multiRegionKeySet holds a primary key and its replicas. A single-Region key is alone in its set.
type multiRegionKeySet struct {
	primary  *key
	replicas []*key
}

// stateAt returns the key state at a time (rule 3.4).
func (k *key) stateAt(now time.Time) kmstypes.KeyState {
	switch {
	case k.deletionWindow > 0 && len(k.existingReplicas(now)) > 0:
		return kmstypes.KeyStatePendingReplicaDeletion
	case k.deletionWindow > 0:
		return kmstypes.KeyStatePendingDeletion
	case now.Before(k.availableAt):
		return kmstypes.KeyStateCreating
	case k.material.isIncomplete(now):
		return kmstypes.KeyStatePendingImport
	case k.disabled:
		return kmstypes.KeyStateDisabled
	}

	return kmstypes.KeyStateEnabled
}

// deletionTime returns when a scheduled deletion takes effect. A primary key waits for its replicas (rule 3.6.1).
func (k *key) deletionTime() time.Time {
	from := k.deletionScheduled
	for _, replica := range k.replicas() {
		if replica.deletionWindow > 0 && replica.deletionTime().After(from) {
			from = replica.deletionTime()
		}
	}
	return from.AddDate(0, 0, int(k.deletionWindow))
}

// isDeleted reports whether the key has been deleted.
func (k *key) isDeleted(now time.Time) bool {
	return k.deletionWindow > 0 && len(k.existingReplicas(now)) == 0 && !now.Before(k.deletionTime())
}

// isPrimary reports whether the key is not a replica.
func (k *key) isPrimary() bool { return k.keySet.primary == k }

func (k *key) replicas() []*key {
	if !k.isPrimary() {
		return nil
	}
	return k.keySet.replicas
}

func (k *key) existingReplicas(now time.Time) []*key {
	return slices.DeleteFunc(slices.Clone(k.replicas()), func(r *key) bool { return r.isDeleted(now) })
}

// metadata returns the key's metadata at a time.
func (k *key) metadata(now time.Time) *kmstypes.KeyMetadata {
	view := k.KeyMetadata
	view.KeyState = k.stateAt(now)
	view.Enabled = view.KeyState == kmstypes.KeyStateEnabled
	switch view.KeyState {
	case kmstypes.KeyStatePendingDeletion:
		view.DeletionDate = aws.Time(k.deletionTime())
	case kmstypes.KeyStatePendingReplicaDeletion:
		view.PendingDeletionWindowInDays = aws.Int32(k.deletionWindow)
	}

	if current := k.material.current(); current != nil && current.isAvailable(now) {
		if view.KeySpec == kmstypes.KeySpecSymmetricDefault {
			view.CurrentKeyMaterialId = &current.id
		}
		if view.Origin == kmstypes.OriginTypeExternal {
			view.ExpirationModel, view.ValidTo = k.material.expiration()
		}
	}

	if *k.MultiRegion {
		view.MultiRegionConfiguration = k.keySet.configuration(k, now)
	}

	return &view
}

// findKey returns the key for a key ID, alias name, key ARN or alias ARN. A name or ID is looked up in the location, an
// ARN in its own account and Region (rules 1.7.5, 1.7.6 and 3.3.2).
func (w *World) findKey(loc location, idOrAlias string) (*key, bool) {
	if !strings.HasPrefix(idOrAlias, "arn:") {
		resource := idOrAlias
		if !strings.HasPrefix(idOrAlias, "alias/") {
			resource = "key/" + idOrAlias
		}
		return w.findKey(loc, kmsARN(loc, resource))
	}

	parts := strings.SplitN(idOrAlias, ":", 6)
	if len(parts) != 6 {
		return nil, false
	}

	target := location{parts[4], parts[3]}
	if service, ok := strings.CutPrefix(parts[5], "alias/aws/"); ok && managedServices[service].via != "" {
		return w.awsManagedKey(target, service), true
	}

	id := idOrAlias
	if strings.HasPrefix(parts[5], "alias/") {
		named, known := w.aliases.get(idOrAlias)
		if !known {
			return nil, false
		}
		id = *named.target.Arn
	}

	found, known := w.keys.get(id)
	if !known || found.isDeleted(w.now()) {
		return nil, false
	}

	return found, true
}

// kmsARN returns the ARN of "key/..." or "alias/..." in a location.
func kmsARN(loc location, resource string) string {
	return fmt.Sprintf("arn:%s:kms:%s:%s:%s", partitionOf(loc.region), loc.region, loc.account, resource)
}

// managedServices are the services whose AWS managed keys the simulator models.
var managedServices = map[string]struct{ via, label, description string }{
	"ebs": {"ec2", "EBS", "Default key that protects my EBS volumes when no other key is defined"},
	"ssm": {"ssm", "SSM", "Default key that protects my SSM parameters when no other key is defined"},
}

// awsManagedKeyPolicy is the policy of an AWS managed key. It allows all principals of the account, but only through
// the service, and cannot be changed (rule 3.2.5).
const awsManagedKeyPolicy = `{"Version":"2012-10-17","Id":"auto-%[1]s-2","Statement":[` +
	`{"Sid":"Allow access through %[2]s for all principals in the account that are authorized to use %[2]s",` +
	`"Effect":"Allow","Principal":{"AWS":"*"},` +
	`"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*","kms:GenerateDataKey*","kms:CreateGrant",` +
	`"kms:DescribeKey"],"Resource":"*",` +
	`"Condition":{"StringEquals":{"kms:CallerAccount":"%[3]s","kms:ViaService":"%[4]s"}}},` +
	`{"Sid":"Allow direct access to key metadata to the account","Effect":"Allow",` +
	`"Principal":{"AWS":"arn:%[5]s:iam::%[3]s:root"},` +
	`"Action":["kms:Describe*","kms:Get*","kms:List*","kms:RevokeGrant"],"Resource":"*"}]}`

// awsManagedKey returns the AWS managed key of a service, such as "ebs". It creates the key at first use (rule 1.7.2).
func (w *World) awsManagedKey(loc location, service string) *key {
	name := kmsARN(loc, "alias/aws/"+service)
	if named, ok := w.aliases.get(name); ok {
		return named.target
	}

	about := managedServices[service]
	text := fmt.Sprintf(
		awsManagedKeyPolicy, service, about.label, loc.account, viaService(about.via, loc.region), partitionOf(loc.region),
	)

	created := w.newKey(loc, kmstypes.KeyMetadata{
		KeyId:        aws.String(w.randomUUID("managed key", service, loc.account, loc.region)),
		Description:  aws.String(about.description),
		KeyManager:   kmstypes.KeyManagerTypeAws,
		Origin:       kmstypes.OriginTypeAwsKms,
		CreationDate: aws.Time(w.now()),
	}, mustParsePolicy(text, iampolicy.Resource))

	created.rotationPeriod, created.rotationStarted = standardRotationPeriod, w.now()
	named := &alias{name: "alias/aws/" + service, arn: name, created: w.now()}
	w.aliases.put(name, named)
	named.setTarget(created, w.now())
	return created
}

// newKey stores a new key. Missing metadata default to those of a symmetric single-Region key.
func (w *World) newKey(loc location, of kmstypes.KeyMetadata, text *policyDocument) *key {
	of.AWSAccountId, of.Arn = aws.String(loc.account), aws.String(kmsARN(loc, "key/"+*of.KeyId))
	if of.KeySpec == "" {
		of.KeySpec = kmstypes.KeySpecSymmetricDefault
	}
	if of.KeyUsage == "" {
		of.KeyUsage = kmstypes.KeyUsageTypeEncryptDecrypt
	}

	setAlgorithms(&of)
	if of.MultiRegion == nil {
		of.MultiRegion = aws.Bool(false)
	}

	of.CustomerMasterKeySpec = kmstypes.CustomerMasterKeySpec(of.KeySpec)
	created := &key{
		KeyMetadata: of,
		location:    loc,
		policy:      text,
		grants:      newOrderedMap[*grant](),
		tags:        map[string]string{},
		material:    &keyMaterialSet{},
	}

	created.keySet = &multiRegionKeySet{primary: created}
	if of.Origin == kmstypes.OriginTypeAwsKms {
		created.material.add(created, w.randomBytes(32, "key material", *of.KeyId))
	}

	w.keys.put(*of.Arn, created)
	return created
}

// isUsable reports whether the key state allows cryptographic operations (rule 3.4).
func (w *World) isUsable(k *key) bool {
	return k.stateAt(w.now()) == kmstypes.KeyStateEnabled && !k.isDeleted(w.now())
}

// keyUse describes how a call uses a key.
type keyUse struct {
	action       string            // such as "kms:Decrypt"
	service      string            // AWS service that calls KMS for the caller, such as "ec2"; empty for a direct call
	requestAlias string            // alias in the request; empty if it names none
	context      iampolicy.Context // additional condition keys
	grant        *iampolicy.Grant  // the grant that CreateGrant creates or RetireGrant retires
}

// newAuthorization returns the request to use the key.
func (k *key) newAuthorization(use keyUse) AuthorizationRequest {
	context := iampolicy.Context{
		"kms:KeySpec": {string(k.KeySpec)}, "kms:KeyUsage": {string(k.KeyUsage)}, "kms:KeyOrigin": {string(k.Origin)},
		"kms:MultiRegion": {fmt.Sprint(aws.ToBool(k.MultiRegion))}, "kms:ResourceAliases": k.aliases,
	}

	for key, value := range k.tags {
		context["aws:ResourceTag/"+key] = []string{value}
	}

	if use.requestAlias != "" {
		context["kms:RequestAlias"] = []string{use.requestAlias}
	}

	if use.service != "" {
		context["kms:ViaService"] = []string{viaService(use.service, k.location.region)}
		context["aws:ViaAWSService"] = []string{"true"}
	}

	for name, values := range use.context {
		context[name] = values
	}

	guard := resourcePolicies{
		policy: k.policy.parsed,
		grants: make([]iampolicy.Grant, 0, len(k.grants.keys)),
		grant:  use.grant,
		exempt: k.KeyManager == kmstypes.KeyManagerTypeAws,
	}

	for _, grant := range k.grants.all {
		guard.grants = append(guard.grants, grant.Grant)
	}

	return AuthorizationRequest{
		Action:           use.action,
		Resource:         *k.Arn,
		OwnerAccount:     k.location.account,
		Context:          context,
		resourcePolicies: guard,
	}
}

func viaService(service, region string) string {
	return service + "." + region + "." + domainOf(region)
}

// isKeyUseAllowed reports whether the key policy, grants and the caller's policies allow a KMS action through a
// service. forResource is true if an AWS service creates the grant for the caller (rule 3.2.3).
func (w *World) isKeyUseAllowed(c *Call, k *key, action, through string, forResource bool) bool {
	use := keyUse{action: action, service: through}
	if action == "kms:CreateGrant" {
		use.context = iampolicy.Context{"kms:GrantIsForAWSResource": {fmt.Sprint(forResource)}}
		// The grant of the service itself. The caller may have only a grant of its own (rule 3.2.6).
		use.grant = &iampolicy.Grant{Grantee: viaService(through, k.location.region), Operations: []string{"Decrypt"}}
	}
	decision, err := w.evaluate(c, k.newAuthorization(use))
	return err == nil && decision.Allowed
}
