// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// Two templates may hand one image on at once, each to its own destinations. Whether a run still goes on cannot be seen, so what is
// for other destinations is left alone: a copy that was staged for them is neither used nor removed before it is a day old, nor is a grant
// revoked, and a permission that they were given is theirs to take back. What was for the same destinations is taken up at once: a run of them has
// ended, or shares with this one what it makes.

// outlived is how old a copy staged for others has to be until its run has ended for sure: none lasts so long.
const outlived = 24 * time.Hour

// stagedForOthers are the copies of a volume that are provably ours and were staged for other destinations: those that a run may still
// need, and those that none does.
func stagedForOthers(req distribution.Request, facts distribution.Facts, s *shareSource, v volume) (kept, old []existingSnapshot) {
	for _, one := range facts.Earlier[s.at].Snapshots {
		tags, mark := tagMap(one.Tags), s.mark(req, facts, v.device())
		whom := mark.StagedFor(tags[origin.Source])
		if whom == "" || whom == s.whom || one.State == ec2types.SnapshotStatePending { // a pending copy shows no key yet (4.6.1)
			continue
		}
		mark.Staged, mark.KeyARN = whom, aws.ToString(one.KmsKeyId)
		c := existingSnapshot{one, mark.Prove(facts.Images[s.from].SealKey, aws.ToString(one.SnapshotId), tags)}
		switch {
		case c.proof != origin.Both || aws.ToString(one.OwnerId) != s.at.Account:
		case facts.At.Sub(aws.ToTime(one.StartTime)) < outlived:
			kept = append(kept, c)
		default:
			old = append(old, c)
		}
	}
	return kept, old
}

// stagedImagesForOthers are images that are provably ours and were staged for other destinations: those that a run may still need, and those
// that none does. What share blocks name is neither.
func stagedImagesForOthers(req distribution.Request, facts distribution.Facts, s *shareSource) (kept, old []ec2types.Image) {
	for _, image := range facts.Earlier[s.at].Images {
		tags, mark := tagMap(image.Tags), s.mark(req, facts, "")
		whom := mark.StagedFor(tags[origin.Source])
		if whom == "" || whom == s.whom || whom == origin.Sharers {
			continue
		}
		mark.Staged = whom
		made, _ := time.Parse(time.RFC3339, aws.ToString(image.CreationDate))
		switch {
		case mark.Prove(facts.Images[s.from].SealKey, aws.ToString(image.ImageId), tags) != origin.Both || aws.ToString(image.OwnerId) != s.at.Account:
		case facts.At.Sub(made) < outlived:
			kept = append(kept, image)
		default:
			old = append(old, image)
		}
	}
	return kept, old
}

// givenBefore are the accounts that runs of ours let use one of the image's own snapshots, and have not taken the permission back from.
func (it sourceVolume) givenBefore() []string {
	if it.staged {
		return nil
	}
	return distribution.Without(it.snapshot.SharedWith, it.permanentAccounts())
}

// foreignFindings name what stays for the destinations of others.
func foreignFindings(req distribution.Request, facts distribution.Facts, all []distribution.Destination, supplies []*shareSource) []distribution.Finding {
	var findings []distribution.Finding
	for _, at := range slices.SortedFunc(maps.Keys(facts.Grants), distribution.Location.Compare) {
		for _, g := range facts.Grants[at] {
			if isGrantForOtherRun(facts, g, all) {
				findings = append(findings, distribution.Finding{Level: distribution.Note, Location: at, Resource: aws.ToString(g.KeyId),
					Summary:     fmt.Sprintf("the grant %q was made for other destinations", aws.ToString(g.Name)),
					Detail:      "a run that hands the image to others may still copy with it",
					Remediation: "that run revokes it, or one of the same destinations after it; any run does so a day after it was made"})
			}
		}
	}
	for _, s := range supplies {
		images, _ := stagedImagesForOthers(req, facts, s)
		for _, image := range images {
			findings = append(findings, distribution.Finding{Level: distribution.Note, Location: s.at, Resource: aws.ToString(image.ImageId),
				Summary:     fmt.Sprintf("the image %s was staged for other destinations", aws.ToString(image.ImageId)),
				Detail:      "a run that hands the image to others may still copy it",
				Remediation: "that run removes it, or one of the same destinations after it; any run does so a day after it was made"})
		}
		for _, it := range s.items {
			kept, _ := stagedForOthers(req, facts, s, it.volume)
			for _, c := range kept {
				findings = append(findings, distribution.Finding{Level: distribution.Note, Location: s.at, Resource: c.id(),
					Summary:     fmt.Sprintf("the snapshot %s of %s was staged for other destinations", c.id(), it.device()),
					Detail:      "a run that hands the image to others may still copy it",
					Remediation: "that run removes it, or one of the same destinations after it; any run does so a day after it was made"})
			}
			others := slices.DeleteFunc(it.givenBefore(), func(account string) bool {
				return slices.ContainsFunc(all, func(d distribution.Destination) bool { return d.At.Account == account })
			})
			if len(others) > 0 {
				findings = append(findings, distribution.Finding{Level: distribution.Note, Location: s.at, Resource: it.id(),
					Summary:     fmt.Sprintf("the snapshot %s of %s is shared with %s, for other destinations", it.id(), it.device(), strings.Join(others, ", ")),
					Detail:      "a run that hands the image to others may still copy it",
					Remediation: "that run takes the permission back, or one of the same destinations after it"})
			}
		}
	}
	return findings
}
