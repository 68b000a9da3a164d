// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// seller is the account whose images are shared with the building accounts.
const seller = "222222222222"

// workshop is an account in which images are built, with its own settings for EBS encryption by default in both
// Regions.
type workshop struct {
	account string
	byDef   bool              // EBS encryption-by-default
	custom  bool              // the default key is a customer managed one
	images  map[string]string // source AMIs by their state
	keys    map[string]string // ARN -> Region/alias
}

// row is one combination of everything that affects the encryption of an image.
type row struct {
	number  int
	base    string // state of the source AMI
	boot    *bool  // encrypt_boot
	keys    bool   // kms_key_id and region_kms_key_ids
	mapping string // launch_block_device_mappings of the root device
}

func (r row) String() string {
	boot := "not given"
	if r.boot != nil {
		boot = strconv.FormatBool(*r.boot)
	}
	return fmt.Sprintf("source AMI %s, encrypt_boot %s, kms_key_id %v, launch mapping %s", r.base, boot, r.keys, r.mapping)
}

var (
	bases    = []string{"plain", "under aws/ebs", "under a customer key", "another's, plain", "another's, encrypted"}
	mappings = []string{"none", "encrypted", "encrypted with a key", "not encrypted", "a key alone"}
	yes, no  = true, false
)

func rows() (all []row) {
	for _, base := range bases {
		for _, boot := range []*bool{nil, &no, &yes} {
			for _, keys := range []bool{false, true} {
				for _, mapping := range mappings {
					all = append(all, row{len(all), base, boot, keys, mapping})
				}
			}
		}
	}
	return all
}

// volume returns the options of the row for the root device at launch. Nil if there are none.
func (r row) volume() *distribution.LaunchVolume {
	v := &distribution.LaunchVolume{Device: "/dev/xvda"}
	switch r.mapping {
	case "none":
		return nil
	case "encrypted":
		v.Encrypted = &yes
	case "encrypted with a key":
		v.Encrypted, v.KMSKeyID = &yes, "alias/launch"
	case "not encrypted":
		v.Encrypted = &no
	case "a key alone":
		v.KMSKeyID = "alias/launch"
	}
	return v
}

var whole = flag.Bool("whole", false, "build every row in all four accounts, not only in two")

// The test compares each prediction with what the real builder creates, for every volume in both Regions. If the
// builder or AWS refuses the build, the prediction must have the same reason. A sample builds each row in two of the
// four accounts, which differ in both settings.
func TestPrediction_matchesBuilder(t *testing.T) {
	host, inside := newHostInside(t, "")
	shops := createAccounts(t, inside)
	invalid := shops[0].invalid(t, host)
	outcomes := make([]map[string]int, len(shops))
	t.Run("settings", func(t *testing.T) {
		for half := range 2 { // a build of a hundred rows takes gigabytes, so at most two run at a time
			t.Run(fmt.Sprintf("default key of our own %v", shops[2*half].custom), func(t *testing.T) {
				t.Parallel()
				for i := 2 * half; i < 2*half+2; i++ {
					h := host
					h.Folder, h.User = t.TempDir(), AccessKey{ID: shops[i].account, Secret: "secret"}
					outcomes[i] = shops[i].compare(t, inside, h, invalid)
				}
			})
		}
	})
	tried, all := 0, map[string]int{}
	for _, some := range outcomes {
		for kind, n := range some {
			tried, all[kind] = tried+n, all[kind]+n
		}
	}
	for _, kind := range []string{
		"refused by the builder",
		"refused by AWS",
		"plain",
		"under the default key",
		"under a named key",
		"mixed",
	} {
		if all[kind] == 0 {
			t.Errorf("no row comes out %s: %v", kind, all)
		}
	}
	want := 2 * len(rows())
	if *whole {
		want *= 2
	}
	if tried != want {
		t.Errorf("%d rows, want %d", tried, want)
	}
	t.Logf("%d rows: %v", tried, all)
}

// compare compares the prediction of each row with what the builder creates. It counts the outcomes.
func (s *workshop) compare(t *testing.T, inside *awssim.World, h Host, invalid map[row]outcome) map[string]int {
	t.Helper()
	some := s.rows()
	predicted := make([]string, len(some))
	for i, r := range some {
		predicted[i] = s.predicted(t, inside, r)
	}
	outcomes := map[string]int{}
	for i, built := range s.built(t, h, some, invalid) {
		if predicted[i] != built.text {
			t.Errorf("encryption by default %v, default key of our own %v, %s:\npredicted %s\nbuilt     "+
				"%s", s.byDef, s.custom, some[i], predicted[i], built.text)
		}
		outcomes[built.kind()]++
	}
	return outcomes
}

