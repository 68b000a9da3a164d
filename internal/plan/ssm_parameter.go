// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Codes of findings about SSM parameters.
const (
	codeParameterDataType     = "parameter_data_type"
	codeParameterDuplicate    = "parameter_duplicate"
	codeParameterExists       = "parameter_exists"
	codeParameterNameInvalid  = "parameter_name_invalid"
	codeParameterTypeMismatch = "parameter_type_mismatch"
	codeParameterUnreadable   = "parameter_unreadable"
)

// parameterTarget is an SSM parameter of a destination.
type parameterTarget struct {
	distribution.Parameter
	before []distribution.Parameter // that the destination names before it
}

func (t parameterTarget) name() string { return string(t.Name) }

func (t parameterTarget) reference() string { return "7.2" }

func (t parameterTarget) pointer(p publication) distribution.Pointer {
	return distribution.Pointer{
		Kind: step.ParameterPointer,
		Name: t.name(),
		Set:  p.namesImage(p.site.Parameters[t.name()].ImageID),
	}
}

func (t parameterTarget) step(p publication, g destinationState) (step.Step, *distribution.Finding) {
	if current := p.site.Parameters[t.name()].ImageID; p.isNewer(current) {
		return nil, newerFinding(p.At, t.name(), current)
	}

	if t.pointer(p).Set {
		return nil, nil
	}

	return t.put(p, g), nil
}

// put returns the step that lets the parameter name the image of a destination.
func (t parameterTarget) put(p publication, g destinationState) *step.PutParameter {
	tags := map[string]string{}
	for key, value := range t.Tags {
		tags[key] = string(value)
	}

	return &step.PutParameter{
		Base:        publishBase(g, "parameter", strings.TrimPrefix(t.name(), "/")),
		Name:        t.name(),
		Type:        t.Type,
		DataType:    t.DataType,
		KeyID:       cmp.Or(p.keys[string(t.KeyID)].ARN(), string(t.KeyID)),
		Tier:        t.Tier,
		Description: string(t.Description),
		Tags:        tags,
		Overwrite:   t.Overwrite,
		Image:       g.verifiedImage,
		Release:     p.release,
	}
}

func (t parameterTarget) current(site distribution.DestinationFacts) string {
	return site.Parameters[t.name()].ImageID
}

func (t parameterTarget) unpublishAdvice(region string) string {
	return "delete the parameter: aws ssm delete-parameter --region " + region + " --name " + t.name()
}

func (t parameterTarget) earlier(site distribution.DestinationFacts) []distribution.PointerVersion {
	return site.Parameters[t.name()].Versions
}

// move returns the step of a promotion or a rollback. A rollback keeps the tags, and restores the description.
func (t parameterTarget) move(p publication, m pointerMove, g destinationState) step.Step {
	put := t.put(p, g)
	put.AnyRelease, put.Replaces = m.anyRelease, m.replaces
	if m.isRollback {
		put.Description, put.Tags = m.description, nil
	}
	return put
}

func (t parameterTarget) limits() []limited {
	in := fmt.Sprintf("ssm_parameter %q: ", t.Name)
	values := []limited{{
		option: in + "description", rule: "7.7", subject: awslimits.ParameterDescription, value: string(t.Description),
	}}
	if t.KeyID != "" {
		values = append(values, limited{
			option: in + "key_id", rule: "7.9", subject: awslimits.ParameterKeyID, value: string(t.KeyID),
		})
	}

	for _, key := range slices.Sorted(maps.Keys(t.Tags)) {
		values = append(
			values,
			limited{option: in + "tags", rule: "7.8", subject: awslimits.ParameterTagKey, value: key},
			limited{
				option: in + fmt.Sprintf("tags[%q]", key), rule: "7.8", subject: awslimits.ParameterTagValue,
				value: string(t.Tags[key]),
			},
		)
	}

	return values
}

