// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// encryptionRow is a row of the tables of rules 1.1, 1.3 and 1.4: the parameters and the resulting key.
type encryptionRow struct {
	rule      string
	source    string // "plain", "own", "shared plain", "shared encrypted"; empty for none
	flag      *bool
	given     bool
	byDefault bool
	region    string // empty for home
	want      string // "", "source", "default", "given", or an error code
}

var yes, no = aws.Bool(true), aws.Bool(false)

// setUp creates the resources of a row. It returns a client of the caller, the source ID and the keys by their name in
// the table.
func (row encryptionRow) setUp(f fixture, asImage bool) (client *ec2.Client, source string, keys map[string]string) {
	account, region := owner, home
	if row.region != "" {
		region = row.region
	}

	keys = map[string]string{"": "", "source": f.createSharedKey()}
	sourceKey := ""
	if row.source == "own" || row.source == "shared encrypted" {
		sourceKey = keys["source"]
	}
	if row.source == "shared plain" || row.source == "shared encrypted" {
		account = member
	}

	if asImage {
		source = f.createImage(sourceKey)
		if account == member {
			f.shareImage(source)
			f.shareSnapshot(f.rootSnapshot(f.ec2, source))
		}
	} else if row.source != "" {
		source = f.createSnapshot(sourceKey)
		if account == member {
			f.shareSnapshot(source)
		}
	}

	client = f.ec2At(account, region)
	keys["given"], keys["default"] = f.createKeyIn(account, region), f.awsManagedKeyARN(account, region)
	if row.byDefault {
		requireOutput(client.EnableEbsEncryptionByDefault(f.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(f)
	}

	return client, source, keys
}

// check compares the resulting key or error with the table.
func (row encryptionRow) check(f fixture, keys map[string]string, got *string, err error) {
	f.Helper()
	want, isKey := keys[row.want]
	if !isKey {
		requireErrorCode(f, err, row.want)
		return
	}

	if err != nil {
		f.Fatal(err)
	}
	if aws.ToString(got) != want {
		f.Errorf("it is under %q, want %q (%s)", aws.ToString(got), want, row.want)
	}
}

func (row encryptionRow) key(keys map[string]string) *string {
	if !row.given {
		return nil
	}
	return aws.String(keys["given"])
}

func TestCreateVolume_encryption(t *testing.T) {
	for _, row := range []encryptionRow{
		{rule: "1.1.1", want: ""},
		{rule: "1.1.2", source: "plain", want: ""},
		{rule: "1.1.3", source: "own", want: "source"},
		{rule: "1.1.4", source: "shared plain", want: ""},
		{rule: "1.1.5", source: "shared encrypted", want: "default"},
		{rule: "1.1.6 none", flag: yes, want: "default"},
		{
			rule:   "1.1.6 plain",
			source: "plain",
			flag:   yes,
			want:   "default",
		},
		{
			rule:   "1.1.6 shared",
			source: "shared plain",
			flag:   yes,
			want:   "default",
		},
		{rule: "1.1.7 none", byDefault: true, want: "default"},
		{
			rule:      "1.1.7 plain",
			source:    "plain",
			byDefault: true,
			want:      "default",
		},
		{
			rule:      "1.1.7 cannot be overridden (1.6.3)",
			source:    "plain",
			flag:      no,
			byDefault: true,
			want:      "default",
		},
		{
			rule:   "1.1.8 flag",
			source: "own",
			flag:   yes,
			want:   "source",
		},
		{
			rule:      "1.1.8 default",
			source:    "own",
			byDefault: true,
			want:      "source",
		},
		{
			rule:   "1.1.9 flag",
			source: "shared encrypted",
			flag:   yes,
			want:   "default",
		},
		{
			rule:      "1.1.9 default",
			source:    "shared encrypted",
			byDefault: true,
			want:      "default",
		},
		{
			rule:  "1.1.10 none",
			flag:  yes,
			given: true,
			want:  "given",
		},
		{
			rule:   "1.1.10 own",
			source: "own",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.1.10 shared",
			source: "shared encrypted",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.1.11",
			source: "plain",
			given:  true,
			want:   "InvalidParameterDependency",
		},
		{
			rule:   "1.1.12",
			source: "own",
			flag:   no,
			want:   "InvalidParameterCombination",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				client, source, keys := row.setUp(f, false)
				in := &ec2.CreateVolumeInput{
					AvailabilityZone: aws.String(home + "a"),
					Encrypted:        row.flag,
					KmsKeyId:         row.key(keys),
					Size:             aws.Int32(8),
				}

				if source != "" {
					in.SnapshotId, in.Size = &source, nil
				}

				created, err := client.CreateVolume(f.Context(), in)
				var got *string
				if err == nil {
					time.Sleep(time.Minute)
					got = requireOutput(client.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
						VolumeIds: []string{*created.VolumeId},
					}))(f).Volumes[0].KmsKeyId
				}

				row.check(f, keys, got, err)
			})
		})
	}
}

