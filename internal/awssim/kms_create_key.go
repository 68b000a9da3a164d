// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var keyOperations = []namedOperation{
	newOperation((*World).createKey),
	newOperation((*World).describeKey),
	newOperation((*World).listKeys),
	newOperation((*World).getKeyPolicy),
	newOperation((*World).putKeyPolicy),
	newOperation((*World).listKeyPolicies),
	newOperation((*World).updateKeyDescription),
	newOperation((*World).tagKey),
	newOperation((*World).untagKey),
	newOperation((*World).listResourceTags),
}

// defaultKeyPolicy lets IAM policies of the account control access to the key.
const defaultKeyPolicy = `{"Version":"2012-10-17","Id":"key-default-1",` +
	`"Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow",` +
	`"Principal":{"AWS":"%s"},"Action":"kms:*","Resource":"*"}]}`

// keyPolicyLimit is the maximum size of a key policy in bytes (rule 3.2.8).
const keyPolicyLimit = 32768

// keyPolicyDocument parses a key policy. It returns the default key policy if text is nil.
func (w *World) keyPolicyDocument(c *Call, text *string) (*policyDocument, error) {
	if text == nil {
		return mustParsePolicy(fmt.Sprintf(defaultKeyPolicy, c.caller.account.rootARN()), iampolicy.Resource), nil
	}
	if w.violates(c, "3.2.8", len(*text) > keyPolicyLimit) {
		return nil, badRequest("LimitExceededException", "The policy is longer than %d bytes.", keyPolicyLimit)
	}

	created, err := parsePolicy(*text, iampolicy.Resource)
	if err != nil {
		return nil, badRequest("MalformedPolicyDocumentException", "%v", err)
	}

	for _, name := range listPrincipals(*text) {
		if !w.principalExists(name) {
			return nil, badRequest(
				"MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals.",
			)
		}
	}

	return created, nil
}

// checkPolicyLockout refuses a policy that prevents the caller from changing it again, unless the request bypasses the
// check.
func (w *World) checkPolicyLockout(c *Call, k *key, text *policyDocument, bypass bool) error {
	if bypass {
		return nil
	}

	candidate := *k
	candidate.policy = text
	decision, err := w.evaluate(c, candidate.newAuthorization(keyUse{action: "kms:PutKeyPolicy"}))
	if err != nil {
		return err
	}
	if !decision.Allowed {
		return badRequest(
			"MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.",
		)
	}

	return nil
}

func parseKMSTags(tags []kmstypes.Tag) map[string]string {
	return parseTags(tags, func(t kmstypes.Tag) (string, string) {
		return aws.ToString(t.TagKey), aws.ToString(t.TagValue)
	})
}

// validateKMSTags checks the tags in a request. Tags of the key that the request does not name count towards the limit.
func (w *World) validateKMSTags(c *Call, tags []kmstypes.Tag, existing map[string]string) error {
	all := maps.Clone(existing)
	if all == nil {
		all = map[string]string{}
	}

	seen := map[string]bool{}
	for i, tag := range tags {
		member := fmt.Sprintf("tags.%d.member.", i+1)
		err := cmp.Or(
			validateLength(c, member+"tagKey", tag.TagKey, 1, maxTagKeyLength),
			validateLength(c, member+"tagValue", tag.TagValue, 0, maxTagValueLength),
		)
		if w.violates(c, "B.5.1", err != nil) {
			return err
		}

		key := aws.ToString(tag.TagKey)
		if w.violates(c, "B.5.1", seen[key]) {
			return badRequest("TagException", "Duplicate tag keys")
		}
		if w.violates(c, "B.5.1", strings.HasPrefix(strings.ToLower(key), "aws:")) {
			return badRequest("TagException", "Tags beginning with aws: are reserved")
		}
		seen[key], all[key] = true, ""
	}

	if w.violates(c, "B.5.1", len(all) > maxTags) {
		return badRequest("TagException", "Too many tags")
	}

	return nil
}

func formatKMSTags(tags map[string]string) []kmstypes.Tag {
	view := []kmstypes.Tag{}
	for _, key := range sortedKeys(tags) {
		view = append(view, kmstypes.Tag{TagKey: aws.String(key), TagValue: aws.String(tags[key])})
	}
	return view
}

// Key usages of the other key specs. Such keys exist here only to be refused by EBS (rule 3.4.2).
var (
	rsaKeyUsages = []kmstypes.KeyUsageType{kmstypes.KeyUsageTypeEncryptDecrypt, kmstypes.KeyUsageTypeSignVerify}
	eccKeyUsages = []kmstypes.KeyUsageType{kmstypes.KeyUsageTypeSignVerify, kmstypes.KeyUsageTypeKeyAgreement}
	macKeyUsages = []kmstypes.KeyUsageType{kmstypes.KeyUsageTypeGenerateVerifyMac}
)

