// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// byAlias are the operations that know a key by its alias too (3.3.1).
var byAlias = []string{"DescribeKey", "Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}

var (
	keyIDForm  = regexp.MustCompile(`^(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
	keyARNForm = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/.+$`)
)

// keyFor finds the key that a request of KMS names and asks whether the caller may use it so.
func (w *World) keyFor(c *Call, id *string, use keyUse) (*key, error) {
	found, err := w.namedKey(c, id, &use)
	if err != nil {
		return nil, err
	}
	return found, w.authorise(c, found.ask(use))
}

// namedKey finds the key that a request of KMS names, in the forms that the operation knows (1.7.6, 3.3.1, 3.3.2, 3.4.1).
func (w *World) namedKey(c *Call, id *string, use *keyUse) (*key, error) {
	name := aws.ToString(id)
	isARN := strings.HasPrefix(name, "arn:")
	resource := name[strings.LastIndex(name, ":")+1:]
	aliased := strings.HasPrefix(resource, "alias/")
	if name == "" {
		return nil, ill(c, "KeyId", id, "Member must not be null")
	}
	if w.breaks(c, "3.4.1", isARN && !keyARNForm.MatchString(name)) {
		return nil, invalid("InvalidArnException", "Invalid arn %s", name)
	}
	if w.breaks(c, "3.3.1", aliased && !slices.Contains(byAlias, c.Operation)) {
		return nil, notFound("Invalid keyId '%s'", name)
	}
	if isARN {
		if region := regionOfARN(name); w.breaks(c, "3.3.1", region != c.Region) {
			return nil, notFound("Invalid arn %s", region)
		}
	}
	found, there := w.findKey(c.place(), name)
	if there {
		if aliased {
			use.alias = resource
		}
		return found, nil
	}
	if parts := strings.Split(name, ":"); isARN && len(parts) > 5 && parts[4] != c.caller.account.number {
		// Whether another account has such a key is not told (3.4.3).
		return nil, w.denied(c, Ask{Action: use.action, Resource: name, Owner: parts[4]}, iampolicy.Decision{By: iampolicy.Resource, Action: use.action})
	}
	switch {
	case aliased:
		return nil, notFound("Alias %s is not found.", kmsARN(c.place(), resource))
	case isARN || keyIDForm.MatchString(name):
		return nil, notFound("Key '%s' does not exist", kmsARN(c.place(), "key/"+strings.TrimPrefix(resource, "key/")))
	}
	return nil, notFound("Invalid keyId '%s'", name)
}

func notFound(format string, arguments ...any) *Refusal {
	return invalid("NotFoundException", format, arguments...)
}

// mustBe refuses a key in another state than those given, in the words of that state (3.4).
func (w *World) mustBe(c *Call, k *key, states ...kmstypes.KeyState) error {
	state := k.stateAt(c.At)
	if !w.breaks(c, "3.4", !slices.Contains(states, state)) {
		return nil
	}
	arn := *k.Arn
	switch state {
	case kmstypes.KeyStateDisabled:
		return invalid("DisabledException", "%s is disabled.", arn)
	case kmstypes.KeyStatePendingDeletion:
		return invalid("KMSInvalidStateException", "%s is pending deletion.", arn)
	case kmstypes.KeyStatePendingReplicaDeletion:
		return invalid("KMSInvalidStateException", "%s is pending replica deletion.", arn)
	case kmstypes.KeyStatePendingImport:
		return invalid("KMSInvalidStateException", "%s is pending import.", arn)
	case kmstypes.KeyStateCreating:
		return invalid("KMSInvalidStateException", "%s is creating.", arn)
	}
	return invalid("KMSInvalidStateException", "%s is enabled.", arn)
}

// mustBeCustomers refuses to change a key that AWS manages.
func mustBeCustomers(c *Call, k *key) error {
	if k.KeyManager == kmstypes.KeyManagerTypeAws {
		return invalid("UnsupportedOperationException", "%s is an AWS managed key: %s is not supported.", *k.Arn, c.Operation)
	}
	return nil
}

// endDryRun ends a dry run of KMS where the call would have had its effect: rights and the key's state are checked (6.6).
func (w *World) endDryRun(c *Call) error {
	if w.breaks(c, "6.6", c.DryRun) {
		return refuse(http.StatusPreconditionFailed, "DryRunOperationException", "The request would have succeeded, but the DryRun parameter is set.")
	}
	return nil
}

// kmsPage cuts a list as Limit and Marker ask.
func kmsPage[T any](c *Call, all []T, limit *int32, standard, most int32, marker *string) (cut []T, next *string, err error) {
	if limit == nil {
		limit = &standard
	}
	if *limit < 1 || *limit > most {
		return nil, nil, ill(c, "Limit", limit, "Member must have value between 1 and "+strconv.Itoa(int(most)))
	}
	cut, next, err = page(all, limit, marker)
	if err != nil {
		return nil, nil, invalid("InvalidMarkerException", "Could not deserialize marker '%s'", *marker)
	}
	return cut, next, nil
}
