// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// closed denies every principal the role of an account.
func (s *stage) closed(account string) {
	s.trust(account, `{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}`)
}

func (s *stage) open(account string) {
	s.trust(
		account,
		`{
			"Effect":"Allow",
			"Principal":{"AWS":"arn:aws:iam::`+source+`:root"},
			"Action":"sts:AssumeRole",
			"Condition":{"StringEquals":{"sts:ExternalId":"hush-external"}}
		}`,
	)
}

func (s *stage) trust(account, statement string) {
	s.Helper()
	_, err := iam.NewFromConfig(s.world.Config(account, tokyo)).
		UpdateAssumeRolePolicy(s.Context(), &iam.UpdateAssumeRolePolicyInput{
			RoleName:       aws.String("golden-image-target"),
			PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statement + `]}`),
		})
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Minute) // until the policy is effective everywhere
}

// keyless removes the permission of an account's role to use its key. CopySnapshot is accepted, and the copy ends in
// error (rule 1.8.4).
func (s *stage) keyless(account string) {
	s.setTargetActions(account, `["ec2:*","kms:DescribeKey"]`)
}

func (s *stage) setTargetActions(account, actions string) {
	s.Helper()
	_, err := iam.NewFromConfig(s.world.Config(account, tokyo)).PutRolePolicy(s.Context(), &iam.PutRolePolicyInput{
		RoleName:   aws.String("golden-image-target"),
		PolicyName: aws.String("all"),
		PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + actions + `,"Resource":"*"}]}`,
		),
	})
	if err != nil {
		s.Fatal(err)
	}
	time.Sleep(time.Minute) // until the policy is effective everywhere
}

// withExistingAMI returns options that name the source AMI.
func (s *stage) withExistingAMI(accounts ...string) map[string]any {
	o := s.options(accounts...)
	o["existing_amis"] = map[string]any{tokyo: s.image}
	return o
}

// tidy fails the test if the source account has more than its image, or if another account may use its snapshots.
func (s *stage) tidy() {
	s.Helper()
	snapshots := s.snapshots(source)
	if len(snapshots) != 2 {
		s.Errorf("the source has %d snapshots, 2 are the image's", len(snapshots))
	}
	for _, snapshot := range snapshots {
		out, err := s.cloud(source).DescribeSnapshotAttribute(context.Background(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: snapshot.SnapshotId, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
		})
		if err != nil {
			s.Fatal(err)
		}
		if len(out.CreateVolumePermissions) > 0 {
			s.Errorf("%s is shared", *snapshot.SnapshotId)
		}
	}
}

func TestResume_afterFailedTarget(t *testing.T) {
	onStage(t, func(s *stage) {
		s.keyless(other)
		if _, err := s.run(s.Context(), s.options(other, prod)); err == nil {
			s.Fatal("a run with a failed target is a success")
		}
		s.safe()
		s.setTargetActions(other, `["ec2:*","kms:*"]`)
		before := len(s.made())
		output, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(other, prod))
		if err != nil {
			s.Fatal(err)
		}
		if images := len(s.images(other)) + len(s.images(prod)); images != 2 || len(output.result.Images) != 2 {
			s.Errorf("the targets have %d images, the artifact %d", images, len(output.result.Images))
		}
		if again := len(s.made()) - before; again != 3 { // the failed target's two copies and its image
			s.Errorf("%d resources were created in the second run", again)
		}
		reused := slices.DeleteFunc(output.manifest.Steps, func(s report.Step) bool { return !s.Reused })
		if len(reused) != 2 || !reused[0].Staged || !reused[1].Staged {
			s.Errorf("got the reused copies %+v, want the two staged copies", reused)
		}
		if protected, ours := s.protected(); protected || ours {
			s.Errorf("the source image is protected: %v, by us: %v", protected, ours)
		}
		s.tidy()
	})
}

