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
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// imageFate is the final state of the image of a build.
type imageFate string

const (
	notBuilt    imageFate = "not built"   // Configure fails before the build
	distributed imageFate = "distributed" // the run succeeds
	protected   imageFate = "protected"   // the run fails, and Packer cannot deregister the image
	gone        imageFate = "gone"        // it did not exist when the run began
	lost        imageFate = "lost"        // the run fails, and Packer deregisters the image
)

// fateOf returns the final state of the image of a run that has ended.
func fateOf(w *fixture.World, run *fixture.Run) imageFate {
	w.Helper()
	exists := slices.ContainsFunc(w.Images(fixture.Source, fixture.Home), func(image ec2types.Image) bool {
		return aws.ToString(image.ImageId) == w.ImageID
	})
	switch {
	case run.Err != nil && strings.HasPrefix(run.Err.Error(), "configure: "):
		return notBuilt
	case run.Succeeded():
		return distributed
	case !exists:
		return gone
	case w.IsProtected():
		return protected
	}
	return lost
}

// earlyFailure is something that can go wrong before the image is protected, or at that time.
type earlyFailure struct {
	name    string
	prepare func(w *fixture.World) // nil for nothing
	change  fixture.Change         // nil for none
	attempt func(w *fixture.World, a *fixture.Attempt)
	during  func(w *fixture.World, run *fixture.Run) // called while the run is in progress
	setup   fixture.Setup
	fates   []imageFate // allowed final states
}

func inject(rule awssim.FaultRule) func(*fixture.World) {
	return func(w *fixture.World) { w.Inject(rule) }
}

func addTags(count int) func(*fixture.World) {
	return func(w *fixture.World) {
		tags := map[string]string{}
		for i := range count {
			tags[fmt.Sprintf("tag-%02d", i)] = "x"
		}
		w.Tag(w.EC2(fixture.Source, fixture.Home), w.ImageID, tags)
	}
}

func denySource(actions ...string) func(*fixture.World) {
	return func(w *fixture.World) { w.DenySource(actions...) }
}

func deregister(w *fixture.World) {
	w.Helper()
	if _, err := w.EC2(fixture.Source, fixture.Home).DeregisterImage(w.Context(), &ec2.DeregisterImageInput{
		ImageId: &w.ImageID,
	}); err != nil {
		w.Fatal(err)
	}
	time.Sleep(time.Hour)
}

func withArtifact(id string) func(*fixture.World, *fixture.Attempt) {
	return func(w *fixture.World, a *fixture.Attempt) {
		a.ArtifactID = strings.ReplaceAll(id, "IMAGE", fixture.Home+":"+w.ImageID)
	}
}

func cancelAfter(d time.Duration) func(*fixture.World, *fixture.Run) {
	return func(_ *fixture.World, run *fixture.Run) {
		time.Sleep(d)
		run.Cancel()
	}
}

// pausing stops the calls of an action between signing and sending.
func pausing(action string, pause time.Duration) func(*fixture.World, *fixture.Attempt) {
	return func(_ *fixture.World, a *fixture.Attempt) {
		a.Pause = func(call fixture.Call) time.Duration {
			if call.Matches(action) {
				return pause
			}
			return 0
		}
	}
}