var asymmetricKeyUsages = map[kmstypes.KeySpec][]kmstypes.KeyUsageType{
	kmstypes.KeySpecRsa2048:       rsaKeyUsages,
	kmstypes.KeySpecRsa3072:       rsaKeyUsages,
	kmstypes.KeySpecRsa4096:       rsaKeyUsages,
	kmstypes.KeySpecEccNistP256:   eccKeyUsages,
	kmstypes.KeySpecEccNistP384:   eccKeyUsages,
	kmstypes.KeySpecEccNistP521:   eccKeyUsages,
	kmstypes.KeySpecEccSecgP256k1: {kmstypes.KeyUsageTypeSignVerify},
	kmstypes.KeySpecHmac224:       macKeyUsages,
	kmstypes.KeySpecHmac256:       macKeyUsages,
	kmstypes.KeySpecHmac384:       macKeyUsages,
	kmstypes.KeySpecHmac512:       macKeyUsages,
}

// setAlgorithms sets the algorithms in a key's metadata. They depend on the key spec and the key usage.
func setAlgorithms(of *kmstypes.KeyMetadata) {
	spec := string(of.KeySpec)
	switch {
	case of.KeySpec == kmstypes.KeySpecSymmetricDefault:
		of.EncryptionAlgorithms = []kmstypes.EncryptionAlgorithmSpec{kmstypes.EncryptionAlgorithmSpecSymmetricDefault}
	case of.KeyUsage == kmstypes.KeyUsageTypeGenerateVerifyMac:
		size := strings.TrimPrefix(spec, "HMAC_")
		of.MacAlgorithms = []kmstypes.MacAlgorithmSpec{kmstypes.MacAlgorithmSpec("HMAC_SHA_" + size)}
	case of.KeyUsage == kmstypes.KeyUsageTypeKeyAgreement:
		of.KeyAgreementAlgorithms = []kmstypes.KeyAgreementAlgorithmSpec{kmstypes.KeyAgreementAlgorithmSpecEcdh}
	case of.KeyUsage == kmstypes.KeyUsageTypeEncryptDecrypt:
		of.EncryptionAlgorithms = []kmstypes.EncryptionAlgorithmSpec{
			kmstypes.EncryptionAlgorithmSpecRsaesOaepSha1, kmstypes.EncryptionAlgorithmSpecRsaesOaepSha256,
		}
	case strings.HasPrefix(spec, "RSA_"):
		of.SigningAlgorithms = []kmstypes.SigningAlgorithmSpec{
			kmstypes.SigningAlgorithmSpecRsassaPkcs1V15Sha256,
			kmstypes.SigningAlgorithmSpecRsassaPkcs1V15Sha384,
			kmstypes.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
			kmstypes.SigningAlgorithmSpecRsassaPssSha256,
			kmstypes.SigningAlgorithmSpecRsassaPssSha384,
			kmstypes.SigningAlgorithmSpecRsassaPssSha512,
		}
	default:
		of.SigningAlgorithms = []kmstypes.SigningAlgorithmSpec{ecdsaAlgorithms[of.KeySpec]}
	}
}

// ecdsaAlgorithms maps elliptic curves to their signing algorithm.
var ecdsaAlgorithms = map[kmstypes.KeySpec]kmstypes.SigningAlgorithmSpec{
	kmstypes.KeySpecEccNistP256:   kmstypes.SigningAlgorithmSpecEcdsaSha256,
	kmstypes.KeySpecEccNistP384:   kmstypes.SigningAlgorithmSpecEcdsaSha384,
	kmstypes.KeySpecEccNistP521:   kmstypes.SigningAlgorithmSpecEcdsaSha512,
	kmstypes.KeySpecEccSecgP256k1: kmstypes.SigningAlgorithmSpecEcdsaSha256,
}

