// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// limited is a rendered or carried value that AWS limits.
type limited struct {
	option  string // of the target
	rule    string
	subject awslimits.Subject
	value   string
	next    string // what to do if AWS refuses the value
	hidden  bool   // the value is not shown
}

// validateLimits returns a finding for each value of a destination that AWS would refuse, often after the copies.
// Package config has already checked the values that are literal in the template.
func validateLimits(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	values := slices.Concat(
		imageValues(d, facts),
		tagValues("tags", d.Tags),
		tagValues("snapshot_tags", d.SnapshotTags),
		launchValues(d),
		pointerValues(d),
	)
	return slices.Concat(limitFindings(d, facts, values), validateCounts(d, facts))
}

// validateRoleLimits returns a finding for each rendered value that STS refuses.
func validateRoleLimits(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	var values []limited
	for _, role := range d.Roles {
		_, path, _ := strings.Cut(string(role.RoleARN), ":role/")
		name := path[strings.LastIndex(path, "/")+1:]
		values = append(
			values,
			limited{option: d.Via, rule: "5.6", subject: awslimits.RoleARN, value: string(role.RoleARN)},
			limited{option: d.Via, rule: "5.6", subject: awslimits.RoleName, value: name},
			limited{option: d.Via, rule: "5.6", subject: awslimits.RolePath, value: "/" + strings.TrimSuffix(path, name)},
		)

		for _, given := range []limited{
			{subject: awslimits.RoleSessionName, value: string(role.SessionName)},
			{subject: awslimits.ExternalID, value: string(role.ExternalID), hidden: true},
			{subject: awslimits.SourceIdentity, value: string(role.SourceIdentity)},
		} {
			if given.value != "" {
				given.option, given.rule = d.Via, "5.5"
				values = append(values, given)
			}
		}
	}

	return limitFindings(d, facts, values)
}

// limitFindings returns a finding for each value that exceeds its limits.
func limitFindings(
	d distribution.Destination, facts distribution.Facts, values []limited,
) []distribution.Finding {
	var found []distribution.Finding
	for _, v := range values {
		err := awslimits.Check(v.subject, v.value)
		if err != nil {
			found = append(found, limitFinding(d, facts, v, err))
		}
	}
	return found
}

func limitFinding(
	d distribution.Destination, facts distribution.Facts, v limited, err error,
) distribution.Finding {
	f := destinationFinding(d, facts, distribution.Refused, distribution.CodeValueInvalid, v.rule, v.option)
	f.Summary = fmt.Sprintf("the %s cannot be used", v.subject)
	if !v.hidden {
		f.Summary = fmt.Sprintf("the %s %s cannot be used", v.subject, abridged(v.value))
	}
	f.Detail = "it " + err.Error()
	f.Remediation = v.next
	if f.Remediation == "" {
		f.Remediation = "correct " + v.option
	}
	return f
}

// abridged quotes a text, or only the beginning of a long text.
func abridged(value string) string {
	const most = 40
	if runes := []rune(value); len(runes) > most {
		return fmt.Sprintf("%q...", string(runes[:most]))
	}
	return fmt.Sprintf("%q", value)
}

// imageValues returns the values in the calls that copy and register an image. Before a build, the image and its name
// are unknown.
func imageValues(d distribution.Destination, facts distribution.Facts) []limited {
	image := facts.Images[d.FromRegion]
	if image.Image == nil {
		return nil
	}

	values := []limited{
		{option: "ami_name", rule: "2.5.3", subject: awslimits.ImageName, value: d.Name, next: "set ami_name"},
		{
			option: "ami_description", rule: "9.16", subject: awslimits.Description, value: d.Description,
			next: "set ami_description",
		},
		{
			option: "copy_method", rule: "2.4", subject: awslimits.UEFIData, value: image.UEFIData,
			next: `set copy_method = "image"`,
		},
	}

	for _, v := range volumes(image) {
		values = append(values, limited{
			option: "ami_name", rule: "9.16", subject: awslimits.SnapshotText, value: copyDescription(v, d),
			next: "set a shorter ami_name",
		})
	}

	return values
}

// copyDescription returns the description of a destination's copy of a volume.
func copyDescription(v volume, d distribution.Destination) string {
	return fmt.Sprintf("%s of %s", v.device(), d.Name)
}

// tagValues returns the keys and values of tags that EC2 takes.
func tagValues(option string, tags map[string]string) []limited {
	var values []limited
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		values = append(
			values,
			limited{option: option, rule: "9.4", subject: awslimits.TagKey, value: key},
			limited{option: fmt.Sprintf("%s[%q]", option, key), rule: "9.4", subject: awslimits.TagValue, value: tags[key]},
		)
	}
	return values
}

// launchValues returns the tags of temporary resources and the values in the call of RunInstances.
func launchValues(d distribution.Destination) []limited {
	values := tagValues("run_tags", d.RunTags)
	if d.LaunchCheck == nil {
		return values
	}

	values = append(values, limited{
		option:  "launch_check: instance_type",
		rule:    "9.0",
		subject: awslimits.InstanceType,
		value:   d.LaunchCheck.InstanceType,
	})
	if d.LaunchCheck.SubnetID != "" {
		values = append(values, limited{
			option: "launch_check: subnet_id", rule: "9.0", subject: awslimits.SubnetID, value: d.LaunchCheck.SubnetID,
		})
	}

	return values
}

// grantValues returns the values of the kms_grant blocks whose length and characters CreateGrant limits.
func grantValues(d distribution.Destination) []limited {
	var values []limited
	for _, grant := range d.Grants {
		values = append(
			values,
			limited{option: "kms_grant: name", rule: "3.2.6", subject: awslimits.GrantName, value: grant.Name},
			limited{option: "kms_grant: grantee_principal", rule: "3.2.6", subject: awslimits.Grantee, value: grant.Grantee},
		)
	}
	return values
}

// validateCounts returns a finding for each list of a destination that AWS would refuse for its length.
func validateCounts(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	found := slices.Concat(
		validateTagCount(d, facts, "tags", "the image", len(d.Tags)),
		validateTagCount(d, facts, "snapshot_tags", "the snapshots", len(d.SnapshotTags)),
		validateTagCount(d, facts, "run_tags", "the test copy", len(testCopyTags(d))),
	)

	if err := awslimits.CheckCount(awslimits.ImageShares, d.Lifecycle.Users.Size()); err != nil {
		f := destinationFinding(d, facts, distribution.Refused, distribution.CodeTooManyAccounts, "2.2.5", "ami_users")
		f.Summary, f.Detail, f.Remediation = "the image cannot be shared with so many", err.Error(),
			"name organizations or organizational units in place of accounts"
		found = append(found, f)
	}

	return found
}

// validateTagCount returns a finding if a resource would have more tags than AWS allows: those of the template, and the
// plugin's.
func validateTagCount(
	d distribution.Destination, facts distribution.Facts, option, resource string, count int,
) []distribution.Finding {
	total := count + provenance.OwnTags
	if awslimits.CheckCount(awslimits.Tags, total) == nil {
		return nil
	}
	f := destinationFinding(d, facts, distribution.Refused, distribution.CodeTooManyTags, "9.4", option)
	f.Summary = fmt.Sprintf("%s would have %d tags", resource, total)
	f.Detail = fmt.Sprintf("AWS allows %d tags for a resource, and this plugin needs %d of them",
		awslimits.Number(awslimits.Tags, awslimits.MaxCount), provenance.OwnTags)
	f.Remediation = "give fewer tags"
	return []distribution.Finding{f}
}
