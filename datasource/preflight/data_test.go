// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"flag"
	"fmt"
	"io"
	"log"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/zclconf/go-cty/cty"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

const (
	source = "111111111111"
	prod   = "999999999999"
	tokyo  = "ap-northeast-1"
)

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetOutput(io.Discard)
	awsenv.Main(m)
}

// stage is a simulated AWS with an unencrypted base image, a key of the source account that all accounts may use, and a
// target account with a key and a role. EBS encryption by default is on.
type stage struct {
	*testing.T
	*awssim.World
	base   string
	access map[string]any // credentials of the source account's user
	begun  int
}

func onStage(t *testing.T, play func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, World: awssim.New(awssim.WithSeed(1))}
		s.must(s.Build(s.createResources))
		s.begun = len(s.Records())
		play(s)
		time.Sleep(10 * time.Minute)
	})
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) createResources(b *awssim.Builder) error {
	ctx := s.Context()
	users := iam.NewFromConfig(b.Config(source, tokyo))
	_, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("ci")})
	s.must(err)
	_, err = users.PutUserPolicy(
		ctx,
		&iam.PutUserPolicyInput{UserName: aws.String("ci"), PolicyName: aws.String("ci"), PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)},
	)
	s.must(err)
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("ci")})
	s.must(err)
	s.access = map[string]any{"access_key": *key.AccessKey.AccessKeyId, "secret_key": *key.AccessKey.SecretAccessKey}
	s.fixtures().Key(source, tokyo, "alias/golden", source, prod, other)
	s.fixtures().Key(prod, tokyo, "alias/golden", prod)
	roles := iam.NewFromConfig(b.Config(prod, tokyo))
	_, err = roles.CreateRole(
		ctx,
		&iam.CreateRoleInput{RoleName: aws.String("golden-image-target"), AssumeRolePolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{
				"Effect":"Allow",
				"Principal":{"AWS":"arn:aws:iam::` + source + `:root"},
				"Action":"sts:AssumeRole",
				"Condition":{"StringEquals":{"sts:ExternalId":"hush-external"}}
			}]}`,
		)},
	)
	s.must(err)
	_, err = roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName:   aws.String("golden-image-target"),
		PolicyName: aws.String("all"),
		PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","kms:*"],"Resource":"*"}]}`,
		),
	})
	s.must(err)
	cloud := ec2.NewFromConfig(b.Config(source, tokyo))
	volume, err := cloud.CreateVolume(
		ctx,
		&ec2.CreateVolumeInput{AvailabilityZone: aws.String(tokyo + "a"), Size: aws.Int32(8)},
	)
	s.must(err)
	b.Wait(time.Minute)
	snapshot, err := cloud.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	s.must(err)
	b.Wait(time.Hour)
	image, err := cloud.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:               aws.String("base-1"),
		RootDeviceName:     aws.String("/dev/xvda"),
		VirtualizationType: aws.String("hvm"),
		Architecture:       ec2types.ArchitectureValuesX8664,
		EnaSupport:         aws.Bool(true),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
		},
	})
	s.must(err)
	s.base = *image.ImageId
	_, err = cloud.EnableEbsEncryptionByDefault(ctx, &ec2.EnableEbsEncryptionByDefaultInput{})
	return err
}

// options returns a build from the image base-*, for the target account.
func (s *stage) options() map[string]any {
	options := map[string]any{
		"kms_key_id": "alias/golden",
		"amazon_ebs": map[string]any{
			"region": tokyo,
			"source_ami_filter": map[string]any{
				"owners":      []any{"self"},
				"most_recent": true,
				"filters":     map[string]any{"name": "base-*"},
			},
		},
		"target": []any{map[string]any{
			"name": "prod", "account_ids": []any{prod}, "kms_key_id": "alias/golden",
			"assume_role": []any{map[string]any{"role_arn": "arn:aws:iam::{{ .AccountId " +
				"}}:role/golden-image-target", "external_id": "hush-external"}},
		}},
	}
	for name, value := range s.access {
		options[name] = value
	}
	return options
}

func (s *stage) execute(options map[string]any) (map[string]cty.Value, error) {
	s.Helper()
	d := &Datasource{client: s.World, seed: 1}
	s.must(d.Configure(options))
	value, err := d.Execute()
	for _, call := range s.Records()[s.begun:].Mutating() {
		s.Errorf("%s made or changed %v", call.Action, call.Changed)
	}
	if err != nil {
		if strings.Contains(err.Error(), "hush") {
			s.Errorf("a secret is shown: %v", err)
		}
		return nil, err
	}
	return value.AsValueMap(), nil
}

