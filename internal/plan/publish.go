// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// CountsForDestination reports whether a destination succeeds only if the step does: it verifies or publishes the
// image.
func CountsForDestination(s step.Step) bool {
	return s.Role() == step.Publishes || s.Role().IsVerification()
}

// pointers returns the references that a destination publishes. Set is true for those that refer to the existing
// image.
func pointers(req distribution.Request, facts distribution.Facts, d distribution.Destination) []distribution.Pointer {
	image := imageAt(req, facts, d).use
	site := facts.Sites[d.At]
	var all []distribution.Pointer
	for _, p := range d.Parameters {
		all = append(all, distribution.Pointer{
			Kind: step.ParameterPointer,
			Name: string(p.Name),
			Set: image != nil && site.Parameters[string(p.Name)].ImageID == aws.ToString(image.ImageId) ||
				isNewer(facts, d, site.Parameters[string(p.Name)].ImageID),
		})
	}

	for _, t := range d.Templates {
		template := site.Templates[string(t.Template)]
		version := versionWithImage(template, image)
		all = append(all, distribution.Pointer{
			Kind: step.TemplatePointer,
			Name: string(t.Template),
			Set: version > 0 &&
				(!t.SetDefault || version == template.Default || isNewer(facts, d, template.DefaultImageID)),
		})
	}

	return all
}

// isNewer reports whether a published image was provably delivered for a newer release than that of a destination.
// It is not replaced.
func isNewer(facts distribution.Facts, d distribution.Destination, imageID string) bool {
	image, ok := facts.Published[d.At][imageID]
	if !ok || invariant.ReleaseOrder.IsOff() {
		return false
	}
	signed := judge(facts, distribution.ImageResource(d.At, image, nil, provenance.Expected{})).Signed
	return signed != nil && signed.Role == provenance.Delivery &&
		signed.Release.After(facts.Images[d.FromRegion].Keys.Release())
}

// newerFinding returns the note about something that names an image of a newer release.
func newerFinding(at distribution.Location, name, imageID string) distribution.Finding {
	return distribution.Finding{
		Level:    distribution.Note,
		Code:     distribution.CodeNewerReleasePublished,
		Location: at,
		Resource: name,
		Summary:  name + " still names " + imageID,
		Detail:   "that image is of a newer release than the image of this run",
	}
}

// versionWithImage returns the version of a launch template that names an image. It prefers the default version,
// then the oldest, because other versions may derive from it. 0 if none does.
func versionWithImage(t distribution.LaunchTemplateFacts, image *ec2types.Image) int64 {
	if image == nil {
		return 0
	}
	versions := t.Naming[aws.ToString(image.ImageId)]
	switch {
	case len(versions) == 0:
		return 0
	case slices.Contains(versions, t.Default):
		return t.Default
	}
	return versions[0]
}

// publish adds the steps that publish the verified image of a destination.
func (b *builder) publish(g destinationState) (published []distribution.StepID) {
	existing := pointers(b.req, b.facts, g.Destination)
	for _, p := range g.Parameters {
		if current := b.facts.Sites[g.At].Parameters[string(p.Name)].ImageID; isNewer(b.facts, g.Destination, current) {
			b.findings = append(b.findings, newerFinding(g.At, string(p.Name), current))
			continue
		}

		if isPublished(existing, step.ParameterPointer, string(p.Name)) {
			continue
		}

		newStep := &step.PutParameter{
			Base:        publishBase(g, "parameter", strings.TrimPrefix(string(p.Name), "/")),
			Name:        string(p.Name),
			Type:        p.Type,
			DataType:    p.DataType,
			KeyID:       string(p.KeyID),
			Tier:        p.Tier,
			Description: string(p.Description),
			Tags:        rendered(p.Tags),
			Overwrite:   p.Overwrite,
			Image:       g.verifiedImage,
			Release:     b.facts.Images[g.FromRegion].Keys.Release(),
		}

		newStep.KeyID = cmp.Or(b.facts.Keys[g.At][newStep.KeyID].ARN(), newStep.KeyID)
		published = append(published, b.add(newStep))
	}

	for _, t := range g.Templates {
		current := b.facts.Sites[g.At].Templates[string(t.Template)].DefaultImageID
		if t.SetDefault && isNewer(b.facts, g.Destination, current) {
			b.findings = append(b.findings, newerFinding(g.At, string(t.Template), current))
			t.SetDefault = false
		}

		if isPublished(existing, step.TemplatePointer, string(t.Template)) {
			continue
		}

		template := b.facts.Sites[g.At].Templates[string(t.Template)]
		published = append(published, b.add(&step.CreateLaunchTemplateVersion{
			Base:        publishBase(g, "template", string(t.Template)),
			Template:    string(t.Template),
			TemplateID:  template.ID,
			From:        t.Source,
			Source:      template.Source,
			Version:     versionWithImage(template, g.image),
			SetDefault:  t.SetDefault,
			Description: string(t.Description),
			Image:       g.verifiedImage,
			Release:     b.facts.Images[g.FromRegion].Keys.Release(),
		}))
	}

	return published
}

