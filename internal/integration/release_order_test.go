// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// The releases of an image family are ordered by the creation dates of their source images. An older release never
// replaces or deletes a newer one.

// published returns the image that /golden names in an account, and that of the default version of launch template web.
func published(w *fixture.World, account string) (parameter, template string) {
	w.Helper()
	out, err := w.EC2(account, fixture.Home).DescribeLaunchTemplateVersions(w.Context(),
		&ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: aws.String("web"), Versions: []string{"$Default"}})
	if err != nil {
		w.Fatal(err)
	}
	template = aws.ToString(out.LaunchTemplateVersions[0].LaunchTemplateData.ImageId)
	return w.Parameter(account, fixture.Home, "/golden"), template
}

// createLaunchTemplate creates web, without an image.
func createLaunchTemplate(w *fixture.World, accounts ...string) {
	w.Helper()
	for _, account := range accounts {
		_, err := w.EC2(account, fixture.Home).CreateLaunchTemplate(w.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("web"),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT4gMicro},
		})
		if err != nil {
			w.Fatal(err)
		}
	}
}

// A failed build is resumed after a newer build was published. It neither renames nor deletes the newer images.
func TestResume_afterNewerRelease(t *testing.T) {
	for name, changes := range map[string][]fixture.Change{
		"own names": nil,
		"same name": {fixture.WithImageName("golden"), fixture.WithForceDeregister()},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
				createLaunchTemplate(w, twoTargets...)
				template := w.Template(append([]fixture.Change{
					fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"),
				}, changes...)...)
				w.Allow(fixture.Stage, "ec2:*", "kms:DescribeKey")
				w.RequireFailure(w.Run(template))
				w.AllowAll(fixture.Stage)
				older := w.ImageID

				time.Sleep(24 * time.Hour)
				w.Build()
				w.RequireSuccess(w.Run(template))
				parameter, launch := published(w, fixture.Prod)

				time.Sleep(24 * time.Hour)
				w.ImageID = older
				w.Resume(template)
				laterParameter, laterLaunch := published(w, fixture.Prod)
				if laterParameter != parameter || laterLaunch != launch {
					w.Errorf("got parameter %s and launch template %s, want %s and %s of the newer release",
						laterParameter, laterLaunch, parameter, launch)
				}
				exists := false
				for _, image := range w.Images(fixture.Prod, fixture.Home) {
					exists = exists || *image.ImageId == parameter
				}
				if !exists {
					w.Errorf("%s of the newer release is gone", parameter)
				}
			})
		})
	}
}

// A build ends after a newer build was published. It does not take the name of the newer image.
func TestPublish_olderBuildEndsLater(t *testing.T) {
	test(t, fixture.Setup{Volumes: []fixture.Volume{{GiB: 500, Key: fixture.SourceKey}}}, func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		template := w.Template(
			fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"))
		older := w.ImageID
		w.Build(ownKey...)
		newer := w.ImageID

		w.ImageID = older
		first := w.Start(fixture.Attempt{Template: template})
		if !first.WaitFor("ec2:CopySnapshot") {
			w.Fatal(first.Err)
		}
		w.ImageID = newer
		w.RequireSuccess(w.Run(template))
		parameter, launch := published(w, fixture.Prod)
		w.RequireSuccess(first.Wait())
		laterParameter, laterLaunch := published(w, fixture.Prod)
		if laterParameter != parameter || laterLaunch != launch {
			w.Errorf("got parameter %s and launch template %s, want %s and %s of the newer release",
				laterParameter, laterLaunch, parameter, launch)
		}
	})
}

