// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Choice is another way to the same images, and what it would cost.
type Alternative struct {
	What     string   // "the volumes are under the key from birth"
	How      []string // what to do for it, line by line
	Builder  bool     // they are lines for amazon-ebs
	Estimate Estimate
}

// Otherwise tells the choices that a plan leaves, each with the estimate of the plan that would then be made. None of a
// refused plan.
func Alternatives(req distribution.Request, facts distribution.Facts) []Alternative {
	destinations, _ := Expand(req, facts)
	open, _ := openDestinations(req, facts, destinations)
	supplies, _ := route(req, facts, destinations, open)
	var choices []Alternative
	choose := func(c Alternative, req distribution.Request, facts distribution.Facts) {
		if p := Decide(req, facts); !p.Refused() {
			c.Estimate = p.Estimate
			choices = append(choices, c)
		}
	}
	if intent := req.Intent; intent != nil && intent.EncryptBoot != nil && *intent.EncryptBoot && intent.KMSKeyID != "" {
		others, supposed, lines := withoutBoot(req, facts)
		choose(Alternative{
			What:    "the volumes are under that key from birth, and the builder does not copy them for it",
			How:     lines,
			Builder: true,
		}, others, supposed)
	}
	for _, s := range supplies {
		if lines := s.bornUnderKey(req); len(lines) > 0 {
			choose(Alternative{
				What:    "the builder puts the volumes under the shared key from birth in " + s.at.Region,
				How:     lines,
				Builder: true,
			}, req, bornUnderKey(facts, s))
		}
		if without := withKey(
			facts,
			s.at,
			SourceKey(req, s.at.Region),
			distribution.Key{},
		); s.from != s.at.Region &&
			routeTo(req, without, destinations, s.at.Region) == s.from {
			choose(Alternative{
				What: fmt.Sprintf("every account copies straight from %s to %s", s.from, s.at.Region),
				How: []string{"give kms_key_id as the ARN of the key in " + s.from + ": then nothing is staged in another " +
					"Region"},
			}, req, without)
		}
	}
	for _, region := range straight(req, facts, supplies) {
		at := distribution.Location{Account: facts.Source.Account, Region: region}
		if with := withKey(
			facts,
			at,
			SourceKey(req, region),
			supposedKey(at),
		); routeTo(
			req,
			with,
			destinations,
			region,
		) == region {
			choose(Alternative{
				What: "one transfer to " + region + " serves all its accounts",
				How:  []string{"make a key in the source account that " + SourceKey(req, region) + " names in " + region},
			}, req, with)
		}
	}
	return choices
}

// routeTo is where the accounts of a Region that has no image copy from.
func routeTo(req distribution.Request, facts distribution.Facts, all []distribution.Destination, region string) string {
	for _, w := range regionRoutes(req, facts, all) {
		if w.Region == region {
			return w.From
		}
	}
	return ""
}

// bornUnderKey are the lines for amazon-ebs that make its volumes what need not be staged; none where nothing is.
func (s *shareSource) bornUnderKey(req distribution.Request) []string {
	var lines []string
	for _, it := range s.items {
		if it.staged && s.from == s.at.Region {
			lines = append(lines, LaunchMapping(it.device(), SourceKey(req, s.at.Region))...)
		}
	}
	return lines
}

// LaunchMapping are the lines for amazon-ebs by which a volume is under a key from birth (1.1.10, 1.2.1).
func LaunchMapping(device, key string) []string {
	return []string{
		"launch_block_device_mappings {",
		fmt.Sprintf("  device_name           = %q", device),
		"  encrypted             = true",
		fmt.Sprintf("  kms_key_id            = %q", key),
		"  delete_on_termination = true",
		"}",
	}
}

// bornUnderKey supposes that the volumes of a supply are under its key.
func bornUnderKey(facts distribution.Facts, s *shareSource) distribution.Facts {
	image := facts.Images[s.from]
	image.Snapshots = maps.Clone(image.Snapshots)
	for _, it := range s.items {
		snapshot := it.snapshot
		snapshot.Encrypted, snapshot.KmsKeyId = aws.Bool(true), aws.String(s.keyARN)
		image.Snapshots[it.id()] = snapshot
	}
	facts.Images = maps.Clone(facts.Images)
	facts.Images[s.from] = image
	return facts
}

// straight are the Regions of other accounts that are served across Regions from one where something is staged or
// shared under a key.
func straight(req distribution.Request, facts distribution.Facts, supplies []*shareSource) []string {
	regions := map[string]bool{}
	for _, s := range supplies {
		for _, d := range s.consumers {
			if d.At.Region != s.at.Region && d.At.Account != facts.Source.Account && SourceKey(req, d.At.Region) != "" {
				regions[d.At.Region] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(regions))
}

// supposedKey is a key that is not there.
func supposedKey(at distribution.Location) distribution.Key {
	return distribution.Key{Metadata: &kmstypes.KeyMetadata{
		Arn: aws.String(
			strings.Join(
				[]string{"arn", distribution.PartitionOf(at.Region), "kms", at.Region, at.Account, "key/supposed"},
				":",
			),
		),
		KeyState:   kmstypes.KeyStateEnabled,
		KeyManager: kmstypes.KeyManagerTypeCustomer,
		KeySpec:    kmstypes.KeySpecSymmetricDefault,
		KeyUsage:   kmstypes.KeyUsageTypeEncryptDecrypt,
	}}
}

// withKey supposes that a key is something else.
func withKey(
	facts distribution.Facts,
	at distribution.Location,
	asked string,
	key distribution.Key,
) distribution.Facts {
	keys := maps.Clone(facts.Keys[at])
	if keys == nil {
		keys = map[string]distribution.Key{}
	}
	keys[asked] = key
	facts.Keys = maps.Clone(facts.Keys)
	facts.Keys[at] = keys
	return facts
}