// rows returns the rows that are built in the account.
func (s *workshop) rows() (some []row) {
	for i, r := range rows() {
		isEven := i%2 == 0
		if *whole || isEven == (s.byDef == s.custom) {
			some = append(some, r)
		}
	}
	return some
}

// outcome is the result of a build: the keys of the snapshots, or the rule by which the builder or AWS refused it.
type outcome struct {
	text      string
	refusedBy string // empty if the build succeeded
}

func refused(rule string) string { return "refused by rule " + rule }

func (o outcome) kind() string {
	named, def, plain := strings.Contains(o.text, "alias/boot") ||
		strings.Contains(o.text, "alias/launch"), strings.Contains(
		o.text,
		"default",
	), strings.Contains(
		o.text,
		"plain",
	)
	switch {
	case o.refusedBy != "":
		return "refused by " + o.refusedBy
	case named && !def && !plain:
		return "under a named key"
	case def && !named && !plain:
		return "under the default key"
	case plain && !named && !def:
		return "plain"
	}
	return "mixed"
}

// createAccounts creates the building accounts. Each has source AMIs in every state, with two volumes each, and keys in
// both Regions.
func createAccounts(t *testing.T, inside *awssim.World) (shops []*workshop) {
	t.Helper()
	for i, byDef := range []bool{false, true, false, true} {
		shops = append(
			shops,
			&workshop{
				account: fmt.Sprintf("30000000000%d", i),
				byDef:   byDef,
				custom:  i > 1,
				images:  map[string]string{},
				keys:    map[string]string{},
			},
		)
	}
	err := inside.Build(func(b *awssim.Builder) error {
		users := []string{seller}
		for _, shop := range shops {
			users = append(users, shop.account)
		}
		sold := makeKey(t, b, seller, region, "alias/base", users...)
		plain, encrypted := makeBase(t, b, seller, "", users[1:]...), makeBase(t, b, seller, sold, users[1:]...)
		for _, shop := range shops {
			shop.createResources(t, b)
			shop.images["another's, plain"], shop.images["another's, encrypted"] = plain, encrypted
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return shops
}

func (s *workshop) createResources(t *testing.T, b *awssim.Builder) {
	ctx := t.Context()
	for _, at := range []string{region, second} {
		for _, alias := range []string{"alias/boot", "alias/launch", "alias/default", "alias/base"} {
			s.keys[makeKey(t, b, s.account, at, alias, s.account)] = alias
		}
		managed := must(kms.NewFromConfig(b.Config(s.account, at)).
			DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")}))(t)
		s.keys[*managed.KeyMetadata.Arn] = "alias/aws/ebs"
	}
	s.images["plain"] = makeBase(t, b, s.account, "")
	s.images["under aws/ebs"] = makeBase(t, b, s.account, "alias/aws/ebs")
	s.images["under a customer key"] = makeBase(t, b, s.account, "alias/base")
	for _, at := range []string{region, second} {
		cloud := ec2.NewFromConfig(b.Config(s.account, at))
		if s.byDef {
			must(cloud.EnableEbsEncryptionByDefault(ctx, &ec2.EnableEbsEncryptionByDefaultInput{}))(t)
		}
		if s.custom {
			must(
				cloud.ModifyEbsDefaultKmsKeyId(ctx, &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: aws.String("alias/default")}),
			)(t)
		}
	}
}

// makeBase registers an image with two volumes under a key, which other accounts may use. Without a key, the volumes
// are unencrypted.
func makeBase(t *testing.T, b *awssim.Builder, account, key string, users ...string) string {
	t.Helper()
	ctx, cloud := t.Context(), ec2.NewFromConfig(b.Config(account, region))
	var devices []types.BlockDeviceMapping
	var snapshots []string
	for _, device := range []string{"/dev/xvda", "/dev/xvdb"} {
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(8)}
		if key != "" {
			in.Encrypted, in.KmsKeyId = &yes, &key
		}
		volume := must(cloud.CreateVolume(ctx, in))(t)
		b.Wait(time.Minute)
		snapshot := must(cloud.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(t)
		b.Wait(time.Hour)
		devices = append(
			devices,
			types.BlockDeviceMapping{
				DeviceName: aws.String(device),
				Ebs:        &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId},
			},
		)
		snapshots = append(snapshots, *snapshot.SnapshotId)
	}
	image := must(cloud.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:                aws.String("base " + key[max(0, len(key)-12):]),
		RootDeviceName:      aws.String("/dev/xvda"),
		VirtualizationType:  aws.String("hvm"),
		Architecture:        types.ArchitectureValuesX8664,
		EnaSupport:          &yes,
		BlockDeviceMappings: devices,
	}))(t)
	lend(t, cloud, image.ImageId, snapshots, users)
	return *image.ImageId
}

