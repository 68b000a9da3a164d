// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Codes of findings about launch templates.
const (
	codeLaunchTemplateDuplicate  = "launch_template_duplicate"
	codeLaunchTemplateNotFound   = "launch_template_not_found"
	codeLaunchTemplateUnreadable = "launch_template_unreadable"
)

// templateTarget is a launch template of a destination.
type templateTarget struct {
	distribution.LaunchTemplate
	before []distribution.LaunchTemplate // that the destination names before it
}

func (t templateTarget) name() string { return string(t.Template) }

func (t templateTarget) reference() string { return "A.4.12" }

func (t templateTarget) pointer(p publication) distribution.Pointer {
	existing := p.site.Templates[t.name()]
	version := versionWithImage(existing, p.image)
	return distribution.Pointer{
		Kind: step.TemplatePointer,
		Name: t.name(),
		Set:  version > 0 && (!t.SetDefault || version == existing.Default || p.isNewer(existing.DefaultImageID)),
	}
}

func (t templateTarget) step(p publication, g destinationState) (step.Step, *distribution.Finding) {
	existing := p.site.Templates[t.name()]
	isPublished := t.pointer(p).Set
	var note *distribution.Finding
	if t.SetDefault && p.isNewer(existing.DefaultImageID) {
		note = newerFinding(p.At, t.name(), existing.DefaultImageID)
		t.SetDefault = false
	}

	if isPublished {
		return nil, note
	}

	return t.create(p, g), note
}

// create returns the step that creates a version with the image of a destination.
func (t templateTarget) create(p publication, g destinationState) *step.CreateLaunchTemplateVersion {
	existing := p.site.Templates[t.name()]
	return &step.CreateLaunchTemplateVersion{
		Base:        publishBase(g, "template", t.name()),
		Template:    t.name(),
		TemplateID:  existing.ID,
		From:        t.Source,
		Source:      existing.Source,
		Version:     versionWithImage(existing, g.image),
		SetDefault:  t.SetDefault,
		Description: string(t.Description),
		Image:       g.verifiedImage,
		Release:     p.release,
	}
}

// current returns the image of the default version, or of the latest version if runs do not set the default.
func (t templateTarget) current(site distribution.DestinationFacts) string {
	existing := site.Templates[t.name()]
	if t.SetDefault || len(existing.Versions) == 0 {
		return existing.DefaultImageID
	}
	return existing.Versions[0].ImageID
}

func (t templateTarget) unpublishAdvice(region string) string {
	return "choose another default version: aws ec2 modify-launch-template --region " + region +
		" --launch-template-name " + t.name() + " --default-version VERSION"
}

func (t templateTarget) earlier(site distribution.DestinationFacts) []distribution.PointerVersion {
	existing := site.Templates[t.name()]
	return slices.DeleteFunc(slices.Clone(existing.Versions), func(v distribution.PointerVersion) bool {
		return t.SetDefault && v.Number >= existing.Default
	})
}

// move returns the step of a promotion or a rollback. It always creates a version, so that versions are in the order of
// publication. A rollback keeps changes that users made in the current version.
func (t templateTarget) move(p publication, m pointerMove, g destinationState) step.Step {
	existing := p.site.Templates[t.name()]
	create := t.create(p, g)
	create.Version = 0
	create.AnyRelease, create.Replaces = m.anyRelease, m.replaces
	create.NewerThan = existing.Default
	if !t.SetDefault && len(existing.Versions) > 0 {
		create.NewerThan = existing.Versions[0].Number
	}
	if m.isRollback {
		create.From, create.Source = strconv.FormatInt(create.NewerThan, 10), create.NewerThan
		create.Description = ""
	}
	return create
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

func (t templateTarget) limits() []limited {
	in := fmt.Sprintf("launch_template %q: ", t.Template)
	var values []limited
	if awslimits.Match(awslimits.TemplateID, t.name()) == nil {
		values = append(values, limited{
			option: in + "name", rule: "A.4.12", subject: awslimits.TemplateName, value: t.name(),
		})
	}
	return append(values, limited{
		option: in + "description", rule: "A.4.12", subject: awslimits.VersionDescription, value: string(t.Description),
	})
}

// validate returns findings for a launch template that cannot get a version with the image.
func (t templateTarget) validate(p publication) []distribution.Finding {
	existing := p.site.Templates[t.name()]
	f := distribution.Finding{
		Level:     distribution.Refused,
		Code:      codeLaunchTemplateUnreadable,
		Reference: "A.4.12",
		Field:     field(p.Target, fmt.Sprintf("launch_template %q", t.Template)),
		Location:  p.At,
		Principal: p.site.Identity.ARN,
		Resource:  t.name(),
	}

	isSameTemplate := func(o distribution.LaunchTemplate) bool {
		return p.site.Templates[string(o.Template)].ID == existing.ID
	}
	switch {
	case existing.Err != nil && strings.HasPrefix(existing.Err.Code, "InvalidLaunchTemplate"):
		f.Code = codeLaunchTemplateNotFound
		f.Summary = "there is no such launch template, or no version " + t.Source + " of it"
		f.Detail = existing.Err.Error()
		f.Remediation = "make it in account " + p.At.Account + " in " + p.At.Region +
			", or correct id, name and source_version"
	case existing.Err != nil:
		f.Summary = "the launch template cannot be looked at"
		f.Detail = existing.Err.Error()
		f.Remediation = "allow " + existing.Err.Operation + " to " + p.site.Identity.ARN
	case slices.ContainsFunc(t.before, isSameTemplate):
		f.Code = codeLaunchTemplateDuplicate
		f.Summary = "the launch template is named twice"
		f.Detail = "both blocks come to " + existing.ID
		f.Remediation = "name each launch template once"
	default:
		return nil
	}

	return []distribution.Finding{f}
}
