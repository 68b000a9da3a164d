// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deleteRelease deletes an older release that nothing uses. A release that stays is only a finding, because the
// destination has its image anyway.
func (t *executor) deleteRelease(ctx context.Context, s *step.DeleteRelease) StepOutcome {
	newFinding := func(level distribution.Level, code, summary, detail string) distribution.Finding {
		return distribution.Finding{
			Level:     level,
			Code:      code,
			Reference: "9.12",
			Field:     "retention",
			Location:  s.Location,
			Resource:  s.ImageID,
			Summary:   summary,
			Detail:    detail,
		}
	}

	image, err := t.image(ctx, s.Location, s.ImageID)
	if err == nil && image == nil {
		return StepOutcome{}
	}

	use := ""
	if err == nil {
		use, err = t.findUse(ctx, s.Location, image)
	}

	switch {
	case err != nil:
		return StepOutcome{
			Notes: []distribution.Finding{
				newFinding(
					distribution.Warning,
					distribution.CodeReleaseKept,
					"the older release "+s.ImageID+" stays",
					"whether something needs it could not be looked at: "+reason(err),
				),
			},
		}
	case use != "":
		return StepOutcome{
			Notes: []distribution.Finding{
				newFinding(distribution.Note, distribution.CodeReleaseKept, "the older release "+s.ImageID+" stays", use),
			},
		}
	case s.DryRun:
		return StepOutcome{
			Notes: []distribution.Finding{
				newFinding(
					distribution.Note,
					distribution.CodeReleaseWouldBeRemoved,
					"the older release "+s.ImageID+" would be removed with its snapshots",
					"nothing needs it; retention has dry_run = true",
				),
			},
		}
	}

	left, err := t.deregister(ctx, imageDeletion{at: s.Location, id: s.ImageID, release: s.Release}, true)
	if err != nil {
		return StepOutcome{
			Retained: left,
			Notes: []distribution.Finding{
				newFinding(
					distribution.Warning,
					distribution.CodeReleaseKept,
					"the older release "+s.ImageID+" stays",
					reason(err),
				),
			},
		}
	}

	return StepOutcome{ID: s.ImageID, Retained: left}
}

// findUse returns why an image must stay. Empty if nothing uses it.
func (t *executor) findUse(ctx context.Context, at distribution.Location, image *ec2types.Image) (string, error) {
	if step.IsProtected(*image) {
		return "it is protected against deregistration", nil
	}

	client, id := t.pool.EC2(at), aws.ToString(image.ImageId)
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

	states := []string{"pending", "running", "shutting-down", "stopping", "stopped"}
	instances := ec2.NewDescribeInstancesPaginator(
		client,
		&ec2.DescribeInstancesInput{MaxResults: aws.Int32(1000), Filters: []ec2types.Filter{
			{Name: aws.String("image-id"), Values: []string{id}}, {Name: aws.String("instance-state-name"), Values: states},
		}},
	)

	for instances.HasMorePages() {
		page, err := instances.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				return fmt.Sprintf("instance %s was launched from it", aws.ToString(i.InstanceId)), nil
			}
		}
	}

	references := ec2.NewDescribeImageReferencesPaginator(client, &ec2.DescribeImageReferencesInput{
		ImageIds: []string{id}, IncludeAllResourceTypes: aws.Bool(true),
		ResourceTypes: []ec2types.ResourceTypeRequest{
			{
				ResourceType: ec2types.ImageReferenceResourceTypeEc2Instance,
				ResourceTypeOptions: []ec2types.ResourceTypeOption{
					{OptionName: ec2types.ImageReferenceOptionNameStateName, OptionValues: states},
				},
			},
			{
				ResourceType: ec2types.ImageReferenceResourceTypeEc2LaunchTemplate,
				ResourceTypeOptions: []ec2types.ResourceTypeOption{
					{OptionName: ec2types.ImageReferenceOptionNameVersionDepth, OptionValues: []string{"10000"}},
				},
			},
		},
	})

	for references.HasMorePages() {
		page, err := references.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, r := range page.ImageReferences {
			return fmt.Sprintf("%s %s names it", r.ResourceType, aws.ToString(r.Arn)), nil
		}
	}

	return "", nil
}
