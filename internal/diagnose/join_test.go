// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deniedDryRun returns the finding for a dry run of kms:CreateGrant that was denied to the target's role.
func deniedDryRun(key, reason string) distribution.Finding {
	message := "User: " + targetRole + " is not authorized to perform: kms:CreateGrant on resource: " + key + " " + reason
	f := Explain(inTarget(nil, "kms:CreateGrant", 400, "AccessDeniedException", message).about(key))
	f.Level = distribution.Note
	return f
}

// failedCopies returns the findings for the copies of two devices, for which EC2 does not name the missing permission.
func failedCopies() []distribution.Finding {
	var all []distribution.Finding
	for _, device := range []string{"/dev/xvda", "/dev/xvdb"} {
		s := copySnapshot(targetKey, sourceKey)
		s.Device = device
		all = append(all, Explain(inTarget(s, "ec2:CopySnapshot", 0, "", "Given key ID is not accessible")))
	}
	return all
}

// If the dry run named the missing statement, the finding for the later failure advises this statement only, instead of
// all statements that could be missing.
func TestJoinFindings_dryRunNamedTheStatement(t *testing.T) {
	denied := deniedDryRun(targetKey, noIdentityPolicy+"kms:CreateGrant action")
	note := distribution.Finding{Level: distribution.Note, Refusals: []distribution.Finding{denied}}
	joined := JoinFindings([]distribution.Finding{note}, failedCopies())
	if len(joined) != 1 {
		t.Fatalf("got %d findings, want 1: %v", len(joined), joined)
	}

	f := joined[0]
	if !reflect.DeepEqual(f.PolicyStatements, denied.PolicyStatements) {
		t.Errorf("got statements %v, want that of the dry run %v", f.PolicyStatements, denied.PolicyStatements)
	}
	if want := "role golden-image-target may not kms:CreateGrant on " + targetKey; f.Summary != want {
		t.Errorf("got summary %q, want %q", f.Summary, want)
	}
	const denial = "The dry run was denied: no identity-based policy allows the kms:CreateGrant action."
	if !strings.HasSuffix(f.Detail, denial) || f.AWSMessage != "Given key ID is not accessible" {
		t.Errorf("got detail %q, message of AWS %q", f.Detail, f.AWSMessage)
	}
}

// If the dry run met an explicit deny, the later failure has no statement to add.
func TestJoinFindings_dryRunMetExplicitDeny(t *testing.T) {
	known := []distribution.Finding{deniedDryRun(sourceKey, "with an explicit deny in a resource-based policy")}
	joined := JoinFindings(known, failedCopies())
	if len(joined) != 1 || joined[0].PolicyStatements != nil {
		t.Fatalf("got %v", joined)
	}
	if got := joined[0].Remediation; !strings.Contains(got, "no statement helps") {
		t.Errorf("got next step %q", got)
	}
}

// A dry run of another caller, account or key does not explain a failure.
func TestJoinFindings_dryRunOfSomethingElse(t *testing.T) {
	otherKey := deniedDryRun(thirdKey, noIdentityPolicy+"kms:CreateGrant action")
	otherCaller := deniedDryRun(targetKey, noIdentityPolicy+"kms:CreateGrant action")
	otherCaller.Principal = packerRole
	elsewhere := deniedDryRun(targetKey, noIdentityPolicy+"kms:CreateGrant action")
	elsewhere.Location.Region = "us-west-2"

	failed := failedCopies()[:1]
	for _, known := range []distribution.Finding{otherKey, otherCaller, elsewhere} {
		if joined := JoinFindings([]distribution.Finding{known}, failed); !reflect.DeepEqual(joined, failed) {
			t.Errorf("known %q at %s: got %v", known.Summary, known.Location, joined)
		}
	}
}

// One cause is reported once, not for every device and Region.
func TestJoinFindings_eachCauseOnce(t *testing.T) {
	var failed []distribution.Finding
	for _, region := range []string{"eu-west-1", "us-west-2"} {
		at := distribution.Location{Account: target, Region: region}
		for _, device := range []string{"/dev/xvda", "/dev/xvdb"} {
			s := copySnapshot(targetKey, sourceKey)
			s.Location, s.Device = at, device
			c := inTarget(s, "ec2:CopySnapshot", 403, "UnauthorizedOperation",
				ec2Denial(targetRole, "ec2:CopySnapshot", snapshots, "with an explicit deny in a service control policy"))
			c.At = at
			failed = append(failed, Explain(c))
		}
	}
	other := Explain(inTarget(registerImage(), "ec2:RegisterImage", 400, "InvalidAMIName.Duplicate", "taken"))
	joined := JoinFindings(nil, append(slices.Clone(failed), other))
	if len(joined) != 2 {
		t.Fatalf("got %d findings, want 2: %v", len(joined), joined)
	}
	want := " It failed in 999999999999 eu-west-1, 999999999999 us-west-2."
	if !strings.HasSuffix(joined[0].Detail, want) {
		t.Errorf("got detail %q, want %q at its end", joined[0].Detail, want)
	}
	also := []distribution.Failure{
		{At: failed[2].Location, Summary: failed[2].Summary},
	}
	if !reflect.DeepEqual(joined[0].Also, also) {
		t.Errorf("got further failures %v, want %v", joined[0].Also, also)
	}
	if !reflect.DeepEqual(joined[1], other) {
		t.Errorf("another cause: got %v", joined[1])
	}
}

