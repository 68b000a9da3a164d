// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// reasonsForImageCopy returns why an image cannot be registered from snapshots in a Region, with the rules that say
// so.
func reasonsForImageCopy(image ec2types.Image, from, region string) (reasons, rules []string) {
	for _, a := range step.CarryTable {
		if a.Weighs != nil && a.Weighs(image) != "" {
			reasons, rules = append(reasons, a.Weighs(image)), append(rules, a.Rule)
		}
		if a.Regional && from != region && a.Text(image) != "" {
			reasons = append(reasons, fmt.Sprintf("%s %s means nothing in %s", a.Name, a.Text(image), region))
			rules = append(rules, a.Rule)
		}
	}
	return reasons, rules
}

// Carry returns the outcome of every attribute of an image.
func Carry(
	image ec2types.Image,
	uefiData string,
	by func(step.Attribute) distribution.AttributeHandling,
) []distribution.AttributeOutcome {
	var all []distribution.AttributeOutcome
	for _, a := range step.CarryTable {
		how := by(a)
		if how == distribution.OutputOnly || a.Text != nil && a.Text(image) == "" {
			continue
		}
		c := distribution.AttributeOutcome{Attribute: a.Name, How: how, Why: ""}
		if how == distribution.Lost {
			c.Why = a.Why
		}
		all = append(all, c)
	}

	if uefiData != "" {
		all = append(all, distribution.AttributeOutcome{Attribute: "UefiData", How: distribution.Kept, Why: ""})
	}

	return all
}
