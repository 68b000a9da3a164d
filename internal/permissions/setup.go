// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Setup holds the accounts, roles and keys that the policies are for.
type Setup struct {
	SourceAccount string   // 12 digits
	BuildRole     string   // name, with its path, of the role that runs Packer in the source account
	SourceKeyARNs []string // keys of what is shared; one a Region
	Targets       []string // accounts, 12 digits each
	TargetRole    string   // name, with its path, of the role in every target account
	TargetAlias   string   // "alias/...", the target's own key in every Region
	// name of the SSM parameter that names the images, such as "/golden/ami". A SecureString parameter has the suffix
	// "-secret"
	Parameter  string
	Template   string   // launch template, by name
	ExternalID string   // empty for none
	Options    []string // those of Options and OnRequest that the template uses; nil for all of Options
	Users      []string // accounts of ami_users and of share blocks, which may launch; empty if neither is used
	// Organization is the organization, "o-...", whose accounts the policies allow in place of a list of accounts. Empty
	// for a list.
	Organization string
	// Paths are the organizational units whose accounts the policies allow, "o-.../r-.../ou-.../*". Empty for all of the
	// organization.
	Paths []string
}

// Example returns the setup of the documentation.
func Example() Setup {
	return Setup{
		SourceAccount: "111111111111", BuildRole: "golden-image-build",
		SourceKeyARNs: []string{"arn:aws:kms:ap-northeast-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"},
		Targets:       []string{"999999999999"}, TargetRole: "golden-image-target", TargetAlias: "alias/golden-target",
		Parameter: "/golden/ami", Template: "golden", Users: []string{"888888888888"},
		ExternalID: "golden-images",
	}
}

var (
	account          = regexp.MustCompile(`^\d{12}$`)
	roleName         = regexp.MustCompile(`^([!-~]+/)?[\w+=,.@-]{1,64}$`)
	keyARN           = regexp.MustCompile(`^arn:([\w-]+):kms:([\w-]+):(\d{12}):key/([\w-]+)$`)
	organization     = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	organizationPath = regexp.MustCompile(`^o-[a-z0-9]{10,32}/r-[a-z0-9]{4,32}/(ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}/)*\*$`)
	keyAlias         = regexp.MustCompile(`^alias/[\w/-]+$`)
)

// Check returns all problems of a setup.
func (s Setup) Check() error {
	var all []error
	demand := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, fmt.Errorf(format, args...))
		}
	}
	demand(account.MatchString(s.SourceAccount), "source account %q: not 12 digits", s.SourceAccount)
	demand(len(s.Targets) > 0, "no target account")
	for _, user := range s.Users {
		demand(account.MatchString(user), "account %q that may launch: not 12 digits", user)
	}
	for _, target := range s.Targets {
		demand(account.MatchString(target), "target account %q: not 12 digits", target)
		demand(target != s.SourceAccount, "target account %s is the source account, which takes no policies of a "+
			"target", target)
	}
	demand(roleName.MatchString(s.BuildRole), "build role %q: not the name of a role", s.BuildRole)
	demand(roleName.MatchString(s.TargetRole), "target role %q: not the name of a role", s.TargetRole)
	demand(len(s.SourceKeyARNs) > 0, "no source key")
	for _, key := range s.SourceKeyARNs {
		demand(keyARN.MatchString(key), "source key %q: not the ARN of a key", key)
	}
	for _, option := range s.Options {
		demand(
			slices.Contains(Options, option) || slices.Contains(OnRequest, option),
			"option %q: none of %q",
			option,
			slices.Concat(Options, OnRequest),
		)
		demand(len(s.Users) > 0 || !slices.Contains(forUsers, option), "option %q: no account that may launch", option)
	}
	demand(s.Organization == "" || organization.MatchString(s.Organization),
		"organization %q: not the ID of an organization", s.Organization)
	for _, path := range s.Paths {
		demand(organizationPath.MatchString(path) && strings.HasPrefix(path, s.Organization+"/"),
			"organization path %q: not of the form %s/r-ab12/ou-ab12-11111111/*", path, cmp.Or(s.Organization, "o-..."))
	}
	demand(keyAlias.MatchString(s.TargetAlias), "target key %q: not an alias", s.TargetAlias)
	return errors.Join(all...)
}

// Options are the options of a template that need additional permissions.
var Options = []string{
	"ami_users",
	"test_copy",
	"deprecate_at",
	"deregistration_protection",
	"fast_launch",
	"kms_grant",
	"retention",
	"retention.disable_releases",
	"launch_check",
	"launch_template",
	"license_configuration_arns",
	"copy_method = image",
	"mode = rollback",
	"mode = usage",
	"run_tags",
	"share",
	"share.ssm_parameter",
	"source_key_access = grant",
	"ssm_parameter",
	"watermarks",
}

// forUsers are the options about other accounts than the targets.
var forUsers = []string{"ami_users", "share", "share.ssm_parameter"}

// OnRequest are the options that let a role delete foreign resources. No policy has them unless the user
// requests it.
var OnRequest = []string{"force_delete_snapshot", "force_deregister", "source_retention"}

// with reports whether an option is used.
func (s Setup) with(option string) bool {
	switch {
	case len(s.Users) == 0 && slices.Contains(forUsers, option):
		return false
	case s.Options == nil:
		return slices.Contains(Options, option)
	}
	return slices.Contains(s.Options, option)
}

// partition returns the partition of the source keys. A run has only one.
func (s Setup) partition() string { return keyARN.FindStringSubmatch(s.SourceKeyARNs[0])[1] }

// regions returns the Regions of the source keys.
func (s Setup) regions() []string {
	var regions []string
	for _, key := range s.SourceKeyARNs {
		regions = append(regions, keyARN.FindStringSubmatch(key)[2])
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}

func (s Setup) sourceKeyOf(region string) string {
	return s.SourceKeyARNs[slices.IndexFunc(s.SourceKeyARNs, func(key string) bool {
		return keyARN.FindStringSubmatch(key)[2] == region
	})]
}

func (s Setup) roleARN(account, name string) string {
	return "arn:" + s.partition() + ":iam::" + account + ":role/" + name
}

func (s Setup) root(account string) string {
	return "arn:" + s.partition() + ":iam::" + account + ":root"
}

// buildRole returns the ARN of the role that runs Packer.
func (s Setup) buildRole() string { return s.roleARN(s.SourceAccount, s.BuildRole) }

// home returns the account and Region of the build.
func (s Setup) home() distribution.Location {
	return distribution.Location{Account: s.SourceAccount, Region: s.regions()[0]}
}
