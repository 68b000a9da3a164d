// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

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