func TestResume_finishedRun(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.options(prod)); err != nil {
			s.Fatal(err)
		}
		before := len(s.world.Records())
		output, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod))
		if err != nil || len(output.result.Images) != 1 {
			s.Fatalf("%v, %v", output, err)
		}
		for _, call := range s.world.Records()[before:] {
			_, operation, _ := strings.Cut(
				call.Action,
				":",
			)
			if !strings.HasPrefix(operation, "Describe") && !strings.HasPrefix(operation, "Get") && operation != "AssumeRole" {
				s.Errorf("%s", call.Action)
			}
		}
	})
}

// Tags and descriptions may contain the AMI of the build, which a later run does not know. A finished image keeps those
// of the run that created it.
func TestResume_imageKeepsTexts(t *testing.T) {
	onStage(t, func(s *stage) {
		worded := func(o map[string]any) map[string]any {
			target := o["target"].([]any)[0].(map[string]any)
			target["ami_description"], target["tags"] = "of {{ .AMI }}, {{ isotime `2006-01-02` "+
				"}}", map[string]any{"Created": "{{ timestamp }}", "Base": "{{ .SourceAMI }}"}
			return o
		}
		if _, err := s.run(s.Context(), worded(s.options(prod))); err != nil {
			s.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		before, made := s.images(prod), len(s.made())
		output, err := s.after(s.Context(), nullBuilder, worded(s.withExistingAMI(prod)))
		if err != nil {
			s.Fatal(err)
		}
		if again := s.images(prod); !reflect.DeepEqual(before, again) || len(output.result.Images) != 1 ||
			len(s.made()) != made {
			s.Errorf("%d images in the artifact, %d resources created; it was %+v, it is "+
				"%+v", len(output.result.Images), len(s.made())-made, before, again)
		}
	})
}

func TestExistingAMIs_imageUnchanged(t *testing.T) {
	onStage(t, func(s *stage) {
		s.closed(prod)
		_, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod))
		if err == nil || !strings.Contains(err.Error(), "Resume:") {
			s.Errorf("got %v", err)
		}
		s.open(prod)
		output, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod))
		if err != nil {
			s.Fatal(err)
		}
		if err := output.Destroy(); err != nil {
			s.Error(err)
		}
		if calls := s.world.Records()[s.begun:].Calls("ec2:EnableImageDeregistrationProtection"); len(calls) > 0 {
			s.Error("the image was protected")
		}
		if len(s.images(source)) != 1 || len(s.images(prod)) != 0 {
			s.Errorf("images: %d, %d", len(s.images(source)), len(s.images(prod)))
		}
		s.tidy()
	})
}

// A later post-processor without keep_input_artifact destroys the artifact, and with it the run's own images. Images of
// an earlier run may be in use, so they stay.
func TestArtifact_destroyKeepsEarlierRun(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.options(prod)); err != nil {
			s.Fatal(err)
		}
		output, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod, other))
		if err != nil {
			s.Fatal(err)
		}
		if err := output.Destroy(); err != nil {
			s.Error(err)
		}
		if len(s.images(prod)) != 1 || len(s.images(other)) != 0 {
			s.Errorf("%d images of the run before, %d of this one", len(s.images(prod)), len(s.images(other)))
		}
	})
}

// An empty list of AMIs is an error. Otherwise a job would succeed without distributing anything.
func TestExistingAMIs_none(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		o["existing_amis"] = map[string]any{}
		path := manifestOf(s, o)
		if _, err := s.after(s.Context(), nullBuilder, o); err == nil || !strings.Contains(err.Error(), "existing_amis: "+
			"empty") {
			s.Errorf("got %v", err)
		}
		if len(s.world.Records()) != s.begun {
			s.Errorf("got %d calls, want none", len(s.world.Records())-s.begun)
		}
		if _, err := os.Stat(path); err == nil {
			s.Error("the manifest of another build of the template may have been replaced")
		}
	})
}

