// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func TestRecord_roundTrip(t *testing.T) {
	for _, want := range []Record{
		{ID: "a", Began: noon, Until: noon.Add(time.Hour), Protection: NoProtection},
		{
			ID:         "b",
			Ended:      true,
			Began:      noon,
			Until:      noon.Add(time.Hour),
			Protection: ProtectionHeld,
			Regions:    []string{"us-west-2", "eu-west-1"},
		},
	} {
		key, value := want.tag()
		got, ok, err := parseRecord(key, value)
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %t, %v, want %+v", got, ok, err, want)
		}
	}
}

func TestRecord_manyRegions(t *testing.T) {
	r := Record{ID: "a", Began: noon, Until: noon}
	for i := range 30 {
		r.Regions = append(r.Regions, fmt.Sprintf("ap-southeast-%d", i))
	}
	key, value := r.tag()
	if len(value) > 256 {
		t.Errorf("the tag has %d characters", len(value))
	}
	got, _, err := parseRecord(key, value)
	if err != nil || !reflect.DeepEqual(got.Regions, []string{AllRegions}) {
		t.Errorf("got Regions %v, %v, want all", got.Regions, err)
	}
}

// A record of an unknown version may belong to an active run, so it must not be ignored.
func TestParseRecord_unreadable(t *testing.T) {
	_, value := Record{ID: "a", Began: noon, Until: noon}.tag()
	for _, bad := range []string{
		"",
		"working",
		strings.Replace(value, "until=2026", "until=x", 1),
		strings.Replace(value, "began=2026", "began=x", 1),
	} {
		if _, ok, err := parseRecord(provenance.RecordKey("a"), bad); !ok || err == nil {
			t.Errorf("%q: got %t, %v, want an error", bad, ok, err)
		}
	}
	if _, ok, err := parseRecord("Name", value); ok || err != nil {
		t.Errorf("got %t, %v for a tag of the user", ok, err)
	}
}

func TestRecords_owners(t *testing.T) {
	now := noon
	records := Records{
		now: now, own: "own", resumed: "resumed",
		all: []Record{
			{ID: "ended", Ended: true, Began: now.Add(-time.Hour), Until: now.Add(time.Minute)},
			{ID: "inGrace", Began: now.Add(-time.Hour), Until: now.Add(-grace)},
			{ID: "lapsed", Began: now.Add(-time.Hour), Until: now.Add(-grace - time.Second), Protection: ProtectionHeld},
			{ID: "own", Began: now.Add(-time.Hour), Until: now.Add(time.Minute), Protection: ProtectionHeld},
			{ID: "resumed", Began: now.Add(-time.Hour), Until: now.Add(time.Minute), Protection: ProtectionHeld},
			{ID: "working", Began: now.Add(-time.Hour), Until: now.Add(time.Minute)},
		},
	}
	young, old := now.Add(-missingAge), now.Add(-missingAge-time.Second)
	for _, c := range []struct {
		run     string
		created time.Time
		over    bool
		covers  bool
	}{
		{"own", young, true, false},
		{"resumed", young, true, false},
		{"working", old, false, false},
		{"inGrace", old, false, false},
		{"ended", old, true, true},
		{"ended", now.Add(-2 * time.Hour), true, false},
		{"ended", now.Add(2 * time.Minute), true, false},
		{"lapsed", old, true, true},
		{"missing", young, false, false},
		{"missing", old, true, false},
		{"missing", time.Time{}, false, false},
	} {
		if got := records.IsOver(c.run, c.created); got != c.over {
			t.Errorf("%s, created %v: got over %t, want %t", c.run, c.created, got, c.over)
		}
		if got := records.Covers(c.run, c.created); got != c.covers {
			t.Errorf("%s, created %v: got covered %t, want %t", c.run, c.created, got, c.covers)
		}
	}
	if got := ids(records.Working()); got != "inGrace working" {
		t.Errorf("got working %q", got)
	}
	if got := ids(records.Over()); got != "ended lapsed resumed" {
		t.Errorf("got over %q", got)
	}
	if !records.OtherHoldsProtection() {
		t.Error("a failed run does not hold the protection")
	}
	records.all = records.all[3:]
	if records.OtherHoldsProtection() || !records.AnyHoldsProtection() {
		t.Error("another run than this and the resumed one holds the protection")
	}
}

func ids(records []Record) string {
	var all []string
	for _, r := range records {
		all = append(all, r.ID)
	}
	return strings.Join(all, " ")
}

// A run has ended only if its records on all of its images say so. It lapses when the first of them lapses.
func TestRecord_mergedOverImages(t *testing.T) {
	a := Record{ID: "a", Ended: true, Began: noon, Until: noon.Add(time.Hour), Regions: []string{"us-west-2"}}
	b := Record{
		ID:         "a",
		Began:      noon.Add(time.Minute),
		Until:      noon.Add(time.Minute),
		Protection: ProtectionHeld,
		Regions:    []string{"eu-west-1", "us-west-2"},
	}
	want := Record{
		ID:         "a",
		Began:      noon,
		Until:      noon.Add(time.Minute),
		Protection: ProtectionHeld,
		Regions:    []string{"eu-west-1", "us-west-2"},
	}
	for _, got := range []Record{a.merge(b), b.merge(a)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestCheckFreeTags(t *testing.T) {
	tags := map[string]string{"aws:cloudformation:stack-name": "golden"}
	for i := range maxTags - neededTags {
		tags[fmt.Sprint(i)] = ""
	}
	if err := CheckFreeTags(tags); err != nil {
		t.Errorf("got %v with 3 free tags", err)
	}
	tags["one more"] = ""
	if err := CheckFreeTags(tags); err == nil {
		t.Error("got no error with 2 free tags")
	}
}
