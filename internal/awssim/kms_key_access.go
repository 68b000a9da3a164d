// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// operationsByAlias are the operations that accept an alias (rule 3.3.1).
var operationsByAlias = []string{
	"DescribeKey", "Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
}

var (
	keyIDPattern  = regexp.MustCompile(`^(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
	keyARNPattern = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/.+$`)
)

// authorizeKey returns the key in a KMS request after it authorized its use.
func (w *World) authorizeKey(c *Call, id *string, use keyUse) (*key, error) {
	found, err := w.resolveKey(c, id, &use)
	if err != nil {
		return nil, err
	}
	return found, w.authorize(c, found.newAuthorization(use))
}

// resolveKey returns the key in a KMS request, in the formats that the operation accepts (rules 1.7.6, 3.3.1, 3.3.2 and
// 3.4.1).
func (w *World) resolveKey(c *Call, id *string, use *keyUse) (*key, error) {
	name := aws.ToString(id)
	isARN := strings.HasPrefix(name, "arn:")
	resource := name[strings.LastIndex(name, ":")+1:]
	aliased := strings.HasPrefix(resource, "alias/")
	if name == "" {
		return nil, validationError(c, "KeyId", id, "Member must not be null")
	}
	if w.violates(c, "3.4.1", isARN && !keyARNPattern.MatchString(name)) {
		return nil, badRequest("InvalidArnException", "Invalid arn %s", name)
	}
	if w.violates(c, "3.3.1", aliased && !slices.Contains(operationsByAlias, c.Operation)) {
		return nil, badRequest("InvalidArnException", "Key Aliases are not supported for this operation.")
	}

	if isARN {
		if region := regionOfARN(name); w.violates(c, "3.3.1", region != c.Region) {
			return nil, kmsNotFound("Invalid arn %s", region)
		}
	}

	found, ok := w.findKey(c.location(), name)
	if ok {
		if aliased {
			use.requestAlias = resource
		}
		return found, nil
	}

	if parts := strings.Split(name, ":"); isARN && len(parts) > 5 && parts[4] != c.caller.account.number {
		// KMS does not reveal whether another account has such a key (rule 3.4.3).
		return nil, w.accessDenied(
			c, AuthorizationRequest{Action: use.action, Resource: name, OwnerAccount: parts[4]},
			iampolicy.Decision{By: iampolicy.Resource, Action: use.action},
		)
	}

	return nil, keyNotFound(c.location(), name, resource)
}

// keyNotFound returns the error for a key of the caller's account that does not exist.
func keyNotFound(loc location, name, resource string) *APIError {
	switch {
	case strings.HasPrefix(resource, "alias/"):
		return kmsNotFound("Alias %s is not found.", kmsARN(loc, resource))
	case strings.HasPrefix(name, "arn:") || keyIDPattern.MatchString(name):
		return kmsNotFound("Key '%s' does not exist", kmsARN(loc, "key/"+strings.TrimPrefix(resource, "key/")))
	}
	return kmsNotFound("Invalid keyId '%s'", name)
}

func kmsNotFound(format string, arguments ...any) *APIError {
	return badRequest("NotFoundException", format, arguments...)
}

// requireKeyState refuses a key that is in none of the states, with the error for its state (rule 3.4).
func (w *World) requireKeyState(c *Call, k *key, states ...kmstypes.KeyState) error {
	state := k.stateAt(c.At)
	if !w.violates(c, "3.4", !slices.Contains(states, state)) {
		return nil
	}

	arn := *k.Arn
	switch state {
	case kmstypes.KeyStateDisabled:
		return badRequest("DisabledException", "%s is disabled.", arn)
	case kmstypes.KeyStatePendingDeletion:
		return badRequest("KMSInvalidStateException", "%s is pending deletion.", arn)
	case kmstypes.KeyStatePendingReplicaDeletion:
		return badRequest("KMSInvalidStateException", "%s is pending replica deletion.", arn)
	case kmstypes.KeyStatePendingImport:
		return badRequest("KMSInvalidStateException", "%s is pending import.", arn)
	case kmstypes.KeyStateCreating:
		return badRequest("KMSInvalidStateException", "%s is creating.", arn)
	}

	return badRequest("KMSInvalidStateException", "%s is enabled.", arn)
}

// requireCustomerManaged refuses to change an AWS managed key.
func requireCustomerManaged(c *Call, k *key) error {
	if k.KeyManager == kmstypes.KeyManagerTypeAws {
		return badRequest(
			"UnsupportedOperationException", "%s is an AWS managed key: %s is not supported.", *k.Arn, c.Operation,
		)
	}
	return nil
}

// endKMSDryRun ends a dry run of KMS, after authorization and the check of the key state (rule 6.6).
func (w *World) endKMSDryRun(c *Call) error {
	if w.violates(c, "6.6", c.DryRun) {
		return newAPIError(
			http.StatusBadRequest, "DryRunOperationException",
			"The request would have succeeded, but the DryRun option is set.",
		)
	}
	return nil
}

// paginateKMS returns the page for Limit and Marker.
func paginateKMS[T any](
	c *Call, all []T, limit *int32, standard, most int32, marker *string,
) (page []T, next *string, err error) {
	if limit == nil {
		limit = &standard
	}
	if err := validateRange(c, "Limit", limit, 1, most); err != nil {
		return nil, nil, err
	}

	page, next, err = paginate(all, limit, marker)
	if err != nil {
		return nil, nil, badRequest("InvalidMarkerException", "Could not deserialize marker '%s'", *marker)
	}

	return page, next, nil
}