func TestExistingAMIs_withArtifact(t *testing.T) {
	onStage(t, func(s *stage) {
		_, err := s.run(
			s.Context(),
			s.withExistingAMI(prod),
		)
		if err == nil || !strings.Contains(err.Error(), "existing_amis: no effect") {
			s.Errorf("got %v", err)
		}
		s.safe()
	})
}

func TestRun_optionalTargetFails(t *testing.T) {
	for name, row := range map[string]struct {
		fail func(*stage)
		want string
	}{
		"before the run": {func(s *stage) { s.closed(other) }, "Of 2 destinations, 1 was skipped, which the template allows"},
		"in the run":     {func(s *stage) { s.keyless(other) }, "Of 2 destinations, 1 failed, which the template allows"},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				row.fail(s)
				o := s.options(other, prod)
				o["target"].([]any)[0].(map[string]any)["required"] = false
				output, err := s.run(s.Context(), o)
				if err != nil {
					s.Fatal(err)
				}
				if !s.forced {
					s.Error("the image is not kept for the target that still needs it")
				}
				if !strings.Contains(output.String(), other+" "+tokyo+": none") || strings.Contains(output.Id(), other) ||
					!strings.Contains(output.Id(), prod) {
					s.Errorf("%s\n%s", output.Id(), output)
				}
				if !s.mentions(row.want+". To try again: ", nil) {
					s.Errorf("got no line %q with advice how to resume", row.want)
				}
			})
		})
	}
}

func TestRun_maxFailedDestinations(t *testing.T) {
	for allowed, fails := range map[int]bool{0: true, 1: false} {
		onStage(t, func(s *stage) {
			s.keyless(other)
			o := s.options(other, prod)
			o["max_failed_destinations"] = allowed
			if _, err := s.run(s.Context(), o); (err != nil) != fails {
				s.Errorf("%d may fail: %v", allowed, err)
			}
		})
	}
}

func TestCancel_failsDespiteAllowedFailures(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		o["max_failed_destinations"] = 1
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Minute, cancel)
		if _, err := s.run(ctx, o); err == nil {
			s.Error("a canceled run is a success")
		}
	})
}

func TestRun_cleanUpOnFailure(t *testing.T) {
	for name, begin := range map[string]func(*stage) context.Context{
		"a target fails": func(s *stage) context.Context { s.keyless(other); return s.Context() },
		"it is canceled": func(s *stage) context.Context {
			ctx, cancel := context.WithCancel(s.Context())
			time.AfterFunc(2*time.Minute+30*time.Second, cancel) // the targets copy
			return ctx
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				ctx, o := begin(s), s.options(other, prod)
				o["on_failure"] = "cleanup"
				_, err := s.run(ctx, o)
				if err == nil || !s.mentions("Nothing is left behind", err) {
					s.Errorf("got %v", err)
				}
				s.safe()
				s.tidy()
				for _, account := range []string{other, prod} {
					if images, snapshots := s.images(account), s.snapshots(account); len(snapshots) != 2*len(images) {
						s.Errorf("%s has %d images and %d snapshots", account, len(images), len(snapshots))
					}
				}
			})
		})
	}
}

func TestCleanUp_onlyUnfinished(t *testing.T) {
	onStage(t, func(s *stage) {
		s.keyless(other)
		if _, err := s.run(s.Context(), s.options(other, prod)); err == nil {
			s.Fatal("a run with a failed target is a success")
		}
		if len(s.snapshots(source)) == 2 {
			s.Fatal("nothing was left to be removed")
		}
		o := s.withExistingAMI(other, prod)
		o["mode"] = "cleanup"
		output, err := s.after(s.Context(), nullBuilder, o)
		if err != nil || output.Id() != "Null" {
			s.Fatalf("%v, %v", output, err)
		}
		s.tidy()
		if len(s.images(prod)) != 1 || len(s.snapshots(prod)) != 2 {
			s.Errorf("the target that was served has %d images and %d snapshots", len(s.images(prod)), len(s.snapshots(prod)))
		}
		if protected, ours := s.protected(); protected || ours {
			s.Errorf("got a source AMI that is protected: %v, by a run: %v, after giving up", protected, ours)
		}
		if !s.mentions("is kept. To delete it: aws ec2 deregister-image", nil) {
			s.Error("the command that deletes the source AMI is not shown")
		}
	})
}