func TestCopySnapshot_encryption(t *testing.T) {
	for _, row := range []encryptionRow{
		{rule: "1.3.1 absent", source: "plain", want: ""},
		{
			rule:   "1.3.1 false",
			source: "plain",
			flag:   no,
			want:   "",
		},
		{rule: "1.3.1 shared", source: "shared plain", want: ""},
		{
			rule:   "1.3.2",
			source: "plain",
			flag:   yes,
			want:   "default",
		},
		{
			rule:      "1.3.3",
			source:    "plain",
			byDefault: true,
			want:      "default",
		},
		{rule: "1.3.4 own", source: "own", want: "default"},
		{rule: "1.3.4 shared", source: "shared encrypted", want: "default"},
		{
			rule:   "1.3.4 other Region",
			source: "own",
			region: away,
			want:   "default",
		},
		{
			rule:   "1.3.5",
			source: "own",
			flag:   yes,
			want:   "default",
		},
		{
			rule:   "1.3.6",
			source: "own",
			flag:   no,
			want:   "default",
		},
		{
			rule:      "1.3.7",
			source:    "own",
			byDefault: true,
			want:      "default",
		},
		{
			rule:   "1.3.8 plain",
			source: "plain",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.3.8 own",
			source: "own",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.3.8 shared",
			source: "shared encrypted",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.3.8 shared, other Region (A.1.1, A.1.8)",
			source: "shared encrypted",
			flag:   yes,
			given:  true,
			region: away,
			want:   "given",
		},
		{
			rule:   "1.1.11",
			source: "plain",
			given:  true,
			want:   "InvalidParameterDependency",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				client, source, keys := row.setUp(f, false)
				created, err := client.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
					SourceRegion:     aws.String(home),
					SourceSnapshotId: &source,
					Encrypted:        row.flag,
					KmsKeyId:         row.key(keys),
				})

				var got *string
				if err == nil {
					got = f.waitForSnapshot(client, *created.SnapshotId).KmsKeyId
				}

				row.check(f, keys, got, err)
			})
		})
	}
}

func TestCopyImage_encryption(t *testing.T) {
	for _, row := range []encryptionRow{
		{rule: "1.4.1", source: "plain", want: ""},
		{
			rule:   "1.4.1 shared, other Region (A.1.4)",
			source: "shared plain",
			region: away,
			want:   "",
		},
		{
			rule:      "1.4.2",
			source:    "plain",
			byDefault: true,
			want:      "default",
		},
		{
			rule:   "1.4.3",
			source: "plain",
			flag:   yes,
			want:   "default",
		},
		{rule: "1.4.4 absent", source: "own", want: "source"},
		{
			rule:   "1.4.4 true",
			source: "own",
			flag:   yes,
			want:   "source",
		},
		{rule: "1.4.5 absent", source: "shared encrypted", want: "default"},
		{
			rule:   "1.4.5 true",
			source: "shared encrypted",
			flag:   yes,
			want:   "default",
		},
		{
			rule:   "1.4.6 plain",
			source: "plain",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.4.6 own",
			source: "own",
			flag:   yes,
			given:  true,
			want:   "given",
		},
		{
			rule:   "1.4.6 shared, other Region (A.1.5, A.1.8)",
			source: "shared encrypted",
			flag:   yes,
			given:  true,
			region: away,
			want:   "given",
		},
		{
			rule:   "1.4.7",
			source: "plain",
			given:  true,
			want:   "InvalidParameterDependency",
		},
		{
			rule:   "1.4.8",
			source: "own",
			flag:   no,
			want:   "InvalidRequest",
		},
		{
			rule:   "1.4.9",
			source: "own",
			region: away,
			want:   "default",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				client, source, keys := row.setUp(f, true)
				created, err := client.CopyImage(f.Context(), &ec2.CopyImageInput{
					Name:          aws.String("copy"),
					SourceRegion:  aws.String(home),
					SourceImageId: &source,
					Encrypted:     row.flag,
					KmsKeyId:      row.key(keys),
				})

				var got *string
				if err == nil {
					image := f.waitForImage(client, *created.ImageId)
					if image.State != types.ImageStateAvailable {
						f.Fatalf("the copy is %s", image.State)
					}
					got = f.describeSnapshot(client, *image.BlockDeviceMappings[0].Ebs.SnapshotId).KmsKeyId
				}

				row.check(f, keys, got, err)
			})
		})
	}
}

// TestCopySnapshot_customDefaultKey covers rule 1.3.10. It pins the answer to open question Q2: without encryption by
// default, a copy of an encrypted snapshot is under the account's EBS default key. The documentation says aws/ebs.
func TestCopySnapshot_customDefaultKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		custom, source := f.createKey(), f.createSnapshot(f.createKey())
		requireOutput(f.ec2.ModifyEbsDefaultKmsKeyId(f.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &custom}))(f)
		if got := f.waitForSnapshot(f.ec2, f.copySnapshot(f.ec2, source)); *got.KmsKeyId != custom {
			t.Errorf("the copy is under %s, want %s", *got.KmsKeyId, custom)
		}
	})
}

// TestEncryption_emptyKeyCountsAsGiven covers rule 1.1.11. A key without Encrypted=true is refused, even an empty
// key.
func TestEncryption_emptyKeyCountsAsGiven(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		_, err := f.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1), KmsKeyId: aws.String(""),
		})
		requireError(
			t, err, "InvalidParameterDependency", "The parameter [KmsKeyId] requires the parameter Encrypted to be set.",
		)
	})
}
