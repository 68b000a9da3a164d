// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

var accounts = flag.Int("accounts", 20, "target accounts of the organization whose policies are tested")

const (
	management  = "000000000001"
	outsideUnit = "555555555555" // in the organization, not in the unit of the targets
	outsider    = "666666666666" // in no organization
)

// organizeExample puts the accounts of the example into an organization: the targets and the accounts of share blocks
// into a unit, which the policies allow, and the source account beside it.
func organizeExample(s *site, b *awssim.Builder) {
	s.Helper()
	client := organizations.NewFromConfig(b.Config(management, home))
	created, err := client.CreateOrganization(s.Context(),
		&organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll})
	s.must(err)
	roots, err := client.ListRoots(s.Context(), &organizations.ListRootsInput{})
	s.must(err)
	root := roots.Roots[0].Id
	unit, err := client.CreateOrganizationalUnit(s.Context(),
		&organizations.CreateOrganizationalUnitInput{ParentId: root, Name: aws.String("workloads")})
	s.must(err)

	join := func(account string) {
		invited, err := client.InviteAccountToOrganization(s.Context(), &organizations.InviteAccountToOrganizationInput{
			Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount},
		})
		s.must(err)
		_, err = organizations.NewFromConfig(b.Config(account, home)).
			AcceptHandshake(s.Context(), &organizations.AcceptHandshakeInput{HandshakeId: invited.Handshake.Id})
		s.must(err)
	}
	for _, account := range []string{s.SourceAccount, outsideUnit} {
		join(account)
	}
	for _, account := range append(s.Users, s.Targets...) {
		join(account)
		_, err = client.MoveAccount(s.Context(), &organizations.MoveAccountInput{
			AccountId: &account, SourceParentId: root, DestinationParentId: unit.OrganizationalUnit.Id,
		})
		s.must(err)
	}

	s.Organization = *created.Organization.Id
	s.Paths = []string{s.Organization + "/" + *root + "/" + *unit.OrganizationalUnit.Id + "/*"}
}

// addMember gives an account the role and the key that a stack set gives every account of the unit.
func (s *site) addMember(b *awssim.Builder, account string, policies map[string]string) {
	s.Helper()
	s.role(iam.NewFromConfig(b.Config(account, home)), s.TargetRole, policies["target-role-trust.json"],
		policies["target-role.json"])
	client := kms.NewFromConfig(b.Config(account, home))
	key, err := client.CreateKey(s.Context(), &kms.CreateKeyInput{})
	s.must(err)
	_, err = client.CreateAlias(s.Context(),
		&kms.CreateAliasInput{AliasName: aws.String(s.TargetAlias), TargetKeyId: key.KeyMetadata.KeyId})
	s.must(err)
}

// The policies that allow an organization do not grow with its accounts. They let the whole job through for every
// account of the unit, and refuse accounts outside of the organization and of the unit.
func TestOrganizationPolicies_refuseOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := ids('2', *accounts)
		s := newSiteIn(t, func(s *site, b *awssim.Builder) {
			s.Users = nil
			s.Targets = append(s.Targets, members[1:]...)
			organizeExample(s, b)
		}, func(_ *testing.T, s Setup) map[string]string { return texts(s.Policies()) }, "launch_check")

		policies := texts(s.Policies())
		for file, text := range policies {
			if strings.Contains(text, members[1]) || s.Policies()[file].characters() > maxManaged {
				t.Errorf("%s is too large for a managed policy, or names %s", file, members[1])
			}
		}
		s.must(s.Build(func(b *awssim.Builder) error {
			for _, account := range append([]string{outsideUnit, outsider}, s.Targets[1:]...) {
				s.addMember(b, account, policies)
			}
			return nil
		}))

		s.refuseOthers(t)
		var reported strings.Builder
		s.distribute(&reported, "run-1", 0, func(req *distribution.Request) { req.Targets[0].LaunchCheck = nil })
		if reported.Len() > 0 {
			t.Errorf("%d accounts: %s", len(s.Targets), reported.String())
		}
		for _, account := range s.Targets {
			out, err := ec2.NewFromConfig(s.Config(account, home)).DescribeImages(t.Context(),
				&ec2.DescribeImagesInput{Owners: []string{"self"}})
			if s.must(err); len(out.Images) != 1 {
				t.Errorf("%s has %d images, want 1", account, len(out.Images))
			}
		}
	})
}

