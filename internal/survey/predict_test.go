// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package survey_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/offline"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/survey"
)

const (
	source = "111111111111"
	vendor = "222222222222" // whose images are shared with the source account
	home   = "ap-northeast-1"
	afar   = "us-west-2"
)

// The environment of whoever runs the tests has no say in them.
func TestMain(m *testing.M) { offline.Main(m) }

// A row is one way to build: everything that has a say in the encryption of the image.
type row struct {
	base    string // state of the source AMI
	byDef   bool   // EBS encryption-by-default, in both Regions
	custom  bool   // the default key is a customer managed one
	boot    *bool  // encrypt_boot
	keys    bool   // kms_key_id and region_kms_key_ids
	mapping string // launch_block_device_mappings of the root device
}

func (r row) String() string {
	boot := "not given"
	if r.boot != nil {
		boot = fmt.Sprint(*r.boot)
	}
	return fmt.Sprintf("source AMI %s, encryption by default %v, default key of our own %v, encrypt_boot %s, kms_key_id %v, launch mapping %s", r.base, r.byDef, r.custom, boot, r.keys, r.mapping)
}

var (
	bases    = []string{"plain", "under aws/ebs", "under a customer key", "another's, plain", "another's, encrypted"}
	mappings = []string{"none", "encrypted", "encrypted with a key", "not encrypted", "a key alone"}
	yes, no  = true, false
)

func rows() (all []row) {
	for _, base := range bases {
		for _, byDef := range []bool{false, true} {
			for _, custom := range []bool{false, true} {
				for _, boot := range []*bool{nil, &no, &yes} {
					for _, keys := range []bool{false, true} {
						for _, mapping := range mappings {
							all = append(all, row{base, byDef, custom, boot, keys, mapping})
						}
					}
				}
			}
		}
	}
	return all
}

func (r row) intent(images map[string]string) *plan.Intent {
	intent := &plan.Intent{BaseAMI: images[r.base], EncryptBoot: r.boot}
	if r.keys {
		intent.KMSKeyID, intent.RegionKMSKeyIDs = "alias/boot", map[string]string{afar: "alias/boot"}
	}
	if volume := (plan.LaunchVolume{Device: "/dev/xvda"}); r.mapping != "none" {
		switch r.mapping {
		case "encrypted":
			volume.Encrypted = &yes
		case "encrypted with a key":
			volume.Encrypted, volume.KMSKeyID = &yes, "alias/launch"
		case "not encrypted":
			volume.Encrypted = &no
		case "a key alone":
			volume.KMSKeyID = "alias/launch"
		}
		intent.Launch = []plan.LaunchVolume{volume}
	}
	return intent
}

// workshop is a world with source AMIs of every state, each with two volumes.
type workshop struct {
	*testing.T
	*awssim.World
	images map[string]string // state -> id
	keys   map[string]string // Region/alias -> ARN
	builds int
}

func TestThePredictionIsWhatTheBuilderThenGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &workshop{T: t, World: awssim.New(awssim.WithSeed(1), awssim.WithoutLatency(), awssim.WithoutThrottling()), images: map[string]string{}, keys: map[string]string{}}
		w.furnish()
		outcomes := map[string]int{}
		all := rows()
		for _, r := range all {
			w.set(r)
			predicted := w.predicted(r)
			built := w.built(r)
			if predicted != built {
				t.Errorf("%s:\npredicted %s\nbuilt     %s", r, predicted, built)
			}
			outcomes[w.kind(built)]++
		}
		if len(all) != 600 {
			t.Errorf("%d rows", len(all))
		}
		for _, kind := range []string{"refused", "plain", "under the default key", "under a named key", "in different ways"} {
			if outcomes[kind] == 0 {
				t.Errorf("no row comes out %s: %v", kind, outcomes)
			}
		}
		t.Logf("%d rows: %v", len(all), outcomes)
	})
}

func (w *workshop) kind(built string) string {
	named, def, plain := strings.Contains(built, "alias/boot") || strings.Contains(built, "alias/launch"), strings.Contains(built, "default"), strings.Contains(built, "plain")
	switch {
	case built == "refused":
		return "refused"
	case named && !def && !plain:
		return "under a named key"
	case def && !named && !plain:
		return "under the default key"
	case plain && !named && !def:
		return "plain"
	}
	return "in different ways"
}

