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

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// shareSource is what destinations copy from and what share blocks share. It is the source account's image and
// snapshots in one Region. Those that cannot be shared as they are get staged copies.
type shareSource struct {
	location        distribution.Location
	region          string // Region of the source image
	keyARN          string // of staged copies
	items           []sourceVolume
	stagesImage     bool                           // stage an image, whose snapshots are the items
	isBatched       bool                           // more accounts copy the image than it can be shared with at once
	permanent       distribution.LaunchPermissions // launch permissions of share blocks
	existingImageID string                         // image that is already shared with all of them. Empty if none
	consumers       []distribution.Destination
}

// sourceVolume is one volume of a share source.
type sourceVolume struct {
	volume
	isStaged bool
	reason   StagingReason

	permanent []string // accounts with permissions of share blocks
}

// sharesImage reports whether an account copies or launches the whole image, and not only its snapshots.
func (s *shareSource) sharesImage(owner string) bool {
	return !s.permanent.IsEmpty() || slices.ContainsFunc(s.consumers, func(d distribution.Destination) bool {
		return d.Method == distribution.ByImage && d.At.Account != owner
	})
}

// serves reports whether a destination copies from the share source.
func (s *shareSource) serves(at distribution.Location) bool {
	return slices.ContainsFunc(s.consumers, func(d distribution.Destination) bool { return d.At == at })
}

// route returns the share sources, sorted by Region, and their destinations. A destination copies from the source
// image in its Region, if there is one. Otherwise regionRoutes chooses the route. A staged copy in the Region needs one
// transfer for all accounts. A direct copy crosses accounts and Regions at once (rule A.1). Share blocks use the source
// images. Staged copies are found by source and key, so runs with other destinations can reuse them.
func (a *Assessment) route(all, destinations []distribution.Destination) ([]*shareSource, []distribution.Finding) {
	var sources []*shareSource
	from := map[string]string{}
	for _, w := range a.regionRoutes(all) {
		from[w.Region] = w.From
	}

	sourceIn := func(region, from string) *shareSource {
		i := slices.IndexFunc(sources, func(s *shareSource) bool { return s.location.Region == region })
		if i < 0 {
			sources = append(
				sources,
				&shareSource{location: distribution.Location{Account: a.facts.Source.Account, Region: region}, region: from},
			)
			i = len(sources) - 1
		}
		return sources[i]
	}

	for _, d := range destinations {
		if d.At.Account == a.facts.Source.Account {
			continue // the owner needs no staged copy and no share
		}
		s := sourceIn(cmp.Or(from[d.At.Region], d.FromRegion), d.FromRegion)
		s.consumers = append(s.consumers, d)
	}

	for _, source := range a.req.Images {
		for _, share := range a.req.Shares {
			s := sourceIn(source.Region, source.Region)
			s.permanent = s.permanent.And(shareLaunchPermissions(share))
		}
	}

	slices.SortFunc(sources, func(a, b *shareSource) int { return strings.Compare(a.location.Region, b.location.Region) })
	var findings []distribution.Finding
	for _, s := range sources {
		findings = append(findings, s.decideStaging(a)...)
	}

	for _, d := range destinations {
		if d.At.Account != a.facts.Source.Account {
			continue
		}
		for _, s := range sources { // a copy that is staged in its Region anyway saves a transfer
			if s.location == d.At && s.region != d.At.Region && (s.stagesImage || d.Method == distribution.BySnapshot) {
				s.consumers = append(s.consumers, d)
			}
		}
	}

	return sources, findings
}

// canStage reports whether the source account can stage copies in a Region. It needs a usable key and access to the
// Region.
func (a *Assessment) canStage(region string) bool {
	name, at := SourceKey(a.req, region), distribution.Location{Account: a.facts.Source.Account, Region: region}
	if name == "" || a.facts.RequiredLookupFailure(at) != nil {
		return false
	}
	key := a.facts.Keys[at][name]
	reason, _ := keyUnusableReason(key)
	return reason == "" || key.IsConcealed(name, region)
}

// sourceKeyARN returns the key of staged copies at a location. Empty if unknown.
func (a *Assessment) sourceKeyARN(at distribution.Location) string {
	name := SourceKey(a.req, at.Region)
	key := a.facts.Keys[at][name]
	if key.IsConcealed(name, at.Region) {
		return name
	}
	return key.ARN()
}

// findShareSource returns the share source of a destination. Nil if the owner copies its own snapshots.
func findShareSource(sources []*shareSource, d distribution.Destination) *shareSource {
	for _, s := range sources {
		if s.serves(d.At) {
			return s
		}
	}
	return nil
}