// The tool without the SDK writes the same policies.
func TestPoliciesTool_samePolicies(t *testing.T) {
	s := Setup{
		SourceAccount: "222222222222",
		BuildRole:     "packer",
		SourceKeyARNs: []string{
			"arn:aws-us-gov:kms:us-gov-east-1:222222222222:key/0", "arn:aws-us-gov:kms:us-gov-west-1:222222222222:key/1",
		},
		Targets:      []string{"333333333333"},
		TargetRole:   "copier",
		TargetAlias:  "alias/own",
		Parameter:    Example().Parameter,
		Template:     Example().Template,
		ExternalID:   "agreed",
		Organization: "o-abcdefghij",
		Paths:        []string{"o-abcdefghij/r-cd34/ou-cd34-22222222/*", "o-abcdefghij/r-cd34/ou-cd34-33333333/*"},
	}
	args := []string{
		"run", "../../tools/policies", "-source-account", s.SourceAccount, "-build-role", s.BuildRole,
		"-source-keys", strings.Join(s.SourceKeyARNs, ","), "-target-role", s.TargetRole, "-target-key", s.TargetAlias,
		"-external-id", s.ExternalID, "-organization", s.Organization,
	}
	render := func(more ...string) string {
		folder := t.TempDir()
		out, err := exec.Command("go", slices.Concat(args, more, []string{"-out", folder})...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return folder
	}
	isSame := func(folder, file string, policy Document) {
		if got, err := os.ReadFile(filepath.Join(folder, file)); err != nil || string(got) != string(policy.Text()) {
			t.Errorf("%s: %v, got %s\nwant %s", file, err, got, policy.Text())
		}
	}

	folder := render("-target-account", s.Targets[0], "-organization-paths", strings.Join(s.Paths, ","))
	for file, policy := range s.Policies() {
		isSame(folder, file, policy)
	}

	s.Paths = nil
	folder = render()
	for file, policy := range s.Policies() {
		if file != "target-key.json" {
			isSame(folder, file, policy)
		} else if _, err := os.Stat(filepath.Join(folder, file)); err == nil {
			t.Error("target-key.json is written for the account of the example")
		}
	}
}

// A forgotten flag is an error: a policy for the organization of the example would deny every call.
func TestPoliciesTool_missingFlags(t *testing.T) {
	out, err := exec.Command("go", "run", "../../tools/policies", "-out", t.TempDir(),
		"-source-account", "222222222222", "-build-role", "packer").CombinedOutput()
	const want = "missing: -source-keys, -organization, -target-role, -target-key, -external-id"
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v: %s, want %q", err, out, want)
	}
}

// refuseOthers lets accounts outside of the unit try what the policies are to refuse, and a target what they allow.
func (s *site) refuseOthers(t *testing.T) {
	t.Helper()
	build := s.as(s.user, s.buildRole())
	assumed := func(account string) aws.Config {
		return s.as(build, s.roleARN(account, s.TargetRole),
			func(o *stscreds.AssumeRoleOptions) { o.ExternalID = &s.ExternalID })
	}
	identity := func(config aws.Config) error {
		_, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		return err
	}
	describeKey := func(config aws.Config) error {
		_, err := kms.NewFromConfig(config).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &s.SourceKeyARNs[0]})
		return err
	}

	last := s.Targets[len(s.Targets)-1]
	if err := errors.Join(identity(assumed(last)), describeKey(assumed(last))); err != nil {
		t.Errorf("the role of target %s: %v", last, err)
	}
	for _, account := range []string{outsideUnit, outsider} {
		if err := identity(assumed(account)); !isRefused(err) {
			t.Errorf("the build role assumes the role of %s: %v", account, err)
		}
		if err := describeKey(s.session(account)); !isRefused(err) {
			t.Errorf("the role of %s uses the source key: %v", account, err)
		}
	}
	if err := describeKey(s.launcher); !isRefused(err) {
		t.Errorf("another principal of a target uses the source key: %v", err)
	}

	client := ec2.NewFromConfig(build)
	owner := ec2.NewFromConfig(s.Config(s.SourceAccount, home))
	seen, err := owner.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	s.must(err)
	_, err = client.ModifySnapshotAttribute(t.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: seen.Snapshots[0].SnapshotId, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
			Add: []ec2types.CreateVolumePermission{{Group: ec2types.PermissionGroupAll}},
		},
	})
	if !isRefused(err) {
		t.Errorf("the build role makes a snapshot public: %v", err)
	}
}

// session is the target role of an account, as an administrator of the account assumes it.
func (s *site) session(account string) aws.Config {
	s.Helper()
	client := iam.NewFromConfig(s.Config(account, home))
	trust := `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "` + s.root(account) +
		`"}, "Action": "sts:AssumeRole"}}`
	_, err := client.UpdateAssumeRolePolicy(s.Context(),
		&iam.UpdateAssumeRolePolicyInput{RoleName: &s.TargetRole, PolicyDocument: &trust})
	s.must(err)
	return s.as(s.administrator(account), s.roleARN(account, s.TargetRole))
}

// isRefused reports whether IAM, STS, KMS or EC2 refused a call for lack of a permission.
func isRefused(err error) bool {
	var refused smithy.APIError
	return errors.As(err, &refused) && (refused.ErrorCode() == "UnauthorizedOperation" ||
		strings.HasPrefix(refused.ErrorCode(), "AccessDenied"))
}

// administrator is a user of an account with all permissions, because a root user cannot assume a role.
func (s *site) administrator(account string) aws.Config {
	s.Helper()
	client, name := iam.NewFromConfig(s.Config(account, home)), aws.String("administrator")
	_, err := client.CreateUser(s.Context(), &iam.CreateUserInput{UserName: name})
	s.must(err)
	_, err = client.PutUserPolicy(s.Context(), &iam.PutUserPolicyInput{
		UserName: name, PolicyName: aws.String("all"), PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`),
	})
	s.must(err)
	key, err := client.CreateAccessKey(s.Context(), &iam.CreateAccessKeyInput{UserName: name})
	s.must(err)
	config := s.Config(account, home)
	config.Credentials = credentials.NewStaticCredentialsProvider(*key.AccessKey.AccessKeyId,
		*key.AccessKey.SecretAccessKey, "")
	return config
}