// A failure of copies under several keys has a statement for each key.
func TestJoinFindings_keepsStatementsOfOtherKeys(t *testing.T) {
	otherKey := strings.Replace(targetKey, "eu-west-1", "us-west-2", 1)
	var failed []distribution.Finding
	for _, key := range []string{targetKey, otherKey} {
		var s step.Step = copySnapshot(key, "")
		failed = append(failed, Explain(inTarget(s, "ec2:CopySnapshot", 0, "", "Given key ID is not accessible")))
	}
	joined := JoinFindings(nil, failed)
	if len(joined) != 1 || !namesKey(joined[0], targetKey) || !namesKey(joined[0], otherKey) {
		t.Errorf("got %v", joined)
	}
}

// Notes about different resources are not merged, even if they have the same detail.
func TestJoinFindings_keepsNotes(t *testing.T) {
	notes := []distribution.Finding{
		{Level: distribution.Note, Summary: "image a was kept", Detail: "it is in use"},
		{Level: distribution.Note, Summary: "image b was kept", Detail: "it is in use"},
		{Level: distribution.Note, Summary: "image b was kept", Detail: "it is in use"},
	}
	if joined := JoinFindings(nil, notes); !reflect.DeepEqual(joined, notes[:2]) {
		t.Errorf("got %v", joined)
	}
}

// The findings of a canceled run say "context canceled" only once.
func TestJoinFindings_interruptedSteps(t *testing.T) {
	for detail, want := range map[string]struct{ summary, nextStep string }{
		"context canceled": {
			"the run was canceled while a step was in progress",
			"Resume the run. It keeps what is completed.",
		},
		"operation error EC2: CopySnapshot, canceled, context canceled": {
			"the run was canceled while a step was in progress",
			"Resume the run. It keeps what is completed.",
		},
		"timeout: the run has taken 12h0m0s": {
			"timeout: the run has taken 12h0m0s",
			"Resume the run, with a longer timeout if the copies need it. It keeps what is completed.",
		},
		"the disk is full": {"could not copy", "run again"},
	} {
		failed := distribution.Finding{
			Level:       distribution.Refused,
			Summary:     "could not copy",
			Detail:      detail,
			Remediation: "run again",
		}
		joined := JoinFindings(nil, []distribution.Finding{failed})
		if len(joined) != 1 || joined[0].Summary != want.summary || joined[0].Remediation != want.nextStep {
			t.Errorf("%s: got %v, want %v", detail, joined, want)
		}
	}
}

// The same role lacks the same permission for every account and Region of a target. The error appears once, and its
// statement has all role ARNs.
func TestJoinPlanFindings_accountsAndRegions(t *testing.T) {
	var all []distribution.Finding
	for _, account := range []string{"222222222222", "333333333333"} {
		for _, region := range []string{"ap-northeast-1", "us-west-2"} {
			role := "arn:aws:iam::" + account + ":role/target"
			all = append(all, distribution.Finding{
				Level:       distribution.Refused,
				Location:    distribution.Location{Account: account, Region: region},
				Resource:    role,
				Summary:     "account " + account + " cannot be used: role packer may not sts:AssumeRole",
				Detail:      "No identity policy of role packer allows it on " + role + ".",
				Remediation: "Add the statement to the identity policy of role packer in account 111111111111.",
				PolicyStatements: []distribution.Addition{{
					Policy:    "identity policy of role packer in account 111111111111",
					Statement: distribution.Statement{Sid: "X" + account, Effect: "Allow", Resource: []string{role}},
				}},
			})
		}
	}

	joined := JoinPlanFindings(append(all, distribution.Finding{Level: distribution.Refused, Summary: "another"}))
	if len(joined) != 2 || len(joined[0].Also) != 3 || len(joined[0].PolicyStatements) != 1 {
		t.Fatalf("got %+v", joined)
	}
	roles := []string{"arn:aws:iam::222222222222:role/target", "arn:aws:iam::333333333333:role/target"}
	if got := joined[0].PolicyStatements[0].Statement.Resource; !slices.Equal(got, roles) {
		t.Errorf("got the resources %v, want %v", got, roles)
	}
	if got := joined[0].Remediation; !strings.HasPrefix(got, "Add the statement to the identity policy") {
		t.Errorf("got the next step %q", got)
	}

	all[3].PolicyStatements[0].Policy = "key policy of alias/golden"
	joined = JoinPlanFindings(all)
	if got := joined[0].Remediation; got != StatementInstruction(joined[0].PolicyStatements, "") {
		t.Errorf("with two policies: got the next step %q", got)
	}
}
