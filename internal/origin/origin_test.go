// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package origin_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

var mark = origin.Mark{
	Account: "111111111111", Region: "ap-northeast-1", ImageID: "ami-0aaaaaaaaaaaaaaaa", Device: "/dev/xvda", Run: "run-1",
	Place: "999999999999/ap-northeast-1", KeyARN: "arn:aws:kms:ap-northeast-1:999999999999:key/own",
}

func TestSealsProveWhatWeMade(t *testing.T) {
	key, id := origin.NewKey(), "snap-0123456789abcdef0"
	first := mark.Tags(key)
	both := maps.Clone(first)
	both[origin.SealedID] = key.SealID(id, first[origin.Sealed])
	changed := func(tag, value string) map[string]string {
		tags := maps.Clone(both)
		tags[tag] = value
		return tags
	}
	elsewhere, otherDevice, otherKey := mark, mark, mark
	elsewhere.Place, otherDevice.Device, otherKey.KeyARN = "888888888888/ap-northeast-1", "/dev/xvdb", "arn:aws:kms:ap-northeast-1:999999999999:key/weak"
	for _, c := range []struct {
		name string
		mark origin.Mark
		key  origin.Key
		id   string
		tags map[string]string
		want origin.Proof
	}{
		{"both seals", mark, key, id, both, origin.Both},
		{"the answer of the second seal's call was lost", mark, key, id, first, origin.First},
		{"by a later run", origin.Mark{Account: mark.Account, Region: mark.Region, ImageID: mark.ImageID, Device: mark.Device, Run: "run-2", Place: mark.Place, KeyARN: mark.KeyARN}, key, id, both, origin.Both},
		{"tags copied to another thing", mark, key, "snap-0fedcba9876543210", both, origin.None},
		{"first seal copied to another place", elsewhere, key, id, both, origin.None},
		{"first seal copied to another device", otherDevice, key, id, both, origin.None},
		{"under another key than was sealed", otherKey, key, id, both, origin.None},
		{"sealed under a key of somebody else's", mark, origin.NewKey(), id, both, origin.None},
		{"another run written over ours", mark, key, id, changed(origin.Run, "run-9"), origin.None},
		{"no seal at all", mark, key, id, map[string]string{origin.Source: mark.Source(), origin.Run: "run-1"}, origin.None},
		{"no sealing key", mark, nil, id, both, origin.None},
	} {
		if got := c.mark.Prove(c.key, c.id, c.tags); got != c.want {
			t.Errorf("%s: proof %d, want %d", c.name, got, c.want)
		}
	}
}

func TestSealingKeySurvivesItsTagAndIsNeverPrinted(t *testing.T) {
	key := origin.NewKey()
	if read := origin.ParseKey(key.Tag()); string(read) != string(key) {
		t.Error("the key read from its tag is another")
	}
	for _, bad := range []string{"", "zz", "abcd"} {
		if origin.ParseKey(bad) != nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
	for _, text := range []string{fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %s", key, key, key, key)} {
		if strings.Contains(text, key.Tag()) || !strings.Contains(text, "(secret)") {
			t.Errorf("the key prints as %s", text)
		}
	}
}
