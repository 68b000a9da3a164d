// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// DeleteRelease deregisters an older release with its snapshots (rule 9.11), or disables it (rule 9.2). It keeps a
// release that is protected, shared or used (rule 9.12), which it checks right before the call. Keeping a release is
// not a failure.
type DeleteRelease struct {
	Base
	ImageID string
	Name    string    // for messages
	Release time.Time // of the image that replaces it. A newer release is kept
	DryRun  bool      // report the release and keep it
	Disable bool      // disable the release. A later run deregisters it
}

// ReferencePermissions are the permissions that DescribeImageReferences needs for all kinds of references. Without
// one, AWS may leave out that kind (EC2-UG:ec2-ami-references).
var ReferencePermissions = []string{
	"ec2:DescribeLaunchTemplates",
	"ec2:DescribeLaunchTemplateVersions",
	"imagebuilder:GetContainerRecipe",
	"imagebuilder:ListContainerRecipes",
	"imagebuilder:ListImageRecipes",
	"ssm:DescribeParameters",
	"ssm:GetParameters",
}

func (s *DeleteRelease) Permissions() []Permission {
	looks := []Permission{
		{"ec2:DescribeImages", "*", "4.4.1"},
		{"ec2:DescribeImageReferences", "*", "9.12"},
		{"ec2:DescribeInstances", "*", "8.7"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.ImageID), "2.2.11"},
	}

	for _, action := range ReferencePermissions {
		looks = append(looks, Permission{action, "*", "9.12"})
	}

	if s.DryRun {
		return looks
	}

	if s.Disable {
		return append([]Permission{{"ec2:DisableImage", s.Location.ImageARN(s.ImageID), "9.2"}}, looks...)
	}

	return append(
		[]Permission{
			{"ec2:DeregisterImage", s.Location.ImageARN(s.ImageID), "2.5.9"},
			{"ec2:DeleteSnapshot", s.Location.SnapshotARN("*"), "9.11"},
		},
		looks...)
}

func (s *DeleteRelease) ResourceID() string { return s.ImageID }

func (s *DeleteRelease) String() string {
	if s.DryRun {
		return fmt.Sprintf("check whether the older release %s %q in %s would be %s",
			s.ImageID, s.Name, s.Location, retired(s.Disable))
	}
	if s.Disable {
		return fmt.Sprintf("disable the older release %s %q in %s, unless it is in use", s.ImageID, s.Name, s.Location)
	}
	return fmt.Sprintf(
		"deregister the older release %s %q with its snapshots in %s, unless it is in use",
		s.ImageID,
		s.Name,
		s.Location,
	)
}

func (s *DeleteRelease) Doing(w Words) string {
	at := w.Location(s.Location)
	if s.DryRun {
		return fmt.Sprintf("Checking whether %s (%q) in %s could be %s", s.ImageID, s.Name, at, retired(s.Disable))
	}
	if s.Disable {
		return fmt.Sprintf("Disabling the earlier release %s (%q) in %s", s.ImageID, s.Name, at)
	}
	return fmt.Sprintf("Deregistering the earlier release %s (%q) in %s", s.ImageID, s.Name, at)
}

func (s *DeleteRelease) Summary() Summary {
	if s.Disable {
		return Summary{Phrase: Phrase{Text: "disable %s", Singular: "earlier release"}}
	}
	return Summary{Phrase: Phrase{Text: "deregister %s", Singular: "earlier release"}}
}

func (s *DeleteRelease) Role() Role { return RemovesRelease }

var _ = register(&DeleteRelease{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*DeleteRelease).start(env) },
})

func (s *DeleteRelease) start(env Env) Attempt { return newAttempt(s, env, env.deleteRelease) }