// decideStaging decides which volumes are staged, and whether an image is staged. It returns findings about what
// cannot be shared.
func (s *shareSource) decideStaging(a *Assessment) []distribution.Finding {
	keyName := SourceKey(a.req, s.location.Region)
	key := a.facts.Keys[s.location][keyName]
	s.keyARN = a.sourceKeyARN(s.location)
	var findings []distribution.Finding
	for _, v := range volumes(a.facts.Images[s.region]) {
		sv, rule := s.newSourceVolume(a, v)
		if rule != "" {
			findings = append(findings, unsharable(s, v, rule))
		}
		sv.permanent = provenance.Permanent(tagMap(a.facts.Images[s.region].Image.Tags))
		s.items = append(s.items, sv)
	}

	s.isBatched = s.copiesInBatches(a.facts)
	hasStagedVolume := slices.ContainsFunc(s.items, func(sv sourceVolume) bool { return sv.isStaged })
	exceedsLimit := s.isBatched && keyName != "" // permissions of a source image stay until no run needs them
	if s.stagesImage = s.sharesImage(a.facts.Source.Account) && (hasStagedVolume || exceedsLimit); s.stagesImage {
		reason := PartOfStagedImage
		if !hasStagedVolume {
			reason = TooManyAccounts
		}
		for i := range s.items {
			if sv := &s.items[i]; !sv.isStaged {
				sv.isStaged, sv.reason = true, reason
			}
		}
		s.isBatched = s.copiesInBatches(a.facts)
	}

	findings = append(findings, s.validateSnapshotBaselines()...)
	s.existingImageID = s.sharedImage(a)
	if keyName == "" && (a.req.KMSKeyID != "" || len(a.req.RegionKMSKeyIDs) > 0) {
		findings = append(findings, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeKeyOfOtherRegion,
			Reference:   "1.7.5",
			Field:       "kms_key_id",
			Location:    s.location,
			Summary:     "there is no key for " + s.location.Region,
			Detail:      a.req.KMSKeyID + " is of another Region",
			Remediation: "use an alias that exists in every Region of the artifact, or region_kms_key_ids",
		})
	}

	if keyName != "" {
		findings = append(findings, validateSourceKey(s.location, keyName, key)...)
		findings = append(findings, keyExpiryFindings(key, "kms_key_id", s.location, a.facts.At)...)
	}

	return append(findings, s.validateImageShare(a)...)
}

// validateSnapshotBaselines returns findings about the source snapshots that are shared.
func (s *shareSource) validateSnapshotBaselines() []distribution.Finding {
	var findings []distribution.Finding
	for _, sv := range s.items {
		if !sv.isStaged {
			findings = append(
				findings,
				s.validateBaseline("the snapshot of "+sv.device(), sv.id(), sv.snapshot.Tags, sv.snapshot.SharedWith)...)
		}
	}
	return findings
}

// validateImageShare returns findings if the image cannot be shared with all accounts.
func (s *shareSource) validateImageShare(a *Assessment) []distribution.Finding {
	image := a.facts.Images[s.region]
	if image.Image == nil || !s.sharesImage(a.facts.Source.Account) {
		return nil
	}

	if found := s.validateImageShareCount(a); len(found) > 0 {
		return found
	}

	var found []distribution.Finding
	if !s.stagesImage {
		found = s.validateBaseline(
			"the image",
			aws.ToString(image.Image.ImageId),
			image.Image.Tags,
			image.SharedWith.Accounts,
		)
	}

	return found
}

// sharingTags returns the tags that record who may use a source snapshot or image before it is shared.
func sharingTags(copying, permitted []string, existing map[string]string) (map[string]string, error) {
	if _, known, err := provenance.Baseline(existing); known || err != nil {
		return provenance.RemovedTags(copying, permitted, existing)
	}
	return provenance.BaselineTags(permitted)
}

