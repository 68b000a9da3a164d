// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
)

const (
	source = "111111111111"
	prod   = "999999999999"
	other  = "888888888888"
	tokyo  = "ap-northeast-1"
)

// stage is a simulated AWS with an image of the source account, and the output of Packer. PostProcess distributes the
// image.
type stage struct {
	*testing.T
	world *awssim.World
	image string
	// access key of the user ci, who may do everything in the source account. A root user cannot assume roles
	key       *iamtypes.AccessKey
	begun     int // calls that created the world
	screen    *screen
	runs      int
	started   int    // calls of after: each has a run id of its own
	directory string // of the files, for tests of the screen
	forced    bool   // the last run kept the source image although the template says otherwise
}

// onStage runs a test in virtual time. The source account has an image with two volumes under aws/ebs, and a key that
// all accounts may use. Two target accounts each have a key, and a role with an external ID.
func onStage(t *testing.T, play func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, world: awssim.New(awssim.WithSeed(1)), screen: new(screen)}
		if err := s.world.Build(s.createResources); err != nil {
			t.Fatal(err)
		}
		s.begun = len(s.world.Records())
		play(s)
		time.Sleep(10 * time.Minute) // what a canceled run still had in progress ends
	})
}

func (s *stage) createResources(b *awssim.Builder) error {
	ctx := s.Context()
	users := iam.NewFromConfig(b.Config(source, tokyo))
	if _, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("ci")}); err != nil {
		return err
	}
	if err := s.allow(users, `{"Effect":"Allow","Action":"*","Resource":"*"}`); err != nil {
		return err
	}
	made, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("ci")})
	if err != nil {
		return err
	}
	s.key = made.AccessKey
	for account, users := range map[string][]string{source: {source, prod, other}, prod: {prod}, other: {other}} {
		s.fixtures().Key(account, tokyo, "alias/golden", users...)
		if account == source {
			continue
		}
		roles := iam.NewFromConfig(b.Config(account, tokyo))
		_, err := roles.CreateRole(
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
		if err != nil {
			return err
		}
		_, err = roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
			RoleName:   aws.String("golden-image-target"),
			PolicyName: aws.String("all"),
			PolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","kms:*","ssm:*"],"Resource":"*"}]}`,
			),
		})
		if err != nil {
			return err
		}
	}
	return s.build(b)
}

// allow replaces the policy of the user ci.
func (s *stage) allow(users *iam.Client, statements string) error {
	_, err := users.PutUserPolicy(s.Context(), &iam.PutUserPolicyInput{
		UserName: aws.String("ci"), PolicyName: aws.String("ci"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statements + `]}`),
	})
	return err
}

func (s *stage) build(b *awssim.Builder) error {
	ctx, cloud := s.Context(), ec2.NewFromConfig(b.Config(source, tokyo))
	var devices []ec2types.BlockDeviceMapping
	for _, name := range []string{"/dev/xvda", "/dev/xvdb"} {
		volume, err := cloud.CreateVolume(
			ctx,
			&ec2.CreateVolumeInput{AvailabilityZone: aws.String(tokyo + "a"), Size: aws.Int32(8), Encrypted: aws.Bool(true)},
		)
		if err != nil {
			return err
		}
		b.Wait(time.Minute)
		snapshot, err := cloud.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		if err != nil {
			return err
		}
		b.Wait(time.Hour)
		devices = append(
			devices,
			ec2types.BlockDeviceMapping{
				DeviceName: aws.String(name),
				Ebs:        &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId},
			},
		)
	}
	image, err := cloud.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name: aws.String("golden 1"), RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
		Architecture: ec2types.ArchitectureValuesX8664, EnaSupport: aws.Bool(true), BlockDeviceMappings: devices,
	})
	if err == nil {
		s.image = *image.ImageId
	}
	return err
}

// options returns the credentials and the key of the source, and a target for each account.
func (s *stage) options(accounts ...string) map[string]any {
	var targets []any
	for _, account := range accounts {
		targets = append(targets, map[string]any{
			"name": "to " + account, "account_ids": []any{account}, "kms_key_id": "alias/golden",
			"assume_role": []any{map[string]any{"role_arn": "arn:aws:iam::{{ .AccountId " +
				"}}:role/golden-image-target", "external_id": "hush-external"}},
		})
	}
	return map[string]any{
		"output_directory": "",
		"access_key":       *s.key.AccessKeyId,
		"secret_key":       *s.key.SecretAccessKey,
		"kms_key_id":       "alias/golden",
		"target":           targets,
	}
}