// validate returns findings for a parameter that cannot refer to the image.
func (t parameterTarget) validate(p publication) []distribution.Finding {
	found := t.validateExisting(p)

	if slices.ContainsFunc(t.before, t.hasSameName) {
		f := t.finding(p, codeParameterDuplicate, "7.8", "the parameter is named twice")
		f.Principal, f.Detail, f.Remediation = "", "both blocks come to one name", "name each parameter once"
		found = append(found, f)
	}

	if err := awslimits.CheckCount(awslimits.ParameterTags, len(t.Tags)); err != nil {
		f := t.finding(p, distribution.CodeTooManyTags, "7.8", "the parameter cannot have so many tags")
		f.Field, f.Resource = f.Field+": tags", ""
		f.Detail, f.Remediation = err.Error(), "give fewer tags"
		found = append(found, f)
	}

	return found
}

func (t parameterTarget) hasSameName(o distribution.Parameter) bool {
	return strings.TrimPrefix(string(o.Name), "/") == strings.TrimPrefix(t.name(), "/")
}

// validateExisting returns findings about the name, the key, and the existing parameter. Its type and data type cannot
// be changed (7.4).
func (t parameterTarget) validateExisting(p publication) []distribution.Finding {
	if err := CheckParameterName(t.name(), p.At); err != nil {
		f := t.finding(p, codeParameterNameInvalid, "7.7", "it cannot be the name of a parameter")
		f.Detail, f.Remediation = "it "+err.Error(), "name it otherwise"
		return []distribution.Finding{f}
	}

	var found []distribution.Finding
	key := p.keys[string(t.KeyID)]
	reason, rule := keyUnusableReason(key)
	if t.KeyID != "" && reason != "" && !key.IsHidden() {
		f := t.finding(p, distribution.CodeKeyUnusable, rule, "the key "+string(t.KeyID)+" cannot be used")
		f.Detail, f.Remediation = reason, keyRemedy(key)
		found = append(found, f)
	}

	stored, exists := p.site.Parameters[t.name()]
	remake := "delete it and let it be made again, or name the parameter otherwise"
	switch {
	case stored.Err != nil:
		f := t.finding(p, codeParameterUnreadable, "7.6", "the parameter cannot be looked at")
		f.Detail, f.Remediation = stored.Err.Error(), "allow "+stored.Err.Operation+" to "+p.site.Identity.ARN
		found = append(found, f)
	case !exists:
	case stored.Type != t.Type:
		f := t.finding(p, codeParameterTypeMismatch, "B.6.1", "the parameter is a "+stored.Type)
		f.Detail = "AWS would convert it to " + t.Type + ", for all its readers"
		f.Remediation = remake + ", or give type"
		found = append(found, f)
	case stored.DataType != t.DataType:
		f := t.finding(p, codeParameterDataType, "7.4", "the parameter is of data type "+stored.DataType)
		f.Detail = "the data type of an existing parameter cannot be changed to " + t.DataType
		f.Remediation = remake + ", or give data_type"
		found = append(found, f)
	case !t.Overwrite && !p.isHeld && !t.pointer(p).Set:
		f := t.finding(p, codeParameterExists, "7.8", "there is such a parameter already")
		f.Detail = "with overwrite = false it is not touched, and it does not name this image"
		f.Remediation = "name it otherwise, or leave overwrite out"
		found = append(found, f)
	}

	return found
}

func (t parameterTarget) finding(p publication, code, rule, summary string) distribution.Finding {
	return distribution.Finding{
		Level:     distribution.Refused,
		Code:      code,
		Reference: rule,
		Field:     field(p.Target, fmt.Sprintf("ssm_parameter %q", t.Name)),
		Location:  p.At,
		Principal: p.site.Identity.ARN,
		Resource:  p.At.ParameterARN(t.name()),
		Summary:   summary,
	}
}

// CheckParameterName returns why the Parameter Store refuses a name in an account and Region (7.7).
func CheckParameterName(name string, at distribution.Location) error {
	return awslimits.CheckParameterName(name, at.ParameterARN(""))
}
