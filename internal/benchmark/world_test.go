// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
	encryptedami "github.com/encrypted-ami/packer-plugin-encrypted-ami/post-processor/encrypted-ami"
)

const (
	source = "111111111111"
	home   = "ap-northeast-1"
)

// regions are the Regions of the targets. The image is created in the first.
var regions = []string{home, "eu-central-1", "us-east-1", "us-west-2"}

// TestMain clears the environment, so that it does not change the figures.
func TestMain(m *testing.M) {
	awsenv.Clear()
	awsenv.GrowHeap()
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// scenario describes a run. A target is one account in one Region. With several Regions, an account is in all of them.
type scenario struct {
	Targets   int
	Regions   int     // of the targets
	Own       bool    `json:",omitempty"` // the source account is one of the targets
	Volumes   int     // of the image
	GiB       int32   `json:",omitempty"` // their size; 0 for 8 to 500, drawn from the seed
	Throttled float64 `json:",omitempty"` // share of calls that AWS throttles
	Limit     int     `json:",omitempty"` // limit of concurrent copies from the source account to a Region; 0 for 20
	Others    int     `json:",omitempty"` // copies of another process, 30 GiB each, in progress when the run begins
	Bare      bool    `json:",omitempty"` // without test copies
	ByImage   bool    `json:",omitempty"` // copied by CopyImage
	Shareable bool    `json:",omitempty"` // the volumes have the source key, so nothing is staged in their Region
	ForTime   bool    `json:",omitempty"` // with optimize_for = "time"
	Apart     bool    `json:",omitempty"` // the simulated AWS is another process, so that the memory is the product's
}

// copyLimit returns the limit of concurrent copies from an account to a Region.
func (s scenario) copyLimit(account string) int {
	if account == source && s.Limit > 0 {
		return s.Limit
	}
	return copiesAtOnce
}

// accounts returns the number of accounts of the targets, without the source account.
func (s scenario) accounts() int { return (s.foreign() + s.Regions - 1) / s.Regions }

// foreign returns the number of targets in other accounts than the source account.
func (s scenario) foreign() int {
	if s.Own {
		return s.Targets - 1
	}
	return s.Targets
}

// regionsByAccount returns the targets' Regions by account. The last account may have fewer than the others. A single
// target is in the farthest Region.
func (s scenario) regionsByAccount() map[string][]string {
	regionsOf := map[string][]string{}
	for i := range s.foreign() {
		number := account(i / s.Regions)
		regionsOf[number] = append(regionsOf[number], regions[s.Regions-1-i%s.Regions])
	}
	if s.Own {
		regionsOf[source] = regions[:1]
	}
	return regionsOf
}

// course is a run as the simulated AWS recorded it.
type course struct {
	scenario
	sizes   []int32
	image   string
	took    time.Duration
	copies  []awssim.CopySchedule
	calls   map[string]int // by action, with dry runs and repeats
	changed map[string]int // mutating calls by action
	refused map[string]int // by code

	entities entityCount // launch permissions of the images of the source account
	found    leftovers   // at the end

	recordCalls int // that read and write the records of runs and the signing key, which the others do not contain
}

func newCourse(s scenario) course {
	return course{scenario: s, calls: map[string]int{}, changed: map[string]int{}, refused: map[string]int{}}
}

// run builds a simulated AWS and distributes its image.
func run(t *testing.T, s scenario, seed uint64) (c course) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		c = newCourse(s)
		world, f, err := c.newWorld(seed)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := distribute(t.Context(), world, seed, f.options(), c.image); err != nil {
			t.Fatal(err)
		}
		c.took = time.Since(begun)
		if s.ByImage {
			c.found = c.leftovers(t, world)
		}
	})
	return c
}

// newWorld builds the simulated AWS of a scenario, and the resources that exist before the run.
func (c *course) newWorld(seed uint64, more ...awssim.Option) (*awssim.World, fixture, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	for range c.Volumes {
		gib := c.GiB
		if gib == 0 {
			gib = 8 + random.Int32N(493)
		}
		c.sizes = append(c.sizes, gib)
	}

	building, f := true, fixture{course: c}
	options := slices.Concat(more, []awssim.Option{
		awssim.WithSeed(seed),
		awssim.WithRecorder(func(r awssim.Record) {
			if !building {
				c.count(r)
			}
		}),
		awssim.WithCopyScheduleFunc(func(d awssim.CopySchedule) { c.copies = append(c.copies, d) }),
	})
	if c.Throttled > 0 {
		options = append(options, awssim.WithChaos(c.Throttled, awssim.Throttled))
	}
	world := awssim.New(options...)
	if err := world.Build(f.build); err != nil {
		return nil, f, err
	}
	if c.Limit > 0 {
		world.SetSnapshotCopyQuota(source, c.Limit)
	}
	err := f.occupy(context.Background(), ec2.NewFromConfig(world.Config(source, home)))
	building, c.copies = false, nil
	return world, f, err
}

