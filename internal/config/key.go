// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// key describes a key by the form of its name.
type key struct {
	alias  string // with its prefix
	region string // of an ARN
	single bool   // a plain key ID, which is valid in one Region that it does not name
}

// key checks the form of a key. An alias without its prefix would be accepted by AWS and fail later (rule 1.7.7).
func (p *diagnostics) key(field, text string) key {
	if !literal(text) {
		return key{}
	}
	if err := awslimits.Check(awslimits.KeyID, text); err != nil {
		p.add(field, "%s %w%s", abridged(text), err, aliasMeant(text))
		return key{}
	}
	parts := awslimits.Match(awslimits.KeyID, text)
	alias, region, id := parts[2], parts[1]+parts[3], parts[4]
	if alias != "" && !p.limit(field, awslimits.KeyAlias, alias) {
		return key{}
	}
	if region != "" {
		p.region(field, region)
	}
	return key{alias: alias, region: region, single: id != "" && region == "" && !strings.HasPrefix(id, "mrk-")}
}

// aliasMeant returns a "did you mean" question if a text is the name of an alias without its prefix.
func aliasMeant(text string) string {
	alias := "alias/" + text
	if strings.ContainsAny(text, ":/") || awslimits.Check(awslimits.KeyID, alias) != nil ||
		awslimits.Check(awslimits.KeyAlias, alias) != nil {
		return ""
	}
	return fmt.Sprintf(". Did you mean %q?", alias)
}

// sharedKeys checks the keys that encrypt what is shared with other accounts.
func (p *diagnostics) sharedKeys(common string, exceptions map[string]string) {
	one := func(field, text, region string) {
		if text == distribution.DefaultKey {
			p.add(field, "%q is for targets: name the key that is shared", text)
			return
		}
		k := p.key(field, text)
		if strings.HasPrefix(k.alias, "alias/aws/") { // rule 2.1.1
			p.add(field, "%q is a key that AWS manages: what it encrypts cannot be shared; name a key of your own", text)
		}
		p.keyIn(field, k, region)
	}
	one("kms_key_id", common, "")
	for _, region := range sorted(exceptions) {
		field := element("region_kms_key_ids", region)
		p.region(field, region)
		one(field, exceptions[region], region)
	}
}

// targetKeys checks the keys of a target with these Regions. Without any, the Regions are those of the artifact.
func (p *diagnostics) targetKeys(common string, exceptions map[string]string, regions []string) {
	var own key
	switch {
	case common == "":
		p.add(
			"kms_key_id",
			"missing; name the target's own key, or %q for the account's EBS default key",
			distribution.DefaultKey,
		)
	case common != distribution.DefaultKey:
		p.text("kms_key_id", common)
		own = p.key("kms_key_id", common)
	}
	var served []string // Regions that use the common key
	for _, region := range regions {
		if _, excepted := exceptions[region]; !excepted && literal(region) {
			served = append(served, region)
			p.keyIn("kms_key_id", own, region)
		}
	}
	if own.single && len(served) > 1 {
		p.add(
			"kms_key_id",
			"%q is a key of one Region, but %s need one each; give an alias or region_kms_key_ids",
			common,
			strings.Join(served, ", "),
		)
	}
	for _, region := range sorted(exceptions) {
		field, text := element("region_kms_key_ids", region), exceptions[region]
		p.region(field, region)
		if len(regions) > 0 && literal(strings.Join(regions, "")) && !slices.Contains(regions, region) {
			p.add(field, "no effect: the target has no such Region")
		}
		if text != distribution.DefaultKey {
			p.text(field, text)
			p.keyIn(field, p.key(field, text), region)
		}
	}
}

// keyIn checks that a key given by ARN is in the Region where it encrypts (rule 1.7.5).
func (p *diagnostics) keyIn(field string, k key, region string) {
	if k.region != "" && region != "" && k.region != region {
		p.add(
			field,
			"a key of %s cannot encrypt in %s; give an alias, or the Region's own key in region_kms_key_ids",
			k.region,
			region,
		)
	}
}
