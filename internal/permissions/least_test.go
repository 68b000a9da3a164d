// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// as returns a configuration with the credentials of a role.
func (s *site) as(base aws.Config, role string, options ...func(*stscreds.AssumeRoleOptions)) aws.Config {
	as := base
	as.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(base), role, options...))
	return as
}

// The policies deny what no run needs. IAM or KMS refuses each attempt of this test because of a missing permission.
func TestPolicies_refuseWhatTheJobDoesNotNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(string, *Document) {})
		source, target := s.SourceAccount, s.Targets[0]
		owner := ec2.NewFromConfig(s.Config(source, home))
		seen, err := owner.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
		s.must(err)
		snapshot := seen.Snapshots[0].SnapshotId
		targets := s.Config(target, home)
		volume, err := ec2.NewFromConfig(targets).
			CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)})
		s.must(err)
		foreign, err := ec2.NewFromConfig(targets).
			CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		s.must(err)
		time.Sleep(time.Minute) // AWS limits the rate of CreateSnapshot of one volume
		copied, err := ec2.NewFromConfig(targets).CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{
			VolumeId: volume.VolumeId,
			TagSpecifications: []ec2types.TagSpecification{{
				ResourceType: ec2types.ResourceTypeSnapshot,
				Tags:         []ec2types.Tag{{Key: aws.String("encrypted-ami:source"), Value: aws.String("x")}},
			}},
		})
		s.must(err)

		buildRole := s.as(s.user, s.buildRole())
		targetRole := s.as(
			buildRole,
			s.roleARN(target, s.TargetRole),
			func(o *stscreds.AssumeRoleOptions) { o.ExternalID = &s.ExternalID },
		)
		build, work := ec2.NewFromConfig(buildRole), ec2.NewFromConfig(targetRole)
		key := &s.SourceKeyARNs[0]
		user := s.Users[0]
		granting := s.as(
			buildRole,
			s.roleARN(user, s.TargetRole),
			func(o *stscreds.AssumeRoleOptions) { o.ExternalID = &s.ExternalID },
		)
		letScale := func(config aws.Config, grantee string, operations ...kmstypes.GrantOperation) error {
			_, err := kms.NewFromConfig(config).
				CreateGrant(t.Context(), &kms.CreateGrantInput{KeyId: key, GranteePrincipal: &grantee, Operations: operations})
			return err
		}
		share := func(with ...ec2types.CreateVolumePermission) error {
			_, err := build.ModifySnapshotAttribute(t.Context(), &ec2.ModifySnapshotAttributeInput{
				SnapshotId: snapshot, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
				CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: with},
			})
			return err
		}
		grant := func(config aws.Config) error {
			_, err := kms.NewFromConfig(config).
				CreateGrant(t.Context(), &kms.CreateGrantInput{
					KeyId:            key,
					GranteePrincipal: aws.String(s.root(target)),
					Operations:       []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
				})
			return err
		}
		tag := func(client *ec2.Client, id *string, key string) error {
			_, err := client.CreateTags(
				t.Context(),
				&ec2.CreateTagsInput{Resources: []string{*id}, Tags: []ec2types.Tag{{Key: &key, Value: aws.String("x")}}},
			)
			return err
		}
		if err := share(ec2types.CreateVolumePermission{UserId: &target}); err != nil {
			t.Errorf("the share of the job itself: %v", err)
		}
		if err := tag(work, copied.SnapshotId, "encrypted-ami:signature"); err != nil {
			t.Errorf("the signature of the job itself: %v", err)
		}
		if err := letScale(granting, s.roleARN(user, linkedRole), kmstypes.GrantOperationDecrypt); err != nil {
			t.Errorf("the grant of the job itself: %v", err)
		}
		for name, err := range map[string]error{
			"the role of a share block's account lets another principal use the " +
				"key": letScale(granting, s.roleARN(user, "launcher"), kmstypes.GrantOperationDecrypt),
			"it lets Auto Scaling of another account use " +
				"it": letScale(granting, s.roleARN(target, linkedRole), kmstypes.GrantOperationDecrypt),
			"it lets Auto Scaling do more than " +
				"launch": letScale(granting, s.roleARN(user, linkedRole), kmstypes.GrantOperationRetireGrant),
			"an administrator of a share block's account lets another principal use " +
				"it": letScale(s.Config(user, home), s.roleARN(user, "launcher"), kmstypes.GrantOperationDecrypt),
			"the build role shares with an account that is no " +
				"target": share(ec2types.CreateVolumePermission{UserId: aws.String("666666666666")}),
			"the build role shares with one beside a " +
				"target": share(ec2types.CreateVolumePermission{UserId: &target}, ec2types.CreateVolumePermission{
				UserId: aws.String("666666666666"),
			}),
			"the build role makes public": share(ec2types.CreateVolumePermission{Group: ec2types.PermissionGroupAll}),
			"the build role deletes what is not ours": func() error {
				_, err := build.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: snapshot})
				return err
			}(),
			"the build role tags with other keys": tag(build, snapshot, "team"),
			"the target role deletes what is not ours": func() error {
				_, err := work.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: foreign.SnapshotId})
				return err
			}(),
			"the target role marks something as ours":           tag(work, foreign.SnapshotId, "encrypted-ami:source"),
			"the target role signs what is not ours":            tag(work, foreign.SnapshotId, "encrypted-ami:signature"),
			"the target role tags what is ours with other keys": tag(work, copied.SnapshotId, "team"),
			"the target role disables deregistration protection": func() error {
				_, err := work.DisableImageDeregistrationProtection(
					t.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(step.StandInImage)},
				)
				return err
			}(),
			"the target role shares on": func() error {
				_, err := work.ModifySnapshotAttribute(t.Context(), &ec2.ModifySnapshotAttributeInput{
					SnapshotId: foreign.SnapshotId, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
					CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
						Add: []ec2types.CreateVolumePermission{{UserId: &source}},
					},
				})
				return err
			}(),
			"the target role encrypts with the source key": func() error {
				_, err := kms.NewFromConfig(targetRole).GenerateDataKeyWithoutPlaintext(
					t.Context(),
					&kms.GenerateDataKeyWithoutPlaintextInput{
						KeyId:   key,
						KeySpec: kmstypes.DataKeySpecAes256,
					},
				)
				return err
			}(),
			"the target role makes a grant of its own":        grant(targetRole),
			"a target administrator makes a grant of its own": grant(targets),
			"a target administrator has what the target role has on the source key": func() error {
				_, err := kms.NewFromConfig(targets).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key})
				return err
			}(),
			"a caller assumes the target role without the external id": func() error {
				_, err := sts.NewFromConfig(buildRole).AssumeRole(t.Context(), &sts.AssumeRoleInput{
					RoleArn:         aws.String(s.roleARN(target, s.TargetRole)),
					RoleSessionName: aws.String("somebody"),
				})
				return err
			}(),
		} {
			var refused smithy.APIError
			if !errors.As(err, &refused) || !strings.Contains(fmt.Sprint(refused.ErrorCode()), "UnauthorizedOperation") &&
				!strings.HasPrefix(refused.ErrorCode(), "AccessDenied") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A role may deregister an image of another user in the target account only with the options that request it.
func TestPolicies_foreignImage(t *testing.T) {
	for options, want := range map[string]string{
		"":                                       "UnauthorizedOperation",
		"force_deregister":                       "DryRunOperation",
		"force_deregister,force_delete_snapshot": "DryRunOperation",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(
				t,
				func(string, *Document) {},
				append(slices.Clone(Options), strings.FieldsFunc(options, func(r rune) bool { return r == ',' })...)...)
			admin := ec2.NewFromConfig(s.Config(s.Targets[0], home))
			volume, err := admin.CreateVolume(
				t.Context(),
				&ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)},
			)
			s.must(err)
			time.Sleep(time.Minute)
			snapshot, err := admin.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
			s.must(err)
			time.Sleep(time.Hour)
			foreign, err := admin.RegisterImage(t.Context(), &ec2.RegisterImageInput{
				Name:               aws.String("taken"),
				RootDeviceName:     aws.String("/dev/xvda"),
				VirtualizationType: aws.String("hvm"),
				BlockDeviceMappings: []ec2types.BlockDeviceMapping{
					{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
				},
			})
			s.must(err)
			work := ec2.NewFromConfig(s.as(
				s.as(s.user, s.buildRole()),
				s.roleARN(s.Targets[0], s.TargetRole),
				func(o *stscreds.AssumeRoleOptions) { o.ExternalID = &s.ExternalID },
			))
			_, err = work.DeregisterImage(
				t.Context(),
				&ec2.DeregisterImageInput{DryRun: aws.Bool(true), ImageId: foreign.ImageId},
			)
			var refused smithy.APIError
			if !errors.As(err, &refused) || refused.ErrorCode() != want {
				t.Errorf("with %q the image: %v", options, err)
			}
			_, err = work.DeleteSnapshot(
				t.Context(),
				&ec2.DeleteSnapshotInput{DryRun: aws.Bool(true), SnapshotId: snapshot.SnapshotId},
			)
			gone := errors.As(err, &refused) && refused.ErrorCode() == "DryRunOperation"
			if gone != strings.Contains(
				options,
				"force_delete_snapshot",
			) {
				t.Errorf("with %q its snapshot: %v", options, err)
			}
		})
	}
}