// run configures the post-processor as Packer does after a build, and runs it.
func (s *stage) run(ctx context.Context, options map[string]any) (*artifact, error) {
	s.Helper()
	return s.after(ctx, "mitchellh.amazonebs", options)
}

// after is like run, with the artifact of another builder.
func (s *stage) after(ctx context.Context, builder string, options map[string]any) (*artifact, error) {
	s.Helper()
	s.started++
	p := &PostProcessor{client: s.world, seed: 1, runID: fmt.Sprintf("run-0-%d", s.started)}
	for range 2 {
		if err := p.Configure(map[string]any{"packer_build_name": "golden"}, options); err != nil {
			s.Fatal(err)
		}
	}
	return s.postProcess(ctx, p, builder)
}

func (s *stage) postProcess(ctx context.Context, p *PostProcessor, builder string) (*artifact, error) {
	s.Helper()
	s.runs++
	id := tokyo + ":" + s.image
	if builder == nullBuilder {
		id = "Null"
	}
	output, keep, force, err := p.PostProcess(
		ctx,
		s.screen,
		built(
			builder,
			id,
			map[string]any{
				"PackerRunUUID": fmt.Sprintf("run-%d", s.runs),
				"Password":      "hush-password",
				"SSHPrivateKey": "hush-key",
			},
		),
	)
	if s.mentions("hush", err) || s.mentions(*s.key.SecretAccessKey, err) {
		s.Error("a secret is shown")
	}
	if err != nil {
		if output != nil || keep {
			s.Error("a failure has an artifact")
		}
		return nil, err
	}
	if !keep {
		s.Error("the input is not kept")
	}
	s.forced = force
	return output.(*artifact), nil
}

// mentions reports whether the screen or an error contains a text.
func (s *stage) mentions(what string, err error) bool {
	return strings.Contains(s.screen.String(), what) || err != nil && strings.Contains(err.Error(), what)
}

func (s *stage) cloud(account string) *ec2.Client {
	return ec2.NewFromConfig(s.world.Config(account, tokyo))
}

// images returns an account's own images.
func (s *stage) images(account string) []ec2types.Image {
	s.Helper()
	out, err := s.cloud(account).DescribeImages(context.Background(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		s.Fatal(err)
	}
	return out.Images
}

// snapshots returns an account's own snapshots.
func (s *stage) snapshots(account string) []ec2types.Snapshot {
	s.Helper()
	out, err := s.cloud(account).
		DescribeSnapshots(context.Background(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		s.Fatal(err)
	}
	return out.Snapshots
}

// protected reports whether the source image is protected, and whether a run enabled that.
func (s *stage) protected() (protected, ours bool) {
	s.Helper()
	image := s.images(source)[0]
	ours = runrecord.IsProtectionHeld(tagsOf(image.Tags))
	return strings.HasPrefix(aws.ToString(image.DeregistrationProtection), "enabled"), ours
}

// safe fails the test unless the source image is protected by a run.
func (s *stage) safe() {
	s.Helper()
	if protected, ours := s.protected(); !protected || !ours {
		s.Errorf("the source image is protected: %v, by us: %v", protected, ours)
	}
}

// made returns the calls that created something in the targets, or copied.
func (s *stage) made() awssim.Records {
	calls := s.world.Records()[s.begun:].Mutating() // dry runs make nothing
	return slices.Concat(calls.Calls("ec2:CopySnapshot"), calls.Calls("ec2:RegisterImage"))
}

func TestRun_success(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), s.options(prod))
		if err != nil {
			s.Fatal(err)
		}
		for event, want := range map[string]int{
			"step_started":   12,
			"step_completed": 12,
			"step_failed":    0,
			"run_completed":  1,
		} {
			if got := strings.Count(s.screen.String(), "machine: encrypted-ami,"+event+","); got != want {
				s.Errorf("%d times %s, want %d", got, event, want)
			}
		}
		images := s.images(prod)
		if len(images) != 1 || output.Id() != tokyo+":"+*images[0].ImageId+":"+prod {
			s.Errorf("the artifact is %s, the target has %d images", output.Id(), len(images))
		}
		if protected, ours := s.protected(); protected || ours || s.forced {
			s.Errorf("the source image is protected: %v, by us: %v, kept by force: %v", protected, ours, s.forced)
		}
		if left := len(s.snapshots(source)); left != 2 {
			s.Errorf("the source has %d snapshots, 2 are the image's", left)
		}
	})
}

