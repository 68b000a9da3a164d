// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// existing looks up everything at a location that has the tag of a source image, whatever the options of the run that
// created it. Without a signing key no run has created anything. isVital is true if the plan may create or delete
// something there. A failure then prevents the plan.
func (s *survey) existing(ctx context.Context, at distribution.Location, isVital bool) {
	sources := s.signedSources()
	s.mu.Lock()
	_, isKnown := s.facts.Earlier[at]
	s.mu.Unlock()
	if len(sources) == 0 || isKnown {
		return
	}

	failed := func(operation string, err error) {
		s.missed(distribution.FailedLookup{At: at, Refusal: *awsclient.Refused(operation, err), Vital: isVital})
	}
	client := s.pool.EC2(at)
	ids, others, err := taggedResources(ctx, client, sources)
	if err != nil {
		failed("ec2:DescribeTags", err)
		return
	}
	found := distribution.ExistingResources{Others: others}
	if found.Images, err = imagesByID(ctx, client, ids[ec2types.ResourceTypeImage]); err != nil {
		failed("ec2:DescribeImages", err)
	}
	if found.Instances, err = instancesByID(ctx, client, ids[ec2types.ResourceTypeInstance]); err != nil {
		s.lookupFailed(at, "", "ec2:DescribeInstances", err)
		for _, id := range ids[ec2types.ResourceTypeInstance] {
			found.Others = append(found.Others, distribution.OtherResource{Kind: "instance", ID: id})
		}
	}
	snapshots := slices.Concat(ids[ec2types.ResourceTypeSnapshot], snapshotsOf(found.Images))
	if found.Snapshots, err = snapshotsByID(ctx, client, snapshots); err != nil {
		failed("ec2:DescribeSnapshots", err)
	}
	s.keep(func(f *distribution.Facts) { f.Earlier[at] = found })
}

// permissions looks up the launch permissions of the images of a location that isWanted selects, and the permissions on
// their snapshots.
func (s *survey) permissions(ctx context.Context, at distribution.Location, isWanted func(ec2types.Image) bool) {
	s.mu.Lock()
	found, isKnown := s.facts.Earlier[at]
	s.mu.Unlock()
	if !isKnown {
		return
	}
	launch, volumes := map[string]distribution.LaunchPermissions{}, map[string][]string{}
	maps.Copy(launch, found.LaunchPermissions)
	maps.Copy(volumes, found.VolumePermissions)
	client := s.pool.EC2(at)
	for _, image := range found.Images {
		id := aws.ToString(image.ImageId)
		if !isWanted(image) {
			continue
		}
		out, err := client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
			ImageId:   image.ImageId,
			Attribute: ec2types.ImageAttributeNameLaunchPermission,
		})
		if err != nil {
			s.lookupFailed(at, id, "ec2:DescribeImageAttribute", err)
			continue
		}
		launch[id] = distribution.NewLaunchPermissions(out.LaunchPermissions)
		if at.Account != s.facts.Source.Account {
			continue
		}
		for _, snapshot := range sortedSet(snapshotsOf([]ec2types.Image{image})) {
			volumes[snapshot] = s.sharedWith(ctx, client, at, snapshot)
		}
	}
	found.LaunchPermissions, found.VolumePermissions = launch, volumes
	s.keep(func(f *distribution.Facts) { f.Earlier[at] = found })
}

// isOfShareBlocks reports whether the signature of an image says that it belongs to share blocks. The plan verifies the
// signature.
func isOfShareBlocks(image ec2types.Image) bool {
	signature := distribution.TagMap(image.Tags)[provenance.TagSignature]
	return strings.HasSuffix(signature, " device="+provenance.SharedImage)
}

// existingElsewhere looks for resources in Regions that earlier runs used and this run does not use. It does so in the
// source account and in the accounts of the destinations.
func (s *survey) existingElsewhere(ctx context.Context, destinations []distribution.Destination) error {
	perAccount := map[string]distribution.Destination{
		s.facts.Source.Account: {At: distribution.Location{Account: s.facts.Source.Account}},
	}
	for _, d := range destinations {
		if _, isKnown := perAccount[d.At.Account]; !isKnown && s.facts.Sites[d.At].Err == nil {
			perAccount[d.At.Account] = d
		}
	}

	var elsewhere []distribution.Destination
	for _, region := range s.facts.Runs.Regions() {
		if !slices.Contains(s.facts.Regions, region) {
			continue
		}
		for _, account := range slices.Sorted(maps.Keys(perAccount)) {
			d := perAccount[account]
			d.At.Region = region
			if _, isKnown := s.facts.Earlier[d.At]; !isKnown {
				elsewhere = append(elsewhere, d)
			}
		}
	}
	return s.each(ctx, len(elsewhere), func(ctx context.Context, i int) {
		d := elsewhere[i]
		if err := s.pool.Assume(ctx, d, s.req.AssumeRoleFrom); err != nil {
			s.lookupFailed(d.At, "", "profile", err)
			return
		}
		if d.At.Account == s.facts.Source.Account {
			s.keys(ctx, d.At, plan.SourceKey(s.req, d.At.Region))
		}
		s.existing(ctx, d.At, false)
	})
}