func publishBase(g destinationState, kind, name string) step.Base {
	return step.Base{
		ID:               distribution.StepID(kind + "/" + g.At.Key() + "/" + name),
		Location:         g.At,
		Destination:      g.At,
		DependsOn:        g.verifications,
		ExpectedDuration: callTime,
	}
}

// rendered returns texts that are rendered as strings.
func rendered(texts map[string]distribution.Text) map[string]string {
	out := make(map[string]string, len(texts))
	for key, text := range texts {
		out[key] = string(text)
	}
	return out
}

// validatePublication returns findings for parameters and launch templates that cannot refer to the image.
func validatePublication(
	req distribution.Request,
	d distribution.Destination,
	facts distribution.Facts,
) []distribution.Finding {
	if facts.Images[d.FromRegion].Image == nil {
		return nil
	}

	var found []distribution.Finding
	for i, p := range d.Parameters {
		found = append(found, validateParameter(req, d, facts, p)...)
		hasSameName := func(o distribution.Parameter) bool { return sameParameter(o.Name, p.Name) }
		if slices.ContainsFunc(d.Parameters[:i], hasSameName) {
			found = append(found, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeParameterDuplicate,
				Reference:   "7.8",
				Field:       parameterField(d.Target, p),
				Location:    d.At,
				Resource:    d.At.ParameterARN(string(p.Name)),
				Summary:     "the parameter is named twice",
				Detail:      "both blocks come to one name",
				Remediation: "name each parameter once",
			})
		}
	}

	for i, t := range d.Templates {
		found = append(found, validateLaunchTemplate(d, facts, d.Templates[:i], t)...)
	}

	return found
}

// validateLaunchTemplate returns findings for a launch template that cannot get a version with the image.
func validateLaunchTemplate(
	d distribution.Destination,
	facts distribution.Facts,
	before []distribution.LaunchTemplate,
	t distribution.LaunchTemplate,
) []distribution.Finding {
	site := facts.Sites[d.At]
	template := site.Templates[string(t.Template)]
	refuse := func(code, summary, detail, remediation string) []distribution.Finding {
		return []distribution.Finding{{
			Level:       distribution.Refused,
			Code:        code,
			Reference:   "A.4.12",
			Field:       field(d.Target, fmt.Sprintf("launch_template %q", t.Template)),
			Location:    d.At,
			Principal:   site.Identity.ARN,
			Resource:    string(t.Template),
			Summary:     summary,
			Detail:      detail,
			Remediation: remediation,
		}}
	}

	isSameTemplate := func(o distribution.LaunchTemplate) bool {
		return site.Templates[string(o.Template)].ID == template.ID
	}
	switch {
	case template.Err != nil && strings.HasPrefix(template.Err.Code, "InvalidLaunchTemplate"):
		return refuse(
			distribution.CodeLaunchTemplateNotFound,
			"there is no such launch template, or no version "+t.Source+" of it",
			template.Err.Error(),
			"make it in account "+d.At.Account+" in "+d.At.Region+", or correct id, name and source_version",
		)
	case template.Err != nil:
		return refuse(
			distribution.CodeLaunchTemplateUnreadable,
			"the launch template cannot be looked at",
			template.Err.Error(),
			"allow "+template.Err.Operation+" to "+site.Identity.ARN,
		)
	case slices.ContainsFunc(before, isSameTemplate):
		return refuse(
			distribution.CodeLaunchTemplateDuplicate,
			"the launch template is named twice",
			"both blocks come to "+template.ID,
			"name each launch template once",
		)
	}

	return nil
}