// Another block of the same build failed in other accounts. It needs the protection until it is resumed or given up.
func TestCleanup_otherBlockNeedsProtection(t *testing.T) {
	onStage(t, func(s *stage) {
		s.keyless(other)
		s.keyless(prod)
		for _, account := range []string{other, prod} {
			if _, err := s.run(s.Context(), s.options(account)); err == nil {
				s.Fatal("got no error")
			}
		}
		for _, c := range []struct {
			account string
			stays   bool
		}{{other, true}, {prod, false}} {
			s.screen = new(screen)
			o := s.withExistingAMI(c.account)
			o["mode"] = "cleanup"
			if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
				s.Fatal(err)
			}
			if protected, ours := s.protected(); protected != c.stays || ours != c.stays {
				s.Errorf("cleanup for %s: got protected %v, by a run %v, want %v", c.account, protected, ours, c.stays)
			}
			const why = "which has not succeeded. Run its resume file, or give it up: " +
				"packer build -var mode=cleanup with that file"
			if got := s.mentions(why, nil); got != c.stays {
				s.Errorf("cleanup for %s: got the reason why the protection stays: %v, want %v", c.account, got, c.stays)
			}
		}
	})
}

// An active run for the same AMI needs the protection, whatever its options.
func TestCleanup_workingRunNeedsProtection(t *testing.T) {
	onStage(t, func(s *stage) {
		running := make(chan error)
		go func() {
			_, err := s.run(s.Context(), s.options(prod))
			running <- err
		}()
		time.Sleep(15 * time.Second) // the run renews its record soon, so the cleanup does not wait for its end
		o := s.withExistingAMI(prod)
		o["mode"] = "cleanup"
		if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
			s.Fatal(err)
		}
		if protected, ours := s.protected(); !protected || !ours {
			s.Errorf("got a source AMI that is protected: %v, by a run: %v, while a run works", protected, ours)
		}
		if err := <-running; err != nil {
			s.Error(err)
		}
		if protected, ours := s.protected(); protected || ours {
			s.Errorf("got a source AMI that is protected: %v, by a run: %v, after both runs", protected, ours)
		}
	})
}

func TestCleanUp_accountUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		hide func(*stage)
		want string
	}{
		"an account that cannot be used": {func(s *stage) { s.closed(other) }, "trust_policy_deny," + other},
		"an image that is gone": {func(s *stage) {
			if _, err := s.cloud(source).DeregisterImage(s.Context(), &ec2.DeregisterImageInput{ImageId: &s.image}); err != nil {
				s.Fatal(err)
			}
		}, "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				c.hide(s)
				o := s.withExistingAMI(other, prod)
				o["mode"] = "cleanup"
				if _, err := s.after(s.Context(), nullBuilder, o); err == nil || !s.mentions(c.want, err) {
					s.Errorf("got %v, want %q in\n%s", err, c.want, s.screen)
				}
			})
		})
	}
}

// readManifest returns a manifest, parsed and as text.
func readManifest(t *testing.T, path string) (report.Manifest, string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m report.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m, string(text)
}

