// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
)

// ProfileNotFoundError means that neither the configuration file nor the credentials file has a profile.
type ProfileNotFoundError struct {
	Profile string
	Files   []string // that were read
	Known   []string // the profiles that they have, sorted
}

func (e *ProfileNotFoundError) Error() string {
	const shown = 10
	known := "no profiles"
	if len(e.Known) > 0 {
		known = strings.Join(e.Known[:min(len(e.Known), shown)], ", ")
	}
	if more := len(e.Known) - shown; more > 0 {
		known += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%q is neither in %s, which list %s", e.Profile, strings.Join(e.Files, " nor in "), known)
}

// CheckCredentialsFile returns why the credentials file cannot be read. The SDK would ignore a missing file.
func (a Access) CheckCredentialsFile() error {
	if a.SharedCredentialsFile == "" {
		return nil
	}
	_, err := os.ReadFile(a.SharedCredentialsFile)
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%q cannot be read: %w", failed.Path, failed.Err)
	}
	return err
}

// CheckProfile returns why the credentials cannot be loaded with a profile, without a call to AWS. With an empty
// profile it checks the source credentials.
func (a Access) CheckProfile(ctx context.Context, profile string) error {
	_, err := a.load(ctx, profile, newJitter(1))
	if _, isMissing := errors.AsType[config.SharedConfigProfileNotExistError](err); !isMissing {
		return err
	}
	return a.profileNotFound(cmp.Or(profile, a.Profile, os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE")))
}

// profileNotFound returns the error of a missing profile. It lists the profiles that the files have.
func (a Access) profileNotFound(profile string) error {
	configuration := cmp.Or(os.Getenv("AWS_CONFIG_FILE"), config.DefaultSharedConfigFilename())
	credentials := cmp.Or(a.SharedCredentialsFile, os.Getenv("AWS_SHARED_CREDENTIALS_FILE"),
		config.DefaultSharedCredentialsFilename())
	known := slices.Concat(profilesIn(configuration, configSection), profilesIn(credentials, credentialsSection))
	slices.Sort(known)
	return &ProfileNotFoundError{
		Profile: profile,
		Files:   []string{configuration, credentials},
		Known:   slices.Compact(known),
	}
}

// The first lines of profiles. A configuration file has other sections too.
var (
	configSection      = regexp.MustCompile(`(?m)^\s*\[\s*(?:profile\s+("[^"]+"|[^]\s"]+)|(default))\s*\]`)
	credentialsSection = regexp.MustCompile(`(?m)^\s*\[\s*("[^"]+"|[^]"]+?)\s*\]`)
)

// profilesIn returns the names of the profiles in a file. Empty if it cannot be read.
func profilesIn(path string, section *regexp.Regexp) (profiles []string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for _, found := range section.FindAllStringSubmatch(string(content), -1) {
		profiles = append(profiles, strings.Trim(strings.Join(found[1:], ""), `"`))
	}
	return profiles
}
