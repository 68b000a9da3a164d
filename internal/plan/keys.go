// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// SourceKey returns the key that the request names for a Region of the source account. Empty if it names none. An
// alias and a key id, also that of a multi-Region key, are valid in every Region, an ARN only in its own (rules
// 1.7.6, 3.6.4).
func SourceKey(req distribution.Request, region string) string {
	key := req.KMSKeyID
	if regionKey, found := req.RegionKMSKeyIDs[region]; found {
		key = regionKey
	}
	if parsed, err := arn.Parse(key); err == nil && parsed.Region != region {
		return ""
	}
	return key
}

// DestinationKey returns the key of a destination as KMS must be asked for it.
func DestinationKey(d distribution.Destination, facts distribution.Facts) string {
	if d.KMSKeyID == distribution.DefaultKey {
		return facts.Defaults[d.At].KMSKeyID
	}
	return d.KMSKeyID
}

// keyUnusableReason returns why a key cannot encrypt EBS snapshots, and the rule that says so. Empty if it can.
func keyUnusableReason(k distribution.Key) (reason, rule string) {
	m := k.Metadata
	switch {
	case m == nil && k.Err != nil:
		return k.Err.Error(), "3.4.1"
	case m == nil:
		return "there is no such key there", "1.8.2"
	case m.KeySpec != kmstypes.KeySpecSymmetricDefault || m.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt:
		return fmt.Sprintf("it is a %s key for %s; EBS takes symmetric encryption keys only", m.KeySpec, m.KeyUsage), "3.4.2"
	case m.KeyState == kmstypes.KeyStateDisabled:
		return "it is disabled", "1.8.1"
	case m.KeyState == kmstypes.KeyStatePendingImport:
		return "it waits for its key material to be imported", "3.5.1"
	case m.KeyState == kmstypes.KeyStatePendingDeletion:
		return "it is going to be deleted", "3.4"
	case m.KeyState != kmstypes.KeyStateEnabled:
		return "its state is " + string(m.KeyState), "3.4"
	}

	return "", ""
}

// expiresSoon is how long before the expiry of imported key material a warning begins (3.5.4).
const expiresSoon = 30 * 24 * time.Hour

// keyExpiryFindings warns about imported key material that expires soon. After that, nothing encrypted with the key
// can be used (3.5.1).
func keyExpiryFindings(
	k distribution.Key,
	field string,
	at distribution.Location,
	now time.Time,
) []distribution.Finding {
	if k.Metadata == nil || k.Metadata.ValidTo == nil || k.Metadata.ValidTo.Sub(now) > expiresSoon {
		return nil
	}

	date := k.Metadata.ValidTo.UTC().Format("2006-01-02 15:04 MST")
	return []distribution.Finding{{
		Level:       distribution.Warning,
		Code:        distribution.CodeKeyMaterialExpires,
		Reference:   "3.5.4",
		Field:       field,
		Location:    at,
		Resource:    k.ARN(),
		Summary:     "the imported material of the key " + k.ARN() + " expires on " + date,
		Detail:      "after that, nothing that it encrypts can be copied or launched",
		Remediation: "import the material again, with a later date or none",
	}}
}

// keyRemedy returns the next step for a key that is not usable.
func keyRemedy(k distribution.Key) string {
	if k.Metadata == nil {
		return "check the id, its account and Region, and that kms:DescribeKey is allowed"
	}
	switch k.Metadata.KeyState {
	case kmstypes.KeyStateDisabled:
		return "enable it with `aws kms enable-key`, or name another key"
	case kmstypes.KeyStatePendingImport:
		return "import its key material, or name another key"
	case kmstypes.KeyStatePendingDeletion:
		return "cancel its deletion with `aws kms cancel-key-deletion` and enable it, or name another key"
	}
	return "name another key"
}

const awsManagedKey = "aws/ebs"