func TestManifest_isArtifactState(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		path := manifestOf(s, o)
		var seen []report.Status
		look := func() {
			m, text := readManifest(s.T, path)
			if m.Status != report.Running || !m.Run.EndedAt.IsZero() || m.SourceAMIs[0].DeregistrationProtection == "" {
				s.Errorf("got %s, want a run in progress with a protected image", text)
			}
			seen = append(seen, m.Destinations[0].Status)
		}
		time.AfterFunc(30*time.Second, look)
		time.AfterFunc(3*time.Minute, look)
		output, err := s.run(s.Context(), o)
		if err != nil {
			s.Fatal(err)
		}

		m, text := readManifest(s.T, path)
		if text != output.State("encrypted-ami.manifest") {
			s.Error("the state of the artifact is not the manifest")
		}
		if m.Status != report.Succeeded || m.Error != "" || m.Run.EndedAt.IsZero() ||
			m.SourceAMIs[0].DeregistrationProtection != "" {
			s.Errorf("got %s, want a run that succeeded and an image without protection", text)
		}
		if d := m.Destinations[0]; d.Status != report.Succeeded || string(d.AMIID) != *s.images(prod)[0].ImageId ||
			len(d.Snapshots) != 2 {
			s.Errorf("got %+v, want the image with its snapshots", d)
		}
		if want := []report.Status{report.Pending, report.InProgress}; !slices.Equal(seen, want) {
			s.Errorf("got %v during the run, want %v", seen, want)
		}
		if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 3 {
			s.Errorf("got the files %v, want the manifest and two reports", files)
		}
	})
}

// outcome is how a run ends, and what its manifest must hold. Empty fields are not checked.
type outcome struct {
	run         func(*stage, map[string]any) error
	status      report.Status
	message     string
	finding     string
	destination report.Status
	isProtected bool // the image stays protected after the run
}

// matches reports whether a manifest describes an outcome.
func (o outcome) matches(m report.Manifest) bool {
	if m.Status != o.status || m.Error == "" || m.Run.EndedAt.IsZero() {
		return false
	}
	if o.isProtected && !isProtected(m) {
		return false
	}
	if o.destination != "" && m.Destinations[0].Status != o.destination {
		return false
	}
	return contains(m.Error, o.message) && (o.finding == "" || strings.Contains(m.Findings[0].Summary, o.finding))
}

func TestManifest_everyOutcome(t *testing.T) {
	for name, c := range map[string]outcome{
		"refused": {
			run: func(s *stage, o map[string]any) error {
				s.closed(prod)
				_, err := s.run(s.Context(), o)
				return err
			},
			status:      report.Failed,
			message:     "nothing was created",
			finding:     "the trust policy denies sts:AssumeRole",
			isProtected: true,
		},
		"failed": {
			run: func(s *stage, o map[string]any) error {
				s.keyless(prod)
				_, err := s.run(s.Context(), o)
				return err
			},
			status:      report.Failed,
			message:     "1 of 1",
			destination: report.Failed,
			isProtected: true,
		},
		"canceled": {
			run: func(s *stage, o map[string]any) error {
				ctx, cancel := context.WithCancel(s.Context())
				time.AfterFunc(time.Minute, cancel)
				_, err := s.run(ctx, o)
				return err
			},
			status:      report.Canceled,
			destination: report.Failed,
		},
		"invalid": {
			run: func(s *stage, o map[string]any) error {
				o["target"].([]any)[0].(map[string]any)["account_ids"] = []any{}
				_, err := s.run(s.Context(), o)
				return err
			},
			status:      report.Failed,
			message:     "account_ids: empty",
			isProtected: true,
		},
		"panic": {
			run: func(s *stage, o map[string]any) error {
				p := &PostProcessor{client: panicking{}}
				if err := p.Configure(o); err != nil {
					s.Fatal(err)
				}
				_, err := s.postProcess(s.Context(), p, "mitchellh.amazonebs")
				return err
			},
			status:  report.Failed,
			message: "out of luck",
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				o := s.options(prod)
				path := manifestOf(s, o)
				if err := c.run(s, o); err == nil {
					s.Fatal("a success")
				}
				if m, text := readManifest(s.T, path); !c.matches(m) {
					s.Error(text)
				}
			})
		})
	}
}

func contains(text report.OptionalString, part string) bool {
	return strings.Contains(string(text), part)
}

func isProtected(m report.Manifest) bool { return m.SourceAMIs[0].DeregistrationProtection != "" }

