// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// Credentials, external IDs and the signing key appear neither in the output or files of a run, nor in a target
// account.
func TestSecrets_areShownNowhere(t *testing.T) {
	for name, fails := range map[string]bool{"success": false, "failure": true} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
				if fails {
					w.Allow(fixture.Stage, "ec2:*", "kms:DescribeKey")
				}
				run := w.Run(w.Template())
				if run.Succeeded() == fails {
					w.Fatal(run.Outcome())
				}

				secrets := w.Secrets()
				for key, value := range fixture.OurTags(fixture.Tags(w.SourceImage().Tags)) {
					if strings.Contains(key, "key") {
						secrets = append(secrets, value)
					}
				}
				if len(secrets) < 3 {
					w.Fatal("the source image has no key that signs resources")
				}
				for _, secret := range secrets {
					if strings.Contains(run.Text()+run.AllFiles()+w.TargetTags(), secret) {
						w.Errorf("%q is shown", secret)
					}
				}
			})
		})
	}
}

// Two runs write a signing key to a new image at the same time, while AWS still shows the image without tags. A later
// run recognizes the copies of both.
func TestSigningKey_concurrentRuns(t *testing.T) {
	stale := []int{0, 2, 4, 6, 8, 12, 16}
	testEach(t, fixture.Setup{Targets: twoTargets}, stale, func(w *fixture.World, times int) {
		if times > 0 {
			w.Inject(awssim.FaultRule{
				Fault: awssim.StaleRead, Account: fixture.Source, Action: "ec2:DescribeImages", Nth: 1, Times: times,
			})
		}
		var runs []*fixture.Run
		for _, account := range twoTargets {
			runs = append(runs, w.Start(fixture.Attempt{
				Template: w.Template(fixture.WithTargets([]string{account}, fixture.Home)),
			}))
			time.Sleep(500 * time.Millisecond)
		}
		for _, run := range runs {
			w.RequireSuccess(run.Wait())
		}
		time.Sleep(2 * time.Hour)

		later := w.Resume(w.Template())
		w.RequireSuccess(later)
		for _, call := range later.Calls() {
			if call.Mutating() {
				w.Errorf("the later run called %s", call.Action)
			}
		}
	})
}
