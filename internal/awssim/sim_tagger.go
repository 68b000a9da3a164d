// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// taggers maps accounts to their automation that copies tags.
type taggers map[string]*tagger

// tagger copies tags that it has seen in its account to other resources there. Any principal with CreateTags can do so,
// so no tag alone proves who created a resource.
type tagger struct {
	share float64             // share of calls after which it acts
	seen  []map[string]string // tags of one resource at one time
}

// WithTagger adds an automation to an account. After a share of the calls in the account, from 0 to 1, it copies tags
// that it has seen on one resource of the account to another. It also remembers the tags of deleted resources.
func WithTagger(account string, share float64) Option {
	return func(w *World) {
		if w.taggers == nil {
			w.taggers = taggers{}
		}
		w.taggers[account] = &tagger{share: share}
	}
}

// runTagger runs the automation of the caller's account after a call that succeeded.
func (w *World) runTagger(c *Call) {
	if c.caller == nil {
		return
	}

	account := c.caller.account.number
	automation := w.taggers[account]
	if automation == nil {
		return
	}

	for _, id := range c.changedIDs {
		if known, ok := w.resources[id]; ok && known.location.account == account {
			automation.see(known.tags)
		}
	}

	if float64(w.random("tagger", account)) < automation.share*math.MaxUint64 {
		w.copyTags(c, automation)
	}
}

func (t *tagger) see(tags map[string]string) {
	known := func(seen map[string]string) bool { return maps.Equal(seen, tags) }
	if len(tags) > 0 && !slices.ContainsFunc(t.seen, known) {
		t.seen = append(t.seen, maps.Clone(tags))
	}
}

// copyTags writes some tags that were seen earlier to a random resource.
func (w *World) copyTags(c *Call, automation *tagger) {
	account := c.caller.account
	var ids []string
	for id, known := range w.resources {
		if known.location.account == account.number {
			ids = append(ids, id)
		}
	}

	slices.Sort(ids)
	for _, id := range ids {
		automation.see(w.resources[id].tags)
	}

	if len(ids) == 0 || len(automation.seen) == 0 {
		return
	}

	pick := func(what string, n int) int { return int(w.random("tagger", account.number, what) % uint64(n)) }
	id := ids[pick("resource", len(ids))]
	tags := automation.seen[pick("tags", len(automation.seen))]
	if pick("all", 2) == 0 {
		key := sortedKeys(tags)[pick("key", len(tags))]
		tags = map[string]string{key: tags[key]}
	}

	on := w.resources[id]
	after := maps.Clone(on.tags)
	maps.Copy(after, tags)
	if len(after) > maxTags || maps.Equal(after, on.tags) {
		return
	}

	on.setTags(c.At, after)
	w.counts.ForeignTags += len(tags)
	w.keepRecord(Record{
		At:        c.At,
		ID:        newRequestID(w.random("tagger", account.number, "request")),
		Principal: account.arn("iam", "", "role/tagger"),
		Account:   account.number,
		Region:    cmp.Or(on.location.region, c.Region),
		Action:    "ec2:CreateTags",
		Resources: []string{id},
		Changed:   []string{id},
		Status:    200,
	})
}