// The policies for source_retention let a run deregister the source image of an older release.
func TestPolicies_sourceRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(string, *Document) {}, append(slices.Clone(Options), "source_retention")...)
		first := s.image
		if problems := s.problems(); problems != "" {
			t.Error(problems)
		}
		images, err := ec2.NewFromConfig(s.Config(s.SourceAccount, home)).DescribeImages(
			t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
		s.must(err)
		if slices.ContainsFunc(images.Images, func(image ec2types.Image) bool { return *image.ImageId == first }) {
			t.Errorf("the source image %s of the first release is still there", first)
		}
	})
}

// If a kind of step were missing from the plans here, no policy would have its permissions.
func TestEveryOption_everyKindOfStep(t *testing.T) {
	planned := map[string]bool{}
	known := map[string]bool{
		"PublishBarrier": len((&step.PublishBarrier{}).Permissions()) == 0, // makes no call
		// adds the signature of a resource, like the steps that create resources
		"TagResource": true,
	}
	every := Example()
	every.Options = slices.Concat(Options, OnRequest)
	for _, step := range everyStep(every) {
		planned[strings.TrimPrefix(fmt.Sprintf("%T", step), "*step.")] = true
	}
	files, err := filepath.Glob("../step/*.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range regexp.MustCompile(`func \(\w+ \*(\w+)\) Permissions\(`).FindAllStringSubmatch(
			string(text),
			-1,
		) {
			if kinds++; !planned[kind[1]] && !known[kind[1]] {
				t.Errorf("no %s in the plan that uses every option", kind[1])
			}
		}
	}
	if kinds == 0 {
		t.Error("no kind of step was found")
	}
}