func (w *workshop) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *workshop) ec2(account, region string) *ec2.Client {
	return ec2.NewFromConfig(w.Config(account, region))
}

func (w *workshop) furnish() {
	ctx := w.Context()
	for _, region := range []string{home, afar} {
		for _, alias := range []string{"alias/boot", "alias/launch", "alias/default", "alias/base"} {
			w.keys[region+"/"+alias] = w.key(source, region, alias, source)
		}
		known := must(kms.NewFromConfig(w.Config(source, region)).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")}))(w)
		w.keys[region+"/alias/aws/ebs"] = *known.KeyMetadata.Arn
	}
	vendors := w.key(vendor, home, "alias/base", vendor, source)
	w.images["plain"] = w.base(source, "")
	w.images["under aws/ebs"] = w.base(source, w.keys[home+"/alias/aws/ebs"])
	w.images["under a customer key"] = w.base(source, w.keys[home+"/alias/base"])
	w.images["another's, plain"] = w.base(vendor, "")
	w.images["another's, encrypted"] = w.base(vendor, vendors)
}

func must[T any](answer T, err error) func(*workshop) T {
	return func(w *workshop) T {
		w.Helper()
		w.must(err)
		return answer
	}
}

func (w *workshop) key(account, region, alias string, users ...string) string {
	ctx, keys := w.Context(), kms.NewFromConfig(w.Config(account, region))
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::` + strings.Join(users, `:root","arn:aws:iam::`) + `:root"]},"Action":"kms:*","Resource":"*"}]}`
	made := must(keys.CreateKey(ctx, &kms.CreateKeyInput{Policy: &policy}))(w)
	_, err := keys.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: made.KeyMetadata.KeyId})
	w.must(err)
	return *made.KeyMetadata.Arn
}

// base registers an image of two volumes, of which another account's is shared with the source account.
func (w *workshop) base(account, key string) string {
	ctx, cloud := w.Context(), w.ec2(account, home)
	var devices []ec2types.BlockDeviceMapping
	for _, device := range []string{"/dev/xvda", "/dev/xvdb"} {
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8)}
		if key != "" {
			in.Encrypted, in.KmsKeyId = aws.Bool(true), &key
		}
		volume := must(cloud.CreateVolume(ctx, in))(w)
		time.Sleep(time.Minute)
		snapshot := must(cloud.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(w)
		time.Sleep(time.Hour)
		devices = append(devices, ec2types.BlockDeviceMapping{DeviceName: aws.String(device), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}})
		if account != source {
			_, err := cloud.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{SnapshotId: snapshot.SnapshotId, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
				CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{{UserId: aws.String(source)}}}})
			w.must(err)
		}
	}
	image := must(cloud.RegisterImage(ctx, &ec2.RegisterImageInput{Name: aws.String("base " + account + " " + key[max(0, len(key)-12):]), RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
		Architecture: ec2types.ArchitectureValuesX8664, EnaSupport: aws.Bool(true), BlockDeviceMappings: devices}))(w)
	if account != source {
		_, err := cloud.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: image.ImageId,
			LaunchPermission: &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{{UserId: aws.String(source)}}}})
		w.must(err)
	}
	return *image.ImageId
}

// set sets what EBS does on its own.
func (w *workshop) set(r row) {
	ctx := w.Context()
	for _, region := range []string{home, afar} {
		cloud := w.ec2(source, region)
		var err error
		if r.byDef {
			_, err = cloud.EnableEbsEncryptionByDefault(ctx, &ec2.EnableEbsEncryptionByDefaultInput{})
		} else {
			_, err = cloud.DisableEbsEncryptionByDefault(ctx, &ec2.DisableEbsEncryptionByDefaultInput{})
		}
		w.must(err)
		if r.custom {
			_, err = cloud.ModifyEbsDefaultKmsKeyId(ctx, &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: aws.String("alias/default")})
		} else {
			_, err = cloud.ResetEbsDefaultKmsKeyId(ctx, &ec2.ResetEbsDefaultKmsKeyIdInput{})
		}
		w.must(err)
	}
}