// distribute runs the post-processor with the image of a build.
func distribute(ctx context.Context, client aws.HTTPClient, seed uint64, options map[string]any, image string) error {
	p := encryptedami.Through(client, seed)
	for range 2 {
		if err := p.Configure(map[string]any{"packer_build_name": "golden"}, options); err != nil {
			return err
		}
	}
	ui := &packersdk.BasicUi{Writer: io.Discard, ErrorWriter: io.Discard}
	_, _, _, err := p.PostProcess(ctx, ui, &packersdk.MockArtifact{
		BuilderIdValue: "mitchellh.amazonebs",
		IdValue:        home + ":" + image,
		StateValues:    map[string]any{"generated_data": map[string]any{"PackerRunUUID": "run-1"}},
	})
	return err
}

func (c *course) count(r awssim.Record) {
	if isOfRecord(r, c.image) {
		c.recordCalls++
		return
	}
	c.entities.count(r)
	c.calls[r.Action]++
	if len(r.Changed) > 0 {
		c.changed[r.Action]++
	}
	if r.Error != "" {
		c.refused[r.Error]++
	}
}

// isOfRecord reports whether a call reads or writes the tags of the source image for the record or the signing key of
// the run.
func isOfRecord(r awssim.Record, image string) bool {
	switch r.Action {
	case "ec2:CreateTags", "ec2:DeleteTags":
		return slices.Contains(r.Resources, image)
	case "ec2:DescribeTags":
		return r.Account == source
	}
	return false
}

// fixture creates the resources that exist before the run.
type fixture struct {
	*course
	key    *iam.CreateAccessKeyOutput
	others string // the snapshot that another process copies
}

// account returns the ID of the ith account.
func account(i int) string { return fmt.Sprintf("2%011d", i) }

const (
	roleName   = "golden-image-target"
	alias      = "alias/golden"
	externalID = "golden"
)

// keyPolicy lets the role of each target copy snapshots under the source's key (3.1.3).
const keyPolicy = `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` + source + `:root"}, "Action": "kms:*", "Resource": "*"},
	{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["kms:DescribeKey", "kms:CreateGrant"], "Resource": "*",
		"Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/` + roleName + `"}}}]}`

const trust = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` +
	source + `:root"}, "Action": "sts:AssumeRole",
	"Condition": {"StringEquals": {"sts:ExternalId": "` + externalID + `"}}}]}`

const everything = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`

func (f *fixture) build(b *awssim.Builder) error {
	for _, region := range regions[:f.Regions] {
		if err := createKey(kms.NewFromConfig(b.Config(source, region)), aws.String(keyPolicy)); err != nil {
			return err
		}
	}
	regionsOf := f.regionsByAccount()
	for i := range f.accounts() {
		for _, region := range regionsOf[account(i)] {
			if err := createKey(kms.NewFromConfig(b.Config(account(i), region)), nil); err != nil {
				return err
			}
		}
		if err := createRole(iam.NewFromConfig(b.Config(account(i), home))); err != nil {
			return err
		}
	}
	if err := f.createUser(iam.NewFromConfig(b.Config(source, home))); err != nil {
		return err
	}
	return f.createImage(b, ec2.NewFromConfig(b.Config(source, home)))
}

func createKey(client *kms.Client, policy *string) error {
	ctx := context.Background()
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{Policy: policy})
	if err != nil {
		return err
	}
	_, err = client.CreateAlias(
		ctx,
		&kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: made.KeyMetadata.KeyId},
	)
	return err
}

