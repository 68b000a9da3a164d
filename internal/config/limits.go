// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// limit checks a text against the limits of AWS. It reports whether the text is valid. A text with template variables
// is checked when the run is planned.
func (p *diagnostics) limit(field string, subject awslimits.Subject, value string) bool {
	if sample, ok := sampleOf(value); ok {
		value = sample
	}
	if !literal(value) {
		return true
	}
	err := awslimits.Check(subject, value)
	if err != nil {
		p.add(field, "%s %w", abridged(value), err)
	}
	return err == nil
}

// readsInput matches template functions whose values are not known when a template is validated.
var readsInput = regexp.MustCompile(`\b(build_name|env|user)\b`)

// sampleOf returns an example of a rendered template that contains only the creation date, such as "golden {{ isotime
// }}". It has the same characters in every run, so an invalid character in an image name is found before the build.
func sampleOf(text string) (string, bool) {
	if !strings.Contains(text, "{{") || strings.Contains(text, unknown) || readsInput.MatchString(text) {
		return "", false
	}
	template := distribution.Text(text)
	if template.Check(nil) != nil {
		return "", false
	}
	sample, err := template.Render(distribution.Vars{}, distribution.TemplateFunctions{Created: clock()})
	return sample, err == nil
}

// secret checks a text against the limits of AWS without showing it.
func (p *diagnostics) secret(field string, subject awslimits.Subject, value string) {
	if !literal(value) {
		return
	}
	if err := awslimits.Check(subject, value); err != nil {
		p.add(field, "%w", err)
	}
}

// numberLimit checks a number against the limits of AWS. Zero means that the option is not given.
func (p *diagnostics) numberLimit(field string, subject awslimits.Subject, n int) {
	if n == 0 {
		return
	}
	if err := awslimits.CheckNumber(subject, n); err != nil {
		p.add(field, "%d %w", n, err)
	}
}

// countLimit checks the length of a list against the limit of AWS.
func (p *diagnostics) countLimit(field string, subject awslimits.Subject, n int) {
	if err := awslimits.CheckCount(subject, n); err != nil {
		p.add(field, "%w", err)
	}
}

// abridged quotes a text, or the beginning of a long one.
func abridged(value string) string {
	const most = 60
	if runes := []rune(value); len(runes) > most {
		return fmt.Sprintf("%q...", string(runes[:most]))
	}
	return fmt.Sprintf("%q", value)
}

// tagLimits holds the limits of AWS for the tags of one kind of resource.
type tagLimits struct {
	count, key, value awslimits.Subject
	own               int // tags that this plugin adds
}

// Limits of the tags of images, snapshots and instances, and of sessions.
var (
	imageTags   = tagLimits{awslimits.Tags, awslimits.TagKey, awslimits.TagValue, provenance.OwnTags}
	sessionTags = tagLimits{awslimits.SessionTags, awslimits.SessionTagKey, awslimits.SessionTagValue, 0}
)

// tags checks the keys, the literal values and the number of tags.
func (p *diagnostics) tags(field string, tags map[string]string, limits tagLimits) {
	if err := awslimits.CheckCount(limits.count, len(tags)+limits.own); err != nil {
		if limits.own > 0 {
			p.add(field, "%w, of which this plugin needs %d", err, limits.own)
		} else {
			p.add(field, "%w", err)
		}
	}
	for _, key := range sorted(tags) {
		p.tag(element(field, key), key, tags[key], limits)
	}
}

// tag checks one tag.
func (p *diagnostics) tag(field, key, value string, limits tagLimits) {
	if strings.Contains(key, unknown) {
		return
	}
	if provenance.IsOwnTag(key) {
		p.add(field, "this plugin reserves the prefix %s", provenance.TagPrefix)
		return
	}
	if err := awslimits.Check(limits.key, key); err != nil {
		p.add(field, "the key %w", err)
		return
	}
	if !literal(value) {
		return
	}
	if err := awslimits.Check(limits.value, value); err != nil {
		p.add(field, "the value %w", err)
	}
}

// sessionTags checks the rules that apply only to tags of sessions.
func (p *diagnostics) sessionTags(tags map[string]string, transitive []string) {
	p.tags("tags", tags, sessionTags)
	if err := awslimits.CheckSessionTagKeys(sorted(tags)); err != nil {
		p.add("tags", "%w", err)
	}
	p.countLimit("transitive_tag_keys", awslimits.TransitiveTagKeys, len(transitive))
	for i, key := range transitive {
		field := index("transitive_tag_keys", i)
		if !p.limit(field, awslimits.SessionTagKey, key) || !literal(key) || len(tags) == 0 {
			continue
		}
		if _, tagged := tags[key]; !tagged {
			p.add(field, "%q is not a key of tags", key)
		}
	}
}

// launchPermissions checks the number of launch permissions that one block gives.
func (p *diagnostics) launchPermissions(field string, lists ...[]string) {
	p.countLimit(field, awslimits.ImageShares, len(slices.Concat(lists...)))
}

// filters checks the filters of a describe operation.
func (p *diagnostics) filters(filters map[string]string) {
	p.countLimit("filters", awslimits.FilterNames, len(filters))
	for _, name := range sorted(filters) {
		if strings.Contains(name, unknown) {
			continue
		}
		if err := awslimits.Check(awslimits.FilterName, name); err != nil {
			p.add("filters", "the name %s %w", abridged(name), err)
			continue
		}
		p.limit(element("filters", name), awslimits.FilterValue, filters[name])
	}
}