func earlyFailures(t *testing.T) []earlyFailure {
	missing := filepath.Join(t.TempDir(), "no-such-folder", "credentials")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	onlyConfigure, onlyProtected := []imageFate{notBuilt}, []imageFate{protected}
	survives := []imageFate{protected, distributed}
	served := []imageFate{distributed}
	return []earlyFailure{
		{name: "profile is missing", change: fixture.WithProfile("porduction"), fates: onlyConfigure},
		{name: "profile of a target is missing", change: fixture.WithTargetProfile("porduction"), fates: onlyConfigure},
		{name: "credentials file is missing", change: fixture.WithCredentialsFile(missing), fates: onlyConfigure},
		{name: "timeout has no unit", change: fixture.WithOption("timeout", "12"), fates: onlyConfigure},
		{name: "option is misspelled", change: fixture.WithOption("kms_keyid", "alias/a"), fates: onlyConfigure},
		{name: "template of a name is invalid", change: fixture.WithImageName("{{ .AMINane }}"), fates: onlyConfigure},
		{name: "description is too long", change: fixture.WithDescription(strings.Repeat("x", 300)), fates: onlyConfigure},
		{name: "output directory is a file", change: fixture.WithOption("output_directory", file), fates: survives},

		{
			name:    "STS is silent",
			prepare: inject(awssim.FaultRule{Fault: awssim.Silent, Action: "sts:*"}),
			fates:   onlyProtected,
		},
		{
			name:    "STS breaks connections",
			prepare: inject(awssim.FaultRule{Fault: awssim.ConnectionReset, Action: "sts:*"}),
			fates:   onlyProtected,
		},
		{
			name:    "STS throttles",
			prepare: inject(awssim.FaultRule{Fault: awssim.Throttled, Action: "sts:*"}),
			fates:   onlyProtected,
		},
		{
			name:    "KMS is silent",
			prepare: inject(awssim.FaultRule{Fault: awssim.Silent, Action: "kms:*"}),
			fates:   onlyProtected,
		},
		{
			name: "EC2 is unavailable temporarily",
			prepare: inject(awssim.FaultRule{
				Fault:     awssim.Unavailable,
				Principal: fixture.SourceUser,
				Action:    "ec2:*",
				Nth:       1,
				Times:     30,
			}),
			fates: survives,
		},
		{
			name: "EC2 is silent temporarily",
			prepare: inject(awssim.FaultRule{
				Fault:     awssim.Silent,
				Principal: fixture.SourceUser,
				Action:    "ec2:*",
				Nth:       1,
				Times:     8,
			}),
			fates: survives,
		},

		{name: "47 tags", prepare: addTags(47), fates: survives},
		{name: "48 tags", prepare: addTags(48), fates: survives},
		{name: "49 tags", prepare: addTags(49), fates: survives},
		{name: "50 tags", prepare: addTags(50), fates: onlyProtected},
		{
			name: "record of a run is not readable",
			prepare: func(w *fixture.World) {
				w.Tag(w.EC2(fixture.Source, fixture.Home), w.ImageID, map[string]string{"encrypted-ami:run:x": "?"})
			},
			fates: survives,
		},
		{
			name: "signing key is not readable",
			prepare: func(w *fixture.World) {
				w.Tag(w.EC2(fixture.Source, fixture.Home), w.ImageID, map[string]string{"encrypted-ami:signing-key:x": "?"})
			},
			fates: survives,
		},

		{name: "DescribeImages is denied", prepare: denySource("ec2:DescribeImages"), fates: onlyProtected},
		{name: "DescribeTags is denied", prepare: denySource("ec2:DescribeTags"), fates: onlyProtected},
		{name: "DescribeRegions is denied", prepare: denySource("ec2:DescribeRegions"), fates: survives},
		{name: "DescribeSnapshots is denied", prepare: denySource("ec2:DescribeSnapshots"), fates: onlyProtected},
		{name: "CreateTags is denied", prepare: denySource("ec2:CreateTags"), fates: onlyProtected},
		{name: "AssumeRole is denied", prepare: denySource("sts:AssumeRole"), fates: onlyProtected},
		{name: "KMS is denied", prepare: denySource("kms:*"), fates: onlyProtected},
		{
			name:    "the protection is denied",
			prepare: denySource("ec2:EnableImageDeregistrationProtection"),
			fates:   served,
		},

		{name: "artifact names an image that is gone", prepare: deregister, fates: []imageFate{gone}},
		{
			name: "artifact names two images, one of which never existed", setup: fixture.Setup{Regions: twoRegions},
			attempt: withArtifact("IMAGE," + fixture.Away + ":ami-0123456789abcdef0"), fates: survives,
		},
		{
			name:    "artifact names a Region that does not exist",
			attempt: withArtifact("IMAGE,xx-north-9:ami-0123456789abcdef0"), fates: survives,
		},
		{name: "artifact is not readable", attempt: withArtifact("IMAGE,?"), fates: onlyProtected},
		{
			name:    "artifact names two images of a Region",
			attempt: withArtifact("IMAGE," + fixture.Home + ":ami-0123456789abcdef0"), fates: onlyProtected,
		},

		{name: "canceled at once", during: cancelAfter(0), fates: onlyProtected},
		{name: "canceled after 100 ms", during: cancelAfter(100 * time.Millisecond), fates: onlyProtected},
		{
			name:    "canceled while the image is read",
			attempt: pausing("ec2:DescribeImages", 5*time.Second), during: cancelAfter(2 * time.Second),
			fates: onlyProtected,
		},
		{
			name:    "canceled while the image is protected",
			attempt: pausing("ec2:EnableImageDeregistrationProtection", 5*time.Second), during: cancelAfter(2 * time.Second),
			fates: onlyProtected,
		},
		{
			name:    "canceled while STS does not answer",
			prepare: inject(awssim.FaultRule{Fault: awssim.Silent, Action: "sts:*"}), during: cancelAfter(5 * time.Minute),
			fates: onlyProtected,
		},
		{name: "the timeout is a second", change: fixture.WithTimeout(time.Second), fates: onlyProtected},
		{
			name:   "the clock is a day fast",
			setup:  fixture.Setup{Simulator: []awssim.Option{awssim.WithClientSkew(24 * time.Hour)}},
			change: fixture.WithTestCopy(false), fates: survives,
		},
	}
}

