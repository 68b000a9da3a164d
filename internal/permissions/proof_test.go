// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	lmtypes "github.com/aws/aws-sdk-go-v2/service/licensemanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

const home = "ap-northeast-1"

// TestMain clears the AWS environment of the machine.
func TestMain(m *testing.M) { awsenv.Main(m) }

// site is a world whose accounts have the policies of a setup and no other permissions.
type site struct {
	*testing.T
	*awssim.World
	Setup
	image    string
	windows  string // another image, which is billed as Windows
	access   awsclient.Access
	user     aws.Config // of the source account, who may assume the build role
	launcher aws.Config // of the target account, who may assume the role that launches
	sharer   aws.Config // of an account of a share block, who may assume the role that launches there
	license  string     // ARN of a license configuration of the target account
}

// newSite creates a world. It applies change to the policies before the accounts get them.
func newSite(t *testing.T, change func(file string, d *Document), options ...string) *site {
	return newSiteWith(t, func(_ *testing.T, s Setup) map[string]string {
		policies := s.Policies()
		for file, d := range policies {
			change(file, &d)
			policies[file] = d
		}
		return texts(policies)
	}, options...)
}

// texts returns policies as JSON.
func texts(policies map[string]Document) map[string]string {
	all := map[string]string{}
	for file, d := range policies {
		all[file] = string(d.Text())
	}
	return all
}

// newSiteWith creates a world with the policies of a setup, which policiesOf returns by file name.
func newSiteWith(t *testing.T, policiesOf func(*testing.T, Setup) map[string]string, options ...string) *site {
	return newSiteIn(t, nil, policiesOf, options...)
}

// newSiteIn creates a world whose accounts are in an organization, which organize creates, with the policies of a
// setup. organize is nil for accounts without an organization.
func newSiteIn(
	t *testing.T,
	organize func(*site, *awssim.Builder),
	policiesOf func(*testing.T, Setup) map[string]string,
	options ...string,
) *site {
	s := &site{T: t, World: awssim.New(awssim.WithSeed(1)), Setup: Example()}
	s.Options = options
	s.must(s.Build(func(b *awssim.Builder) error {
		if organize != nil {
			organize(s, b)
		}
		source, target := s.SourceAccount, s.Targets[0]
		keys := kms.NewFromConfig(b.Config(source, home))
		made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
		s.must(err)
		s.SourceKeyARNs = []string{*made.KeyMetadata.Arn}
		_, err = keys.CreateAlias(
			t.Context(),
			&kms.CreateAliasInput{AliasName: aws.String("alias/source"), TargetKeyId: made.KeyMetadata.KeyId},
		)
		s.must(err)
		policies := policiesOf(t, s.Setup)

		users := iam.NewFromConfig(b.Config(source, home))
		_, err = users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("ci")})
		s.must(err)
		_, err = users.PutUserPolicy(
			t.Context(),
			&iam.PutUserPolicyInput{UserName: aws.String("ci"), PolicyName: aws.String("build"), PolicyDocument: aws.String(
				`{"Version": "2012-10-17", "Statement": {
					"Effect": "Allow",
					"Action": "sts:AssumeRole",
					"Resource": "` + s.buildRole() + `"
				}}`,
			)},
		)
		s.must(err)
		access, err := users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("ci")})
		s.must(err)
		s.user = s.Config(source, home)
		s.user.Credentials = credentials.NewStaticCredentialsProvider(
			*access.AccessKey.AccessKeyId,
			*access.AccessKey.SecretAccessKey,
			"",
		)
		s.access = awsclient.Access{
			Region:     home,
			AccessKey:  *access.AccessKey.AccessKeyId,
			SecretKey:  distribution.Secret(*access.AccessKey.SecretAccessKey),
			AssumeRole: []distribution.Role{{RoleARN: distribution.Text(s.buildRole())}},
			HTTPClient: s.World,
			Seed:       1,
		}
		s.role(
			users,
			s.BuildRole,
			`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "`+s.root(
				source,
			)+`"}, "Action": "sts:AssumeRole"}}`,
			policies["build-role.json"],
		)

		roles := iam.NewFromConfig(b.Config(target, home))
		s.role(roles, s.TargetRole, policies["target-role-trust.json"], policies["target-role.json"])
		s.launcher = s.launches(b, target, policies["launch-role.json"])
		if s.with("share") {
			s.role(
				iam.NewFromConfig(b.Config(s.Users[0], home)),
				s.TargetRole,
				policies["target-role-trust.json"],
				policies["share-role.json"],
			)
			s.sharer = s.launches(b, s.Users[0], policies["share-launch-role.json"])
		}
		owned := kms.NewFromConfig(b.Config(target, home))
		own, err := owned.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(policies["target-key.json"])})
		s.must(err)
		_, err = owned.CreateAlias(
			t.Context(),
			&kms.CreateAliasInput{AliasName: aws.String(s.TargetAlias), TargetKeyId: own.KeyMetadata.KeyId},
		)
		s.must(err)
		_, err = ec2.NewFromConfig(b.Config(target, home)).CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: &s.Template,
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT3Nano},
		})
		s.must(err)
		license, err := licensemanager.NewFromConfig(b.Config(target, home)).
			CreateLicenseConfiguration(t.Context(), &licensemanager.CreateLicenseConfigurationInput{
				Name: aws.String("per instance"), LicenseCountingType: lmtypes.LicenseCountingTypeInstance,
			})
		s.must(err)
		s.license = *license.LicenseConfigurationArn
		other, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
		s.must(err)
		_, err = keys.CreateAlias(
			t.Context(),
			&kms.CreateAliasInput{AliasName: aws.String("alias/build"), TargetKeyId: other.KeyMetadata.KeyId},
		)
		s.must(err)
		s.build(b)
		_, err = keys.PutKeyPolicy(
			t.Context(),
			&kms.PutKeyPolicyInput{
				KeyId:  made.KeyMetadata.KeyId,
				Policy: aws.String(s.added(policies["source-key.json"], policies["share-key.json"])),
			},
		)
		return err
	}))
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) role(client *iam.Client, name, trust, policy string) {
	s.Helper()
	_, err := client.CreateRole(s.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	s.must(err)
	_, err = client.PutRolePolicy(
		s.Context(),
		&iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("permissions"), PolicyDocument: &policy},
	)
	s.must(err)
}

