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
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// regions lists the Regions of the partition, so that the plan can report a Region that does not exist. Such a Region
// has no endpoint, so a call there would only look like an outage.
func (s *survey) regions(ctx context.Context) error {
	if len(s.req.Images) == 0 {
		return nil
	}
	at := distribution.Location{Account: s.facts.Source.Account, Region: s.req.Images[0].Region}
	out, err := s.pool.EC2(at).DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil {
		s.lookupFailed(at, "", "ec2:DescribeRegions", err)
		return err
	}
	for _, region := range out.Regions {
		s.facts.Regions = append(s.facts.Regions, aws.ToString(region.RegionName))
	}
	slices.Sort(s.facts.Regions)
	return nil
}

// image looks up a source image with the credentials of its owner, because other accounts cannot read all attributes
// (rules 2.2.11 and 2.2.12).
func (s *survey) image(ctx context.Context, source distribution.SourceImage) {
	at := distribution.Location{Account: s.facts.Source.Account, Region: source.Region}
	client := s.pool.EC2(at)
	image := s.describeImage(ctx, client, at, source.ImageID)
	if image == nil {
		return
	}
	seen := distribution.Image{
		Image:     image,
		Snapshots: map[string]distribution.Snapshot{},
		Keys:      provenance.ParseSigningKeys(distribution.TagMap(image.Tags)),
	}
	if len(seen.Keys) < len(source.Keys) { // written just now, and not shown yet (4.4.1)
		seen.Keys = source.Keys
	}
	uefi, err := client.DescribeImageAttribute(
		ctx,
		&ec2.DescribeImageAttributeInput{ImageId: image.ImageId, Attribute: ec2types.ImageAttributeNameUefiData},
	)
	if err != nil {
		s.requiredLookupFailed(at, source.ImageID, "ec2:DescribeImageAttribute", err)
	} else if uefi.UefiData != nil {
		seen.UEFIData = aws.ToString(uefi.UefiData.Value)
	}
	launch, err := client.DescribeImageAttribute(
		ctx,
		&ec2.DescribeImageAttributeInput{ImageId: image.ImageId, Attribute: ec2types.ImageAttributeNameLaunchPermission},
	)
	if err != nil {
		s.requiredLookupFailed(at, source.ImageID, "ec2:DescribeImageAttribute", err)
	} else {
		seen.SharedWith = distribution.NewLaunchPermissions(launch.LaunchPermissions)
	}
	defaultKey := s.ebsDefaults(ctx, at).KMSKeyID
	keys := []string{plan.SourceKey(s.req, source.Region)}
	snapshots := s.snapshots(ctx, client, at, image)
	for _, id := range slices.Sorted(maps.Keys(snapshots)) { // requests in a repeatable order
		snapshot := distribution.Snapshot{Snapshot: snapshots[id], SharedWith: s.sharedWith(ctx, client, at, id)}
		seen.Snapshots[id] = snapshot
		keys = append(keys, aws.ToString(snapshot.KmsKeyId))
	}
	slices.Sort(keys)
	s.keys(ctx, at, keys...)
	if defaultKey != awsManagedKey || !s.areCustomerManaged(at, seen.Snapshots) {
		s.keys(ctx, at, defaultKey) // it may be the key of a volume
	}
	if base := s.req.Build.BaseAMI; base != "" && source.Region == s.req.Build.Region {
		if seen.Base = s.describeImage(ctx, client, at, base); seen.Base != nil {
			seen.BaseSnapshots = s.snapshots(ctx, client, at, seen.Base)
		}
	}
	s.keep(func(f *distribution.Facts) { f.Images[source.Region] = seen })
}

// awsManagedKey is the alias of the AWS managed key of EBS.
const awsManagedKey = "alias/aws/ebs"

// areCustomerManaged reports whether all encrypted snapshots have customer managed keys.
func (s *survey) areCustomerManaged(at distribution.Location, snapshots map[string]distribution.Snapshot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, snapshot := range snapshots {
		if !aws.ToBool(snapshot.Encrypted) {
			continue
		}
		key := s.facts.Keys[at][aws.ToString(snapshot.KmsKeyId)]
		if key.Metadata == nil || key.Metadata.KeyManager != kmstypes.KeyManagerTypeCustomer {
			return false
		}
	}
	return true
}

// describeImage returns an image. Nil if AWS shows none.
func (s *survey) describeImage(
	ctx context.Context,
	client *ec2.Client,
	at distribution.Location,
	id string,
) *ec2types.Image {
	out, err := client.DescribeImages(
		ctx,
		&ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDisabled: aws.Bool(true), IncludeDeprecated: aws.Bool(true)},
	)
	switch {
	case err != nil:
		s.lookupFailed(at, id, "ec2:DescribeImages", err)
		return nil
	case len(out.Images) == 0: // 2.2.12, 2.5.9
		return nil
	}
	return &out.Images[0]
}

