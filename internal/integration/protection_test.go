// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// Packer destroys the image of a build whose post-processor fails, unless the image has deregistration protection.

// expectProtected reports a source image that Packer destroys after this run.
func expectProtected(w *fixture.World, run *fixture.Run) {
	w.Helper()
	if run.Err != nil && !w.IsProtected() {
		w.Errorf("the source image is not protected after %s", run.Outcome())
	}
}

// Problems with credentials that can be found without AWS fail Configure, before the build.
func TestConfigure_missingProfile(t *testing.T) {
	for name, change := range map[string]fixture.Change{
		"profile": fixture.WithProfile("porduction"),
		"credentials file": func(t fixture.Template) {
			fixture.WithProfile("ci")(t)
			fixture.WithCredentialsFile(filepath.Join(os.TempDir(), "no-such-folder", "credentials"))(t)
		},
		"profile of a target": fixture.WithTargetProfile("porduction"),
	} {
		t.Run(name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(config, []byte("[profile production]\nregion = ap-northeast-1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", config)
			test(t, fixture.Setup{}, func(w *fixture.World) {
				run := w.Run(w.Template(change))
				if run.Err == nil || !strings.HasPrefix(run.Err.Error(), "configure: ") {
					w.Errorf("got %s, want an error of Configure", run.Outcome())
				}
				if calls := run.Calls(); len(calls) > 0 {
					w.Errorf("got %d calls, want none before the build", len(calls))
				}
			})
		})
	}
}

// Enabling the protection needs only EC2, so the image is protected even if STS does not answer.
func TestProtect_withoutSTS(t *testing.T) {
	for name, rule := range map[string]awssim.FaultRule{
		"no endpoint": {Fault: awssim.ConnectionReset, Action: "sts:*"},
		"throttled":   {Fault: awssim.Throttled, Action: "sts:*"},
		"15 minutes":  {Fault: awssim.ConnectionReset, Action: "sts:GetCallerIdentity"},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{}, func(w *fixture.World) {
				w.Inject(rule)
				run := w.Start(fixture.Attempt{Template: w.Template(fixture.WithTimeout(time.Hour))})
				time.Sleep(time.Minute)
				if !w.IsProtected() {
					w.Error("the source image is not protected after a minute")
				}
				expectProtected(w, run.Wait())
			})
		})
	}
}

// An image with too many tags is protected first. Then the run reports that it cannot add its tags.
func TestProtect_manyTags(t *testing.T) {
	for _, count := range []int{46, 47, 49, 50} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			test(t, fixture.Setup{}, func(w *fixture.World) {
				tags := map[string]string{}
				for i := range count {
					tags[fmt.Sprintf("tag-%02d", i)] = "x"
				}
				w.Tag(w.EC2(fixture.Source, fixture.Home), w.ImageID, tags)
				time.Sleep(time.Hour)
				run := w.Run(w.Template())
				expectProtected(w, run)
				changes := slices.DeleteFunc(run.Calls(), func(c fixture.Call) bool { return !c.Mutating() })
				if len(changes) == 0 || changes[0].Action != "ec2:EnableImageDeregistrationProtection" {
					w.Errorf("got the changes %v, want the protection first", changes)
				}
				if run.Err != nil && !strings.Contains(strings.ToLower(run.Err.Error()), "tag") {
					w.Errorf("got %s, want one that names the tags", run.Outcome())
				}
			})
		})
	}
}

// With skip_save_build_region, the artifact still names the deregistered image of the build Region. The run distributes
// the images of the other Regions.
func TestArtifact_namesDeregisteredImage(t *testing.T) {
	test(t, fixture.Setup{Regions: twoRegions}, func(w *fixture.World) {
		away := w.EC2(fixture.Source, fixture.Away)
		copied, err := away.CopyImage(w.Context(), &ec2.CopyImageInput{
			Name:          aws.String("golden 1"),
			SourceImageId: aws.String(w.ImageID),
			SourceRegion:  aws.String(fixture.Home),
		})
		if err != nil {
			w.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		id := fmt.Sprintf("%s:%s,%s:%s", fixture.Home, w.ImageID, fixture.Away, *copied.ImageId)
		if _, err := w.EC2(fixture.Source, fixture.Home).DeregisterImage(w.Context(), &ec2.DeregisterImageInput{
			ImageId: aws.String(w.ImageID),
		}); err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Hour)

		run := w.Start(fixture.Attempt{
			Template:   w.Template(fixture.WithTargets(w.Targets, fixture.Away)),
			ArtifactID: id,
		}).Wait()
		w.RequireSuccess(run)
		w.RequireImage(fixture.Prod, fixture.Away)
		if !strings.Contains(run.Text(), w.ImageID) {
			w.Errorf("the run does not name %s, which is gone", w.ImageID)
		}
	})
}

// A run that is canceled while an AWS call hangs ends soon, with the image protected.
func TestCancel_whileCallHangs(t *testing.T) {
	actions := []string{
		"ec2:DescribeSnapshots", "ec2:DescribeImages", "ec2:CopySnapshot", "ec2:CreateTags",
		"ec2:EnableImageDeregistrationProtection", "ec2:ModifySnapshotAttribute",
	}
	testEach(t, fixture.Setup{}, actions, func(w *fixture.World, action string) {
		run := w.Start(fixture.Attempt{Template: w.Template(), Pause: func(call fixture.Call) time.Duration {
			if call.Action == action {
				return 50 * time.Second
			}
			return 0
		}})
		time.Sleep(3 * time.Minute)
		run.Cancel()
		if !run.EndsWithin(time.Minute + 10*time.Second) {
			w.Error("the run has not ended a minute after it was canceled")
			run.Wait()
		}
		expectProtected(w, run)
	})
}
