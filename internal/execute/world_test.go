// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

const (
	source = "111111111111"
	home   = "ap-northeast-1"
	away   = "us-west-2"
)

// TestMain clears the AWS environment of the machine.
func TestMain(m *testing.M) { awsenv.Main(m) }

// volume is a volume of the source image: its size and its key. The key is empty for an unencrypted volume.
type volume struct {
	gib int32
	key string
}

// testWorld is a simulated AWS with a source image and target accounts.
type testWorld struct {
	*awssim.World
	t       *testing.T
	home    string // Region of the build
	images  []distribution.SourceImage
	targets []string
	regions []string
	with    func(*distribution.Request) // adds options to each request. Nil adds none
	friends []string                    // accounts that a share block of the request names
	older   []string                    // images of the source account that are not distributed
	audit   func() (int, int)           // what census also counts: missing and duplicate resources. Nil counts nothing
	access  awsclient.Access            // as the builder's user: a root user may assume no role
}

const (
	sourceAlias = "alias/golden-source"
	targetAlias = "alias/golden-target"
	roleName    = "golden-image-target"
)

// build creates a world. The source account has the image in its home Region, and a key in every Region that the
// targets may use. Each target account has a key in every Region and a role.
func build(t *testing.T, volumes []volume, targets, regions []string, options ...awssim.Option) *testWorld {
	t.Helper()
	return buildIn(t, home, volumes, targets, regions, options...)
}

// buildIn creates a world with another home Region, for example in another partition.
func buildIn(
	t *testing.T,
	home string,
	volumes []volume,
	targets, regions []string,
	options ...awssim.Option,
) *testWorld {
	t.Helper()
	h := &testWorld{World: awssim.New(options...), t: t, home: home, targets: targets, regions: regions}
	err := h.World.Build(func(b *awssim.Builder) error {
		ctx := t.Context()
		keyRegions := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(regions), home))))
		for _, region := range keyRegions {
			h.key(ctx, kms.NewFromConfig(b.Config(source, region)), sourceAlias, sourceKeyPolicy(partition(home), targets))
			for _, account := range targets {
				if account != source {
					h.key(ctx, kms.NewFromConfig(b.Config(account, region)), targetAlias, "")
				}
			}
		}
		for _, account := range targets {
			if account != source {
				h.role(ctx, iam.NewFromConfig(b.Config(account, home)))
			}
		}
		h.user(ctx, iam.NewFromConfig(b.Config(source, home)))
		h.images = []distribution.SourceImage{
			{Region: home, ImageID: h.image(ctx, b, ec2.NewFromConfig(b.Config(source, home)), volumes)},
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// partition returns the partition of a Region.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	}
	return "aws"
}

// sourceKeyPolicy lets an account use its key, and other accounts use it for copies.
func sourceKeyPolicy(partition string, others []string) string {
	policy := fmt.Sprintf(
		`{"Effect": "Allow", "Principal": {"AWS": "arn:%s:iam::%s:root"}, "Action": "kms:*", "Resource": "*"}`,
		partition,
		source,
	)
	var roots []string // in one statement: three hundred would be more than 32 KB (3.2.8)
	for _, account := range others {
		roots = append(roots, fmt.Sprintf(`"arn:%s:iam::%s:root"`, partition, account))
	}
	if len(roots) > 200 {
		policy += fmt.Sprintf(
			`, {"Effect": "Allow", "Principal": {"AWS": "*"},
			"Action": ["kms:DescribeKey", "kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"],
			"Resource": "*", "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:%s:iam::*:role/%s"}}}`,
			partition,
			roleName,
		)
	} else if len(roots) > 0 {
		policy += fmt.Sprintf(
			`, {
				"Effect": "Allow",
				"Principal": {"AWS": [%s]},
				"Action": ["kms:DescribeKey", "kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"],
				"Resource": "*"
			}`,
			strings.Join(roots, ", "),
		)
	}
	return `{"Version": "2012-10-17", "Statement": [` + policy + `]}`
}

