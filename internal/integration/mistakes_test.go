// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// mistake is a typical mistake in a template or in an account.
type mistake struct {
	name   string
	change fixture.Change
	in     func(w *fixture.World) // a mistake in an account. Nil if the template alone is wrong
}

// blocks returns the value of a block that appears once.
func blocks(options map[string]any) []any { return []any{options} }

func target(name string, value any) fixture.Change { return fixture.WithTargetOption(name, value) }

func tagsOf(n int) map[string]any {
	tags := map[string]any{}
	for i := range n {
		tags[fmt.Sprintf("key%02d", i)] = "x"
	}
	return tags
}

// templateMistakes are wrong whatever the accounts hold.
var templateMistakes = []mistake{
	{name: "no target and no share", change: fixture.WithoutOption("target")},
	{name: "a target without an account", change: fixture.WithoutTargetOption("account_ids")},
	{name: "two accounts without a role", change: func(t fixture.Template) {
		target("account_ids", []any{fixture.Prod, fixture.Stage})(t)
		fixture.WithoutTargetOption("assume_role")(t)
	}},
	{name: "a target without a key", change: fixture.WithoutTargetOption("kms_key_id")},
	{name: "an account ID that lost its leading zero", change: target("account_ids", []any{"12345678901"})},
	{name: "an account twice", change: target("account_ids", []any{fixture.Prod, fixture.Prod})},
	{name: "an alias without its prefix", change: target("kms_key_id", "golden-target")},
	{name: "a role ARN of a user", change: fixture.WithRole("role_arn", "arn:aws:iam::222222222222:user/ci")},
	{name: "a role name with a colon", change: fixture.WithRole("role_name", "golden:image")},
	{name: "an external ID of one character", change: fixture.WithRole("external_id", "x")},
	{name: "a session name with a space", change: fixture.WithRole("session_name", "golden image")},
	{name: "a misspelled option", change: fixture.WithOption("time_out", "2h")},
	{name: "a misspelled option of a target", change: target("region", []any{fixture.Home})},
	{name: "a misspelled value", change: fixture.WithOption("on_failure", "clean")},
	{name: "a duration without a unit", change: fixture.WithOption("timeout", "12")},
	{name: "a misspelled Region", change: target("regions", []any{"ap-norteast"})},
	{name: "a description with a dash that is not ASCII", change: fixture.WithDescription("Golden — image")},
	{name: "a description of 300 characters", change: fixture.WithDescription(strings.Repeat("x", 300))},
	{name: "a name with a number sign", change: fixture.WithImageName("golden #1")},
	{name: "a name of two characters", change: fixture.WithImageName("go")},
	{name: "a name of 129 characters", change: fixture.WithImageName(strings.Repeat("x", 129))},
	{name: "a reserved tag key", change: target("tags", map[string]any{"aws:team": "web"})},
	{name: "a tag value of 257 characters", change: target("tags", map[string]any{"team": strings.Repeat("x", 257)})},
	{name: "too many tags", change: target("tags", tagsOf(48))},
	{name: "too many tags of snapshots", change: target("snapshot_tags", tagsOf(48))},
	{name: "a reserved key of run_tags", change: fixture.WithRunTags(map[string]any{"aws:team": "web"})},
	{name: "an unknown template field", change: fixture.WithImageName("golden-{{ .Date }}")},
	{name: "a template field in other letters", change: fixture.WithImageName("golden-{{ .AccountID }}")},
	{name: "a function that changes on resume", change: fixture.WithImageName("golden-{{ uuid }}")},
	{name: "a template without an end", change: fixture.WithImageName("golden-{{ .Region }")},
	{name: "a parameter name with levels and no slash", change: fixture.WithParameter("golden/ami")},
	{name: "a parameter name that AWS reserves", change: fixture.WithParameter("/aws/golden")},
	{name: "an image parameter that is encrypted", change: target("ssm_parameter", blocks(map[string]any{
		"name": "/golden", "type": "SecureString", "data_type": "aws:ec2:image",
	}))},
	{name: "a launch template without a name", change: target("launch_template", blocks(map[string]any{}))},
	{name: "a launch check without a type", change: target("launch_check", map[string]any{})},
	{name: "an unknown operation of a grant", change: target("kms_grant", blocks(map[string]any{
		"operations": []any{"Decript"},
	}))},
	{name: "a deprecation in the past", change: target("deprecate_at", "1999-01-01T00:00:00Z")},
	{name: "a completion duration of 7 minutes", change: target("snapshot_copy_duration_minutes", 7)},
	{name: "retention without an image family", change: fixture.WithRetention(2)},
	{name: "a launch permission for an account of 11 digits", change: fixture.WithLaunchPermission("12345678901")},
	{name: "a missing profile", change: fixture.WithProfile("porduction")},
}