// signedSources returns the values of the source tag for the images of the request that have a signing key.
func (s *survey) signedSources() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sources []string
	for _, region := range slices.Sorted(maps.Keys(s.facts.Images)) {
		if image := s.facts.Images[region]; image.Image != nil && len(image.Keys) > 0 {
			sources = append(sources, s.facts.SourceOf(region).String())
		}
	}
	return sources
}

// taggedResources returns the IDs of the resources with a source tag by type. DescribeTags finds all types in one call
// (rule 4.3.4), and describing by ID is cheaper than filters over all snapshots of an account.
func taggedResources(
	ctx context.Context, client *ec2.Client, sources []string,
) (ids map[ec2types.ResourceType][]string, others []distribution.OtherResource, err error) {
	ids = map[ec2types.ResourceType][]string{}
	pages := ec2.NewDescribeTagsPaginator(client, &ec2.DescribeTagsInput{Filters: []ec2types.Filter{
		{Name: aws.String("key"), Values: []string{provenance.TagSource}},
		{Name: aws.String("value"), Values: sources},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, tag := range page.Tags {
			id := aws.ToString(tag.ResourceId)
			switch tag.ResourceType {
			case ec2types.ResourceTypeImage, ec2types.ResourceTypeInstance, ec2types.ResourceTypeSnapshot:
				ids[tag.ResourceType] = append(ids[tag.ResourceType], id)
			default:
				others = append(others, distribution.OtherResource{Kind: string(tag.ResourceType), ID: id})
			}
		}
	}
	slices.SortFunc(others, func(a, b distribution.OtherResource) int { return cmp.Compare(a.ID, b.ID) })
	return ids, others, nil
}

// imagesByID returns the account's own images, sorted by ID. It uses a filter, because a list of IDs would fail if one
// image does not exist.
func imagesByID(ctx context.Context, client *ec2.Client, ids []string) ([]ec2types.Image, error) {
	var found []ec2types.Image
	for chunk := range slices.Chunk(sortedSet(ids), filterValues) {
		more, err := images(ctx, client, ec2types.Filter{Name: aws.String("image-id"), Values: chunk})
		if err != nil {
			return found, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// instancesByID returns instances that are not terminated, sorted by id.
func instancesByID(ctx context.Context, client *ec2.Client, ids []string) ([]ec2types.Instance, error) {
	var found []ec2types.Instance
	for chunk := range slices.Chunk(sortedSet(ids), filterValues) {
		pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
			{Name: aws.String("instance-id"), Values: chunk},
			{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}},
		}})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return found, err
			}
			for _, reservation := range page.Reservations {
				found = append(found, reservation.Instances...)
			}
		}
	}
	slices.SortFunc(found, func(a, b ec2types.Instance) int {
		return strings.Compare(aws.ToString(a.InstanceId), aws.ToString(b.InstanceId))
	})
	return found, nil
}

// snapshotsByID returns the account's own snapshots, sorted by id.
func snapshotsByID(ctx context.Context, client *ec2.Client, ids []string) ([]ec2types.Snapshot, error) {
	var found []ec2types.Snapshot
	for chunk := range slices.Chunk(sortedSet(ids), filterValues) {
		pages := ec2.NewDescribeSnapshotsPaginator(client, &ec2.DescribeSnapshotsInput{
			OwnerIds: []string{"self"},
			Filters:  []ec2types.Filter{{Name: aws.String("snapshot-id"), Values: chunk}},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return found, err
			}
			found = append(found, page.Snapshots...)
		}
	}
	slices.SortFunc(found, func(a, b ec2types.Snapshot) int {
		return strings.Compare(aws.ToString(a.SnapshotId), aws.ToString(b.SnapshotId))
	})
	return found, nil
}

// snapshotsOf returns the ids of the snapshots of images.
func snapshotsOf(images []ec2types.Image) []string {
	var ids []string
	for _, image := range images {
		for _, m := range image.BlockDeviceMappings {
			if m.Ebs != nil && m.Ebs.SnapshotId != nil {
				ids = append(ids, *m.Ebs.SnapshotId)
			}
		}
	}
	return ids
}

func sortedSet(ids []string) []string { return slices.Compact(slices.Sorted(slices.Values(ids))) }