// snapshots returns the snapshots of an image that are visible.
func (s *survey) snapshots(
	ctx context.Context,
	client *ec2.Client,
	at distribution.Location,
	image *ec2types.Image,
) map[string]ec2types.Snapshot {
	var ids []string
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			ids = append(ids, *m.Ebs.SnapshotId)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	seen := map[string]ec2types.Snapshot{}
	if len(ids) == 0 {
		return seen
	}
	// a filter, because a list of IDs fails as a whole if one of them is deleted or hidden (rule 2.5.4)
	out, err := client.DescribeSnapshots(
		ctx,
		&ec2.DescribeSnapshotsInput{Filters: []ec2types.Filter{{Name: aws.String("snapshot-id"), Values: ids}}},
	)
	if err != nil {
		s.lookupFailed(at, aws.ToString(image.ImageId), "ec2:DescribeSnapshots", err)
		return seen
	}
	for _, snapshot := range out.Snapshots {
		seen[aws.ToString(snapshot.SnapshotId)] = snapshot
	}
	return seen
}

// sharedWith returns the sorted accounts that already may create volumes from a snapshot.
func (s *survey) sharedWith(ctx context.Context, client *ec2.Client, at distribution.Location, id string) []string {
	out, err := client.DescribeSnapshotAttribute(
		ctx,
		&ec2.DescribeSnapshotAttributeInput{SnapshotId: &id, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission},
	)
	if err != nil {
		s.requiredLookupFailed(at, id, "ec2:DescribeSnapshotAttribute", err)
		return nil
	}
	accounts := []string{}
	for _, p := range out.CreateVolumePermissions {
		if p.UserId != nil {
			accounts = append(accounts, *p.UserId)
		}
	}
	slices.Sort(accounts)
	return accounts
}

// ebsDefaults returns the EBS encryption defaults of an account and Region (1.7.1, 1.7.3).
func (s *survey) ebsDefaults(ctx context.Context, at distribution.Location) distribution.Default {
	client := s.pool.EC2(at)
	var seen distribution.Default
	if out, err := client.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{}); err != nil {
		s.lookupFailed(at, "", "ec2:GetEbsEncryptionByDefault", err)
	} else {
		seen.Encryption = aws.ToBool(out.EbsEncryptionByDefault)
	}
	if out, err := client.GetEbsDefaultKmsKeyId(ctx, &ec2.GetEbsDefaultKmsKeyIdInput{}); err != nil {
		s.lookupFailed(at, "", "ec2:GetEbsDefaultKmsKeyId", err)
	} else {
		seen.KMSKeyID = aws.ToString(out.KmsKeyId)
	}
	s.keep(func(f *distribution.Facts) { f.Defaults[at] = seen })
	return seen
}

// key describes one key (3.4.1).
func (s *survey) key(ctx context.Context, at distribution.Location, asked string) distribution.Key {
	out, err := s.pool.KMS(at).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &asked})
	if err != nil {
		return distribution.Key{Err: awsclient.Refused("kms:DescribeKey", err)}
	}
	return distribution.Key{Metadata: out.KeyMetadata}
}

// destination looks up one account in one Region of a target: the identity of its credentials, the image that already
// has the name, and the key.
func (s *survey) destination(ctx context.Context, d distribution.Destination) {
	site := s.site(ctx, d)
	s.keep(func(f *distribution.Facts) { f.Sites[d.At] = site })
	if site.Err != nil {
		return
	}
	s.existing(ctx, d.At, true)
	if !d.Lifecycle.Users.IsEmpty() {
		s.permissions(ctx, d.At, func(image ec2types.Image) bool { return aws.ToString(image.Name) == d.Name })
	}
	s.pointers(ctx, d)
	s.launch(ctx, d)
	s.releases(ctx, d)
	key := d.KMSKeyID
	if key == distribution.DefaultKey {
		key = s.ebsDefaults(ctx, d.At).KMSKeyID
	}
	s.keys(ctx, d.At, key)
}

// sharer looks up the identity of the credentials for an account of a share block.
func (s *survey) sharer(ctx context.Context, d distribution.Destination) {
	site := s.who(ctx, d)
	s.keep(func(f *distribution.Facts) { f.Sites[d.At] = site })
}

// allowedImages looks up the Allowed AMIs settings of the accounts of share blocks, which may hide the shared image
// (rule 2.2.14).
func (s *survey) allowedImages(ctx context.Context, sharers []distribution.Destination) error {
	return s.each(ctx, len(sharers), func(ctx context.Context, i int) {
		at := sharers[i].At
		s.mu.Lock()
		hasFailed := s.facts.Sites[at].Err != nil
		s.mu.Unlock()
		if hasFailed || at.Account == s.facts.Source.Account {
			return
		}
		out, err := s.pool.EC2(at).GetAllowedImagesSettings(ctx, &ec2.GetAllowedImagesSettingsInput{})
		if err != nil {
			s.lookupFailed(at, "", "ec2:GetAllowedImagesSettings", err)
			return
		}
		s.keep(func(f *distribution.Facts) {
			if f.AllowedImages == nil {
				f.AllowedImages = map[distribution.Location]distribution.AllowedImages{}
			}
			f.AllowedImages[at] = distribution.AllowedImages{State: aws.ToString(out.State), Criteria: out.ImageCriteria}
		})
	})
}