func (w *World) createKey(c *Call, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	err := refuseUnmodeled(
		in, "BypassPolicyLockoutSafetyCheck", "CustomerMasterKeySpec", "Description", "KeySpec", "KeyUsage", "MultiRegion",
		"Origin", "Policy", "Tags",
	)
	if err != nil {
		return nil, err
	}

	spec, usage, origin, err := w.resolveKeyKind(c, in)
	if err != nil {
		return nil, err
	}
	if err := w.validateKMSTags(c, in.Tags, nil); err != nil {
		return nil, err
	}

	tags := parseKMSTags(in.Tags)
	request := AuthorizationRequest{Action: "kms:CreateKey", Resource: "*", Context: iampolicy.Context{
		"kms:KeySpec": {string(spec)}, "kms:KeyUsage": {string(usage)}, "kms:KeyOrigin": {string(origin)},
		"kms:MultiRegion":                    {fmt.Sprint(aws.ToBool(in.MultiRegion))},
		"kms:BypassPolicyLockoutSafetyCheck": {fmt.Sprint(in.BypassPolicyLockoutSafetyCheck)},
	}}

	requests := []AuthorizationRequest{request.withContext(requestTagContext(tags))}
	if len(tags) > 0 {
		requests = append(requests, AuthorizationRequest{
			Action: "kms:TagResource", Resource: "*", Context: requestTagContext(tags),
		})
	}

	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	text, err := w.keyPolicyDocument(c, in.Policy)
	if err != nil {
		return nil, err
	}

	id := w.randomUUID("key", c.caller.principal.ARN, c.Region)
	if aws.ToBool(in.MultiRegion) {
		id = multiRegionID(id)
	}

	created := w.newKey(c.location(), kmstypes.KeyMetadata{
		KeyId:        &id,
		Description:  aws.String(aws.ToString(in.Description)),
		KeyManager:   kmstypes.KeyManagerTypeCustomer,
		Origin:       origin,
		CreationDate: aws.Time(c.At),
		KeySpec:      spec,
		KeyUsage:     usage,
		MultiRegion:  aws.Bool(aws.ToBool(in.MultiRegion)),
	}, text)

	if err := w.checkPolicyLockout(c, created, text, in.BypassPolicyLockoutSafetyCheck); err != nil {
		w.keys.remove(*created.Arn)
		return nil, err
	}

	created.tags = tags
	c.recordChange(*created.Arn)
	return &kms.CreateKeyOutput{KeyMetadata: created.metadata(c.At)}, nil
}

// resolveKeyKind returns the key spec, key usage and origin in a request, or their defaults.
func (w *World) resolveKeyKind(
	c *Call, in *kms.CreateKeyInput,
) (kmstypes.KeySpec, kmstypes.KeyUsageType, kmstypes.OriginType, error) {
	spec := cmp.Or(in.KeySpec, kmstypes.KeySpec(in.CustomerMasterKeySpec), kmstypes.KeySpecSymmetricDefault)
	usage := cmp.Or(in.KeyUsage, kmstypes.KeyUsageTypeEncryptDecrypt)
	origin := cmp.Or(in.Origin, kmstypes.OriginTypeAwsKms)

	usages, known := asymmetricKeyUsages[spec]
	if spec == kmstypes.KeySpecSymmetricDefault {
		usages, known = []kmstypes.KeyUsageType{kmstypes.KeyUsageTypeEncryptDecrypt}, true
	}

	switch {
	case w.violates(c, "B.5.2", spec != kmstypes.KeySpecSymmetricDefault && in.KeyUsage == ""):
		return "", "", "", badRequest(
			"ValidationException",
			"You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
		)
	case !known:
		return "", "", "", badRequest(
			"UnsupportedOperationException", "The simulated AWS does not make keys of the spec %s.", spec,
		)
	case w.violates(c, "B.5.2", !slices.Contains(usages, usage)):
		return "", "", "", badRequest(
			"ValidationException", "KeyUsage %s is not compatible with KeySpec %s", usage, spec,
		)
	case origin != kmstypes.OriginTypeAwsKms && origin != kmstypes.OriginTypeExternal:
		return "", "", "", badRequest("UnsupportedOperationException", "The simulated AWS has no custom key stores.")
	}

	return spec, usage, origin, nil
}

// describeKey works in every key state (rule 3.4.1). It creates an AWS managed key that is named by its alias (rule
// 1.7.2).
func (w *World) describeKey(c *Call, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	if err := w.validateGrantTokens(c, in.GrantTokens); err != nil {
		return nil, err
	}
	found, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:DescribeKey"})
	if err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: found.metadata(c.At)}, nil
}

func (w *World) listKeys(c *Call, in *kms.ListKeysInput) (*kms.ListKeysOutput, error) {
	if err := w.authorize(c, AuthorizationRequest{Action: "kms:ListKeys", Resource: "*"}); err != nil {
		return nil, err
	}

	all := []kmstypes.KeyListEntry{}
	for _, k := range w.keys.all {
		if k.location == c.location() && !k.isDeleted(c.At) {
			all = append(all, kmstypes.KeyListEntry{KeyArn: k.Arn, KeyId: k.KeyId})
		}
	}

	keys, next, err := paginateKMS(c, all, in.Limit, 100, 1000, in.Marker)
	if err != nil {
		return nil, err
	}

	return &kms.ListKeysOutput{Keys: keys, NextMarker: next, Truncated: next != nil}, nil
}