// keyAliases returns the name of each key by its ARN: the alias that the template uses, or that of the AWS managed
// key.
func keyAliases(facts distribution.Facts) map[string]string {
	aliases := map[string]string{}
	for _, keys := range facts.Keys {
		for name, key := range keys {
			arn := key.ARN()
			switch alias := aliasOf(name); {
			case arn == "":
			case key.IsManagedByAWS():
				aliases[arn] = awsManagedKey
			case alias != "" && (aliases[arn] == "" || alias < aliases[arn]): // the same one in every run
				aliases[arn] = alias
			}
		}
	}

	return aliases
}

// aliasOf returns "alias/…" of an alias or of its ARN. Empty for the id or ARN of a key.
func aliasOf(name string) string {
	if strings.HasPrefix(name, "alias/") {
		return name
	}
	if _, alias, found := strings.Cut(name, ":alias/"); found {
		return "alias/" + alias
	}
	return ""
}

// KeyName returns how texts name a key: its alias, or the beginning of its id if it has none.
func (p Plan) KeyName(arn string) string {
	id := arn[strings.LastIndex(arn, "/")+1:]
	short := arn
	const shown = 8
	if strings.Contains(arn, ":key/") && len(id) > shown {
		short = "key/" + id[:shown] + "…"
	}
	return cmp.Or(p.KeyAliases[arn], aliasOf(arn), short)
}

// unknownOfCallers are condition keys whose values only AWS knows, for a caller or for the request of EC2.
var unknownOfCallers = []string{
	"aws:CurrentTime",
	"aws:EpochTime",
	"aws:PrincipalOrgID",
	"aws:PrincipalOrgPaths",
	"aws:PrincipalTag/",
	"aws:RequestedRegion",
	"aws:SourceIdentity",
	"aws:SourceIp",
	"aws:SourceVpc",
	"aws:SourceVpce",
	"aws:TokenIssueTime",
	"aws:userid",
	"aws:ViaAWSService",
	"kms:GrantConstraintType",
	"kms:GranteePrincipal",
	"kms:GrantOperations",
	"kms:ResourceAliases",
}

// rolePath matches a principal of a policy that selects roles by their path.
var rolePath = regexp.MustCompile(`:role/[^"]*/[^"]*[*?]`)

// allowAllPolicy is an identity policy with which the key policy alone decides.
const allowAllPolicy = `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`

// KeyPolicyAllows reports whether a key policy allows EC2 to create a grant for itself when the caller copies
// (3.1.8, 3.2.1, 3.2.3). It returns an error if that cannot be determined.
func KeyPolicyAllows(document, keyARN string, who distribution.CallerIdentity) (bool, error) {
	key, err := iampolicy.Parse([]byte(document), iampolicy.Resource)
	if err != nil {
		return false, err
	}

	identity, err := iampolicy.Parse([]byte(allowAllPolicy), iampolicy.Identity)
	if err != nil {
		return false, err
	}

	role := principalARN(who.ARN)
	d, err := iampolicy.Evaluate(iampolicy.Request{
		Principal:       iampolicy.Principal{ARN: who.ARN, Account: who.Account, Role: role},
		Action:          "kms:CreateGrant",
		Resource:        keyARN,
		ResourceAccount: distribution.ARNAccount(keyARN),
		Context: iampolicy.Context{
			"kms:GrantIsForAWSResource": {"true"},
			"kms:ViaService":            {"ec2." + distribution.ARNRegion(keyARN) + ".amazonaws.com"},
		},
		Unsure: unknownOfCallers,
	}, iampolicy.Policies{Resource: key, Identity: []*iampolicy.Document{identity}})
	if err != nil {
		return false, err
	}

	name := role[strings.LastIndex(role, "/")+1:]
	if named := strings.Contains(document, "/"+name) &&
		!strings.Contains(document, role); !d.Allowed && role != who.ARN && role != "" &&
		(named || rolePath.MatchString(document)) {
		return false, fmt.Errorf("the path of the role %s is not known", name) // the ARN of a session lacks it
	}

	return d.Allowed, nil
}