func (h *testWorld) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *testWorld) key(ctx context.Context, client *kms.Client, alias, policy string) {
	h.t.Helper()
	in := &kms.CreateKeyInput{}
	if policy != "" {
		in.Policy = aws.String(policy)
	}
	made, err := client.CreateKey(ctx, in)
	h.must(err)
	_, err = client.CreateAlias(
		ctx,
		&kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: made.KeyMetadata.KeyId},
	)
	h.must(err)
}

func (h *testWorld) user(ctx context.Context, client *iam.Client) {
	h.t.Helper()
	name := aws.String("builder")
	_, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	h.must(err)
	_, err = client.PutUserPolicy(
		ctx,
		&iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("permissions"), PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)},
	)
	h.must(err)
	made, err := client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	h.must(err)
	h.access = awsclient.Access{
		Region:    h.home,
		AccessKey: aws.ToString(made.AccessKey.AccessKeyId),
		SecretKey: distribution.Secret(aws.ToString(made.AccessKey.SecretAccessKey)),
		Seed:      1,
		Version:   "test",
	}
}

func (h *testWorld) role(ctx context.Context, client *iam.Client) {
	h.t.Helper()
	_, err := client.CreateRole(
		ctx,
		&iam.CreateRoleInput{RoleName: aws.String(roleName), AssumeRolePolicyDocument: aws.String(fmt.Sprintf(
			`{"Version": "2012-10-17", "Statement": [{
				"Effect": "Allow",
				"Principal": {"AWS": "arn:%s:iam::%s:root"},
				"Action": "sts:AssumeRole",
				"Condition": {"StringEquals": {"sts:ExternalId": "golden"}}
			}]}`,
			partition(h.home),
			source,
		))},
	)
	h.must(err)
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName:   aws.String(roleName),
		PolicyName: aws.String("permissions"),
		PolicyDocument: aws.String(`{"Version": "2012-10-17", "Statement": [{
				"Effect": "Allow",
				"Action": ["ec2:*", "kms:*", "ssm:*", "license-manager:*", "imagebuilder:*"],
				"Resource": "*"
			}]}`),
	})
	h.must(err)
}

