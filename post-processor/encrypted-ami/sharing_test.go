// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// sharing adds a share block for an account and an organization to options.
func sharing(options map[string]any, account string) map[string]any {
	options["share"] = []any{
		map[string]any{
			"name":              "ours",
			"account_ids":       []any{account},
			"organization_arns": []any{"arn:aws:organizations::111111111111:organization/o-1234567890"},
		},
	}
	return options
}

// launchable returns the launch permissions of an image of the source account.
func (s *stage) launchable(id string) distribution.LaunchPermissions {
	s.Helper()
	out, err := s.cloud(source).DescribeImageAttribute(s.Context(), &ec2.DescribeImageAttributeInput{
		ImageId:   &id,
		Attribute: ec2types.ImageAttributeNameLaunchPermission,
	})
	if err != nil {
		s.Fatal(err)
	}
	return distribution.NewLaunchPermissions(out.LaunchPermissions)
}

// With share blocks alone, no account gets a copy, and the artifact is the image that other accounts launch. Here it is
// a staged copy, because the build encrypts with aws/ebs.
func TestShare_withoutTargets(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), sharing(s.options(), other))
		if err != nil {
			s.Fatal(err)
		}
		golden.Equal(s.T, "testdata/share.golden", s.shown(nil)+withoutDrawnIDs(output.String())+"\n")
		images := slices.DeleteFunc(s.images(source), func(i ec2types.Image) bool { return *i.ImageId == s.image })
		if len(images) != 1 || output.Id() != tokyo+":"+*images[0].ImageId+":"+source {
			s.Fatalf("the artifact is %s, the source account has %d images more", output.Id(), len(images))
		}
		if got := s.launchable(*images[0].ImageId); !slices.Equal(got.Accounts, []string{other}) ||
			len(got.Organizations) != 1 {
			s.Errorf("may be launched by %v", got)
		}
		for _, m := range images[0].BlockDeviceMappings {
			out, err := s.cloud(source).DescribeSnapshotAttribute(s.Context(), &ec2.DescribeSnapshotAttributeInput{
				SnapshotId: m.Ebs.SnapshotId,
				Attribute:  ec2types.SnapshotAttributeNameCreateVolumePermission,
			})
			if err != nil || len(out.CreateVolumePermissions) != 1 ||
				aws.ToString(out.CreateVolumePermissions[0].UserId) != other {
				s.Errorf("%s: %v, %v", *m.Ebs.SnapshotId, out, err)
			}
		}
		if s.forced {
			s.Error("the image of the build is kept although the template says otherwise, and no account launches from it")
		}
		if protected, _ := s.protected(); protected {
			s.Error("the build's image is still protected")
		}
	})
}

// Later runs of the image keep the permissions of share blocks, with a share block and without.
func TestShare_laterRun(t *testing.T) {
	onStage(t, func(s *stage) {
		first, err := s.run(s.Context(), sharing(s.options(), other))
		if err != nil {
			s.Fatal(err)
		}
		shared := first.result.Shares[0].ImageID
		again, err := s.run(s.Context(), sharing(s.options(prod), other))
		if err != nil {
			s.Fatal(err)
		}
		if again.result.Shares[0].ImageID != shared || again.Id() != tokyo+":"+again.result.Images[0].ImageID+":"+prod {
			s.Errorf("shared is %+v, the artifact %s", again.result.Shares, again.Id())
		}
		cleanup := s.options(prod)
		cleanup["mode"] = "cleanup"
		for _, options := range []map[string]any{s.options(prod), cleanup} {
			if _, err := s.run(s.Context(), options); err != nil {
				s.Fatal(err)
			}
			if got := s.launchable(shared); !slices.Equal(got.Accounts, []string{other}) || len(got.Organizations) != 1 {
				s.Errorf("may be launched by %v", got)
			}
		}
	})
}

func TestShare_destroyKeepsImage(t *testing.T) {
	onStage(t, func(s *stage) {
		options := sharing(s.options(), other)
		first, err := s.run(s.Context(), options)
		if err != nil {
			s.Fatal(err)
		}
		s.image = first.result.Shares[0].ImageID // its snapshots have the configured key, so it needs no staged copy
		second, err := s.run(s.Context(), options)
		if err != nil {
			s.Fatal(err)
		}
		if second.result.Shares[0].ImageID != s.image || !s.forced {
			s.Errorf("shared is %s, kept against the template's word: %v", second.result.Shares[0].ImageID, s.forced)
		}
	})
}

func TestShare_denied(t *testing.T) {
	onStage(t, func(s *stage) {
		if err := s.allow(
			iam.NewFromConfig(s.world.Config(source, tokyo)),
			`{"Effect":"Allow","NotAction":"ec2:ModifyImageAttribute","Resource":"*"}`,
		); err != nil {
			s.Fatal(err)
		}
		if _, err := s.run(
			s.Context(),
			sharing(s.options(), other),
		); err == nil || !s.mentions("ec2:ModifyImageAttribute", err) {
			s.Errorf("it ended with %v", err)
		}
		s.safe()
	})
}