func TestConfigure_secondError(t *testing.T) {
	onStage(t, func(s *stage) {
		s.started++
		p := &PostProcessor{client: s.world, seed: 1, runID: fmt.Sprintf("run-0-%d", s.started)}
		if err := p.Configure(s.options("<unknown>")); err != nil {
			s.Fatal(err)
		}
		if err := p.Configure(s.options("i-0123456789abcdef0")); err != nil {
			s.Fatal(err)
		}
		_, err := s.postProcess(s.Context(), p, "mitchellh.amazonebs")
		if err == nil || !strings.Contains(err.Error(), "account_ids[0]") || !strings.Contains(err.Error(), "is kept and "+
			"protected") {
			s.Errorf("got %v", err)
		}
		s.safe()
		if len(s.made()) > 0 {
			s.Error("something was made")
		}
	})
}

func TestPostProcess_invalidOptionsKeepImage(t *testing.T) {
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"no account": {func(o map[string]any) {
			o["target"].([]any)[0].(map[string]any)["account_ids"] = []any{}
		}, "account_ids: empty"},
		"still unknown": {func(o map[string]any) { o["kms_key_id"] = "<unknown>" }, "kms_key_id: no value"},
		"no such key":   {func(o map[string]any) { o["kms_key_id"] = "alias/nothing" }, "alias/nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				o := s.options(prod)
				c.change(o)
				if _, err := s.run(s.Context(), o); err == nil || !s.mentions(c.want, err) {
					s.Errorf("got %v", err)
				}
				s.safe()
				if len(s.made()) > 0 {
					s.Error("something was made")
				}
			})
		})
	}
}

func TestRun_instanceStoreImage(t *testing.T) {
	onStage(t, func(s *stage) {
		s.started++
		p := &PostProcessor{client: s.world, seed: 1, runID: fmt.Sprintf("run-0-%d", s.started)}
		if err := p.Configure(s.options(prod)); err != nil {
			s.Fatal(err)
		}
		if _, err := s.postProcess(
			s.Context(),
			p,
			"mitchellh.amazon.instance",
		); err == nil || !strings.Contains(err.Error(), "S3") {
			s.Errorf("got %v", err)
		}
		s.safe()
	})
}

func TestProtection_denied(t *testing.T) {
	onStage(t, func(s *stage) {
		err := s.allow(
			iam.NewFromConfig(s.world.Config(source, tokyo)),
			`{
				"Effect":"Allow",
				"Action":"*",
				"Resource":"*"},{"Effect":"Deny",
				"Action":"ec2:EnableImageDeregistrationProtection",
				"Resource":"*"
			}`,
		)
		if err != nil {
			s.Fatal(err)
		}
		time.Sleep(time.Minute) // until the policy is seen everywhere
		if _, err := s.run(s.Context(), s.options(prod)); err != nil {
			s.Fatal(err)
		}
		reported, planned := strings.Index(s.screen.String(), `"manifest"`), strings.Index(s.screen.String(), "Plan:")
		if reported < 0 || planned < reported {
			s.Errorf("reported at %d, the plan at %d:\n%s", reported, planned, s.screen)
		}
	})
}

// While a run copies, a run for other accounts may succeed and disable the protection. When the first run fails, Packer
// would destroy the image.
func TestProtection_liftedByOtherRun(t *testing.T) {
	onStage(t, func(s *stage) {
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Minute, cancel)
		lifted := false
		time.AfterFunc(30*time.Second, func() {
			lifted = true
			cloud := ec2.NewFromConfig(s.world.Config(source, tokyo))
			_, err := cloud.DisableImageDeregistrationProtection(
				s.Context(),
				&ec2.DisableImageDeregistrationProtectionInput{ImageId: &s.image},
			)
			if err != nil {
				s.Error(err)
			}
		})
		_, err := s.run(ctx, s.options(prod))
		if err == nil || !lifted || !strings.Contains(err.Error(), "is kept and protected") {
			s.Errorf("lifted %v: %v", lifted, err)
		}
		s.safe()
	})
}

