// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

func TestEvaluate_grants(t *testing.T) {
	const constraints = "KMS-DG:create-grant-overview, grant constraints"
	role, foreign := session(owner, "user"), session(other, "user")
	s3, kms := may("Allow", "s3:ListAllMyBuckets"), may("Allow", "kms:*", `"Resource": "`+keyARN+`"`)
	delegating := may("Allow", "kms:*", to(owner))
	ask := func(who iampolicy.Principal, action string, encryptionContext ...string) iampolicy.Request {
		r := iampolicy.Request{
			Principal:       who,
			Action:          action,
			Resource:        keyARN,
			ResourceAccount: owner,
			Context:         iampolicy.Context{},
		}
		for i := 0; i+1 < len(encryptionContext); i += 2 {
			r.Context["kms:EncryptionContext:"+encryptionContext[i]] = encryptionContext[i+1 : i+2]
		}
		return r
	}
	grant := func(grantee string, operations ...string) iampolicy.Grant {
		return iampolicy.Grant{ID: "1", Grantee: grantee, Operations: operations, IssuingAccount: owner}
	}
	constrained := func(c iampolicy.GrantConstraints, operations ...string) []iampolicy.Grant {
		g := grant(role.Role, operations...)
		g.Constraints = c
		return []iampolicy.Grant{g}
	}
	it := map[string]string{"Department": "IT"}
	equals, subset := iampolicy.GrantConstraints{
		EncryptionContextEquals: it,
	}, iampolicy.GrantConstraints{
		EncryptionContextSubset: it,
	}
	table := iampolicy.GrantConstraints{SourceARN: "arn:aws:dynamodb:us-east-1:111122223333:table/ExampleTable"}
	forTable := func(who iampolicy.Principal, source string) iampolicy.Request {
		r := ask(who, "kms:Decrypt")
		r.Context["aws:SourceArn"] = []string{source}
		return r
	}
	serviceGrant := iampolicy.Grant{
		ID:          "1",
		Grantee:     "dynamodb.amazonaws.com",
		Operations:  []string{"Decrypt"},
		Constraints: table,
	}
	create := func(child iampolicy.Grant) iampolicy.Request {
		r := ask(role, "kms:CreateGrant")
		r.Grant = &child
		return r
	}
	child := func(c iampolicy.GrantConstraints, operations ...string) iampolicy.Request {
		return create(iampolicy.Grant{Grantee: user(owner, "anotherUser").ARN, Operations: operations, Constraints: c})
	}
	more := map[string]string{"Department": "IT", "Purpose": "Test"}
	retire := func(who iampolicy.Principal, g iampolicy.Grant) iampolicy.Request {
		r := ask(who, "kms:RetireGrant")
		r.Grant = &g
		return r
	}
	retiring := func(who string) iampolicy.Grant {
		return iampolicy.Grant{
			ID:             "1",
			Grantee:        root(owner).ARN,
			Operations:     []string{"DescribeKey"},
			Retiring:       who,
			IssuingAccount: owner,
		}
	}
	denied := func(kind iampolicy.Kind, action string) string {
		return "because no " + string(kind) + " allows the " + action + " action"
	}
	const allowed = "allowed by grant"

	for _, c := range []evaluation{
		{
			"A.4.10: kms-grant/role-as-grantee",
			ask(role, "kms:Decrypt"),
			set{identity: s3, resource: delegating, grants: []iampolicy.Grant{grant(role.Role, "Decrypt", "RetireGrant")}},
			allowed,
		},
		{
			"A.4.10: kms-grant/role-as-grantee, limited",
			ask(role, "kms:Decrypt"),
			set{
				identity: s3,
				session:  s3,
				resource: delegating,
				grants:   []iampolicy.Grant{grant(role.Role, "Decrypt", "RetireGrant")},
			},
			denied(iampolicy.Session, "kms:Decrypt"),
		},
		{
			"A.4.10: kms-grant/role-as-grantee, barred",
			ask(role, "kms:Decrypt"),
			set{
				identity: s3,
				session:  may("Deny", "kms:*"),
				resource: delegating,
				grants:   []iampolicy.Grant{grant(role.Role, "Decrypt", "RetireGrant")},
			},
			"with an explicit deny in a session policy",
		},
		{
			"A.4.10: kms-grant, another operation",
			ask(role, "kms:Encrypt"),
			set{identity: s3, resource: delegating, grants: []iampolicy.Grant{grant(role.Role, "Decrypt")}},
			denied(iampolicy.Identity, "kms:Encrypt"),
		},
		{
			"KMS-DG:grants: the key policy need not know the grantee",
			ask(role, "kms:Decrypt"),
			set{
				resource: may("Allow", "kms:*", to(user(owner, "a").ARN)),
				grants:   []iampolicy.Grant{grant(role.Role, "Decrypt")},
			},
			allowed,
		},
		{
			"KMS-DG:grants: a grant does not override a deny",
			ask(role, "kms:Decrypt"),
			set{resource: may("Deny", "kms:Decrypt", to("*")), grants: []iampolicy.Grant{grant(role.Role, "Decrypt")}},
			"with an explicit deny in a resource-based policy",
		},
		{
			"KMS-DG:grants: another role",
			ask(session(owner, "else"), "kms:Decrypt"),
			set{resource: delegating, grants: []iampolicy.Grant{grant(role.Role, "Decrypt")}},
			denied(iampolicy.Identity, "kms:Decrypt"),
		},
		{
			"KMS-DG:grants: grantee session",
			ask(role, "kms:Decrypt"),
			set{session: s3, resource: delegating, grants: []iampolicy.Grant{grant(role.ARN, "Decrypt")}},
			allowed,
		},
		{
			"KMS-DG:grants: grantee account, as its root user",
			ask(root(owner), "kms:Decrypt"),
			set{resource: may("Allow", "kms:*", to(role.Role)), grants: []iampolicy.Grant{grant(root(owner).ARN, "Decrypt")}},
			allowed,
		},
		{
			"KMS-DG:grants: grantee account, as a role with identity policy",
			ask(role, "kms:Decrypt"),
			set{
				identity: kms,
				resource: may("Allow", "kms:*", to(user(owner, "a").ARN)),
				grants:   []iampolicy.Grant{grant(root(owner).ARN, "Decrypt")},
			},
			"allowed by identity-based policy",
		},
		{
			"8.3: ReEncryptFrom and ReEncryptTo are granted apart",
			ask(role, "kms:ReEncryptTo"),
			set{resource: delegating, grants: []iampolicy.Grant{grant(role.Role, "ReEncryptFrom")}},
			denied(iampolicy.Identity, "kms:ReEncryptTo"),
		},
		{
			"8.3: ReEncryptFrom and ReEncryptTo are granted apart",
			ask(role, "kms:ReEncryptTo"),
			set{
				resource: delegating,
				grants:   []iampolicy.Grant{grant(role.Role, "ReEncryptFrom"), grant(role.Role, "ReEncryptTo")},
			},
			allowed,
		},

		{
			"A.4.10: kms-cross-account/grant-of-owner-needs-identity-policy-too",
			ask(foreign, "kms:DescribeKey"),
			set{identity: s3, resource: delegating, grants: []iampolicy.Grant{grant(foreign.ARN, "DescribeKey")}},
			denied(iampolicy.Identity, "kms:DescribeKey"),
		},
		{
			"A.4.10: kms-cross-account/grant-of-owner-needs-identity-policy-too, role",
			ask(foreign, "kms:Encrypt"),
			set{identity: s3, resource: delegating, grants: []iampolicy.Grant{grant(foreign.Role, "Encrypt")}},
			denied(iampolicy.Identity, "kms:Encrypt"),
		},
		{
			"A.4.10: kms-cross-account/grant-of-owner-needs-identity-policy-too, limited",
			ask(foreign, "kms:Encrypt"),
			set{identity: s3, session: s3, resource: delegating, grants: []iampolicy.Grant{grant(foreign.Role, "Encrypt")}},
			denied(iampolicy.Session, "kms:Encrypt"),
		},
		{
			"A.4.10: kms-cross-account/grant-of-owner-with-identity-policy",
			ask(foreign, "kms:DescribeKey"),
			set{identity: kms, resource: delegating, grants: []iampolicy.Grant{grant(foreign.ARN, "DescribeKey")}},
			"allowed by identity-based policy",
		},
		{
			"A.4.10: kms-cross-account/grant-of-owner-with-identity-policy, limited",
			ask(foreign, "kms:DescribeKey"),
			set{identity: kms, session: s3, resource: delegating, grants: []iampolicy.Grant{grant(foreign.ARN, "DescribeKey")}},
			denied(iampolicy.Session, "kms:DescribeKey"),
		},
		{
			"3.2.6: grant to the target account",
			ask(foreign, "kms:CreateGrant"),
			set{
				identity: kms,
				resource: delegating,
				grants:   []iampolicy.Grant{grant(root(other).ARN, "DescribeKey", "Decrypt")},
			},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"3.2.6: grant to the target account",
			ask(foreign, "kms:Decrypt"),
			set{
				identity: kms,
				resource: delegating,
				grants:   []iampolicy.Grant{grant(root(other).ARN, "DescribeKey", "Decrypt", "CreateGrant")},
			},
			"allowed by identity-based policy",
		},
		{
			"3.2.6: grant to the target account, identity policy missing",
			ask(foreign, "kms:Decrypt"),
			set{resource: delegating, grants: []iampolicy.Grant{grant(root(other).ARN, "DescribeKey", "Decrypt")}},
			denied(iampolicy.Identity, "kms:Decrypt"),
		},

		{
			constraints + ": Equals",
			ask(role, "kms:Decrypt", "Department", "IT"),
			set{grants: constrained(equals, "Decrypt")},
			allowed,
		},
		{
			constraints + ": Equals",
			ask(role, "kms:Decrypt", "Department", "IT", "Purpose", "Test"),
			set{identity: kms, grants: constrained(equals, "Decrypt")},
			denied(iampolicy.Resource, "kms:Decrypt"),
		},
		{
			constraints + ": Equals",
			ask(role, "kms:Decrypt"),
			set{identity: kms, grants: constrained(equals, "Decrypt")},
			denied(iampolicy.Resource, "kms:Decrypt"),
		},
		{
			constraints + ": Equals, case",
			ask(role, "kms:Decrypt", "department", "IT"),
			set{identity: kms, grants: constrained(equals, "Decrypt")},
			denied(iampolicy.Resource, "kms:Decrypt"),
		},
		{
			constraints + ": Subset",
			ask(role, "kms:Decrypt", "Department", "IT"),
			set{grants: constrained(subset, "Decrypt")},
			allowed,
		},
		{
			constraints + ": Subset",
			ask(role, "kms:Decrypt", "Department", "IT", "Purpose", "Test"),
			set{grants: constrained(subset, "Decrypt")},
			allowed,
		},
		{
			constraints + ": Subset",
			ask(role, "kms:Decrypt", "Department", "HR"),
			set{identity: kms, grants: constrained(subset, "Decrypt")},
			denied(iampolicy.Resource, "kms:Decrypt"),
		},
		{
			constraints + ": ignored for DescribeKey",
			ask(role, "kms:DescribeKey"),
			set{grants: constrained(equals, "DescribeKey")},
			allowed,
		},
		{
			constraints + ": SourceArn",
			forTable(service("dynamodb.amazonaws.com"), table.SourceARN),
			set{grants: []iampolicy.Grant{serviceGrant}},
			allowed,
		},
		{
			constraints + ": SourceArn",
			forTable(service("dynamodb.amazonaws.com"), "arn:aws:dynamodb:us-east-1:111122223333:table/Other"),
			set{grants: []iampolicy.Grant{serviceGrant}},
			denied(iampolicy.Resource, "kms:Decrypt"),
		},
		{
			constraints + ": SourceArn only where a service asks",
			ask(role, "kms:Decrypt"),
			set{grants: constrained(table, "Decrypt")},
			allowed,
		},

		{
			"A.4.10: kms-grant/child-grants-only-narrow",
			child(iampolicy.GrantConstraints{}, "Decrypt"),
			set{identity: s3, resource: delegating, grants: constrained(subset, "CreateGrant", "Decrypt")},
			denied(iampolicy.Identity, "kms:CreateGrant"),
		},
		{
			"A.4.10: kms-grant/child-grants-only-narrow",
			child(iampolicy.GrantConstraints{EncryptionContextEquals: more}, "Decrypt"),
			set{identity: s3, resource: delegating, grants: constrained(subset, "CreateGrant", "Decrypt")},
			allowed,
		},
		{
			"KMS-DG:create-grant-overview: child, operations",
			child(equals, "CreateGrant", "Decrypt"),
			set{grants: constrained(subset, "GenerateDataKey", "CreateGrant", "Decrypt")},
			allowed,
		},
		{
			"KMS-DG:create-grant-overview: child, other operations",
			child(equals, "ReEncryptFrom"),
			set{identity: kms, grants: constrained(subset, "CreateGrant", "Decrypt")},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"KMS-DG:create-grant-overview: child, Equals may not become Subset",
			child(subset, "Decrypt"),
			set{identity: kms, grants: constrained(equals, "CreateGrant", "Decrypt")},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"KMS-DG:create-grant-overview: child, may add pairs",
			child(iampolicy.GrantConstraints{EncryptionContextSubset: more}, "Decrypt"),
			set{grants: constrained(subset, "CreateGrant", "Decrypt")},
			allowed,
		},
		{
			"KMS-DG:create-grant-overview: child, may not remove pairs",
			child(subset, "Decrypt"),
			set{
				identity: kms,
				grants:   constrained(iampolicy.GrantConstraints{EncryptionContextSubset: more}, "CreateGrant", "Decrypt"),
			},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"KMS-DG:create-grant-overview: child, the same Equals",
			child(equals, "Decrypt"),
			set{grants: constrained(equals, "CreateGrant", "Decrypt")},
			allowed,
		},
		{
			"KMS-DG:create-grant-overview: child, another Equals",
			child(iampolicy.GrantConstraints{EncryptionContextEquals: more}, "Decrypt"),
			set{identity: kms, grants: constrained(equals, "CreateGrant", "Decrypt")},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"KMS-DG:create-grant-overview: child, SourceArn kept",
			child(table, "Decrypt"),
			set{grants: constrained(table, "CreateGrant", "Decrypt")},
			allowed,
		},
		{
			"KMS-DG:create-grant-overview: child, SourceArn lost",
			child(equals, "Decrypt"),
			set{identity: kms, grants: constrained(table, "CreateGrant", "Decrypt")},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"KMS-DG:create-grant-overview: child of nothing constrained",
			child(equals, "Decrypt"),
			set{grants: constrained(iampolicy.GrantConstraints{}, "CreateGrant", "Decrypt")},
			allowed,
		},
		{
			"KMS-DG:create-grant-overview: from a policy, anything",
			child(iampolicy.GrantConstraints{}, "ReEncryptFrom"),
			set{identity: kms, resource: delegating, grants: constrained(subset, "CreateGrant", "Decrypt")},
			"allowed by identity-based policy",
		},

		{
			"KMS-DG:grant-delete: kms-grant/retire-by-retiring-principal",
			retire(role, retiring(role.ARN)),
			set{identity: s3, session: s3, resource: delegating},
			allowed,
		},
		{
			"KMS-DG:grant-delete: the permission alone is not enough",
			retire(foreign, retiring("")),
			set{identity: kms, resource: may("Allow", "kms:*", to("*"))},
			denied(iampolicy.Resource, "kms:RetireGrant"),
		},
		{
			"KMS-DG:grant-delete: the account that made it",
			retire(role, retiring("")),
			set{identity: kms},
			"allowed by identity-based policy",
		},
		{"KMS-DG:grant-delete: the account that made it, root user", retire(root(owner), retiring("")), set{}, allowed},
		{
			"KMS-DG:grant-delete: the account that made it, without IAM policy",
			retire(role, retiring("")),
			set{},
			denied(iampolicy.Identity, "kms:RetireGrant"),
		},
		{
			"KMS-DG:grant-delete: the account that made it, of the other's key",
			retire(root(other), iampolicy.Grant{ID: "1", Grantee: role.Role, IssuingAccount: other}),
			set{},
			"allowed by root user",
		},
		{
			"KMS-DG:grant-delete: the account that owns the key",
			retire(root(owner), iampolicy.Grant{ID: "1", Grantee: role.Role, IssuingAccount: other}),
			set{},
			allowed,
		},
		{"KMS-DG:grant-delete: grantee with RetireGrant", retire(role, grant(role.Role, "RetireGrant")), set{}, allowed},
		{
			"KMS-DG:grant-delete: grantee without RetireGrant",
			retire(role, grant(role.Role, "Decrypt")),
			set{},
			denied(iampolicy.Identity, "kms:RetireGrant"),
		},
		{
			"KMS-DG:grant-delete: a deny in an IAM policy counts",
			retire(role, retiring(role.Role)),
			set{identity: may("Deny", "kms:RetireGrant")},
			"with an explicit deny in an identity-based policy",
		},
		{
			"KMS-DG:grant-delete: a key policy does not",
			retire(role, retiring(role.Role)),
			set{resource: may("Deny", "kms:*", to("*"))},
			allowed,
		},
		{
			"A.4.10: kms-cross-account/retire-needs-identity-policy",
			retire(foreign, retiring(foreign.Role)),
			set{identity: s3, resource: delegating},
			denied(iampolicy.Identity, "kms:RetireGrant"),
		},
		{
			"A.4.10: kms-cross-account/retire-needs-identity-policy, limited",
			retire(foreign, retiring(foreign.Role)),
			set{identity: s3, session: s3, resource: delegating},
			denied(iampolicy.Session, "kms:RetireGrant"),
		},
		{
			"A.4.10: kms-cross-account/retire-needs-identity-policy, grantee",
			retire(foreign, grant(foreign.Role, "RetireGrant")),
			set{identity: s3, resource: delegating},
			denied(iampolicy.Identity, "kms:RetireGrant"),
		},
		{
			"KMS-DG:grant-delete: retiring account elsewhere",
			retire(foreign, retiring(root(other).ARN)),
			set{identity: kms},
			"allowed by identity-based policy",
		},

		{
			"KMS-DG:conditions-kms kms:GrantOperations",
			create(grant(foreign.Role, "Decrypt", "DescribeKey")),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"KMS-DG:conditions-kms kms:GrantOperations",
			create(grant(foreign.Role, "Decrypt", "Encrypt")),
			set{
				identity: kms,
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]}}`,
				),
			},
			denied(iampolicy.Resource, "kms:CreateGrant"),
		},
		{
			"KMS-DG:conditions-kms kms:GranteePrincipal",
			create(grant(foreign.Role, "Decrypt")),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"StringEquals": {"kms:GranteePrincipal": "`+foreign.Role+`"}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"KMS-DG:conditions-kms kms:GrantConstraintType",
			create(constrained(equals, "Decrypt")[0]),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"KMS-DG:conditions-kms kms:GrantConstraintType",
			create(constrained(subset, "Decrypt")[0]),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"KMS-DG:conditions-kms kms:RetiringPrincipal",
			create(retiring(role.Role)),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"StringEquals": {"kms:RetiringPrincipal": "`+role.Role+`"}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"KMS-DG:conditions-kms kms:RetiringPrincipal, none",
			create(retiring("")),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"Null": {"kms:RetiringPrincipal": "true", "kms:RetiringServicePrincipal": "true"}}`,
				),
			},
			"allowed by resource-based policy",
		},
		{
			"KMS-DG:conditions-kms kms:GranteeServicePrincipal",
			create(serviceGrant),
			set{
				resource: may(
					"Allow",
					"kms:CreateGrant",
					to(role.Role),
					`"Condition": {"StringEquals": {"kms:GranteeServicePrincipal": "dynamodb.amazonaws.com"},
						"ArnEquals": {"kms:GrantConstraintSourceArn": "`+
						table.SourceARN+
						`"}}`,
				),
			},
			"allowed by resource-based policy",
		},
	} {
		c.check(t)
	}
}
