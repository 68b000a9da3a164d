// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"context"
	"errors"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
)

// checkProfiles checks that the credentials file can be read and that every profile exists. Validation must find a
// missing profile. A run without credentials could not protect the new AMI, and Packer would deregister it.
func (c *Config) checkProfiles(p *diagnostics) {
	isConflicting := c.AccessKey != "" && c.SharedCredentialsFile != "" // reported already
	if isConflicting || strings.Contains(c.SharedCredentialsFile, unknown) {
		return
	}
	access := c.Credentials()
	if err := access.CheckCredentialsFile(); err != nil {
		p.add("shared_credentials_file", "%w", err)
		return
	}
	if !strings.Contains(c.Profile, unknown) && (c.AccessKey == "" || c.Profile == "") {
		p.profile("profile", access, "")
	}
	for i := range c.Targets {
		p.in(c.Targets[i].label()).profileOption(access, c.Targets[i].Profile)
	}
	for i := range c.Shares {
		p.in(c.Shares[i].label(i)).profileOption(access, c.Shares[i].Profile)
	}
}

// profileOption checks the profile of a block.
func (p *diagnostics) profileOption(access awsclient.Access, profile string) {
	if literal(profile) {
		p.profile("profile", access, profile)
	}
}

// profile checks that credentials can be loaded with a profile.
func (p *diagnostics) profile(field string, access awsclient.Access, profile string) {
	err := access.CheckProfile(context.Background(), profile)
	if missing, ok := errors.AsType[*awsclient.ProfileNotFoundError](err); ok {
		p.add(field, "%w%s", missing, didYouMean(missing.Profile, missing.Known))
	} else if err != nil {
		p.add(field, "%w", err)
	}
}
