// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A missing profile or file must be found before the build. If the run finds it, Packer destroys the new AMI.
func TestPrepare_missingProfile(t *testing.T) {
	folder := t.TempDir()
	credentials := filepath.Join(folder, "credentials")
	if err := os.WriteFile(
		credentials,
		[]byte("[ci]\naws_access_key_id = a\naws_secret_access_key = b\n"),
		0o600,
	); err != nil {
		t.Fatal(err)
	}
	file := "shared_credentials_file = \"" + credentials + "\"\n"
	withProfile := func(profile string) string {
		return strings.Replace(prod, `assume_role { role_name = "golden-image-target" }`, `profile = "`+profile+`"`, 1)
	}
	configuration := os.Getenv("AWS_CONFIG_FILE")

	for name, c := range map[string]struct {
		template string
		env      map[string]string
		want     string // empty if the template is valid
	}{
		"in the configuration file": {template: prod + "\nprofile = \"golden\""},
		"in the credentials file":   {template: prod + "\n" + file + "profile = \"ci\""},
		"of a target":               {template: withProfile("golden-image-target")},
		"without a profile":         {template: prod + "\n" + file},
		"unknown yet":               {template: prod + "\nprofile = \"<unknown>\""},
		"file unknown yet":          {template: prod + "\nprofile = \"a\"\nshared_credentials_file = \"<unknown>\""},
		"misspelled": {
			template: prod + "\n" + file + "profile = \"goldne\"",
			want: `profile: "goldne" is neither in ` + configuration + " nor in " + credentials +
				`, which list ci, fleet, golden, golden-image-target. Did you mean "golden"?`,
		},
		"misspelled of a target": {
			template: withProfile("golden-image"), want: `target[0]: profile: "golden-image" is neither in `,
		},
		"no credentials file": {
			template: prod + "\nshared_credentials_file = \"" + folder + "/none\"",
			want:     `shared_credentials_file: "` + folder + `/none" cannot be read: no such file or directory`,
		},
		"of the environment": {
			template: prod, env: map[string]string{"AWS_PROFILE": "none"}, want: `profile: "none" is neither in `,
		},
		"malformed file": {
			template: prod, env: map[string]string{"AWS_CONFIG_FILE": folder}, want: "profile: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range c.env {
				t.Setenv(variable, value)
			}
			_, err := prepare(t, c.template, nil)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
