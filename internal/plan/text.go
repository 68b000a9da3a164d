// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"
	"text/template"
)

// Vars are what a Text may name. They are our own, because Packer's build variables do not exist under its null builder.
type Vars struct {
	AccountId     string // of the destination
	Region        string // of the destination
	Partition     string // aws, aws-us-gov, aws-cn
	SourceAMI     string // the image that is copied
	SourceAMIName string
	SourceRegion  string
	BaseAMI       string // the image that the build started from
	BuildName     string
	RunId         string
	Date          string // of the run, 2006-01-02 in UTC
}

// Check reports what is wrong with a template: its syntax, or a variable that does not exist.
func (t Text) Check() error {
	_, err := t.render(Vars{})
	return err
}

func (t Text) render(vars Vars) (string, error) {
	if !strings.Contains(string(t), "{{") {
		return string(t), nil
	}
	parsed, err := template.New("").Option("missingkey=error").Parse(string(t))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = parsed.Execute(&out, vars)
	return out.String(), err
}