// One target's key forbids grants: CopySnapshot is accepted, and the copy ends in error (rule 1.8.4).
func TestRun_oneTargetFails(t *testing.T) {
	onStage(t, func(s *stage) {
		roles := iam.NewFromConfig(s.world.Config(other, tokyo))
		_, err := roles.PutRolePolicy(s.Context(), &iam.PutRolePolicyInput{
			RoleName:   aws.String("golden-image-target"),
			PolicyName: aws.String("all"),
			PolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","kms:DescribeKey"],"Resource":"*"}]}`,
			),
		})
		if err != nil {
			s.Fatal(err)
		}
		_, err = s.run(s.Context(), s.options(other, prod))
		if err == nil {
			s.Fatal("a run with a failed target is a success")
		}
		s.safe()
		if len(s.images(prod)) != 1 || len(s.images(other)) != 0 {
			s.Errorf("images: %d, %d", len(s.images(prod)), len(s.images(other)))
		}
		if failed := s.snapshots(other); len(failed) > 0 { // both copies fail, and both must be deleted
			s.Errorf("%d failed copies stay", len(failed))
		}
	})
}

func TestRun_canceled(t *testing.T) {
	onStage(t, func(s *stage) {
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Minute, cancel) // the first copies are in progress
		begun := time.Now()
		_, err := s.run(ctx, s.options(prod))
		if err == nil || time.Since(begun) > time.Minute+10*time.Second {
			s.Errorf("after %v: %v", time.Since(begun), err)
		}
		s.safe()
	})
}

func TestRun_timeout(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		o["timeout"] = "1m"
		begun := time.Now()
		_, err := s.run(s.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "timeout") || time.Since(begun) > 2*time.Minute {
			s.Errorf("after %v: %v", time.Since(begun), err)
		}
		s.safe()
	})
}

// A session lasts an hour (rule 5.2), longer than this run. The run assumes the role of each account once. The response
// contains the identity, so only the identity of the source credentials is asked for.
func TestRun_identityOncePerAccount(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.options(other, prod)); err != nil {
			s.Fatal(err)
		}
		calls := s.world.Records()[s.begun:]
		if asked, assumed := len(calls.Calls("sts:GetCallerIdentity")), len(calls.Calls("sts:AssumeRole")); asked != 1 ||
			assumed != 2 {
			s.Errorf("asked %d times who acts, want 1; assumed %d roles, want 2", asked, assumed)
		}
	})
}

// If the network has no route to an endpoint of AWS, the run reports it after a minute, and ends long before its
// timeout.
func TestEndpoint_unreachable(t *testing.T) {
	for service, call := range map[string]string{"kms:*": "kms:DescribeKey", "sts:*": "sts:GetCallerIdentity"} {
		onStage(t, func(s *stage) {
			s.world.Inject(awssim.FaultRule{Fault: awssim.ConnectionReset, Action: service})
			time.AfterFunc(2*time.Minute, func() {
				if !s.mentions("Waiting for "+call+" in ", nil) {
					s.Errorf("after two minutes nothing is reported:\n%s", s.screen)
				}
			})
			begun := time.Now()
			_, err := s.run(s.Context(), s.options(prod))
			if err == nil || time.Since(begun) > 40*time.Minute {
				s.Errorf("got %v after %v, want an error long before the timeout", err, time.Since(begun))
			}
			if !s.mentions(call, nil) || !s.mentions("connection reset by peer", nil) {
				s.Errorf("got a screen without the call and its error:\n%s", s.screen)
			}
			s.safe()
		})
	}
}

func TestArtifact_destroyInTarget(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), s.options(prod))
		if err != nil {
			s.Fatal(err)
		}
		if err := output.Destroy(); err != nil {
			s.Error(err)
		}
		if images, snapshots := len(s.images(prod)), len(s.snapshots(prod)); images+snapshots > 0 {
			s.Errorf("the target has %d images and %d snapshots", images, snapshots)
		}
	})
}