// An option only adds permissions. A template may use any combination of options, so none may remove a permission.
func TestPolicies_optionsOnlyAdd(t *testing.T) {
	all := Example().Policies()
	for _, option := range append([]string{"none of them"}, Options...) {
		alone := Example()
		alone.Options = []string{option}
		for file, policy := range alone.Policies() {
			for _, action := range actionsOf(policy) {
				if !slices.Contains(actionsOf(all[file]), action) {
					t.Errorf("%s: with %s alone there is %s, with all options there is not", file, option, action)
				}
			}
		}
	}
}

func actionsOf(d Document) []string {
	var all []string
	for _, statement := range d.Statement {
		all = append(all, statement.Action...)
	}
	return all
}

func TestPolicies_documented(t *testing.T) {
	files, err := filepath.Glob("../../docs/policies/*.json")
	if err != nil || len(files) != len(Example().Policies()) {
		t.Fatalf("%d files for %d policies: %v", len(files), len(Example().Policies()), err)
	}
	for name, policy := range Example().Policies() {
		if text, err := os.ReadFile(filepath.Join("../../docs/policies", name)); err != nil ||
			!bytes.Equal(text, policy.Text()) {
			t.Errorf("%s is not what make generate makes: %v", name, err)
		}
	}
}

// KMS refuses a key policy that names a role that does not exist. A statement for a deleted role does not apply to a
// new role of that name.
func TestSourceKey_permitsTargetRoleBeforeItExists(t *testing.T) {
	for organization, permitted := range map[string]string{"": Example().root(Example().Targets[0]), "o-1234567890": "*"} {
		s := Example()
		s.Organization = organization
		for _, statement := range s.sourceKey().Statement[1:] {
			if named := statement.Condition["ArnLike"]["aws:PrincipalArn"]; !slices.Equal(
				statement.Principal,
				[]string{permitted},
			) || !slices.Equal(named, []string{s.roleARN("*", s.TargetRole)}) {
				t.Errorf("%s of organization %q permits %q of %q", statement.Sid, organization, named, statement.Principal)
			}
			if of := strings.Join(statement.Condition["StringEquals"]["aws:PrincipalOrgID"], ","); of != organization {
				t.Errorf("%s of organization %q permits %q", statement.Sid, organization, of)
			}
		}
	}
}

func TestPolicies_accounts(t *testing.T) {
	s := Example()
	s.Users = nil
	for file, policy := range s.Policies() {
		if len(policy.Statement) == 0 {
			t.Errorf("%s has no statement", file)
		}
		for _, named := range regexp.MustCompile(`\b\d{12}\b`).FindAllString(string(policy.Text()), -1) {
			if named != s.SourceAccount && !slices.Contains(s.Targets, named) {
				t.Errorf("%s names %s", file, named)
			}
		}
	}
}

func TestSetupCheck_reportsEveryProblem(t *testing.T) {
	s := Setup{
		SourceAccount: "1",
		Targets:       []string{"1", "x"},
		BuildRole:     "a b",
		SourceKeyARNs: []string{"alias/a"},
		TargetAlias:   "golden",
		TargetRole:    "",
		Options:       []string{"share", "shares"},
	}
	for _, want := range []string{
		"source account",
		"target account 1 is",
		`target account "x"`,
		"build role",
		"target role",
		"source key",
		"target key",
		`"share": no account`,
		`"shares": none of`,
	} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %q: %v", want, err)
		}
	}
	if err := Example().Check(); err != nil {
		t.Error(err)
	}
}