// earlyFaults returns the faults of every call that a run makes before it creates something.
func earlyFaults(t *testing.T) (all []earlyFailure) {
	t.Helper()
	var actions []string
	fixture.Test(t, fixture.Setup{PostProcessor: newPostProcessor}, func(w *fixture.World) {
		run := w.Run(w.Template())
		w.RequireSuccess(run)
		for _, call := range run.Calls() {
			if call.Creates() {
				break
			}
			if call.Source && !slices.Contains(actions, call.Action) {
				actions = append(actions, call.Action)
			}
		}
	})
	faults := append(slices.Clone(outageFaults), awssim.EmptyResponse, awssim.ProxyResponse, awssim.TruncatedResponse,
		awssim.LostResponse, awssim.LateError)
	for i, action := range actions {
		for j, fault := range faults {
			for _, nth := range []int{0, 1} {
				if !*whole && (i+j+nth)%5 != 0 {
					continue
				}
				name := fmt.Sprintf("%s of %s", fault, action)
				if nth > 0 {
					name += ", once"
				}
				all = append(all, earlyFailure{
					name:    name,
					prepare: inject(awssim.FaultRule{Fault: fault, Principal: fixture.SourceUser, Action: action, Nth: nth}),
					fates:   []imageFate{protected, distributed},
				})
			}
		}
	}
	return all
}

// The image of a build is kept, whatever fails before it is protected.
func TestSurvival_beforeProtection(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[profile production]\nregion = ap-northeast-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", config)

	count := map[imageFate]int{}
	rows := append(earlyFailures(t), earlyFaults(t)...)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.setup.PostProcessor = newPostProcessor
			fixture.Test(t, row.setup, func(w *fixture.World) {
				fate, run := row.run(w)
				count[fate]++
				if !slices.Contains(row.fates, fate) {
					w.Errorf("the image is %s, want it to be %v: %s", fate, row.fates, run.Outcome())
				}
			})
		})
	}
	fmt.Printf("early failures: %d, image distributed: %d, protected: %d, not built: %d, image lost: %d\n",
		len(rows), count[distributed], count[protected], count[notBuilt], count[lost])
}

func (f earlyFailure) run(w *fixture.World) (imageFate, *fixture.Run) {
	w.Helper()
	attempt := fixture.Attempt{Template: w.Template()}
	if f.change != nil {
		f.change(attempt.Template)
	}
	if f.attempt != nil {
		f.attempt(w, &attempt)
	}
	if f.prepare != nil {
		f.prepare(w)
	}

	run := w.Start(attempt)
	if f.during != nil {
		f.during(w, run)
	}
	if !run.EndsWithin(24 * time.Hour) {
		w.Fatal("the run has not ended after a day")
	}
	return fateOf(w, run), run
}