// deleteRelease disables or deregisters an older release that nothing uses.
func (r *Run) deleteRelease(ctx context.Context, _ *attempt, s *DeleteRelease) (Outcome, error) {
	deletion := imageDeletion{at: s.Location, id: s.ImageID, release: s.Release}
	return r.retire(ctx, retirement{
		at:      s.Location,
		imageID: s.ImageID,
		subject: "the older release",
		option:  "retention",
		dryRun:  s.DryRun,
		disable: s.Disable,
		findUse: func(ctx context.Context, image *ec2types.Image) (string, error) {
			return r.findUse(ctx, s.Location, image)
		},
		idToDisable: func(ctx context.Context) (string, error) {
			proof, err := r.imageProof(ctx, deletion)
			return proof.ID(), err
		},
		deregister: func(ctx context.Context, _ *ec2types.Image) ([]distribution.RetainedResource, error) {
			deletion.withSnapshots = true
			return r.deregister(ctx, deletion)
		},
	})
}

// findUse returns why an image must stay. Empty if nothing uses it.
func (r *Run) findUse(ctx context.Context, at distribution.Location, image *ec2types.Image) (string, error) {
	if IsProtected(*image) {
		return "it is protected against deregistration", nil
	}

	client, id := r.Clients.EC2(at), aws.ToString(image.ImageId)
	attribute, err := client.DescribeImageAttribute(
		ctx,
		&ec2.DescribeImageAttributeInput{ImageId: aws.String(id), Attribute: ec2types.ImageAttributeNameLaunchPermission},
	)
	if err != nil {
		return "", err
	}

	if len(attribute.LaunchPermissions) > 0 {
		return "others may launch it", nil
	}

	instance, err := findInstanceOf(ctx, client, id)
	if err != nil || instance != "" {
		return instance, err
	}
	return findReferenceTo(ctx, client, id)
}

// ExistingInstances are the states of instances that are not terminated.
var ExistingInstances = []string{"pending", "running", "shutting-down", "stopping", "stopped"}

// findInstanceOf describes an existing instance that was launched from an image. Empty if there is none.
func findInstanceOf(ctx context.Context, client *ec2.Client, imageID string) (string, error) {
	pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{
		MaxResults: aws.Int32(1000),
		Filters: []ec2types.Filter{
			{Name: aws.String("image-id"), Values: []string{imageID}},
			{Name: aws.String("instance-state-name"), Values: ExistingInstances},
		},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, reservation := range page.Reservations {
			for _, i := range reservation.Instances {
				return fmt.Sprintf("instance %s was launched from it", aws.ToString(i.InstanceId)), nil
			}
		}
	}

	return "", nil
}

// findReferenceTo describes a resource that refers to an image. Empty if there is none.
func findReferenceTo(ctx context.Context, client *ec2.Client, imageID string) (string, error) {
	pages := ec2.NewDescribeImageReferencesPaginator(client, ReferenceSearch([]string{imageID}))
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, reference := range page.ImageReferences {
			return fmt.Sprintf("%s %s names it", reference.ResourceType, aws.ToString(reference.Arn)), nil
		}
	}

	return "", nil
}

// ReferenceSearch returns the request for everything that names images, except for terminated instances.
func ReferenceSearch(images []string) *ec2.DescribeImageReferencesInput {
	return &ec2.DescribeImageReferencesInput{
		ImageIds:                images,
		IncludeAllResourceTypes: aws.Bool(true),
		ResourceTypes: []ec2types.ResourceTypeRequest{
			{
				ResourceType: ec2types.ImageReferenceResourceTypeEc2Instance,
				ResourceTypeOptions: []ec2types.ResourceTypeOption{
					{OptionName: ec2types.ImageReferenceOptionNameStateName, OptionValues: ExistingInstances},
				},
			},
			{
				ResourceType: ec2types.ImageReferenceResourceTypeEc2LaunchTemplate,
				ResourceTypeOptions: []ec2types.ResourceTypeOption{
					{OptionName: ec2types.ImageReferenceOptionNameVersionDepth, OptionValues: []string{"10000"}},
				},
			},
		},
	}
}