// predicted is what the survey of a row says before the build.
func (w *workshop) predicted(r row) string {
	req := plan.Request{Images: []plan.SourceImage{{Region: home, ImageID: plan.Unbuilt}, {Region: afar, ImageID: plan.Unbuilt}}, Build: plan.Build{Region: home}, Intent: r.intent(w.images)}
	pool := must(awsclient.New(w.Context(), awsclient.Access{Region: home, AccessKey: source, SecretKey: "secret", HTTPClient: w.World, Seed: 1}))(w)
	facts := must(survey.Look(w.Context(), pool, req))(w)
	images, findings := plan.Predict(req, facts)
	if len(facts.Unseen) > 0 {
		w.Fatalf("%s: %+v", r, facts.Unseen)
	}
	for _, f := range findings {
		if f.Level == plan.Refused {
			return "refused"
		}
	}
	var parts []string
	for _, region := range []string{home, afar} {
		for _, id := range slices.Sorted(maps.Keys(images[region].Snapshots)) {
			parts = append(parts, w.named(region, images[region].Snapshots[id].Snapshot))
		}
	}
	return strings.Join(parts, ", ")
}

// named is a snapshot's key by its alias.
func (w *workshop) named(region string, s ec2types.Snapshot) string {
	if !aws.ToBool(s.Encrypted) {
		return "plain"
	}
	for alias, arn := range w.keys {
		if arn == aws.ToString(s.KmsKeyId) {
			alias = strings.TrimPrefix(alias, region+"/")
			if alias == "alias/aws/ebs" || alias == "alias/default" {
				return alias + " (default)"
			}
			return alias
		}
	}
	return "unknown " + aws.ToString(s.KmsKeyId)
}

// built makes the calls that bear on encryption as amazon-ebs makes them (its version 1.8.2: launch mappings as given, CreateImage without
// encryption, CopyImage with encrypt_boot as given and an empty KmsKeyId for none), and tells what came out.
func (w *workshop) built(r row) string {
	ctx, cloud, intent := context.Background(), w.ec2(source, home), r.intent(w.images)
	boot := r.boot != nil && *r.boot
	if r.keys && !boot { // Config.Prepare: "encrypt_boot must also be true"
		return "refused"
	}
	in := &ec2.RunInstancesInput{ImageId: &intent.BaseAMI, InstanceType: ec2types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
	for _, v := range intent.Launch {
		ebs := &ec2types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true), Encrypted: v.Encrypted}
		if v.KMSKeyID != "" {
			ebs.KmsKeyId = &v.KMSKeyID
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{DeviceName: aws.String(v.Device), Ebs: ebs})
	}
	launched, err := cloud.RunInstances(ctx, in)
	if err != nil {
		return "refused"
	}
	instance := launched.Instances[0].InstanceId
	time.Sleep(5 * time.Minute)
	_, err = cloud.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{*instance}})
	w.must(err)
	time.Sleep(5 * time.Minute)
	w.builds++
	made := must(cloud.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: instance, Name: aws.String(fmt.Sprintf("intermediary %d", w.builds))}))(w)
	time.Sleep(time.Hour)
	ids := map[string]string{home: *made.ImageId}
	for _, region := range []string{home, afar} {
		if region == home && !boot {
			continue
		}
		key := intent.RegionKMSKeyIDs[region]
		if region == home {
			key = intent.KMSKeyID
		}
		copied, err := w.ec2(source, region).CopyImage(ctx, &ec2.CopyImageInput{SourceRegion: aws.String(home), SourceImageId: made.ImageId, Name: aws.String(fmt.Sprintf("image %d", w.builds)),
			Encrypted: r.boot, KmsKeyId: aws.String(key), CopyImageTags: aws.Bool(true)})
		if err != nil {
			return "refused"
		}
		ids[region] = *copied.ImageId
	}
	time.Sleep(2 * time.Hour)
	_, err = cloud.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*instance}})
	w.must(err)
	var parts []string
	for _, region := range []string{home, afar} {
		cloud := w.ec2(source, region)
		image := must(cloud.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{ids[region]}}))(w).Images[0]
		if image.State != ec2types.ImageStateAvailable {
			w.Fatalf("%s: %s is %s", r, *image.ImageId, image.State)
		}
		for _, m := range image.BlockDeviceMappings {
			snapshot := must(cloud.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*m.Ebs.SnapshotId}}))(w).Snapshots[0]
			parts = append(parts, w.named(region, snapshot))
		}
	}
	return strings.Join(parts, ", ")
}
