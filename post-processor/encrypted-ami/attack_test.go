// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// In these tests an administrator of a target account forges what a run creates: a snapshot under the account's key
// with all tags of a genuine copy, and an image of it.

// forged creates a snapshot that looks like a copy of a run (volume vol-ffffffff, the correct key and size), with the
// given tags.
func (s *stage) forged(account string, tags []ec2types.Tag) string {
	s.Helper()
	cloud := s.cloud(account)
	volume, err := cloud.CreateVolume(
		s.Context(),
		&ec2.CreateVolumeInput{AvailabilityZone: aws.String(tokyo + "a"), Size: aws.Int32(8)},
	)
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Minute)
	evil, err := cloud.CreateSnapshot(s.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Hour)
	copied, err := cloud.CopySnapshot(s.Context(), &ec2.CopySnapshotInput{
		SourceRegion: aws.String(tokyo), SourceSnapshotId: evil.SnapshotId,
		Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/golden"), Description: aws.String("/dev/xvda of golden 1"),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeSnapshot, Tags: tags}},
	})
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Hour)
	return *copied.SnapshotId
}

// prepared registers an image from a snapshot, with a name and tags, as an attacker would.
func (s *stage) prepared(account, name, snapshot string, tags []ec2types.Tag) string {
	s.Helper()
	made, err := s.cloud(account).RegisterImage(s.Context(), &ec2.RegisterImageInput{
		Name: &name, RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
		Architecture: ec2types.ArchitectureValuesX8664, EnaSupport: aws.Bool(true),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}},
			{DeviceName: aws.String("/dev/xvdb"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}},
		},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeImage, Tags: tags}},
	})
	if err != nil {
		s.Fatal(err)
	}
	return *made.ImageId
}

// genuine returns the tags of the image that a run created in an account, and of its first copy.
func (s *stage) genuine(account string) (image, snapshot []ec2types.Tag) {
	s.Helper()
	made := s.images(account)[0]
	for _, one := range s.snapshots(account) {
		if *one.SnapshotId == *made.BlockDeviceMappings[0].Ebs.SnapshotId {
			snapshot = one.Tags
		}
	}
	return made.Tags, snapshot
}

// untagged returns the tags whose keys do not end with a text.
func untagged(tags []ec2types.Tag, end string) []ec2types.Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(tag ec2types.Tag) bool { return strings.HasSuffix(*tag.Key, end) })
}

// leftAlone fails the test if a run named one of the resources in a mutating call, or if one of them no longer exists.
func (s *stage) leftAlone(ids ...string) {
	s.Helper()
	for _, call := range s.world.Records()[s.begun:] {
		attacker := strings.HasSuffix(call.Principal, ":root")
		if !attacker && !strings.HasPrefix(call.Action, "ec2:Describe") &&
			slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(call.Resources, id) }) {
			s.Errorf("%s names %v", call.Action, call.Resources)
		}
	}
	for _, id := range ids {
		snapshot := func(one ec2types.Snapshot) bool { return *one.SnapshotId == id }
		image := func(one ec2types.Image) bool { return *one.ImageId == id }
		if !slices.ContainsFunc(s.snapshots(prod), snapshot) && !slices.ContainsFunc(s.images(prod), image) {
			s.Errorf("%s is gone", id)
		}
	}
}

// uses reports whether a block device of an image has a snapshot.
func uses(image ec2types.Image, id string) bool {
	return slices.ContainsFunc(
		image.BlockDeviceMappings,
		func(m ec2types.BlockDeviceMapping) bool { return *m.Ebs.SnapshotId == id },
	)
}

func TestAttack_copiedTags(t *testing.T) {
	for name, forge := range map[string]func(tags []ec2types.Tag) []ec2types.Tag{
		"all tags of a genuine copy": slices.Clone[[]ec2types.Tag],
		"without a signature":        func(tags []ec2types.Tag) []ec2types.Tag { return untagged(tags, ":signature") },
		"a signature of zeroes": func(tags []ec2types.Tag) []ec2types.Tag {
			value := "kid=00000000 mac=" + strings.Repeat("0", 32) + " role=temporary release=2000-01-01T00:00:00Z key= " +
				"device=/dev/xvda"
			forged := ec2types.Tag{Key: aws.String("encrypted-ami:signature"), Value: aws.String(value)}
			return append(untagged(tags, ":signature"), forged)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				if _, err := s.run(s.Context(), s.options(prod)); err != nil {
					s.Fatal(err)
				}
				_, tags := s.genuine(prod)
				evil := s.forged(prod, forge(tags))
				first := *s.images(prod)[0].ImageId

				// a finished run changes nothing
				output, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod))
				if err != nil || output.result.Images[0].ImageID != first {
					s.Fatalf("%v, %v", output, err)
				}
				s.named(evil, output)
				s.leftAlone(evil)

				// if the genuine image is deleted, the run creates it again from new copies
				if _, err := s.cloud(prod).DeregisterImage(s.Context(), &ec2.DeregisterImageInput{
					ImageId:                   &first,
					DeleteAssociatedSnapshots: aws.Bool(true),
				}); err != nil {
					s.Fatal(err)
				}
				if output, err = s.after(s.Context(), nullBuilder, s.withExistingAMI(prod)); err != nil {
					s.Fatal(err)
				}
				images := s.images(prod)
				if len(images) != 1 || uses(images[0], evil) {
					s.Errorf("%d images; the forged snapshot is used: %v", len(images), uses(images[0], evil))
				}
				s.named(evil, output)
				s.leftAlone(evil)

				// a clean-up does not delete the forged resources
				o := s.withExistingAMI(prod)
				o["mode"] = "cleanup"
				if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
					s.Error(err)
				}
				s.leftAlone(evil)
			})
		})
	}
}

// named fails the test unless a finding names the resource.
func (s *stage) named(id string, output *artifact) {
	s.Helper()
	for _, f := range output.result.Findings {
		if f.Resource == id && strings.Contains(f.Summary, "no run provably created it") {
			return
		}
	}
	s.Errorf("no finding names %s: %v", id, output.result.Findings)
}

func TestAttack_predictableName(t *testing.T) {
	for name, when := range map[string]string{"before the run": "", "while it goes on": "in progress"} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				if _, err := s.run(s.Context(), s.options(prod)); err != nil { // for tags to copy
					s.Fatal(err)
				}
				imageTags, snapshotTags := s.genuine(prod)
				genuine := *s.images(prod)[0].ImageId
				if _, err := s.cloud(prod).DeregisterImage(s.Context(), &ec2.DeregisterImageInput{
					ImageId:                   &genuine,
					DeleteAssociatedSnapshots: aws.Bool(true),
				}); err != nil {
					s.Fatal(err)
				}
				evil := s.forged(prod, snapshotTags)
				image := ""
				prepare := func() { image = s.prepared(prod, "golden 1", evil, imageTags) }
				if when == "" {
					prepare()
				} else {
					time.AfterFunc(time.Minute, prepare)
				}
				_, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod))
				if err == nil {
					s.Fatalf("a success:\n%s", s.screen)
				}
				if when == "" && !s.mentions(image, err) || !s.mentions("taken", err) {
					s.Errorf("%s is not named: %v", image, err)
				}
				o := s.withExistingAMI(prod)
				o["mode"] = "cleanup"
				if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
					s.Error(err)
				}
				s.leftAlone(evil, image)
				if images := s.images(prod); len(images) != 1 || *images[0].ImageId != image {
					s.Errorf("%d images", len(images))
				}
			})
		})
	}
}
