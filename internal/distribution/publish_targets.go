// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"maps"
	"slices"
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// PublishTargets are the references that name the images of a target. A new kind of reference is another field.
type PublishTargets struct {
	Parameters []Parameter      `option:"ssm_parameter"`   // in the order of the template
	Templates  []LaunchTemplate `option:"launch_template"` // in the order of the template
}

// IsEmpty reports whether nothing names the images.
func (p PublishTargets) IsEmpty() bool { return len(p.Parameters)+len(p.Templates) == 0 }

// And returns the references of both.
func (p PublishTargets) And(others PublishTargets) PublishTargets {
	return PublishTargets{
		Parameters: slices.Concat(p.Parameters, others.Parameters),
		Templates:  slices.Concat(p.Templates, others.Templates),
	}
}

// Names of all publish targets in messages.
const (
	PublishOptions      = "an ssm_parameter or a launch_template"
	Published           = "parameter or launch template"
	PublishedPlural     = "parameters and launch templates"
	PublishTarget       = "SSM " + Published
	PublishTargetPlural = "SSM " + PublishedPlural
)

// PublicationFacts holds the existing publish targets of a destination.
type PublicationFacts struct {
	Parameters map[string]ParameterFacts      // by name; without those that do not exist yet
	Templates  map[string]LaunchTemplateFacts // by id or name, as the destination names them
}

// LookupErrors returns the errors of the lookups, in the order of the names.
func (f PublicationFacts) LookupErrors() []*APIError {
	var errs []*APIError
	for _, name := range slices.Sorted(maps.Keys(f.Parameters)) {
		errs = append(errs, f.Parameters[name].Err)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Templates)) {
		errs = append(errs, f.Templates[name].Err)
	}
	return slices.DeleteFunc(errs, func(err *APIError) bool { return err == nil })
}

// ImageIDs returns the images that the publish targets name now, and those of the versions that were read.
func (f PublicationFacts) ImageIDs() []string {
	var ids []string
	add := func(current string, versions []PointerVersion) {
		ids = append(ids, current)
		for _, version := range versions {
			ids = append(ids, version.ImageID)
		}
	}
	for _, parameter := range f.Parameters {
		add(parameter.ImageID, parameter.Versions)
	}
	for _, template := range f.Templates {
		add(template.DefaultImageID, template.Versions)
	}
	return ids
}

// Kinds of ImageUse that are publish targets.
const (
	UseByLaunchTemplate = "launch_template"
	useByParameter      = "ssm_parameter"
)

// publishTargetUses are the kinds of ImageUse that are publish targets.
var publishTargetUses = []UseKind{
	{Name: UseByLaunchTemplate, Singular: "launch template", Plural: "launch templates"},
	{
		Name:       useByParameter,
		Singular:   "SSM parameter",
		Plural:     "SSM parameters",
		References: []ec2types.ImageReferenceResourceType{ec2types.ImageReferenceResourceTypeSsmParameter},
	},
}

// UnlistedUses returns the uses that DescribeImageReferences does not list: parameters of data type text.
func (f PublicationFacts) UnlistedUses() []ImageUse {
	var uses []ImageUse
	for _, name := range slices.Sorted(maps.Keys(f.Parameters)) {
		if stored := f.Parameters[name]; stored.ImageID != "" && stored.DataType != ImageParameter {
			uses = append(uses, ImageUse{ImageID: stored.ImageID, Kind: useByParameter, Resource: name})
		}
	}
	return uses
}

// LaunchTemplate holds the parameters of a new launch template version with the image. Fields of type Text are
// templates.
type LaunchTemplate struct {
	Template    Text   `option:"name"` // name
	Source      string // source version: a number, "$Default" or "$Latest"
	Description Text   `option:"description"`
	SetDefault  bool   // make the new version the default
}

// Parameter holds the attributes of an SSM parameter with the image. Fields of type Text are templates.
type Parameter struct {
	Name        Text            `option:"name"`
	Type        string          // "String" or "SecureString"
	DataType    string          // ImageParameter, only with type String (7.1), or "text"
	KeyID       Text            `option:"key_id"` // of a SecureString; alias/aws/ssm if empty (7.9)
	Tier        string          // "Standard", "Advanced" or "Intelligent-Tiering"; the account's default if empty
	Description Text            `option:"description"`
	Tags        map[string]Text `option:"tags"`
	Overwrite   bool            // an existing parameter with another value
}

// ImageParameter is the data type of SSM parameters that launch templates can refer to (7.5).
const ImageParameter = "aws:ec2:image"

// SecureString is the type of encrypted SSM parameters.
const SecureString = "SecureString"

// LaunchTemplateFacts holds the versions of a launch template that matter.
type LaunchTemplateFacts struct {
	ID      string // lt-...
	Default int64  // the default version
	// DefaultImageID is the image that the default version names. Empty if it names none.
	DefaultImageID string
	Source         int64 // the source version of new versions
	// Naming holds the versions that name an image of an earlier run, in ascending order, by image. They are the default
	// version, and the versions that differ from Source only in the image.
	Naming map[string][]int64
	// Versions holds all versions with promote and rollback, newest first.
	Versions []PointerVersion
	Err      *APIError // why the template or a version could not be read
}

// ParameterFacts holds the attributes of an SSM parameter, but not its value, which may be a secret.
type ParameterFacts struct {
	Type     string // "String", "StringList", "SecureString"
	DataType string
	ImageID  string // its value if that is an image id; empty if it is not, or if its key is not usable (7.10)
	// Versions holds the versions with rollback, newest first.
	Versions []PointerVersion
	Err      *APIError // why it could not be read
}

// ParameterARN returns the ARN of an SSM parameter. There is exactly one slash before the name.
func (l Location) ParameterARN(name string) string {
	return l.arn("ssm", l.Account, "parameter/"+strings.TrimPrefix(name, "/"))
}
