// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// propagationState holds permissions and grants that not every account can see yet.
type propagationState struct {
	longest time.Duration        // maximum delay; zero for none
	arrives map[string]time.Time // by resource and account, or by grant ID
}

// WithPropagation delays new permissions and grants by a random time, up to longest, before the recipients can use them
// (rules 4.4.2 and 4.4.4). The account that gave them sees them at once. Revocations take effect at once.
func WithPropagation(longest time.Duration) Option {
	return func(w *World) { w.longest = longest }
}

// startPropagation sets when a permission or grant takes effect.
func (w *World) startPropagation(c *Call, what string) {
	if w.longest == 0 {
		return
	}
	if w.arrives == nil {
		w.arrives = map[string]time.Time{}
	}
	drawn := float64(w.random("propagation", what)) / math.MaxUint64
	w.arrives[what] = c.At.Add(time.Duration(drawn * float64(w.longest)))
}

// hasArrived reports whether a permission or grant has taken effect.
func (w *World) hasArrived(what string) bool { return !w.now().Before(w.arrives[what]) }

// shareKey identifies the permission of an account for a snapshot or image.
func shareKey(resource, account string) string { return resource + " for " + account }

// arrivedGrants returns the grants that have taken effect. A grant token in the request makes its grant effective.
func (w *World) arrivedGrants(c *Call, grants []iampolicy.Grant) []iampolicy.Grant {
	if len(w.arrives) == 0 {
		return grants
	}
	return slices.DeleteFunc(slices.Clone(grants), func(g iampolicy.Grant) bool {
		return !w.hasArrived(g.ID) && !slices.Contains(c.grantIDs, g.ID)
	})
}

// createdAt returns when a resource was created. Zero for kinds that stale reads always see.
func (w *World) createdAt(id string) time.Time {
	if s, is := w.snapshots.get(id); is {
		return s.created
	}
	if i, is := w.images.get(id); is {
		return i.created
	}
	if v, is := w.volumes.get(id); is {
		return v.created
	}
	if i, is := w.instances.get(id); is {
		return *i.attributes.LaunchTime
	}

	return time.Time{}
}

// setTags replaces the tags of a resource and keeps the previous ones for stale reads.
func (l *ec2Resource) setTags(now time.Time, tags map[string]string) {
	l.earlier = slices.DeleteFunc(l.earlier, func(e earlierTags) bool { return now.Sub(e.until) >= staleReadWindow })
	l.earlier = append(l.earlier, earlierTags{now, l.tags})
	l.tags = tags
}

// earlierTags are tags that a resource had until a time.
type earlierTags struct {
	until time.Time
	tags  map[string]string
}

// tagsAt returns the tags that a resource had at a time within staleReadWindow.
func (l *ec2Resource) tagsAt(moment time.Time) map[string]string {
	for _, e := range l.earlier {
		if moment.Before(e.until) {
			return e.tags
		}
	}
	return l.tags
}

func (l *ec2Resource) changeTags(now time.Time, change func(map[string]string)) {
	tags := maps.Clone(l.tags)
	if tags == nil {
		tags = map[string]string{}
	}
	change(tags)
	l.setTags(now, tags)
}
