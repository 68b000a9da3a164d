// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// leftoverFindings returns notes about what earlier runs left, for a refused plan, which deletes nothing.
func (a *Assessment) leftoverFindings(all []distribution.Destination, sources []*shareSource) []distribution.Finding {
	steps, found := a.cleanUpSteps(all, sources)
	for _, s := range steps {
		at := s.Meta().Location
		found = append(found, leftoverFinding(at, s.ResourceID(), "an earlier run left it"))
		for _, image := range a.facts.Earlier[at].Images {
			if aws.ToString(image.ImageId) != s.ResourceID() {
				continue
			}
			for _, id := range snapshotIDs(image) {
				found = append(found, leftoverFinding(at, id, "it belongs to "+s.ResourceID()+", which an earlier run left"))
			}
		}
	}

	for _, region := range sortedKeys(a.facts.Images) {
		image := a.facts.Images[region]
		if image.Image == nil {
			continue
		}

		at := distribution.Location{Account: a.facts.Source.Account, Region: region}
		add := func(id string, permitted []string, tags []ec2types.Tag) {
			own := joined(provenance.WithoutBaseline(tagMap(image.Image.Tags)), tagMap(tags))
			temporary, err := provenance.Withdrawable(permitted, at.Account, own)
			if err == nil && len(temporary) > 0 {
				found = append(found, leftoverFinding(at, id, "an earlier run shared it with "+strings.Join(temporary, ", ")))
			}
		}

		add(aws.ToString(image.Image.ImageId), image.SharedWith.Accounts, image.Image.Tags)
		for _, id := range sortedKeys(image.Snapshots) {
			add(id, image.Snapshots[id].SharedWith, image.Snapshots[id].Tags)
		}
	}

	return found
}

func leftoverFinding(at distribution.Location, id, why string) distribution.Finding {
	return distribution.Finding{
		Level:       distribution.Note,
		Code:        distribution.CodeResourceKept,
		Location:    at,
		Resource:    id,
		Summary:     id + " stays: " + why,
		Detail:      "this run changes nothing, because its plan is refused",
		Remediation: `correct the template and run again, or run with mode = "cleanup"`,
	}
}