// isPublished reports whether a reference exists and refers to the image.
func isPublished(pointers []distribution.Pointer, kind, name string) bool {
	return slices.Contains(pointers, distribution.Pointer{Kind: kind, Name: name, Set: true})
}

func sameParameter(a, b distribution.Text) bool {
	return strings.TrimPrefix(string(a), "/") == strings.TrimPrefix(string(b), "/")
}

func parameterField(target string, p distribution.Parameter) string {
	return field(target, fmt.Sprintf("ssm_parameter %q", p.Name))
}

// validateParameter returns findings for a parameter that cannot refer to the image. The type and data type of an
// existing parameter cannot be changed (7.4).
func validateParameter(
	req distribution.Request,
	d distribution.Destination,
	facts distribution.Facts,
	p distribution.Parameter,
) []distribution.Finding {
	site := facts.Sites[d.At]
	refuse := func(code, rule, summary, detail, remediation string) distribution.Finding {
		return distribution.Finding{
			Level:       distribution.Refused,
			Code:        code,
			Reference:   rule,
			Field:       parameterField(d.Target, p),
			Location:    d.At,
			Principal:   site.Identity.ARN,
			Resource:    d.At.ParameterARN(string(p.Name)),
			Summary:     summary,
			Detail:      detail,
			Remediation: remediation,
		}
	}

	if err := CheckParameterName(string(p.Name), d.At); err != nil {
		return []distribution.Finding{
			refuse(
				distribution.CodeParameterNameInvalid,
				"7.7",
				"it cannot be the name of a parameter",
				"it "+err.Error(),
				"name it otherwise",
			),
		}
	}

	var found []distribution.Finding
	key := facts.Keys[d.At][string(p.KeyID)]
	reason, rule := keyUnusableReason(key)
	if p.KeyID != "" && reason != "" && !key.IsHidden() {
		found = append(
			found,
			refuse(distribution.CodeKeyUnusable, rule, "the key "+string(p.KeyID)+" cannot be used", reason, keyRemedy(key)),
		)
	}

	stored, exists := site.Parameters[string(p.Name)]
	remake := "delete it and let it be made again, or name the parameter otherwise"
	switch {
	case stored.Err != nil:
		found = append(
			found,
			refuse(
				distribution.CodeParameterUnreadable,
				"7.6",
				"the parameter cannot be looked at",
				stored.Err.Error(),
				"allow ssm:GetParameter to "+site.Identity.ARN,
			),
		)
	case !exists:
	case stored.Type != p.Type:
		found = append(
			found,
			refuse(
				distribution.CodeParameterTypeMismatch,
				"B.6.1",
				"the parameter is a "+stored.Type,
				"AWS would convert it to "+p.Type+
					", for all its readers",
				remake+", or give type",
			),
		)
	case stored.DataType != p.DataType:
		found = append(
			found,
			refuse(
				distribution.CodeParameterDataType,
				"7.4",
				"the parameter is of data type "+stored.DataType,
				"the data type of an existing parameter cannot be changed to "+p.DataType,
				remake+", or give data_type",
			),
		)
	case !p.Overwrite && !isPublished(pointers(req, facts, d), step.ParameterPointer, string(p.Name)):
		found = append(
			found,
			refuse(
				distribution.CodeParameterExists,
				"7.8",
				"there is such a parameter already",
				"with overwrite = false it is not "+
					"touched, and it does not name this image",
				"name it otherwise, or leave overwrite out",
			),
		)
	}

	return found
}

// CheckParameterName returns why the Parameter Store refuses a name in an account and Region (7.7).
func CheckParameterName(name string, at distribution.Location) error {
	return awslimits.CheckParameterName(name, at.ParameterARN(""))
}
