// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// A key name is valid for a Region by its kind: alias, key ID, multi-Region key or ARN (rules 1.7.5, 1.7.6, 3.6.2 and
// 3.6.4).
func TestSourceKey(t *testing.T) {
	const there, elsewhere = tokyo, oregon
	for _, c := range []struct {
		name            string
		key             string
		byRegion        map[string]string
		there, anywhere string
	}{
		{"none", "", nil, "", ""},
		{"alias name", "alias/golden", nil, "alias/golden", "alias/golden"},
		{"multi-Region key id", "mrk-0123", nil, "mrk-0123", "mrk-0123"},
		{"key id", "1234abcd-12ab", nil, "1234abcd-12ab", "1234abcd-12ab"}, // in another Region, AWS finds no such key
		{"key ARN", keyARN(source, there, "k"), nil, keyARN(source, there, "k"), ""},
		{"key ARN of a third account", keyARN("222222222222", there, "k"), nil, keyARN("222222222222", there, "k"), ""},
		{
			"alias ARN",
			"arn:aws:kms:" + there + ":111111111111:alias/golden",
			nil,
			"arn:aws:kms:" + there + ":111111111111:alias/golden",
			"",
		},
		{
			"primary of a multi-Region key by ARN",
			keyARN(source, there, "mrk-0123"),
			nil,
			keyARN(source, there, "mrk-0123"),
			"",
		},
		{"a Region of its own goes before", "alias/golden", map[string]string{
			elsewhere: "alias/other",
		}, "alias/golden", "alias/other"},
		{"only a Region of its own", "", map[string]string{there: "alias/other"}, "alias/other", ""},
	} {
		req := distribution.Request{KMSKeyID: c.key, RegionKMSKeyIDs: c.byRegion}
		if got := plan.SourceKey(req, there); got != c.there {
			t.Errorf("%s: %q in its Region, want %q", c.name, got, c.there)
		}
		if got := plan.SourceKey(req, elsewhere); got != c.anywhere {
			t.Errorf("%s: %q in another Region, want %q", c.name, got, c.anywhere)
		}
	}
}

// Possible causes are encryption by default, an encrypted base image or a key of the build. Several causes may remain
// possible.
func TestDecide_encryptionCauses(t *testing.T) {
	standard := keyARN(source, tokyo, "aws-ebs")
	base := func(owner, key string) func(*distribution.Image) {
		return func(i *distribution.Image) {
			i.Base = &ec2types.Image{
				ImageId: aws.String("ami-0base"),
				OwnerId: aws.String(owner),
				BlockDeviceMappings: []ec2types.BlockDeviceMapping{
					{
						DeviceName: aws.String("/dev/xvda"),
						Ebs:        &ec2types.EbsBlockDevice{SnapshotId: aws.String("snap-0base"), Encrypted: aws.Bool(key != "")},
					},
				},
			}
			i.BaseSnapshots = map[string]ec2types.Snapshot{"snap-0base": snapshot("snap-0base", 8, key).Snapshot}
		}
	}
	const (
		byDefault = "EBS encryption by default is on in ap-northeast-1"
		byBase    = "the base AMI ami-0base has the same key"
		byOthers  = "the base AMI ami-0base of another account is encrypted, and its volumes get the default key"
		byBuild   = "it was created with encryption (with amazon-ebs: encrypt_boot, kms_key_id or " +
			"launch_block_device_mappings)"
	)
	for _, c := range []struct {
		name      string
		byDefault bool
		key       string // of /dev/xvda
		base      func(*distribution.Image)
		want      []string
	}{
		{"encryption by default, encrypt_boot = false", true, standard, base("137112412989", ""), []string{byDefault}},
		{
			"an encrypted base image of one's own",
			false,
			keyARN(source, tokyo, "cust"),
			base(source, keyARN(source, tokyo, "cust")),
			[]string{byBase},
		},
		{"a key of one's own", true, keyARN(source, tokyo, "cust"), base("137112412989", ""), []string{byBuild}},
		{
			"an encrypted base image of another account",
			false,
			standard,
			base("137112412989", keyARN("137112412989", tokyo, "x")),
			[]string{byOthers},
		},
		{"default and base: both possible", true, standard, base(source, standard), []string{byDefault, byBase}},
		{"base image that cannot be seen", false, standard, func(*distribution.Image) {}, []string{byBuild}},
	} {
		req, facts := world()
		facts.Defaults = map[distribution.Location]distribution.Default{
			home: {Encryption: c.byDefault, KMSKeyID: "alias/aws/ebs"},
		}
		facts.Keys[home]["alias/aws/ebs"] = managed(key(source, tokyo, "aws-ebs"))
		facts.Keys[home][standard] = managed(key(source, tokyo, "aws-ebs"))
		i := facts.Images[tokyo]
		i.Snapshots = map[string]distribution.Snapshot{
			"snap-0a": snapshot("snap-0a", 8, c.key),
			"snap-0b": snapshot("snap-0b", 100, ""),
			"snap-0c": snapshot("snap-0c", 20, ""),
		}
		c.base(&i)
		facts.Images[tokyo] = i
		if got := plan.Assess(req, facts).Decide().Images[0].Causes; !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}