// A newer release is distributed while the run of an older one still copies to another account. Retention keeps the
// older image. force_deregister waits until the older run has ended or its record has lapsed.
func TestReplacement_runOfOlderReleaseWorks(t *testing.T) {
	for name, c := range map[string]struct {
		changes  []fixture.Change
		isKilled bool
		images   int // in the end
	}{
		"retention": {
			changes: []fixture.Change{fixture.WithFamily("web"), fixture.WithRetention(1)},
			images:  2,
		},
		"retention, killed": {
			changes:  []fixture.Change{fixture.WithFamily("web"), fixture.WithRetention(1)},
			isKilled: true,
			images:   2,
		},
		"force_deregister": {
			changes: []fixture.Change{fixture.WithImageName("golden"), fixture.WithForceDeregister()},
			images:  1,
		},
		"force_deregister, killed": {
			changes:  []fixture.Change{fixture.WithImageName("golden"), fixture.WithForceDeregister()},
			isKilled: true,
			images:   1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow := fixture.Stage // account with slow copies
			setup := fixture.Setup{
				Volumes: ownKey,
				Targets: twoTargets,
				Simulator: []awssim.Option{awssim.WithSnapshotDuration(func(job awssim.SnapshotJob) time.Duration {
					if job.Account == slow {
						return 45 * time.Minute
					}
					return 5 * time.Minute
				})},
			}
			test(t, setup, func(w *fixture.World) {
				template := w.Template(append(c.changes, fixture.WithMethod("image"))...)
				older := w.ImageID
				w.Build()
				newer := w.ImageID

				w.ImageID = older
				first := w.Start(fixture.Attempt{Template: template})
				time.Sleep(20 * time.Minute)
				if c.isKilled {
					first.Kill()
				}

				slow = ""
				w.ImageID = newer
				w.RequireSuccess(w.Run(template))
				if first.Wait(); !c.isKilled {
					w.RequireSuccess(first)
				}
				for _, account := range twoTargets {
					if got := len(w.Images(account, fixture.Home)); got != c.images {
						w.Errorf("got %d images in %s, want %d", got, account, c.images)
					}
				}
			})
		})
	}
}

// Another user overwrites the signature of a snapshot of an older release. Retention keeps that release.
func TestRetention_snapshotWithWrongSignature(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		template := w.Template(fixture.WithFamily("web"), fixture.WithRetention(1))
		w.RequireSuccess(w.Run(template))
		older := w.RequireImage(fixture.Prod, fixture.Home)
		snapshot := fixture.SnapshotsOf(older)[0]
		w.Tag(w.Tagger(fixture.Prod), snapshot, map[string]string{fixture.TagPrefix + "signature": "none"})

		time.Sleep(time.Hour)
		w.Build()
		run := w.Run(template)
		w.RequireSuccess(run)
		if !w.HasSnapshot(fixture.Prod, fixture.Home, snapshot) {
			w.Errorf("%s is gone, and its signature was wrong", snapshot)
		}
		if got := len(w.Images(fixture.Prod, fixture.Home)); got != 2 {
			w.Errorf("got %d images, want those of both releases", got)
		}
		if !strings.Contains(run.Text(), snapshot) {
			w.Errorf("the screen does not name %s:\n%s", snapshot, run.Text())
		}
	})
}

// A newer release is distributed some minutes after the run of an older one has ended. It replaces the older image at
// once.
func TestReplacement_runOfOlderReleaseHasEnded(t *testing.T) {
	for name, changes := range map[string][]fixture.Change{
		"retention":        {fixture.WithFamily("web"), fixture.WithRetention(1)},
		"force_deregister": {fixture.WithImageName("golden"), fixture.WithForceDeregister()},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Volumes: ownKey}, func(w *fixture.World) {
				template := w.Template(changes...)
				older := w.ImageID
				w.Build()
				newer := w.ImageID

				w.ImageID = older
				w.RequireSuccess(w.Run(template))
				w.ImageID = newer
				run := w.Run(template)
				w.RequireSuccess(run)
				if got := len(w.Images(fixture.Prod, fixture.Home)); got != 1 {
					w.Errorf("got %d images, want that of the newer release", got)
				}
				if strings.Contains(run.Text(), "may still work with it") {
					w.Errorf("the run waits for one that has ended:\n%s", run.Text())
				}
			})
		})
	}
}

// An automation changes the signature of a published image. A run of an older release still does not replace the image,
// because another tag names the source image of a newer release. A run of the newest release does.
func TestPublish_newerReleaseWithChangedSignature(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		template := w.Template(fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"))
		w.RequireSuccess(w.Run(template))
		older := w.ImageID
		newer := w.Build()
		w.RequireSuccess(w.Run(template))
		image, _ := published(w, fixture.Prod)
		w.Tag(w.Tagger(fixture.Prod), image, map[string]string{fixture.TagPrefix + "signature": "00"})
		time.Sleep(time.Hour)

		w.ImageID = older
		w.Resume(template)
		if parameter, version := published(w, fixture.Prod); parameter != image || version != image {
			w.Errorf("the older release replaced %s by %s and %s", image, parameter, version)
		}

		w.Build()
		w.RequireSuccess(w.Run(template))
		if parameter, version := published(w, fixture.Prod); parameter == image || version == image {
			w.Errorf("%s of release %s is still published: %s and %s", image, newer, parameter, version)
		}
	})
}