// launches creates a role in an account that may launch instances, with a policy in addition to all permissions of EC2.
// It also creates the role of Auto Scaling. It returns the configuration of a user that may assume the role.
func (s *site) launches(b *awssim.Builder, account, policy string) aws.Config {
	s.Helper()
	client, name := iam.NewFromConfig(b.Config(account, home)), aws.String("somebody")
	s.role(
		client,
		"launcher",
		`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "`+s.root(
			account,
		)+`"}, "Action": "sts:AssumeRole"}}`,
		s.added(policy, `{"Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}`),
	)
	_, err := client.CreateServiceLinkedRole(
		s.Context(),
		&iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("autoscaling.amazonaws.com")},
	)
	s.must(err)
	_, err = client.CreateUser(s.Context(), &iam.CreateUserInput{UserName: name})
	s.must(err)
	_, err = client.PutUserPolicy(
		s.Context(),
		&iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("launch"), PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}`)},
	)
	s.must(err)
	key, err := client.CreateAccessKey(s.Context(), &iam.CreateAccessKeyInput{UserName: name})
	s.must(err)
	config := s.Config(account, home)
	config.Credentials = credentials.NewStaticCredentialsProvider(
		*key.AccessKey.AccessKeyId,
		*key.AccessKey.SecretAccessKey,
		"",
	)
	return config
}

// added returns a policy with the statements of several policies.
func (s *site) added(policies ...string) string {
	s.Helper()
	all := map[string]any{"Version": "2012-10-17"}
	var statements []any
	for _, policy := range policies {
		var read struct{ Statement []any }
		if policy != "" {
			s.must(json.Unmarshal([]byte(policy), &read))
		}
		statements = append(statements, read.Statement...)
	}
	all["Statement"] = statements
	text, err := json.Marshal(all)
	s.must(err)
	return string(text)
}

// build creates an image with two volumes, one under another key of its account, one under the key that encrypts shared
// snapshots.
func (s *site) build(b *awssim.Builder) {
	s.Helper()
	cloud := ec2.NewFromConfig(b.Config(s.SourceAccount, home))
	var devices []ec2types.BlockDeviceMapping
	for i, key := range []string{"alias/build", "alias/source"} {
		device := []string{"/dev/xvda", "/dev/xvdb"}[i]
		volume, err := cloud.CreateVolume(
			s.Context(),
			&ec2.CreateVolumeInput{
				AvailabilityZone: aws.String(home + "a"),
				Size:             aws.Int32(8),
				Encrypted:        aws.Bool(true),
				KmsKeyId:         aws.String(key),
			},
		)
		s.must(err)
		b.Wait(time.Minute)
		snapshot, err := cloud.CreateSnapshot(s.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		s.must(err)
		b.Wait(time.Hour)
		devices = append(
			devices,
			ec2types.BlockDeviceMapping{
				DeviceName: aws.String(device),
				Ebs:        &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId},
			},
		)
	}
	image, err := cloud.RegisterImage(s.Context(), &ec2.RegisterImageInput{
		Name:                aws.String("golden"),
		RootDeviceName:      aws.String("/dev/xvda"),
		VirtualizationType:  aws.String("hvm"),
		Architecture:        ec2types.ArchitectureValuesX8664,
		EnaSupport:          aws.Bool(true),
		BootMode:            ec2types.BootModeValuesUefi,
		UefiData:            aws.String("QU1aTlVFRkk="),
		BlockDeviceMappings: devices,
	})
	s.must(err)
	s.image = *image.ImageId
	s.addWindowsImage(b)
}

// addWindowsImage creates a second image: a copy of one that AWS bills as Windows.
func (s *site) addWindowsImage(b *awssim.Builder) {
	s.Helper()
	vendor, buyer := ec2.NewFromConfig(b.Config("801119661308", home)), ec2.NewFromConfig(b.Config(s.SourceAccount, home))
	volume, err := vendor.CreateVolume(
		s.Context(),
		&ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8)},
	)
	s.must(err)
	b.Wait(time.Minute)
	snapshot, err := vendor.CreateSnapshot(s.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	s.must(err)
	b.Wait(time.Hour)
	_, err = vendor.ModifySnapshotAttribute(s.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: snapshot.SnapshotId,
		Attribute:  ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
			Add: []ec2types.CreateVolumePermission{{UserId: &s.SourceAccount}},
		},
	})
	s.must(err)
	sold, err := vendor.RegisterImage(s.Context(), &ec2.RegisterImageInput{
		Name:               aws.String("Windows"),
		RootDeviceName:     aws.String("/dev/xvda"),
		VirtualizationType: aws.String("hvm"),
		EnaSupport:         aws.Bool(true),
		Architecture:       ec2types.ArchitectureValuesX8664,
		BillingProducts:    []string{"bp-0002"},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
		},
	})
	s.must(err)
	_, err = vendor.ModifyImageAttribute(
		s.Context(),
		&ec2.ModifyImageAttributeInput{
			ImageId: sold.ImageId,
			LaunchPermission: &ec2types.LaunchPermissionModifications{
				Add: []ec2types.LaunchPermission{{UserId: &s.SourceAccount}},
			},
		},
	)
	s.must(err)
	own, err := buyer.CopyImage(
		s.Context(),
		&ec2.CopyImageInput{
			Name:          aws.String("windows of ours"),
			SourceImageId: sold.ImageId,
			SourceRegion:  aws.String(home),
			Encrypted:     aws.Bool(true),
			KmsKeyId:      aws.String("alias/source"),
		},
	)
	s.must(err)
	b.Wait(time.Hour)
	s.windows = *own.ImageId
}

// request returns one of the requests that use every option, for the resources of the simulated accounts.
func (s *site) request(name string, of int) distribution.Request {
	req := requests(s.Setup)[of]
	req.Images[0].ImageID, req.RunID = s.image, name
	req.Targets[0].Roles[0].ExternalID = distribution.Secret(s.ExternalID)
	if len(req.Targets[0].Licenses) > 0 {
		req.Targets[0].Licenses[0] = distribution.Text(s.license)
	}
	if len(req.Shares) > 0 {
		req.Shares[0].Roles[0].ExternalID = distribution.Secret(s.ExternalID)
	}
	if at := &req.Targets[0].Lifecycle.DeprecateAt; !at.IsZero() {
		*at = time.Now().AddDate(0, 0, 90)
	}
	req.Timeout, req.CopyTimeout, req.PollInterval = 12*time.Hour, 6*time.Hour, 15*time.Second
	return req
}

// writeProblems writes the findings that are not notes.
func writeProblems(out io.Writer, findings []distribution.Finding) {
	for _, f := range findings {
		if f.Level != distribution.Note {
			fmt.Fprintf(out, "%+v\n", f)
		}
	}
}

// distribute runs the whole job for one of the requests that use every option. It reports the problems.
func (s *site) distribute(
	reported *strings.Builder, name string, of int, change ...func(*distribution.Request),
) {
	s.Helper()
	time.Sleep(20 * time.Minute) // a newer resource without a record could belong to an active run
	clock := &runrecord.Clock{}
	record := runrecord.New(clock)
	access := s.access
	access.Guard = awsclient.Guard{Fence: record.Check, Observe: clock.Observe}
	pool, err := awsclient.New(s.Context(), access)
	s.must(err)
	req := s.request(name, of)
	if name != "run-8" && name != "run-9" { // the others need the first release
		req.SourceRetention = distribution.Retention{}
	}
	for _, change := range change {
		change(&req)
	}
	quiet := func(distribution.Event) {}
	show := func(findings []distribution.Finding) { writeProblems(reported, findings) }
	sources, findings := execute.EnableProtection(s.Context(), pool, s.SourceAccount, req.Images, quiet)
	show(findings)
	store := runrecord.TagStore{
		Client:  pool.EC2(distribution.Location{Account: s.SourceAccount, Region: req.Images[0].Region}),
		ImageID: req.Images[0].ImageID,
	}
	failed := func(err error) bool {
		if err != nil {
			fmt.Fprintln(reported, err)
		}
		return err != nil
	}
	at := distribution.Location{Account: s.SourceAccount, Region: req.Images[0].Region}
	created, err := execute.CreationDate(s.Context(), pool, at, req.Images[0].ImageID)
	if failed(err) {
		return
	}
	_, err = record.Begin(s.Context(), runrecord.Options{
		Stores:    []runrecord.Store{store},
		TakesOver: runrecord.TakesOverAll,
	})
	defer func() {
		_, endErr := record.End(context.WithoutCancel(s.Context()), false)
		failed(endErr)
		failed(record.Clear(context.WithoutCancel(s.Context())))
	}()
	if failed(err) {
		return
	}
	keys, err := store.EnsureSigningKey(s.Context(), created)
	if failed(err) {
		return
	}
	req.RunID = record.ID
	req.Records = func(ctx context.Context, _ ...provenance.SourceImage) (distribution.Runs, error) {
		return record.Records(ctx)
	}
	req.Images = slices.Clone(req.Images)
	req.Images[0].Keys = keys
	facts, err := discover.Look(s.Context(), pool, req)
	if err != nil {
		fmt.Fprintln(reported, err)
		return
	}
	p := plan.Assess(req, facts).Decide()
	p.Findings = append(p.Findings, execute.DryRun(s.Context(), pool, p, 0)...)
	show(p.Findings)
	if p.Refused() {
		return
	}
	result := execute.Run(
		s.Context(),
		pool,
		p,
		execute.Options{
			CopyTimeout:  req.CopyTimeout,
			PollInterval: req.PollInterval,
			Evidence:     step.Evidence{Run: req.RunID, Records: req.Records},
		},
		quiet,
	)
	show(result.Findings)
	for _, left := range result.Left {
		fmt.Fprintf(reported, "left: %+v\n", left)
	}
	if len(result.Images) < len(p.Destinations) && reported.Len() == 0 {
		fmt.Fprintln(reported, "an image is missing, and nothing says why")
	}
	_, findings = execute.DisableProtection(s.Context(), pool, s.SourceAccount, sources, quiet)
	show(findings)
}

// problems returns what users read about the problems of whole runs that use every option. Empty if there were none.
func (s *site) problems() string {
	s.Helper()
	var reported strings.Builder
	run := func(name string, of int, change ...func(*distribution.Request)) {
		s.distribute(&reported, name, of, change...)
	}
	s.Inject(awssim.FaultRule{Fault: awssim.LateCopyFailure, Account: s.Targets[0], Action: "ec2:CopySnapshot", Nth: 1})
	run("run-1", 0)
	run("run-2", 0)
	admin := ec2.NewFromConfig(s.Config(s.Targets[0], home))
	images, err := admin.DescribeImages(s.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	s.must(err)
	if len(images.Images) == 0 {
		return reported.String()
	}
	_, err = admin.DisableImageDeregistrationProtection(
		s.Context(),
		&ec2.DisableImageDeregistrationProtectionInput{ImageId: images.Images[0].ImageId},
	)
	s.must(err)
	_, err = admin.ModifyImageAttribute(
		s.Context(),
		&ec2.ModifyImageAttributeInput{
			ImageId:     images.Images[0].ImageId,
			ImdsSupport: &ec2types.AttributeValue{Value: aws.String("v2.0")},
		},
	)
	s.must(err)
	_, err = admin.ModifyEbsDefaultKmsKeyId(
		s.Context(),
		&ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: aws.String(s.TargetAlias)},
	)
	s.must(err)
	run("run-3", 0, func(req *distribution.Request) {
		req.Targets[0].KMSKeyID, req.Targets[0].Lifecycle.ForceDeregister = distribution.DefaultKey, true
	})
	run("run-4", 1)
	run("run-5", 2)
	run("run-6", 3, func(req *distribution.Request) {
		req.Images[0].ImageID, req.Targets[0].Method = s.windows, distribution.ByImage
	})
	if s.with("share") {
		_, err = ssm.NewFromConfig(s.Config(s.SourceAccount, home)).PutParameter(s.Context(), &ssm.PutParameterInput{
			Name:     &s.Parameter, // that the run overwrites
			Type:     ssmtypes.ParameterTypeString,
			DataType: aws.String(distribution.ImageParameter),
			Value:    &s.windows,
		})
		s.must(err)
		run("run-7", 4)
	}
	if s.with("retention.disable_releases") { // launch template versions name the other images
		run("run-7, unpublished", 0, func(req *distribution.Request) {
			req.Targets[0].AMIName, req.Targets[0].PublishTargets = "unpublished", distribution.PublishTargets{}
		})
	}
	first := s.image
	s.release(admin)
	if s.with("retention.disable_releases") {
		run("run-8, disables", 0, func(req *distribution.Request) {
			req.Targets[0].AMIName, req.Targets[0].Retention.Disabled = "golden 2", 9
		})
	}
	run("run-8", 0, func(req *distribution.Request) { req.Targets[0].AMIName = "golden 2" })
	if s.with("source_retention") { // the first release is shared: the report of its usage was requested
		time.Sleep(time.Hour)
		run("run-9", 0, func(req *distribution.Request) { req.Targets[0].AMIName = "golden 2" })
	} else if s.with("mode = rollback") { // nothing names the first release any more, but what was named before is read
		run("run-9", 0, func(req *distribution.Request) {
			req.Images[0].ImageID, req.Move = first, distribution.Rollback
		})
	}
	s.launch(&reported)
	return reported.String()
}

// release creates another image a day later. It removes what keeps the target's previous images.
func (s *site) release(admin *ec2.Client) {
	s.Helper()
	images, err := admin.DescribeImages(s.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	s.must(err)
	for _, image := range images.Images {
		_, err = admin.DisableImageDeregistrationProtection(
			s.Context(),
			&ec2.DisableImageDeregistrationProtectionInput{ImageId: image.ImageId},
		)
		s.must(err)
		_, err = admin.ResetImageAttribute(
			s.Context(),
			&ec2.ResetImageAttributeInput{ImageId: image.ImageId, Attribute: ec2types.ResetImageAttributeNameLaunchPermission},
		)
		s.must(err)
	}
	time.Sleep(24 * time.Hour)
	cloud := ec2.NewFromConfig(s.Config(s.SourceAccount, home))
	images, err = cloud.DescribeImages(
		s.Context(),
		&ec2.DescribeImagesInput{Filters: []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{s.image}}}},
	)
	s.must(err)
	var devices []ec2types.BlockDeviceMapping
	for _, m := range images.Images[0].BlockDeviceMappings {
		devices = append(
			devices,
			ec2types.BlockDeviceMapping{DeviceName: m.DeviceName, Ebs: &ec2types.EbsBlockDevice{SnapshotId: m.Ebs.SnapshotId}},
		)
	}
	made, err := cloud.RegisterImage(s.Context(), &ec2.RegisterImageInput{
		Name: aws.String("golden 2"), RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
		Architecture: ec2types.ArchitectureValuesX8664, EnaSupport: aws.Bool(true), BlockDeviceMappings: devices,
	})
	s.must(err)
	s.image = *made.ImageId
	time.Sleep(5 * time.Minute)
}

// launch reports launches that fail: of the target's images in its account, and of shared images in the account of a
// share block.
func (s *site) launch(reported *strings.Builder) {
	s.Helper()
	own, err := ec2.NewFromConfig(s.Config(s.Targets[0], home)).
		DescribeImages(s.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	s.must(err)
	key, err := kms.NewFromConfig(s.Config(s.Targets[0], home)).
		DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &s.TargetAlias})
	s.must(err)
	s.launchEach(reported, own.Images, s.Targets[0], s.launcher, *key.KeyMetadata.Arn)
	if !s.with("share") {
		return
	}
	shared, err := ec2.NewFromConfig(s.Config(s.Users[0], home)).DescribeImages(s.Context(), &ec2.DescribeImagesInput{
		ExecutableUsers: []string{"self"},
		Owners:          []string{s.SourceAccount},
	})
	s.must(err)
	if len(shared.Images) == 0 {
		fmt.Fprintln(reported, "no image is shared")
	}
	s.launchEach(reported, shared.Images, s.Users[0], s.sharer, s.SourceKeyARNs[0])
}

// launchEach launches images with a role and with Auto Scaling.
func (s *site) launchEach(
	reported *strings.Builder,
	images []ec2types.Image,
	account string,
	by aws.Config,
	key string,
) {
	s.Helper()
	scaling, err := s.ServiceConfig(s.roleARN(account, linkedRole), home)
	s.must(err)
	admin, user := ec2.NewFromConfig(s.Config(account, home)), s.as(by, s.roleARN(account, "launcher"))
	for _, image := range images {
		for who, config := range map[string]aws.Config{"launcher": user, linkedRole: scaling} {
			made, err := ec2.NewFromConfig(config).RunInstances(s.Context(), &ec2.RunInstancesInput{
				ImageId:      image.ImageId,
				InstanceType: ec2types.InstanceTypeT3Nano,
				MinCount:     aws.Int32(1),
				MaxCount:     aws.Int32(1),
			})
			s.must(err)
			time.Sleep(time.Minute)
			seen, err := admin.DescribeInstances(
				s.Context(),
				&ec2.DescribeInstancesInput{InstanceIds: []string{*made.Instances[0].InstanceId}},
			)
			s.must(err)
			instance := seen.Reservations[0].Instances[0]
			if reason := instance.StateReason; reason != nil {
				fmt.Fprintf(reported, "%+v\n", diagnose.Explain(diagnose.Case{
					At: distribution.Location{
						Account: account,
						Region:  home,
					},
					Principal:     s.roleARN(account, who),
					SourceAccount: s.SourceAccount,
					Resource:      key,
					Refusal:       distribution.APIError{Operation: "ec2:RunInstances", Code: *reason.Code, Message: *reason.Message},
				}))
			}
		}
	}
}

// documented are permissions that AWS's guides require for what the plugin does, although calls succeed without them
// (rules 3.1.8 and 3.1.10).
var documented = map[string]string{ // file and action -> rule
	"target-role.json kms:ReEncryptTo":                     "3.1.5",
	"build-role.json kms:GetKeyPolicy":                     "3.2.2",
	"build-role.json kms:Decrypt":                          "3.1.1",
	"build-role.json kms:ReEncryptFrom":                    "3.1.1",
	"target-role.json kms:Decrypt":                         "3.1.3",
	"target-role.json kms:DescribeKey":                     "3.1.3",
	"target-role.json kms:ReEncryptFrom":                   "3.1.3",
	"source-key.json kms:Decrypt":                          "3.1.3",
	"source-key.json kms:DescribeKey":                      "3.1.3",
	"source-key.json kms:ReEncryptFrom":                    "3.1.3",
	"launch-role.json kms:Decrypt":                         "3.1.5",
	"launch-role.json kms:DescribeKey":                     "3.1.5",
	"launch-role.json kms:GenerateDataKeyWithoutPlaintext": "3.1.5",
	"launch-role.json kms:ReEncryptFrom":                   "3.1.5",
	"launch-role.json kms:ReEncryptTo":                     "3.1.5",
	"share-key.json kms:CreateGrant":                       "3.1.6",
	"share-key.json kms:Decrypt":                           "3.1.6",
	"share-key.json kms:DescribeKey":                       "3.1.6",
	"share-launch-role.json kms:CreateGrant":               "3.1.6",
	"share-launch-role.json kms:Decrypt":                   "3.1.6",
	"share-launch-role.json kms:DescribeKey":               "3.1.6",
	"target-key.json kms:Decrypt":                          "8.2",
	"target-key.json kms:DescribeKey":                      "8.2",
	"target-key.json kms:Encrypt":                          "8.2",
	"target-key.json kms:GenerateDataKey*":                 "8.2",
	"target-key.json kms:ReEncrypt*":                       "8.2",
}

var removesEvery = flag.Bool("whole", false, "remove every permission, not only every third one of a policy")

// The test removes one permission at a time from one policy. Then a run or a launch must fail and name the permission,
// or, if only AWS's guides require the permission, succeed. Policies that allow an organization are tested in an
// organization.
func TestPolicies_everyPermissionIsNeeded(t *testing.T) {
	proved := map[string]proof{} // by the name and text of a policy, which may be the same in both forms
	for _, form := range []struct {
		name     string
		organize func(*site, *awssim.Builder)
	}{{"", nil}, {" (organization)", organizeExample}} {
		s := Example()
		if form.organize != nil {
			s.Organization, s.Paths = "o-1234567890", []string{"o-1234567890/r-ab12/ou-ab12-11111111/*"}
		}

		var total proof
		for file, d := range s.Policies() {
			key := file + string(d.Text())
			if _, done := proved[key]; !done {
				proved[key] = prove(t, file, d, form.organize)
			}
			total.add(proved[key])
		}
		fmt.Printf("actions%s: %d, proved: %d, documented: %d, unexplained: %d\n",
			form.name, total.actions, total.proved, total.documented, total.unexplained)
	}
}

// proof counts the actions of a policy.
type proof struct{ actions, proved, documented, unexplained int }

func (p *proof) add(other proof) {
	p.actions += other.actions
	p.proved += other.proved
	p.documented += other.documented
	p.unexplained += other.unexplained
}

// prove removes each action of a policy once, or a sample of its actions.
func prove(t *testing.T, file string, d Document, organize func(*site, *awssim.Builder)) (total proof) {
	t.Helper()
	problemsWithout := func(sid, action string) (text string) {
		synctest.Test(t, func(t *testing.T) {
			text = newSiteIn(t, organize, func(_ *testing.T, s Setup) map[string]string {
				policies := s.Policies()
				changed := policies[file]
				changed.take(sid, action)
				policies[file] = changed
				return texts(policies)
			}, optionsFor(file)...).problems()
		})
		return text
	}

	undisturbed, seen := problemsWithout("", ""), 0
	for _, statement := range d.Statement {
		if statement.Sid == ownAccount { // every key has it
			continue
		}
		for _, action := range statement.Action {
			seen++
			if !*removesEvery && seen%3 != 1 {
				continue
			}
			total.actions++
			text := problemsWithout(statement.Sid, action)
			switch missed := text != undisturbed; {
			case missed && strings.Contains(text, action):
				total.proved++
			case !missed && documented[file+" "+action] != "":
				total.documented++
			default:
				total.unexplained++
				t.Errorf("%s: without %s in %s, is it missed: %v; %s", file, action, statement.Sid, missed, text)
			}
		}
	}
	return total
}

// optionsFor returns the options of the runs that test a policy. A grant would permit the same as the key policy of a
// target, so they never have both.
func optionsFor(file string) []string {
	if file == "target-key.json" {
		return slices.DeleteFunc(slices.Clone(Options), func(option string) bool { return option == "kms_grant" })
	}
	return nil
}

// take removes an action from a statement.
func (d *Document) take(sid, action string) {
	for i := range d.Statement {
		if s := &d.Statement[i]; s.Sid == sid {
			s.Action = slices.DeleteFunc(slices.Clone(s.Action), func(a string) bool { return a == action })
			if len(s.Action) == 0 {
				s.Action = []string{"none:None"} // a statement without actions is none
			}
		}
	}
}
