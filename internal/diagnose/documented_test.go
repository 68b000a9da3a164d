// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// documented is a statement of docs/policies.
type documented struct {
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string
}

// readDocumented returns the statements of files in docs/policies, for the accounts and keys of the cases. It omits the
// statement that lets identity policies decide.
func readDocumented(t *testing.T, files ...string) []documented {
	t.Helper()
	var all []documented
	for _, file := range files {
		text, err := os.ReadFile("../../docs/policies/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var policy struct{ Statement []documented }
		if err := json.Unmarshal(text, &policy); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, s := range policy.Statement {
			if slices.Contains(s.Action, "kms:*") {
				continue
			}
			for i, resource := range s.Resource {
				if strings.HasSuffix(resource, ":key/1234abcd-12ab-34cd-56ef-1234567890ab") {
					s.Resource[i] = sourceKey
				}
			}
			all = append(all, s)
		}
	}
	return all
}

// documentedFor returns the documented statements for the policy of an addition. Within the account of a key, its
// policy may repeat what the identity policies allow.
func documentedFor(t *testing.T, a distribution.Addition) []documented {
	t.Helper()
	switch {
	case strings.HasPrefix(a.Policy, "key policy of "+sourceKey) && !isOfAccount(a.Statement.Principal, source):
		return readDocumented(t, "source-key.json", "share-key.json")
	case strings.HasPrefix(a.Policy, "key policy of"):
		return readDocumented(t, "target-key.json", "target-role.json", "launch-role.json", "build-role.json")
	case strings.Contains(a.Policy, source):
		return readDocumented(t, "build-role.json")
	}
	return readDocumented(t, "target-role.json", "launch-role.json")
}

func isOfAccount(principals distribution.Principals, account string) bool {
	return slices.ContainsFunc(principals, func(p string) bool { return strings.Contains(p, "::"+account+":") })
}

// isLooser returns the actions of a statement that no documented statement allows under the same conditions.
func isLooser(s distribution.Statement, all []documented) []string {
	return slices.DeleteFunc(slices.Clone(s.Action), func(action string) bool {
		return slices.ContainsFunc(all, func(d documented) bool {
			return d.hasAction(action) && d.hasResources(s) && d.isImpliedBy(s)
		})
	})
}

func (d documented) hasAction(action string) bool {
	if action == "kms:ReEncrypt*" {
		return d.hasAction("kms:ReEncryptFrom")
	}
	return slices.ContainsFunc(d.Action, func(pattern string) bool { return matches(pattern, action) })
}

func (d documented) hasResources(s distribution.Statement) bool {
	return !slices.ContainsFunc(s.Resource, func(resource string) bool {
		return !slices.ContainsFunc(d.Resource, func(pattern string) bool {
			return matches(pattern, resource) || s.Principal != nil // a key policy is about its key
		})
	})
}

// isImpliedBy reports whether a statement has each of the documented conditions, with no other values.
func (d documented) isImpliedBy(s distribution.Statement) bool {
	for operator, keys := range d.Condition {
		for key, values := range keys {
			if isImpliedByElements(key, s) {
				continue
			}
			got := s.Condition[operator][key]
			if got == nil && key == "kms:GranteePrincipal" { // an exact principal is narrower than a pattern
				got = s.Condition["StringEquals"][key]
			}
			isOther := func(value string) bool {
				return !slices.ContainsFunc(values, func(pattern string) bool {
					return matches(strings.ReplaceAll(pattern, "${aws:PrincipalAccount}", target), value) ||
						matches(strings.ReplaceAll(pattern, "888888888888", target), value) // the account that launches shared images
				})
			}
			if len(got) == 0 || slices.ContainsFunc(got, isOther) {
				return false
			}
		}
	}
	return true
}

// isImpliedByElements reports whether a condition is superfluous because the statement names one key or one principal.
func isImpliedByElements(key string, s distribution.Statement) bool {
	isWildcard := func(resource string) bool { return strings.HasSuffix(resource, "/*") }
	isOneKey := s.Principal != nil || !slices.ContainsFunc(s.Resource, isWildcard)
	hasAlias := s.Condition["ForAnyValue:StringEquals"]["kms:ResourceAliases"] != nil
	switch key {
	case "kms:ResourceAliases", "aws:ResourceAccount":
		return isOneKey || hasAlias
	case "aws:PrincipalArn":
		return len(s.Principal) == 1 && !strings.HasSuffix(s.Principal[0], ":root")
	}
	return false
}

// matches reports whether a text matches a pattern with asterisks.
func matches(pattern, text string) bool {
	slashless := strings.NewReplacer("/", "|")
	found, err := path.Match(slashless.Replace(pattern), slashless.Replace(text))
	return err == nil && found
}

// The advice never allows more than docs/policies. Otherwise a user who follows it would weaken an account.
func TestExplain_neverLooserThanDocumented(t *testing.T) {
	all := append(slices.Clone(cases), deniedActions()...)
	compared := map[string]bool{}
	for _, c := range all {
		for _, a := range Explain(c.Case).PolicyStatements {
			if strings.Contains(a.Policy, third) || strings.Contains(a.Statement.String(), third) {
				continue // there is no documented policy of a third account
			}
			for _, action := range a.Statement.Action {
				compared[action] = true
			}
			if looser := isLooser(a.Statement, documentedFor(t, a)); len(looser) > 0 {
				t.Errorf("%s: no documented statement allows %s under the conditions of\n%s\nto add to the %s",
					c.title, looser, a.Statement, a.Policy)
			}
		}
	}
	for _, action := range []string{"kms:CreateGrant", "ec2:DeleteSnapshot", "ec2:ModifyImageAttribute"} {
		if !compared[action] {
			t.Errorf("no statement with %s was compared", action)
		}
	}
}

// deniedActions returns cases of a denial of each action that the roles need, by the step that takes it.
func deniedActions() []titledCase {
	const instances = "arn:aws:ec2:eu-west-1:999999999999:instance/*"
	grantee := "arn:aws:iam::999999999999:role/golden-image-target"
	inSourceAccount := step.Base{Location: atSource}
	denials := []struct {
		step                        step.Step
		operation, action, resource string
	}{
		{deleteSnapshot(), "ec2:DeleteSnapshot", "ec2:DeleteSnapshot", oneSnapshot},
		{deregisterImage(), "ec2:DeregisterImage", "ec2:DeregisterImage", images},
		{&step.TerminateInstance{Base: baseInTarget("end")}, "ec2:TerminateInstances", "ec2:TerminateInstances", instances},
		{shareSnapshot(), "ec2:ModifySnapshotAttribute", "ec2:ModifySnapshotAttribute", oneSnapshot},
		{
			&step.UnshareSnapshot{Base: inSourceAccount, Accounts: []string{target}},
			"ec2:ModifySnapshotAttribute", "ec2:ModifySnapshotAttribute", oneSnapshot,
		},
		{
			&step.ShareImage{Base: inSourceAccount, With: distribution.LaunchPermissions{Accounts: []string{target}}},
			"ec2:ModifyImageAttribute", "ec2:ModifyImageAttribute", images,
		},
		{
			&step.ShareImage{Base: inSourceAccount, With: distribution.LaunchPermissions{Organizations: []string{"o"}}},
			"ec2:ModifyImageAttribute", "ec2:ModifyImageAttribute", images,
		},
		{
			&step.UnshareImage{Base: inSourceAccount, Accounts: []string{target}},
			"ec2:ModifyImageAttribute", "ec2:ModifyImageAttribute", images,
		},
		{registerImage(), "ec2:RegisterImage", "ec2:CreateTags", images},
		{copyInSource(), "ec2:CopySnapshot", "ec2:CreateTags", snapshots},
		{&unknownStep{baseInTarget("tag")}, "ec2:CreateTags", "ec2:CreateTags", oneSnapshot},
		{&unknownStep{inSourceAccount}, "ec2:DeleteTags", "ec2:DeleteTags", oneSnapshot},
		{&unknownStep{inSourceAccount}, "ec2:ModifyImageAttribute", "ec2:ModifyImageAttribute", images},
		{
			&unknownStep{inSourceAccount},
			"ec2:DisableImageDeregistrationProtection", "ec2:DisableImageDeregistrationProtection", images,
		},
		{nil, "ec2:DescribeImageReferences", "imagebuilder:ListImageRecipes", "*"},
		{nil, "ec2:DescribeImageReferences", "ssm:GetParameters", "*"},
		{nil, "kms:CreateGrant", "kms:CreateGrant", targetKey},
		{nil, "kms:CreateGrant", "kms:CreateGrant", sourceKey},
		{copySnapshot(targetKey, sourceKey), "kms:CreateGrant", "kms:CreateGrant", targetKey},
		{
			&step.CreateGrant{
				Base:       inSourceAccount,
				KeyARN:     sourceKey,
				Grantee:    grantee,
				Operations: []string{"Decrypt", "DescribeKey"},
			},
			"kms:CreateGrant", "kms:CreateGrant", sourceKey,
		},
	}

	var all []titledCase
	for _, d := range denials {
		newCase, caller := inTarget, targetRole
		if d.step != nil && d.step.Meta().Location.Account == source {
			newCase, caller = inSource, packerRole
		}
		for _, reason := range []string{noIdentityPolicy + d.action + " action", noResourcePolicies} {
			message := "User: " + caller + " is not authorized to perform: " + d.action +
				" on resource: " + d.resource + " " + reason
			c := newCase(d.step, d.operation, 403, "UnauthorizedOperation", message).about(d.resource)
			all = append(all, titledCase{"denied " + d.action + " by " + d.operation, c})
		}
	}
	return all
}