// predicted returns the prediction for a row before the build.
func (s *workshop) predicted(t *testing.T, inside *awssim.World, r row) string {
	t.Helper()
	intent := &distribution.BuildConfig{BaseAMI: s.images[r.base], EncryptBoot: r.boot}
	if r.keys {
		intent.KMSKeyID, intent.RegionKMSKeyIDs = "alias/boot", map[string]string{second: "alias/boot"}
	}
	if v := r.volume(); v != nil {
		intent.Launch = []distribution.LaunchVolume{*v}
	}
	req := distribution.Request{
		Images: []distribution.SourceImage{
			{Region: region, ImageID: distribution.Unbuilt},
			{Region: second, ImageID: distribution.Unbuilt},
		},
		Build:  distribution.Build{Region: region},
		Intent: intent,
	}
	pool := must(awsclient.New(
		t.Context(),
		awsclient.Access{Region: region, AccessKey: s.account, SecretKey: "secret", HTTPClient: inside, Seed: 1},
	))(t)
	facts := must(discover.Look(t.Context(), pool, req))(t)
	images, findings := plan.Assess(req, facts).Predict()
	if len(facts.Unseen) > 0 {
		t.Fatalf("%s: %+v", r, facts.Unseen)
	}
	i := slices.IndexFunc(
		findings,
		func(f distribution.Finding) bool { return f.Level == distribution.Refused },
	)
	if i >= 0 {
		return refused(findings[i].Reference)
	}
	var parts []string
	for _, at := range []string{region, second} {
		for _, id := range slices.Sorted(maps.Keys(images[at].Snapshots)) {
			parts = append(parts, s.named(images[at].Snapshots[id].Snapshot))
		}
	}
	return strings.Join(parts, ", ")
}

// named returns the alias of a snapshot's key.
func (s *workshop) named(snapshot types.Snapshot) string {
	alias, known := s.keys[aws.ToString(snapshot.KmsKeyId)]
	switch {
	case !aws.ToBool(snapshot.Encrypted):
		return "plain"
	case !known:
		return "unknown " + aws.ToString(snapshot.KmsKeyId)
	case alias == "alias/aws/ebs" || alias == "alias/default":
		return alias + " (default)"
	}
	return alias
}

// source returns the source block of a row.
func (s *workshop) source(r row) string {
	var text strings.Builder
	fmt.Fprintf(&text, "source \"amazon-ebs\" \"r%03d\" {\n  region = %q\n  ami_regions = [%q]\n  instance_type = "+
		"\"t3.micro\"\n  communicator = \"none\"\n  source_ami = %q\n  ami_name = \"row-%03d\"\n",
		r.number, region, second, s.images[r.base], r.number)
	if r.boot != nil {
		fmt.Fprintf(&text, "  encrypt_boot = %v\n", *r.boot)
	}
	if r.keys {
		fmt.Fprintf(&text, "  kms_key_id = \"alias/boot\"\n  region_kms_key_ids = { %q = \"alias/boot\" }\n", second)
	}
	if v := r.volume(); v != nil {
		text.WriteString("  launch_block_device_mappings {\n    device_name = \"/dev/xvda\"\n    delete_on_termination = " +
			"true\n")
		if v.Encrypted != nil {
			fmt.Fprintf(&text, "    encrypted = %v\n", *v.Encrypted)
		}
		if v.KMSKeyID != "" {
			fmt.Fprintf(&text, "    kms_key_id = %q\n", v.KMSKeyID)
		}
		text.WriteString("  }\n")
	}
	return text.String() + "}\n"
}

// atLine matches the text with which packer names the source block of an error.
var atLine = regexp.MustCompile(`on template\.pkr\.hcl line (\d+)`)

// refusal is how a build may be refused. Any other error fails the test.
type refusal struct{ text, rule string }

var (
	byBuilder = []refusal{
		{"encrypt_boot must also be true", "1.4.7"},
	}
	byAWS = []refusal{
		{"The parameter KmsKeyId requires the parameter Encrypted to be set", "1.1.11"},
		{"is inconsistent with snapshot encryption state", "1.1.12"}, // A.4.6
		{"Creating an unencrypted copy from an encrypted snapshot is not supported", "1.4.8"},
	}
)