func createRole(client *iam.Client) error {
	ctx := context.Background()
	if _, err := client.CreateRole(
		ctx,
		&iam.CreateRoleInput{RoleName: aws.String(roleName), AssumeRolePolicyDocument: aws.String(trust)},
	); err != nil {
		return err
	}
	_, err := client.PutRolePolicy(
		ctx,
		&iam.PutRolePolicyInput{
			RoleName:       aws.String(roleName),
			PolicyName:     aws.String("permissions"),
			PolicyDocument: aws.String(everything),
		},
	)
	return err
}

// createUser creates the builder's user, because an account's root user cannot assume roles.
func (f *fixture) createUser(client *iam.Client) (err error) {
	ctx, name := context.Background(), aws.String("builder")
	if _, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: name}); err != nil {
		return err
	}
	if _, err := client.PutUserPolicy(
		ctx,
		&iam.PutUserPolicyInput{
			UserName:       name,
			PolicyName:     aws.String("permissions"),
			PolicyDocument: aws.String(everything),
		},
	); err != nil {
		return err
	}
	f.key, err = client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	return err
}

// occupy starts copies that do not belong to the run.
func (f *fixture) occupy(ctx context.Context, client *ec2.Client) error {
	for range f.Others {
		_, err := client.CopySnapshot(
			ctx,
			&ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &f.others},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshot creates a snapshot of a new volume.
func snapshot(b *awssim.Builder, client *ec2.Client, gib int32, key *string) (*string, error) {
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(gib), KmsKeyId: key}
	if key != nil {
		in.Encrypted = aws.Bool(true)
	}
	volume, err := client.CreateVolume(context.Background(), in)
	if err != nil {
		return nil, err
	}
	b.Wait(time.Minute)
	made, err := client.CreateSnapshot(context.Background(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		return nil, err
	}
	return made.SnapshotId, nil
}

// createImage creates an image. Its volumes are unencrypted, so that all shared snapshots must be staged, or encrypted
// with the source key.
func (f *fixture) createImage(b *awssim.Builder, client *ec2.Client) error {
	ctx := context.Background()
	var key *string
	if f.Shareable {
		key = aws.String(alias)
	}
	var devices []ec2types.BlockDeviceMapping
	for i, gib := range f.sizes {
		made, err := snapshot(b, client, gib, key)
		if err != nil {
			return err
		}
		devices = append(
			devices,
			ec2types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/xvd" + string(rune('a'+i))),
				Ebs:        &ec2types.EbsBlockDevice{SnapshotId: made},
			},
		)
	}
	if f.Others > 0 {
		made, err := snapshot(b, client, 30, nil)
		if err != nil {
			return err
		}
		f.others = *made
	}
	b.Wait(4 * time.Hour)
	made, err := client.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:                aws.String("golden 1"),
		RootDeviceName:      aws.String("/dev/xvda"),
		VirtualizationType:  aws.String("hvm"),
		Architecture:        ec2types.ArchitectureValuesX8664,
		EnaSupport:          aws.Bool(true),
		BlockDeviceMappings: devices,
	})
	if err == nil {
		f.image = *made.ImageId
	}
	return err
}

// options returns the template's options, with a target block for each set of Regions.
func (f *fixture) options() map[string]any {
	var targets []any
	blocks := map[string][]any{}
	regionsOf := f.regionsByAccount()
	for _, number := range slices.Sorted(maps.Keys(regionsOf)) {
		in := strings.Join(regionsOf[number], " ")
		if number == source {
			in = source
		}
		blocks[in] = append(blocks[in], number)
	}
	for _, in := range slices.Sorted(maps.Keys(blocks)) {
		var list []any
		for _, region := range regionsOf[blocks[in][0].(string)] {
			list = append(list, region)
		}
		target := map[string]any{"name": in, "account_ids": blocks[in], "regions": list, "kms_key_id": alias}
		if f.ByImage {
			target["copy_method"] = "image"
		}
		if in != source {
			target["assume_role"] = []any{
				map[string]any{"role_arn": "arn:aws:iam::{{ .AccountId }}:role/" + roleName, "external_id": externalID},
			}
		}
		targets = append(targets, target)
	}
	o := map[string]any{
		"output_directory": "",
		"access_key":       *f.key.AccessKey.AccessKeyId,
		"secret_key":       *f.key.AccessKey.SecretAccessKey,
		"kms_key_id":       alias,
		"target":           targets,
	}
	if f.Bare {
		o["test_copy"] = false
	}
	if f.ForTime {
		o["optimize_for"] = "time"
	}
	return o
}