// accountMistakes need a look at AWS.
var accountMistakes = []mistake{
	// the account may be the source account, which the template does not show
	{name: "one account without a role", change: fixture.WithoutTargetOption("assume_role")},
	{name: "a name that is too long when it is rendered", change: fixture.WithImageName(
		"{{ .AMIName }}-{{ .Region }}-" + strings.Repeat("x", 110))},
	{name: "a tag value that is too long when it is rendered", change: target("tags", map[string]any{
		"origin": "{{ .AMI }} " + strings.Repeat("x", 240),
	})},
	{name: "a wrong external ID", change: fixture.WithRole("external_id", "another-id")},
	{name: "a role that does not exist", change: fixture.WithRole("role_name", "no-such-role")},
	{name: "a target key that does not exist", change: fixture.WithTargetKey("alias/no-such-key")},
	{name: "a source key that does not exist", change: fixture.WithSourceKey("alias/no-such-key")},
	{name: "a launch template that does not exist", change: fixture.WithLaunchTemplate("no-such-template")},
	{name: "a subnet that does not exist", change: fixture.WithLaunchCheckOf("t4g.micro", "subnet-0123456789abcdef0")},
	{name: "an instance type of another architecture", change: fixture.WithLaunchCheckOf("t3.micro", "")},
	{name: "no default VPC", change: fixture.WithLaunchCheck(), in: func(w *fixture.World) {
		w.RemoveDefaultVPC(fixture.Prod, fixture.Home)
	}},
	{name: "an image that has the name already", change: fixture.WithImageName("taken"), in: func(w *fixture.World) {
		w.RegisterNamesake(fixture.Prod, fixture.Home, "taken")
	}},
	{name: "a role without ec2:CopySnapshot", change: fixture.WithTestCopy(false), in: func(w *fixture.World) {
		w.Deny(fixture.Prod, "ec2:CopySnapshot")
	}},
}

// keyMistakes show when EC2 uses a key, which no dry run tries. A test copy does, while the source account stages.
var keyMistakes = []mistake{
	{name: "a role that is denied kms:CreateGrant", change: fixture.WithTestCopy(true), in: func(w *fixture.World) {
		w.Deny(fixture.Prod, "kms:CreateGrant")
	}},
	{name: "a role without kms:CreateGrant", change: fixture.WithTestCopy(true), in: func(w *fixture.World) {
		w.Allow(fixture.Prod, "ec2:*", "kms:DescribeKey", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*")
	}},
}

// A typical mistake is reported before anything is lost. packer validate reports it if the template shows it. Otherwise
// the run reports it before it copies. The golden file has the messages.
func TestMistakes_foundBeforeCopies(t *testing.T) {
	var text strings.Builder
	for _, kind := range []struct {
		found    string
		mistakes []mistake
	}{
		{"validate", templateMistakes},
		{"plan", accountMistakes},
		{"test copy", keyMistakes},
	} {
		for _, m := range kind.mistakes {
			t.Run(m.name, func(t *testing.T) {
				setup := fixture.Setup{Volumes: []fixture.Volume{{GiB: 500, Key: fixture.AWSManaged}}}
				test(t, setup, func(w *fixture.World) {
					if m.in != nil {
						m.in(w)
					}
					run := w.Run(w.Template(m.change))
					found := foundAt(run)
					if found != kind.found {
						w.Fatalf("found in %s, want %s: %v", found, kind.found, run.Err)
					}
					fmt.Fprintf(&text, "# %s: %s\n%s\n\n", m.name, found, printed(run))
				})
			})
		}
	}
	n := len(templateMistakes) + len(accountMistakes) + len(keyMistakes)
	if n < 40 {
		t.Errorf("got %d mistakes, want 40 or more", n)
	}
	fmt.Printf("mistakes: %d, found in validate: %d, in plan: %d, by test copies: %d\n",
		n, len(templateMistakes), len(accountMistakes), len(keyMistakes))
	golden.Equal(t, "testdata/mistakes.golden", text.String())
}

// foundAt returns where a run failed: in Configure, before it created anything, in a test copy, or later.
func foundAt(run *fixture.Run) string {
	created := slices.DeleteFunc(run.Calls(), func(c fixture.Call) bool { return !c.Creates() })
	isDelivery := func(c fixture.Call) bool { // test copies and staged copies have other descriptions
		return c.Action == "ec2:CopyImage" ||
			c.Action == "ec2:CopySnapshot" && strings.HasPrefix(c.Params.Get("Description"), "/dev/")
	}
	switch {
	case run.Err == nil:
		return "nowhere"
	case strings.HasPrefix(run.Err.Error(), "configure: "):
		return "validate"
	case len(created) == 0:
		return "plan"
	case !slices.ContainsFunc(created, isDelivery):
		return "test copy"
	}
	return "run"
}

var (
	changingIDs = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{21,22}`)
	nextSteps   = regexp.MustCompile(`(?m)^(?:Resume|Report|Give up|         needs|"Error destroying).*\n?`)
	progress    = regexp.MustCompile(`(?m)^(?:machine|Distributing|Enabling|Reading|Wr|Checking|Still|Copying|` +
		`Sharing|Unsharing|Plan:|  (?:Source|Destinations|\d|Cost)|    (?:/dev|\d)).*\n?`)
)

// printed returns what a run printed about its failure.
func printed(run *fixture.Run) string {
	text, isOfConfigure := strings.CutPrefix(run.Err.Error(), "configure: ")
	if !isOfConfigure {
		text = progress.ReplaceAllString(run.Text(), "")
	}
	return strings.TrimSpace(changingIDs.ReplaceAllString(nextSteps.ReplaceAllString(text, ""), "(id)"))
}