// validateBaseline returns a finding if the accounts with existing permissions do not fit into tags. A run must save
// these accounts there before it shares. Otherwise a later run could remove their permissions.
func (s *shareSource) validateBaseline(
	subject, id string,
	tags []ec2types.Tag,
	permitted []string,
) []distribution.Finding {
	copying := distribution.Union(s.accounts(distribution.ByImage), s.accounts(distribution.BySnapshot))
	if len(distribution.Without(copying, permitted)) == 0 {
		return nil
	}

	own := slices.DeleteFunc(slices.Clone(tags), func(tag ec2types.Tag) bool { // tags of AWS do not count
		return strings.HasPrefix(aws.ToString(tag.Key), "aws:")
	})
	written, err := sharingTags(copying, permitted, tagMap(tags))
	if n := len(own) + len(written); err == nil && len(written) > 0 && n > maxTags {
		err = fmt.Errorf("it would have %d tags of %d", n, maxTags)
	}

	if err == nil {
		return nil
	}

	return []distribution.Finding{
		{
			Level:     distribution.Refused,
			Code:      distribution.CodeTooManyTags,
			Reference: "9.4",
			Location:  s.location,
			Resource:  id,
			Summary:   subject + " cannot be shared for the time of copies",
			Detail:    "to leave them as they are, tags remember the accounts that may use it: " + err.Error(),
			Remediation: "share with an organization in place of its accounts, or name another kms_key_id: of a staged " +
				"copy no accounts are recorded",
		},
	}
}

// accounts returns the other accounts that copy by a method, sorted.
func (s *shareSource) accounts(by distribution.Method) []string {
	var all []string
	for _, d := range s.consumers {
		if d.Method == by && d.At.Account != s.location.Account {
			all = append(all, d.At.Account)
		}
	}
	return distribution.Union(all, nil)
}

// newSourceVolume decides whether a volume's snapshot is staged, and why. rule is set if it can be neither shared
// nor staged.
func (s *shareSource) newSourceVolume(a *Assessment, v volume) (result sourceVolume, rule string) {
	isEncrypted := aws.ToBool(v.snapshot.Encrypted)
	isManagedByAWS := isEncrypted && s.isManagedByAWS(a.facts, v.key())
	hasKey := a.req.KMSKeyID != "" || len(a.req.RegionKMSKeyIDs) > 0
	stage := func(reason StagingReason) (sourceVolume, string) {
		return sourceVolume{volume: v, isStaged: true, reason: reason}, ""
	}
	share := func(reason StagingReason) (sourceVolume, string) { return sourceVolume{volume: v, reason: reason}, "" }
	switch {
	case s.region != s.location.Region:
		return stage(OneTransfer)
	case isEncrypted && hasKey && v.key() == s.keyARN:
		return share(ConfiguredKey)
	case hasKey && isManagedByAWS:
		return stage(AWSManagedKey)
	case hasKey && isEncrypted:
		return stage(OtherKey)
	case hasKey:
		return stage(NotEncrypted)
	case isManagedByAWS:
		result, _ = stage(AWSManagedKey)
		return result, "2.1.1"
	case isEncrypted:
		return share(CustomerManagedKey)
	case a.req.AllowUnencryptedShare:
		return share(UnencryptedAllowed)
	}

	result, _ = stage(NotEncrypted)
	return result, "2.1.4"
}

// isManagedByAWS reports whether a key is an AWS managed key of the source account.
func (s *shareSource) isManagedByAWS(facts distribution.Facts, keyARN string) bool {
	return distribution.ARNAccount(keyARN) == facts.Source.Account && facts.Keys[s.location][keyARN].IsManagedByAWS()
}

func shareRemedy(rule string) string {
	if rule == "2.1.1" {
		return "set kms_key_id to a customer managed key of the source account"
	}
	return "set kms_key_id to a customer managed key of the source account, or allow_unencrypted_share = true"
}

// validateSourceKey returns findings if the configured key cannot encrypt what is shared.
func validateSourceKey(at distribution.Location, name string, key distribution.Key) []distribution.Finding {
	refuse := func(code, rule, detail, remediation string) []distribution.Finding {
		return []distribution.Finding{{
			Level: distribution.Refused, Code: code, Reference: rule, Field: "kms_key_id", Location: at, Resource: key.ARN(),
			Summary: fmt.Sprintf("the key %s cannot be used", name), Detail: detail, Remediation: remediation,
		}}
	}

	reason, rule := keyUnusableReason(key)
	switch {
	case key.IsConcealed(name, at.Region):
		return []distribution.Finding{
			{
				Level:       distribution.Warning,
				Code:        distribution.CodeKeyUnreadable,
				Reference:   "3.2.4",
				Field:       "kms_key_id",
				Location:    at,
				Resource:    name,
				Summary:     "the key could not be looked at",
				Detail:      reason,
				Remediation: "the copy will show whether it can be used; to know before, allow kms:DescribeKey",
			},
		}
	case reason != "":
		return refuse(distribution.CodeKeyUnusable, rule, reason, keyRemedy(key))
	}

	if key.IsManagedByAWS() {
		return refuse(distribution.CodeAWSManagedKeyShare, "2.1.1", "AWS manages it, and what it encrypts cannot be shared",
			"name a customer managed key")
	}

	return nil
}