// refusedBy returns the refusal that matches an error. An error that matches none is returned unchanged.
func refusedBy(who string, refusals []refusal, text string) outcome {
	for _, r := range refusals {
		if strings.Contains(text, r.text) {
			return outcome{refused(r.rule), who}
		}
	}
	return outcome{text: text}
}

// invalid returns the rows that the builder refuses before it calls AWS, so for every account.
func (s *workshop) invalid(t *testing.T, h Host) map[row]outcome {
	t.Helper()
	all := rows()
	sourceAt := s.write(t, h, all)
	output, _, err := h.Run(t.Context(), "validate", ".")
	if err != nil {
		t.Fatal(err)
	}
	refused := map[row]outcome{}
	for _, text := range strings.Split(output, "Error: ")[1:] {
		if line := atLine.FindStringSubmatch(text); line != nil {
			refused[sourceAt(must(strconv.Atoi(line[1]))(t))] = refusedBy("the builder", byBuilder, text)
		}
	}
	return refused
}

// built builds rows with the real builder, all but those that are invalid, and returns the results.
func (s *workshop) built(t *testing.T, h Host, some []row, invalid map[row]outcome) []outcome {
	t.Helper()
	outcomes := make([]outcome, len(some))
	var valid []row
	for i, r := range some {
		if refused, is := invalid[r]; is {
			outcomes[i] = refused
		} else {
			valid = append(valid, r)
		}
	}
	s.write(t, h, valid)
	output, _, err := h.Run(t.Context(), "build", "-color=false", "-parallel-builds=100", ".")
	if err != nil {
		t.Fatal(err)
	}
	_, errors, _ := strings.Cut(output, "\n==> Some builds didn't complete successfully and had "+
		"errors:\n") // the output of concurrent builds is mixed
	errors, _, _ = strings.Cut(errors, "\n==> Builds finished")
	for i, r := range some {
		_, errored, failed := strings.Cut(errors, fmt.Sprintf("--> amazon-ebs.r%03d: ", r.number))
		errored, _, _ = strings.Cut(errored, "\n--> ")
		switch {
		case outcomes[i].text != "":
		case failed:
			outcomes[i] = refusedBy("AWS", byAWS, errored)
		default:
			outcomes[i].text = s.snapshots(t, h.World, fmt.Sprintf("row-%03d", r.number))
		}
	}
	return outcomes
}

// write writes the template of some rows, and returns a function that returns the row at a line of the template.
func (s *workshop) write(t *testing.T, h Host, some []row) func(line int) row {
	t.Helper()
	text, sources := `packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.0"
    }
  }
}
`, []string{}
	begins := map[int]row{}
	for _, r := range some {
		begins[strings.Count(text, "\n")+1] = r
		text += s.source(r)
		sources = append(sources, fmt.Sprintf("%q", fmt.Sprintf("source.amazon-ebs.r%03d", r.number)))
	}
	text += "build {\n  sources = [" + strings.Join(sources, ", ") + "]\n}\n"
	h.writeTemplate(t, text)
	return func(line int) row {
		for ; line > 0; line-- {
			if r, is := begins[line]; is {
				return r
			}
		}
		t.Fatalf("an error that is about no source block")
		return row{}
	}
}

// snapshots returns the snapshots of the account's images of a name in both Regions, with their keys.
func (s *workshop) snapshots(t *testing.T, w *World, name string) string {
	t.Helper()
	var parts []string
	for _, at := range []string{region, second} {
		cloud := client(w, s.account, at)
		images := must(cloud.DescribeImages(
			t.Context(),
			&ec2.DescribeImagesInput{
				Owners:  []string{"self"},
				Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}},
			},
		))(t).Images
		if len(images) != 1 || images[0].State != types.ImageStateAvailable {
			return fmt.Sprintf("%d images in %s", len(images), at)
		}
		mappings := images[0].BlockDeviceMappings
		slices.SortFunc(
			mappings,
			func(a, b types.BlockDeviceMapping) int { return strings.Compare(*a.DeviceName, *b.DeviceName) },
		)
		for _, m := range mappings {
			parts = append(
				parts,
				s.named(must(cloud.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{
					SnapshotIds: []string{*m.Ebs.SnapshotId},
				}))(t).Snapshots[0]),
			)
		}
	}
	return strings.Join(parts, ", ")
}
