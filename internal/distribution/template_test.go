// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution_test

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

var (
	vars = distribution.Vars{
		AccountId:     "999999999999",
		Region:        "eu-west-1",
		Partition:     "aws",
		Target:        "prod",
		AMI:           "ami-0123456789abcdef0",
		AMIName:       "golden",
		SourceAMI:     "ami-0fedcba9876543210",
		PackerRunUUID: "9b1f2a64",
	}
	functions = distribution.TemplateFunctions{
		BuildName:     "web",
		UserVariables: map[string]string{"external_id": "x-1"},
		Getenv:        func(name string) string { return "value of " + name },
		Created:       time.Date(2026, 11, 30, 9, 12, 3, 0, time.UTC),
	}
)

func TestText_render(t *testing.T) {
	for text, want := range map[distribution.Text]string{
		"golden":                          "golden",
		"{{ .AMI }}":                      "ami-0123456789abcdef0",
		"{{ .AMIName }} {{ .SourceAMI }}": "golden ami-0fedcba9876543210",
		"{{ .Partition }}:{{ .Region }}:{{.AccountId}}:{{.Target}}": "aws:eu-west-1:999999999999:prod",
		"{{ .PackerRunUUID }}":                "9b1f2a64",
		"{{timestamp}}":                       "1796029923",
		"{{isotime}}":                         "2026-11-30T09:12:03Z",
		"{{ isotime `2006-01-02` }}":          "2026-11-30",
		"{{ isotime | clean_resource_name }}": "2026-11-30T09-12-03Z",
		"{{ clean_resource_name `a+b:c@d` }}": "a-b-c@d",
		"{{ build_name }}":                    "web",
		"{{ env `HOME` }}":                    "value of HOME",
		"{{ user `external_id` }}":            "x-1",
		"{{ if eq .Region `eu-west-1` }}Ireland{{ else }}?{{ end }}": "Ireland",
	} {
		if got, err := text.Render(vars, functions); err != nil || got != want {
			t.Errorf("%s: got %q and %v, want %q", text, got, err, want)
		}
	}
}

// A name must be the same in every run of an image. Otherwise a resumed run would create a second image.
func TestText_renderTwice(t *testing.T) {
	const text distribution.Text = "{{ build_name }}-{{ timestamp }}-{{ isotime }}-{{ .AMI }}-{{ .Target }}"
	again := vars
	again.PackerRunUUID = "another"
	first, err := text.Render(vars, functions)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := text.Render(again, functions); err != nil || second != first {
		t.Errorf("got %q and %v, want %q", second, err, first)
	}
}

func TestText_check(t *testing.T) {
	known := "known are .AMI, .AMIName, .AccountId, .Partition, .Region, .SourceAMI, .Target"
	for text, want := range map[distribution.Text]string{
		"":       "",
		"golden": "",
		"{{ .AMI }} {{ .Target }} {{ isotime `2006` }} {{ user `x` }}": "",
		"{{ .RunId }}": "there is no variable {{ .RunId }} here; " + known,
		"{{ .AccountID }}": "there is no variable {{ .AccountID }} here; " +
			known + ". Did you mean {{ .AccountId }}?",
		"{{ .PackerRunUUID }}":                         "{{ .PackerRunUUID }} differs in every run",
		"{{ uuid }}":                                   "uuid differs in every run",
		"{{ if true }}{{ uuid }}{{ end }}":             "uuid differs in every run",
		"{{ printf `%s` .Foo }}":                       "there is no variable {{ .Foo }} here",
		"{{ with .AMI }}{{ else }}{{ .Foo }}{{ end }}": "there is no variable {{ .Foo }} here",
		"{{ timestmp }}": `there is no function "timestmp"; known are build_name, clean_resource_name, env, isotime, ` +
			`timestamp, user. Did you mean "timestamp"?`,
		"{{ isotime `a` `b` }}": "isotime takes at most one layout",
		"{{ .AMI ":              "unclosed action",
		"{{ .AMI.Name }}":       "can't evaluate field Name",
	} {
		switch err := text.Check(distribution.DestinationVars); {
		case want == "" && err != nil:
			t.Errorf("%s: got %v", text, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if err := distribution.Text("{{ .PackerRunUUID }}").Check(distribution.SessionVars); err != nil {
		t.Errorf("session name: got %v", err)
	}
}

func TestText_renderUnknownUserVariable(t *testing.T) {
	_, err := distribution.Text("{{ user `role` }}").Render(vars, functions)
	if err == nil || !strings.Contains(err.Error(), "${var.role}") {
		t.Errorf("got %v, want the syntax of HCL2", err)
	}
}