// forbid denies the target's role an action.
func (h *testWorld) forbid(account, action string) {
	h.t.Helper()
	_, err := iam.NewFromConfig(h.Config(account, h.home)).PutRolePolicy(h.t.Context(), &iam.PutRolePolicyInput{
		RoleName:   aws.String(roleName),
		PolicyName: aws.String("but-not"),
		PolicyDocument: aws.String(
			fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "%s", "Resource": "*"}]}`, action),
		),
	})
	h.must(err)
}

// adds reports whether a finding has a statement to add for an action.
func adds(f distribution.Finding, action string) bool {
	return slices.ContainsFunc(
		f.PolicyStatements,
		func(a distribution.Addition) bool { return slices.Contains(a.Statement.Action, action) },
	)
}

// forbidSigning denies the target's role tags on existing resources. Tags in creating calls are still allowed (rule
// 6.5).
func (h *testWorld) forbidSigning(account string) {
	h.t.Helper()
	_, err := iam.NewFromConfig(h.Config(account, h.home)).PutRolePolicy(h.t.Context(), &iam.PutRolePolicyInput{
		RoleName:   aws.String(roleName),
		PolicyName: aws.String("but-not"),
		PolicyDocument: aws.String(`{"Version": "2012-10-17", "Statement": [{
				"Effect": "Deny",
				"Action": "ec2:CreateTags",
				"Resource": "*",
				"Condition": {"Null": {"ec2:CreateAction": "true"}}
			}]}`),
	})
	h.must(err)
}

// forgive removes what forbid denied.
func (h *testWorld) forgive(account string) {
	h.t.Helper()
	_, err := iam.NewFromConfig(h.Config(account, h.home)).DeleteRolePolicy(h.t.Context(), &iam.DeleteRolePolicyInput{
		RoleName:   aws.String(roleName),
		PolicyName: aws.String("but-not"),
	})
	h.must(err)
}

// image registers an image with a snapshot for each volume, a data device without a snapshot, and every attribute that
// RegisterImage accepts.
func (h *testWorld) image(ctx context.Context, b *awssim.Builder, client *ec2.Client, volumes []volume) string {
	h.t.Helper()
	var devices []ec2types.BlockDeviceMapping
	for i, v := range volumes {
		in := &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(h.home + "a"),
			Size:             aws.Int32(v.gib),
			VolumeType:       ec2types.VolumeTypeGp3,
		}
		if v.key != "" {
			in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String(v.key)
		}
		made, err := client.CreateVolume(ctx, in)
		h.must(err)
		b.Wait(time.Minute)
		snapshot, err := client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: made.VolumeId})
		h.must(err)
		b.Wait(time.Hour)
		devices = append(
			devices,
			ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/xvd" + string(rune('a'+i))), Ebs: &ec2types.EbsBlockDevice{
				SnapshotId:          snapshot.SnapshotId,
				VolumeType:          ec2types.VolumeTypeGp3,
				Iops:                aws.Int32(max(3000, min(4000, 500*v.gib))),
				Throughput:          aws.Int32(250),
				DeleteOnTermination: aws.Bool(i == 0),
			}},
		)
	}
	devices = append(
		devices,
		ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdz"), VirtualName: aws.String("ephemeral0")},
	)
	made, err := client.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:                aws.String("golden 1"),
		Description:         aws.String("a golden image"),
		Architecture:        ec2types.ArchitectureValuesArm64,
		VirtualizationType:  aws.String("hvm"),
		RootDeviceName:      aws.String("/dev/xvda"),
		EnaSupport:          aws.Bool(true),
		SriovNetSupport:     aws.String("simple"),
		BootMode:            ec2types.BootModeValuesUefi,
		TpmSupport:          ec2types.TpmSupportValuesV20,
		ImdsSupport:         ec2types.ImdsSupportValuesV20,
		BlockDeviceMappings: devices,
		TagSpecifications: []ec2types.TagSpecification{
			{
				ResourceType: ec2types.ResourceTypeImage,
				Tags:         []ec2types.Tag{{Key: aws.String("Release"), Value: aws.String("1")}},
			},
		},
	})
	h.must(err)
	return aws.ToString(made.ImageId)
}

// snapshot starts a snapshot of a new volume and returns its ID.
func (h *testWorld) snapshot(account, region string, gib int32) string {
	h.t.Helper()
	client := h.ec2(account, region)
	volume, err := client.CreateVolume(
		h.t.Context(),
		&ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: &gib, VolumeType: ec2types.VolumeTypeGp3},
	)
	h.must(err)
	time.Sleep(time.Minute)
	made, err := client.CreateSnapshot(h.t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	h.must(err)
	return aws.ToString(made.SnapshotId)
}

func (h *testWorld) request() distribution.Request {
	req := distribution.Request{
		Images: h.images, KMSKeyID: sourceAlias,
		Targets: []distribution.Target{{
			Name: "prod", AccountIDs: h.targets, Regions: h.regions, KMSKeyID: targetAlias,
			Roles: []distribution.Role{{RoleName: roleName, ExternalID: "golden"}},
		}},
		Timeout: 12 * time.Hour, CopyTimeout: 6 * time.Hour, PollInterval: 15 * time.Second,
		Build: distribution.Build{Name: "golden", Region: h.home}, RunID: "run-1",
	}
	if h.with != nil {
		h.with(&req)
	}
	return req
}

// pool returns clients with the credentials of the builder's user.
func (h *testWorld) pool(ctx context.Context, client aws.HTTPClient) *awsclient.Pool {
	h.t.Helper()
	access := h.access
	access.HTTPClient = client
	pool, err := awsclient.New(ctx, access)
	h.must(err)
	return pool
}

// decide makes a plan, which must not be refused.
func (h *testWorld) decide(ctx context.Context, pool *awsclient.Pool, req distribution.Request) plan.Plan {
	h.t.Helper()
	p := h.decided(ctx, pool, req)
	if p.Refused() {
		h.t.Fatalf("refused: %+v", p.Findings)
	}
	return p
}

// decided signs the image, looks up the facts and makes the plan.
func (h *testWorld) decided(ctx context.Context, pool *awsclient.Pool, req distribution.Request) plan.Plan {
	h.t.Helper()
	images := h.signed(ctx, pool)
	for i, image := range req.Images { // as in the post-processor, because AWS may not show the tag yet
		j := slices.IndexFunc(
			images,
			func(s distribution.SourceImage) bool { return s.Region == image.Region && s.ImageID == image.ImageID },
		)
		if j >= 0 {
			req.Images = slices.Clone(req.Images)
			req.Images[i] = images[j]
		}
	}
	facts, err := discover.Look(ctx, pool, req)
	h.must(err)
	return plan.Assess(req, facts).Decide()
}

// signed returns the source images with their signing keys. It writes keys if there are none.
func (h *testWorld) signed(ctx context.Context, pool *awsclient.Pool) []distribution.SourceImage {
	h.t.Helper()
	images := slices.Clone(h.images)
	for i, image := range images {
		at := distribution.Location{Account: source, Region: image.Region}
		created, err := execute.CreationDate(ctx, pool, at, image.ImageID)
		h.must(err)
		store := runrecord.TagStore{Client: pool.EC2(at), ImageID: image.ImageID}
		images[i].Keys, err = store.EnsureSigningKey(ctx, created)
		h.must(err)
	}
	return images
}

// run executes a whole run, from the lookups to the result.
func (h *testWorld) run(ctx context.Context, req distribution.Request) (plan.Plan, distribution.Result) {
	h.t.Helper()
	pool := h.pool(ctx, h.World)
	p := h.decide(ctx, pool, req)
	return p, runPlan(ctx, pool, p, options(req), func(distribution.Event) {})
}

// runPlan executes a plan. At the end it removes the temporary permissions, as the only active run does.
func runPlan(
	ctx context.Context,
	pool *awsclient.Pool,
	p plan.Plan,
	o execute.Options,
	say func(distribution.Event),
) distribution.Result {
	result := execute.Run(ctx, pool, p, o, say)
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 6*time.Minute)
	defer cancel()
	var images []distribution.SourceImage
	for _, image := range p.Images {
		images = append(images, distribution.SourceImage{Region: image.Region, ImageID: image.ImageID})
	}
	left := step.WithdrawShares(lasting, pool, source, images, p.Keys, isLast, result.Temporary)
	result.Left = append(result.Left, left...)
	return result
}

// isLast always reports true, for worlds with a single run.
func isLast(context.Context) (bool, error) { return true, nil }

func options(req distribution.Request) execute.Options {
	return execute.Options{
		CopyTimeout:  req.CopyTimeout,
		PollInterval: req.PollInterval,
		Evidence:     step.Evidence{Run: req.RunID, Records: req.Records},
	}
}

// calls counts the executed calls of an action.
func (h *testWorld) calls(action string) (n int) {
	for _, r := range h.Records() {
		if r.Action == action {
			n++
		}
	}
	return n
}

// ec2 returns a client with all permissions in an account, to check its resources.
func (h *testWorld) ec2(account, region string) *ec2.Client {
	return ec2.NewFromConfig(h.Config(account, region))
}

func (h *testWorld) ownImages(account, region string) []ec2types.Image {
	h.t.Helper()
	out, err := h.ec2(account, region).
		DescribeImages(context.Background(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	h.must(err)
	return out.Images
}

func (h *testWorld) ownSnapshots(account, region string) []ec2types.Snapshot {
	h.t.Helper()
	out, err := h.ec2(account, region).
		DescribeSnapshots(context.Background(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	h.must(err)
	return out.Snapshots
}
