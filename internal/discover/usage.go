// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// groupTag is the tag with the Auto Scaling group of an instance (rule 8.9).
const groupTag = "aws:autoscaling:groupName"

// usage looks up what uses the releases of the image family at each destination.
func (s *survey) usage(ctx context.Context, destinations []distribution.Destination) error {
	if !s.req.Usage {
		return nil
	}
	return s.each(ctx, len(destinations), func(ctx context.Context, i int) {
		d := destinations[i]
		s.mu.Lock()
		images := plan.Assess(s.req, s.facts).ImagesOfFamily(d)
		isReachable := s.facts.Sites[d.At].Err == nil
		s.mu.Unlock()
		if len(images) == 0 || !isReachable {
			return
		}

		found := s.usesOf(ctx, d.At, images)
		s.keep(func(f *distribution.Facts) {
			if f.Usage == nil {
				f.Usage = map[distribution.Location]distribution.ImageUseFacts{}
			}
			f.Usage[d.At] = found
		})
	})
}

// usesOf returns the uses of images at a location.
func (s *survey) usesOf(ctx context.Context, at distribution.Location, images []string) distribution.ImageUseFacts {
	found := distribution.ImageUseFacts{}
	add := func(operation string, uses []distribution.ImageUse, err error) {
		found.Uses = append(found.Uses, uses...)
		if err != nil {
			found.Errs = append(found.Errs, awsclient.Refused(operation, err))
		}
	}

	client := s.pool.EC2(at)
	instances, err := instanceUses(ctx, client, images)
	add("ec2:DescribeInstances", instances, err)
	references, templates, err := referenceUses(ctx, client, images)
	add("ec2:DescribeImageReferences", references, err)
	versions, err := templateUses(ctx, client, images, templates)
	add("ec2:DescribeLaunchTemplateVersions", versions, err)
	return found
}

// instanceUses returns the instances of images, and the Auto Scaling groups that they belong to.
func instanceUses(ctx context.Context, client *ec2.Client, images []string) ([]distribution.ImageUse, error) {
	type group struct{ image, name string }
	var uses []distribution.ImageUse
	members := map[group]int{}
	for chunk := range slices.Chunk(images, filterValues) {
		pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{
			MaxResults: aws.Int32(1000),
			Filters: []ec2types.Filter{
				{Name: aws.String("image-id"), Values: chunk},
				{Name: aws.String("instance-state-name"), Values: step.ExistingInstances},
			},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return uses, err
			}
			for _, reservation := range page.Reservations {
				for _, i := range reservation.Instances {
					use := distribution.ImageUse{
						ImageID:  aws.ToString(i.ImageId),
						Kind:     distribution.UseByInstance,
						Resource: aws.ToString(i.InstanceId),
					}
					if i.State != nil {
						use.Detail = string(i.State.Name)
					}
					uses = append(uses, use)
					if name := distribution.TagMap(i.Tags)[groupTag]; name != "" {
						members[group{use.ImageID, name}]++
					}
				}
			}
		}
	}

	for g, n := range members {
		uses = append(uses, distribution.ImageUse{
			ImageID:  g.image,
			Kind:     distribution.UseByAutoScalingGroup,
			Resource: g.name,
			Detail:   distribution.Count(n, "instance", "instances"),
		})
	}

	return uses, nil
}

// kindOf returns the kind of use of a reference. Empty if it is not a use, or if another call finds it.
func kindOf(reference ec2types.ImageReferenceResourceType) string {
	for _, kind := range distribution.UseKinds {
		if slices.Contains(kind.References, reference) {
			return kind.Name
		}
	}
	return ""
}

// imagesPerCall is the number of images that one call of DescribeImageReferences takes (rule B.10.1).
const imagesPerCall = 10

// referenceUses returns the parameters and recipes that name images, and the IDs of the launch templates that do.
func referenceUses(
	ctx context.Context, client *ec2.Client, images []string,
) (uses []distribution.ImageUse, templates []string, err error) {
	for chunk := range slices.Chunk(images, imagesPerCall) {
		pages := ec2.NewDescribeImageReferencesPaginator(client, step.ReferenceSearch(chunk))
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return uses, sortedSet(templates), err
			}
			for _, r := range page.ImageReferences {
				arn := aws.ToString(r.Arn)
				switch kind := kindOf(r.ResourceType); {
				case r.ResourceType == ec2types.ImageReferenceResourceTypeEc2LaunchTemplate:
					_, id, _ := strings.Cut(arn, "/")
					templates = append(templates, id)
				case kind != "":
					uses = append(uses, distribution.ImageUse{
						ImageID:  aws.ToString(r.ImageId),
						Kind:     kind,
						Resource: resourceOf(arn),
					})
				}
			}
		}
	}
	return uses, sortedSet(templates), nil
}

// resourceOf returns the name of a parameter, or the ARN of another resource.
func resourceOf(arn string) string {
	if _, name, ok := strings.Cut(arn, ":parameter/"); ok {
		return "/" + name
	}
	return arn
}

// templateUses returns the versions of launch templates that name images.
func templateUses(
	ctx context.Context, client *ec2.Client, images, templates []string,
) (uses []distribution.ImageUse, err error) {
	for _, id := range templates {
		versions, name := map[string][]string{}, id
		for chunk := range slices.Chunk(images, filterValues) {
			pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(client, &ec2.DescribeLaunchTemplateVersionsInput{
				LaunchTemplateId: aws.String(id),
				Filters:          []ec2types.Filter{{Name: aws.String("image-id"), Values: chunk}},
			})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return uses, err
				}
				for _, v := range page.LaunchTemplateVersions {
					number := strconv.FormatInt(aws.ToInt64(v.VersionNumber), 10)
					if aws.ToBool(v.DefaultVersion) {
						number += " (default)"
					}
					name = cmp.Or(aws.ToString(v.LaunchTemplateName), name)
					image := aws.ToString(v.LaunchTemplateData.ImageId)
					versions[image] = append(versions[image], number)
				}
			}
		}
		for _, image := range slices.Sorted(maps.Keys(versions)) {
			slices.Sort(versions[image])
			uses = append(uses, distribution.ImageUse{
				ImageID:  image,
				Kind:     distribution.UseByLaunchTemplate,
				Resource: name,
				Detail:   fmt.Sprintf("version %s", strings.Join(versions[image], ", ")),
			})
		}
	}
	return uses, nil
}
