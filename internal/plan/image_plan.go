// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// encryptionCauses returns the possible reasons why an image is encrypted. There are several if the facts do not
// exclude all but one.
func encryptionCauses(region string, image distribution.Image, facts distribution.Facts) []string {
	found := slices.Clone(image.EncryptionReasons)
	if len(found) > 0 {
		return found
	}

	for _, v := range volumes(image) {
		if aws.ToBool(v.snapshot.Encrypted) {
			for _, cause := range volumeCauses(region, v, image, facts) {
				if !slices.Contains(found, cause) {
					found = append(found, cause)
				}
			}
		}
	}

	return found
}

// volumeCauses returns the possible reasons why a volume is encrypted (rules 1.1.3 to 1.1.10, 1.2.2).
func volumeCauses(region string, v volume, image distribution.Image, facts distribution.Facts) []string {
	at := distribution.Location{Account: facts.Source.Account, Region: region}
	defaults := facts.Defaults[at]
	isDefault := v.key() == facts.Keys[at][defaults.KMSKeyID].ARN()
	var found []string
	if defaults.Encryption && isDefault {
		found = append(found, "EBS encryption by default is on in "+region)
	}

	if image.Base != nil {
		isOwn := aws.ToString(image.Base.OwnerId) == facts.Source.Account
		for _, m := range image.Base.BlockDeviceMappings {
			if !slices.Contains(v.devices, aws.ToString(m.DeviceName)) || m.Ebs == nil || !aws.ToBool(m.Ebs.Encrypted) {
				continue
			}
			base := image.BaseSnapshots[aws.ToString(m.Ebs.SnapshotId)]
			switch {
			case isOwn && aws.ToString(base.KmsKeyId) == v.key():
				found = append(found, fmt.Sprintf("the base AMI %s has the same key", aws.ToString(image.Base.ImageId)))
			case !isOwn && isDefault:
				found = append(found, fmt.Sprintf("the base AMI %s of another account is encrypted, "+
					"and its volumes get the default key", aws.ToString(image.Base.ImageId)))
			}
		}
	}

	if len(found) == 0 {
		found = append(found, "it was created with encryption "+
			"(with amazon-ebs: encrypt_boot, kms_key_id or launch_block_device_mappings)")
	}

	return found
}

// StagingReason is why a snapshot is staged, or why it is shared as it is. It is part of the manifest.
type StagingReason string

// Reasons to copy a snapshot within the source account before it is shared (to stage it), and reasons not to.
const (
	AWSManagedKey      StagingReason = "aws_managed_key"
	OtherKey           StagingReason = "other_key"
	NotEncrypted       StagingReason = "not_encrypted"
	OneTransfer        StagingReason = "one_transfer_per_region"
	PartOfStagedImage  StagingReason = "part_of_staged_image"
	TooManyAccounts    StagingReason = "too_many_accounts"
	ConfiguredKey      StagingReason = "configured_key"
	CustomerManagedKey StagingReason = "customer_managed_key"
	UnencryptedAllowed StagingReason = "unencrypted_share_allowed"
	CopiedByOwner      StagingReason = "copied_by_owner"
)

var stagingTexts = map[StagingReason]string{
	AWSManagedKey:      "cannot be shared",
	OtherKey:           "not the key of kms_key_id",
	NotEncrypted:       "not encrypted",
	OneTransfer:        "transferred once for all accounts",
	PartOfStagedImage:  "copied because another volume of the AMI must be",
	TooManyAccounts:    "copied to share it in batches, with at most 1000 accounts at a time",
	ConfiguredKey:      "shared as it is",
	CustomerManagedKey: "shared as it is",
	UnencryptedAllowed: "shared unencrypted (allow_unencrypted_share)",
	CopiedByOwner:      "copied by its own account",
}

// Text returns the reason for the screen and the reports. A reason of a later version has its own name as text.
func (r StagingReason) Text() string {
	if text, known := stagingTexts[r]; known {
		return text
	}
	return string(r)
}