func TestPreflight_outputs(t *testing.T) {
	onStage(t, func(s *stage) {
		found, err := s.execute(s.options())
		s.must(err)
		if strings.Contains(found["plan"].AsString()+fmt.Sprint(found["findings"]), "hush") {
			s.Error("a secret is shown")
		}
		golden.Equal(s.T, "testdata/preflight.golden", shown(found))
	})
}

func TestPreflight_encryptBoot(t *testing.T) {
	onStage(t, func(s *stage) {
		options := s.options()
		build := options["amazon_ebs"].(map[string]any)
		build["encrypt_boot"], build["kms_key_id"] = true, "alias/golden"
		found, err := s.execute(options)
		s.must(err)
		golden.Equal(s.T, "testdata/encrypt-boot.golden", shown(found))
	})
}

// shown returns values by name, without random IDs.
func shown(found map[string]cty.Value) string {
	var text strings.Builder
	for _, name := range []string{
		"encrypted", "kms_key_arn", "shareable", "encryption_reason", "source_ami", "volumes",
		"builder_copy_count", "copy_count", "amazon_ebs_suggestion",
		"findings", "error_count", "warning_count", "targets_json", "plan",
	} {
		fmt.Fprintf(&text, "%s:\n%s\n", name, plain(found[name]))
	}
	drawn := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{17}`)
	return drawn.ReplaceAllString(text.String(), "DRAWN")
}

func plain(value cty.Value) string {
	switch ty := value.Type(); {
	case value.IsNull():
		return "null"
	case ty == cty.String:
		return value.AsString()
	case ty == cty.Number:
		return value.AsBigFloat().String()
	case ty == cty.Bool:
		return fmt.Sprint(value.True())
	case ty.IsObjectType():
		var parts []string
		for name := range ty.AttributeTypes() {
			parts = append(parts, name+"="+plain(value.GetAttr(name)))
		}
		return strings.Join(slices.Sorted(slices.Values(parts)), " ")
	}
	var parts []string
	for it := value.ElementIterator(); it.Next(); {
		_, element := it.Element()
		parts = append(parts, plain(element))
	}
	return strings.Join(parts, "\n")
}

func TestPreflight_badKeyAndRole(t *testing.T) {
	onStage(t, func(s *stage) {
		options := s.options()
		target := options["target"].([]any)[0].(map[string]any)
		target["kms_key_id"] = "alias/missing"
		options["target"] = append(
			options["target"].([]any),
			map[string]any{
				"name":        "lab",
				"account_ids": []any{"888888888888"},
				"kms_key_id":  "default",
				"assume_role": list{pairs{"role_name": "missing"}},
			},
		)
		_, err := s.execute(options)
		if err == nil || !strings.Contains(err.Error(), "alias/missing does not exist") ||
			!strings.Contains(err.Error(), "arn:aws:iam::888888888888:role/missing") {
			s.Errorf("got %v", err)
		}
		options["fail_on"] = "never"
		found, err := s.execute(options)
		s.must(err)
		if plain(found["error_count"]) != "2" || !strings.Contains(plain(found["findings"]), "alias/missing does not exist") {
			s.Errorf("%s refusals:\n%s", plain(found["error_count"]), plain(found["findings"]))
		}
	})
}

// By default a name that is taken is an error. With fail_on = "never" it is only reported, because the AMI may be that
// of a failed run, which the template can resume.
func TestPreflight_nameTaken(t *testing.T) {
	onStage(t, func(s *stage) {
		owner := ec2.NewFromConfig(s.Config(prod, tokyo))
		volume, err := owner.CreateVolume(
			s.Context(),
			&ec2.CreateVolumeInput{AvailabilityZone: aws.String(tokyo + "a"), Size: aws.Int32(8)},
		)
		s.must(err)
		time.Sleep(time.Minute)
		snapshot, err := owner.CreateSnapshot(s.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		s.must(err)
		time.Sleep(time.Hour)
		_, err = owner.RegisterImage(s.Context(), &ec2.RegisterImageInput{
			Name:               aws.String("golden-1"),
			RootDeviceName:     aws.String("/dev/xvda"),
			VirtualizationType: aws.String("hvm"),
			Architecture:       ec2types.ArchitectureValuesX8664,
			BlockDeviceMappings: []ec2types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
			},
		})
		s.must(err)
		s.begun = len(s.Records())
		options := s.options()
		options["amazon_ebs"].(map[string]any)["ami_name"] = "golden-1"
		if _, err := s.execute(options); err == nil || !strings.Contains(err.Error(), `the name "golden-1" is taken`) {
			s.Errorf("got %v", err)
		}
		options["fail_on"] = "never"
		_, err = s.execute(options)
		s.must(err)
	})
}

// packer build -force fails at the end of the build if a failed run left the AMI of that name protected.
func TestPreflight_protectedNamesake(t *testing.T) {
	for _, isProtected := range []bool{true, false} {
		onStage(t, func(s *stage) {
			owner := ec2.NewFromConfig(s.Config(source, tokyo))
			volume, err := owner.CreateVolume(
				s.Context(),
				&ec2.CreateVolumeInput{AvailabilityZone: aws.String(tokyo + "a"), Size: aws.Int32(8)},
			)
			s.must(err)
			time.Sleep(time.Minute)
			snapshot, err := owner.CreateSnapshot(s.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
			s.must(err)
			time.Sleep(time.Hour)
			image, err := owner.RegisterImage(s.Context(), &ec2.RegisterImageInput{
				Name:               aws.String("golden-1"),
				RootDeviceName:     aws.String("/dev/xvda"),
				VirtualizationType: aws.String("hvm"),
				Architecture:       ec2types.ArchitectureValuesX8664,
				BlockDeviceMappings: []ec2types.BlockDeviceMapping{
					{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
				},
			})
			s.must(err)
			if isProtected {
				_, err = owner.EnableImageDeregistrationProtection(s.Context(),
					&ec2.EnableImageDeregistrationProtectionInput{ImageId: image.ImageId})
				s.must(err)
			}
			s.begun = len(s.Records())
			options := s.options()
			options["amazon_ebs"].(map[string]any)["ami_name"] = "golden-1"
			found, err := s.execute(options)
			s.must(err)
			findings := plain(found["findings"])
			if got := strings.Contains(findings, "amazon-ebs cannot replace "+*image.ImageId); got != isProtected {
				s.Errorf("protected %v: got the warning %v: %s", isProtected, got, findings)
			}
		})
	}
}

func TestPreflight_failOnWarning(t *testing.T) {
	onStage(t, func(s *stage) {
		options := s.options()
		options["target"] = append(
			options["target"].([]any),
			map[string]any{
				"name":        "lab",
				"account_ids": []any{"888888888888"},
				"kms_key_id":  "default",
				"assume_role": list{pairs{"role_name": "missing"}},
				"required":    false,
			},
		)
		found, err := s.execute(options)
		s.must(err)
		if plain(found["warning_count"]) != "1" {
			s.Errorf("%s warnings", plain(found["warning_count"]))
		}
		options["fail_on"] = "warning"
		if _, err := s.execute(options); err == nil {
			s.Error("it did not fail")
		}
	})
}

// A preflight ends at its timeout. A call without a response by then is an error.
func TestPreflight_timeout(t *testing.T) {
	onStage(t, func(s *stage) {
		s.World.Inject(awssim.FaultRule{Action: "ec2:DescribeImages", Fault: awssim.Throttled})
		begun := time.Now()
		_, err := s.execute(s.options())
		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "2m0s") || took > 3*time.Minute {
			s.Errorf("after %s: %v", took, err)
		}
	})
}

// Three hundred accounts take a few seconds, and the preflight reports every account that it cannot reach.
func TestPreflight_threeHundredTargets(t *testing.T) {
	onStage(t, func(s *stage) {
		elements := make([]string, 300)
		for i := range elements {
			elements[i] = fmt.Sprintf(
				`{
					"name": "account %d",
					"account_ids": ["%012d"],
					"kms_key_id": "default",
					"assume_role": [{"role_name": "missing"}]
				}`,
				i,
				i+1,
			)
		}
		options := s.options()
		delete(options, "target")
		options["targets_json"] = "[" + strings.Join(elements, ",") + "]"
		options["fail_on"] = "never"
		begun := time.Now()
		found, err := s.execute(options)
		s.must(err)
		if took := time.Since(begun); plain(found["error_count"]) != "300" || took > time.Minute {
			s.Errorf("%s refusals after %s", plain(found["error_count"]), took)
		}
	})
}