// The trust policy may require another external ID. An advised statement without it could open the role to others
// (5.6).
func TestPostProcess_refusedRoleAdvisesNoStatement(t *testing.T) {
	onStage(t, func(s *stage) {
		s.trust(prod, `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"sts:AssumeRole"}`)
		_, err := s.run(s.Context(), s.options(prod))
		if err == nil {
			s.Fatal("a success")
		}
		golden.Equal(s.T, "testdata/refused-role.golden", s.shown(err))
	})
}

func TestRun_keyDeniedShowsStatement(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(prod, `"ec2:*"`)
		_, err := s.run(s.Context(), s.options(prod))
		if err == nil {
			s.Fatal("a success")
		}
		_, shown, _ := strings.Cut(s.shown(err), "ERROR: ")
		golden.Equal(s.T, "testdata/refused-key.golden", shown)
	})
}

// The test searches everything that a run writes for the secrets that the run knows.
func TestFiles_noSecrets(t *testing.T) {
	for name, fail := range map[string]func(*stage, map[string]any){
		"success": func(*stage, map[string]any) {},
		"failure": func(s *stage, _ map[string]any) { s.keyless(prod) },
		"refused": func(s *stage, _ map[string]any) { s.closed(prod) },
		"an external id that STS repeats": func(_ *stage, o map[string]any) {
			// spaces are allowed in a session tag (rule 5.5)
			first := o["target"].([]any)[0].(map[string]any)
			role := first["assume_role"].([]any)[0].(map[string]any)
			role["external_id"] = "hush external {{ .AccountId }}"
		},
		"the source's external id": func(_ *stage, o map[string]any) {
			o["assume_role"] = map[string]any{"role_arn": "arn:aws:iam::111111111111:role/x", "external_id": "hush-external"}
		},
		"a session token": func(_ *stage, o map[string]any) { o["token"] = "hush-token" },
		"panic":           func(_ *stage, _ map[string]any) {},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				var logged bytes.Buffer
				log.SetOutput(&logged)
				defer log.SetOutput(os.Stderr)
				o := s.options(prod)
				fail(s, o)
				path := manifestOf(s, o)
				var written strings.Builder
				p := &PostProcessor{client: s.world, seed: 1}
				if name == "panic" {
					p.client = panicking{}
				}
				if err := p.Configure(o); err != nil {
					s.Fatal(err)
				}
				output, err := s.postProcess(s.Context(), p, "mitchellh.amazonebs")
				if output != nil {
					fmt.Fprintln(&written, output.State(stateManifest), output.Id(), output)
				}
				_, manifest := readManifest(s.T, path)
				page, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "report.html"))
				if len(page) == 0 {
					s.Error("there is no report")
				}
				files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
				for _, file := range files {
					text, _ := os.ReadFile(file)
					fmt.Fprintln(&written, string(text))
				}
				hasResumeFile := slices.Contains(
					files,
					filepath.Join(filepath.Dir(path), "resume.pkr.hcl"),
				)
				if hasResumeFile != s.mentions(
					"is kept and protected",
					err,
				) {
					s.Errorf("the run ends with %v, and has a resume file: %v", err, hasResumeFile)
				}
				fmt.Fprintln(&written, err, s.screen, &logged, manifest)
				secrets := []string{"hush", *s.key.SecretAccessKey}
				for _, tag := range s.images(source)[0].Tags {
					if provenance.IsSigningKey(*tag.Key) {
						secrets = append(secrets, strings.Fields(*tag.Value)[0])
					}
				}
				if hasKey := len(secrets) == 3; !hasKey && name == "success" {
					s.Error("the image has no signing key")
				}
				for _, secret := range secrets {
					if at := strings.Index(written.String(), secret); at >= 0 {
						s.Errorf("%q is written: %s", secret, written.String()[max(0, at-200):min(written.Len(), at+200)])
					}
				}
			})
		})
	}
}