// validateKeyPolicyName accepts "default", the only name of a key policy.
func validateKeyPolicyName(name *string) error {
	if name != nil && *name != "default" {
		return kmsNotFound("No such policy exists")
	}
	return nil
}

func (w *World) getKeyPolicy(c *Call, in *kms.GetKeyPolicyInput) (*kms.GetKeyPolicyOutput, error) {
	found, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:GetKeyPolicy"})
	if err != nil {
		return nil, err
	}
	if err := validateKeyPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	return &kms.GetKeyPolicyOutput{Policy: &found.policy.text, PolicyName: aws.String("default")}, nil
}

func (w *World) listKeyPolicies(c *Call, in *kms.ListKeyPoliciesInput) (*kms.ListKeyPoliciesOutput, error) {
	if _, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:ListKeyPolicies"}); err != nil {
		return nil, err
	}
	return &kms.ListKeyPoliciesOutput{PolicyNames: []string{"default"}}, nil
}

func (w *World) putKeyPolicy(c *Call, in *kms.PutKeyPolicyInput) (*kms.PutKeyPolicyOutput, error) {
	use := keyUse{
		action:  "kms:PutKeyPolicy",
		context: iampolicy.Context{"kms:BypassPolicyLockoutSafetyCheck": {fmt.Sprint(in.BypassPolicyLockoutSafetyCheck)}},
	}

	found, err := w.authorizeKey(c, in.KeyId, use)
	if err != nil {
		return nil, err
	}
	if err := requireCustomerManaged(c, found); err != nil {
		return nil, err
	}
	if err := validateKeyPolicyName(in.PolicyName); err != nil {
		return nil, err
	}

	text, err := w.keyPolicyDocument(c, aws.String(aws.ToString(in.Policy)))
	if err != nil {
		return nil, err
	}
	if err := w.checkPolicyLockout(c, found, text, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return nil, err
	}

	found.policy = text
	c.recordChange(*found.Arn)
	return &kms.PutKeyPolicyOutput{}, nil
}

func (w *World) updateKeyDescription(
	c *Call, in *kms.UpdateKeyDescriptionInput,
) (*kms.UpdateKeyDescriptionOutput, error) {
	found, err := w.authorizeKeyChange(c, in.KeyId, "kms:UpdateKeyDescription", nil)
	if err != nil {
		return nil, err
	}
	found.Description = aws.String(aws.ToString(in.Description))
	c.recordChange(*found.Arn)
	return &kms.UpdateKeyDescriptionOutput{}, nil
}

// authorizeKeyChange authorizes a change of a customer managed key that is not pending deletion.
func (w *World) authorizeKeyChange(c *Call, id *string, action string, context iampolicy.Context) (*key, error) {
	found, err := w.authorizeKey(c, id, keyUse{action: action, context: context})
	if err != nil {
		return nil, err
	}
	if err := requireCustomerManaged(c, found); err != nil {
		return nil, err
	}
	return found, w.requireKeyState(
		c, found, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport,
	)
}

func (w *World) tagKey(c *Call, in *kms.TagResourceInput) (*kms.TagResourceOutput, error) {
	tags := parseKMSTags(in.Tags)
	found, err := w.authorizeKeyChange(c, in.KeyId, "kms:TagResource", requestTagContext(tags))
	if err != nil {
		return nil, err
	}
	if err := w.validateKMSTags(c, in.Tags, found.tags); err != nil {
		return nil, err
	}
	for key, value := range tags {
		found.tags[key] = value
	}
	c.recordChange(*found.Arn)
	return &kms.TagResourceOutput{}, nil
}

func (w *World) untagKey(c *Call, in *kms.UntagResourceInput) (*kms.UntagResourceOutput, error) {
	found, err := w.authorizeKeyChange(c, in.KeyId, "kms:UntagResource", iampolicy.Context{"aws:TagKeys": in.TagKeys})
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(found.tags, key)
	}
	c.recordChange(*found.Arn)
	return &kms.UntagResourceOutput{}, nil
}

func (w *World) listResourceTags(c *Call, in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	found, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:ListResourceTags"})
	if err != nil {
		return nil, err
	}
	tags, next, err := paginateKMS(c, formatKMSTags(found.tags), in.Limit, 50, 50, in.Marker)
	if err != nil {
		return nil, err
	}
	return &kms.ListResourceTagsOutput{Tags: tags, NextMarker: next, Truncated: next != nil}, nil
}
