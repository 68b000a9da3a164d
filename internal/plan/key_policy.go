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

// unknownOfCallers are condition keys whose values nobody but AWS knows of a caller, or of what EC2 asks for.
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

// rolePath is a principal of a policy that means roles by their path.
var rolePath = regexp.MustCompile(`:role/[^"]*/[^"]*[*?]`)

// everything lets its principal do all: beside it, the key's policy decides alone.
const everything = `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`

// KeyAdmits reports whether a key's policy admits what EC2 does for a caller who copies from it: making a grant for itself (3.1.8, 3.2.1,
// 3.2.3). The error is that it cannot be told.
func KeyAdmits(document, keyARN string, who distribution.CallerIdentity) (bool, error) {
	key, err := iampolicy.Parse([]byte(document), iampolicy.Resource)
	if err != nil {
		return false, err
	}
	own, err := iampolicy.Parse([]byte(everything), iampolicy.Identity)
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
	}, iampolicy.Policies{Resource: key, Identity: []*iampolicy.Document{own}})
	if err != nil {
		return false, err
	}
	name := role[strings.LastIndex(role, "/")+1:]
	if named := strings.Contains(document, "/"+name) &&
		!strings.Contains(document, role); !d.Allowed && role != who.ARN && role != "" &&
		(named || rolePath.MatchString(document)) {
		return false, fmt.Errorf("the path of the role %s is not known", name) // a session does not tell it
	}
	return d.Allowed, nil
}
