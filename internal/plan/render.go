// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// renderer renders templates for one destination and collects the errors.
type renderer struct {
	target    string
	at        distribution.Location
	vars      distribution.Vars
	functions distribution.TemplateFunctions
	findings  []distribution.Finding
}

// newRenderer returns a renderer with the variables of a destination. Those of the image are empty if it does not
// exist.
func (a *Assessment) newRenderer(target string, at distribution.Location, from string) renderer {
	r := renderer{target: target, at: at, functions: a.req.Functions}
	r.functions.BuildName, r.functions.Created = a.req.Build.Name, a.facts.At
	r.vars = distribution.Vars{
		AccountId:     at.Account,
		Region:        at.Region,
		Partition:     a.facts.Source.Partition,
		Target:        target,
		SourceAMI:     a.req.Build.BaseAMI,
		PackerRunUUID: a.req.Build.RunID,
	}

	if image := a.facts.Images[from].Image; image != nil {
		r.vars.AMI = aws.ToString(image.ImageId)
		r.vars.AMIName = aws.ToString(image.Name)
		if created, err := time.Parse(time.RFC3339, aws.ToString(image.CreationDate)); err == nil {
			r.functions.Created = created
		}
	}

	return r
}

func (r *renderer) text(option string, text distribution.Text) string {
	out, err := text.Render(r.vars, r.functions)
	if err != nil {
		r.refuse(
			distribution.CodeTemplateTextInvalid,
			option,
			"the template cannot be rendered",
			err.Error(),
			"see the template variables in the documentation",
		)
	}
	return out
}

// time renders a time in the format of RFC 3339.
func (r *renderer) time(option string, text distribution.Text) time.Time {
	rendered := r.text(option, text)
	at, err := time.Parse(time.RFC3339, rendered)
	if err != nil {
		summary := fmt.Sprintf("%s is not a time", abridged(rendered))
		r.refuse(distribution.CodeTimeInvalid, option, summary, "a time is written in the format of RFC 3339",
			"write a time such as 2027-06-30T00:00:00Z")
	}
	return at
}

func (r *renderer) refuse(code, option, summary, detail, remediation string) {
	r.findings = append(r.findings, distribution.Finding{
		Level:       distribution.Refused,
		Code:        code,
		Field:       field(r.target, option),
		Location:    r.at,
		Summary:     summary,
		Detail:      detail,
		Remediation: remediation,
	})
}

// texts renders texts and adds them to existing ones.
func (r *renderer) texts(
	option string, texts map[string]distribution.Text, existing map[string]string,
) map[string]string {
	out := make(map[string]string, len(existing)+len(texts))
	for key, value := range existing {
		out[key] = value
	}
	for key, text := range texts {
		out[key] = r.text(option, text)
	}
	return out
}

// options returns rendered options of a target.
func (r *renderer) options(o distribution.TargetOptions) distribution.TargetOptions {
	return r.value("", reflect.ValueOf(o)).Interface().(distribution.TargetOptions)
}

// value returns a rendered copy of the value of an option.
func (r *renderer) value(option string, v reflect.Value) reflect.Value {
	rendered := reflect.New(v.Type()).Elem()
	rendered.Set(v)

	switch {
	case v.Type() == reflect.TypeFor[distribution.Text]():
		rendered.SetString(r.text(option, distribution.Text(v.String())))
	case v.Kind() == reflect.Struct:
		r.fields(option, v, rendered)
	case v.Kind() == reflect.Slice && !v.IsNil():
		rendered.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			rendered.Index(i).Set(r.value(elementOption(option, v.Index(i), i), v.Index(i)))
		}
	case v.Kind() == reflect.Map && !v.IsNil():
		rendered.Set(reflect.MakeMap(v.Type()))
		for _, key := range v.MapKeys() {
			rendered.SetMapIndex(key, r.value(option, v.MapIndex(key)))
		}
	}

	return rendered
}

// fields renders the fields of a struct that have the tag. An embedded struct has the options of its parent.
func (r *renderer) fields(option string, v, rendered reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, ok := field.Tag.Lookup("option")
		if ok && option != "" {
			name = option + ": " + name
		}
		if ok || field.Anonymous {
			rendered.Field(i).Set(r.value(name, v.Field(i)))
		}
	}
}

// elementOption returns the name of an element in messages. Blocks are named by what they contain.
func elementOption(option string, element reflect.Value, i int) string {
	if element.Kind() == reflect.Struct {
		return option
	}
	return fmt.Sprintf("%s[%d]", option, i)
}

func (r *renderer) roles(roles []distribution.Role) []distribution.Role {
	rendered := make([]distribution.Role, 0, len(roles))
	for _, role := range roles {
		role.RoleARN = distribution.Text(r.text("assume_role: role_arn", role.RoleARN))
		if role.RoleARN == "" {
			name := r.text("assume_role: role_name", role.RoleName)
			role.RoleARN = distribution.Text(
				fmt.Sprintf("arn:%s:iam::%s:role/%s", r.vars.Partition, r.at.Account, strings.TrimPrefix(name, "/")),
			)
		}
		role.ExternalID = distribution.Secret(r.text("assume_role: external_id", distribution.Text(role.ExternalID)))
		role.SessionName = distribution.Text(r.text("assume_role: session_name", role.SessionName))
		role.SourceIdentity = distribution.Text(r.text("assume_role: source_identity", role.SourceIdentity))
		rendered = append(rendered, role)
	}

	return rendered
}