// unsharableDetails holds the details of findings about snapshots that cannot be shared, by the number of the AWS rule.
var unsharableDetails = map[string]string{
	"2.1.1": "it is encrypted with aws/ebs, and other accounts cannot use an AWS managed key",
	"2.1.4": "it is not encrypted, and a share needs kms_key_id or allow_unencrypted_share = true",
}

func unsharable(s *shareSource, v volume, rule string) distribution.Finding {
	return distribution.Finding{
		Level:       distribution.Refused,
		Code:        distribution.CodeSnapshotNotShareable,
		Reference:   rule,
		Field:       "kms_key_id",
		Location:    s.location,
		Resource:    v.id(),
		Summary:     "the snapshot of " + v.device() + " cannot be shared",
		Detail:      unsharableDetails[rule],
		Remediation: shareRemedy(rule),
	}
}

func imagePlan(
	source distribution.SourceImage,
	facts distribution.Facts,
	sources []*shareSource,
	open []distribution.Destination,
) ImagePlan {
	image := facts.Images[source.Region]
	p := ImagePlan{
		Account: facts.Source.Account,
		Region:  source.Region,
		ImageID: source.ImageID,
		Causes:  encryptionCauses(source.Region, image, facts),
	}

	if image.Image != nil {
		p.Name = aws.ToString(image.Image.Name)
	}

	for _, v := range volumes(image) {
		device := DevicePlan{
			Device:     v.device(),
			SnapshotID: v.id(),
			GiB:        int32(v.gib()),
			Encrypted:  aws.ToBool(v.snapshot.Encrypted),
			KeyARN:     v.key(),
		}

		if slices.ContainsFunc(open, func(d distribution.Destination) bool {
			return d.At.Account == facts.Source.Account && d.FromRegion == source.Region
		}) {
			device.Why = CopiedByOwner
		}

		if i := slices.IndexFunc(sources, func(s *shareSource) bool { return s.location.Region == source.Region }); i >= 0 {
			sv := sources[i].items[slices.IndexFunc(sources[i].items, func(sv sourceVolume) bool { return sv.id() == v.id() })]
			device.Staged, device.Why = sv.isStaged, sv.reason
			if sv.isStaged {
				device.StageKeyARN = sources[i].keyARN
			}
		}

		p.Devices = append(p.Devices, device)
	}

	return p
}

// imagePlans returns what is planned for each source image.
func (a *Assessment) imagePlans(sources []*shareSource, open []distribution.Destination) []ImagePlan {
	var all []ImagePlan
	for _, source := range a.req.Images {
		all = append(all, imagePlan(source, a.facts, sources, open))
	}
	return all
}

// destinationPlans returns what is planned for each destination. It marks those that are not in open as left out.
func (a *Assessment) destinationPlans(
	destinations, open []distribution.Destination, sources []*shareSource,
) []DestinationPlan {
	var all []DestinationPlan
	for _, d := range destinations {
		planned := a.destinationPlan(d, sources)
		planned.LeftOut = !slices.ContainsFunc(open, func(o distribution.Destination) bool { return o.At == d.At })
		all = append(all, planned)
	}
	return all
}

func (a *Assessment) destinationPlan(d distribution.Destination, sources []*shareSource) DestinationPlan {
	image := a.facts.Images[d.FromRegion]
	p := DestinationPlan{
		At:         d.At,
		Target:     d.Target,
		Optional:   d.Optional,
		FromRegion: d.FromRegion,
		Name:       d.Name,
		KeyARN:     destinationKeyARN(d, a.facts),
		Method:     d.Method,
		MethodWhy:  d.MethodWhy,
	}

	if s := findShareSource(sources, d); s != nil {
		p.FromRegion = s.location.Region
	}

	if image.Image != nil {
		p.Carried = Carry(
			*image.Image,
			image.UEFIData,
			func(a step.Attribute) distribution.AttributeHandling { return attributeHandling(d, a) },
		)
		p.Pointers = a.pointers(d)
	}

	return p
}