// who returns the caller identity in an account and Region, or the error of its credentials.
func (s *survey) who(ctx context.Context, d distribution.Destination) (site distribution.DestinationFacts) {
	s.mu.Lock()
	site = s.facts.Sites[d.At]
	s.mu.Unlock()
	if site.Err != nil {
		return site
	}
	site.ExternalID = len(d.Roles) > 0 && d.Roles[len(d.Roles)-1].ExternalID != ""
	var err error
	if site.Identity, err = s.pool.Identity(ctx, d.At); err != nil {
		site.Err = awsclient.Refused("sts:GetCallerIdentity", err)
	}
	return site
}

// compareExternalIDs records, for each role that cannot be assumed, another account of the same block in which the same
// external id worked. The role is then the likely cause, and not the external id.
func (s *survey) compareExternalIDs(all []distribution.Destination) {
	s.mu.Lock()
	defer s.mu.Unlock()

	for _, d := range all {
		site := s.facts.Sites[d.At]
		if site.Err == nil || !site.ExternalID {
			continue
		}
		for _, other := range all {
			if usesSameExternalID(d, other) && s.facts.Sites[other.At].Identity.ARN != "" {
				site.WorkedIn = other.At.Account
				s.facts.Sites[d.At] = site
				break
			}
		}
	}
}

// usesSameExternalID reports whether two accounts of a block have the same external id for their last role.
func usesSameExternalID(a, b distribution.Destination) bool {
	isOtherAccount := a.At.Account != b.At.Account && a.Target == b.Target
	return isOtherAccount && len(a.Roles) > 0 && len(b.Roles) > 0 &&
		a.Roles[len(a.Roles)-1].ExternalID == b.Roles[len(b.Roles)-1].ExternalID
}

func (s *survey) site(ctx context.Context, d distribution.Destination) distribution.DestinationFacts {
	site := s.who(ctx, d)
	if site.Err != nil {
		return site
	}
	out, err := s.pool.EC2(d.At).DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners:          []string{"self"},
		Filters:         []ec2types.Filter{{Name: aws.String("name"), Values: []string{literal(d.Name)}}},
		IncludeDisabled: aws.Bool(true), IncludeDeprecated: aws.Bool(true),
	})
	if err != nil { // a Region that is not enabled answers so, too (5.8)
		site.Err = awsclient.Refused("ec2:DescribeImages", err)
		return site
	}
	if len(out.Images) > 0 {
		site.NameUsed = &out.Images[0]
	}
	return site
}

// grants looks up the temporary grants of earlier runs on the keys of the source account. If an earlier run has not
// finished, it does so even if the template creates none, because that run may have had other options.
func (s *survey) grants(ctx context.Context) {
	if s.req.SourceKeyAccess != distribution.ByGrant && !s.req.CleansUp && !s.facts.HasUnfinishedRuns(s.req.RunID) {
		return
	}
	s.facts.Grants = map[distribution.Location][]kmstypes.GrantListEntry{}
	for _, at := range slices.SortedFunc(maps.Keys(s.facts.Keys), distribution.Location.Compare) {
		if at.Account != s.facts.Source.Account {
			continue
		}
		var keys []string
		for _, key := range s.facts.Keys[at] {
			if m := key.Metadata; m != nil && m.KeyManager == kmstypes.KeyManagerTypeCustomer {
				keys = append(keys, aws.ToString(m.Arn))
			}
		}
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			s.facts.Grants[at] = append(s.facts.Grants[at], s.grantsOn(ctx, at, key)...)
		}
	}
}

// grantsOn returns the grants on one key for the images of the request.
func (s *survey) grantsOn(ctx context.Context, at distribution.Location, key string) (ours []kmstypes.GrantListEntry) {
	pages := kms.NewListGrantsPaginator(s.pool.KMS(at), &kms.ListGrantsInput{KeyId: &key, Limit: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			s.lookupFailed(at, key, "kms:ListGrants", err)
			return ours
		}
		for _, g := range page.Grants {
			if slices.ContainsFunc(s.req.Images, func(i distribution.SourceImage) bool {
				return provenance.IsGrantOf(s.facts.SourceOf(i.Region), aws.ToString(g.Name))
			}) {
				ours = append(ours, g)
			}
		}
	}
	slices.SortFunc(ours, func(a, b kmstypes.GrantListEntry) int { return cmp.Compare(*a.GrantId, *b.GrantId) })
	return ours
}

// literal escapes the wildcards * and ? in the value of a filter.
func literal(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}
