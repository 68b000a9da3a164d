// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// A response with status 200 may lack its body or a part of it. A run must not treat such a response as a result.

// richTemplate uses as many operations as one run can.
func richTemplate(w *fixture.World, method string) fixture.Template {
	w.Helper()
	return w.Template(
		fixture.WithMethod(method), fixture.WithTestCopy(true), fixture.WithGrants(), fixture.WithLaunchCheck(),
		fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"), fixture.WithFamily("web"),
		fixture.WithRetention(1), fixture.WithLaunchPermission(fixture.Friend), fixture.WithTimeout(2*time.Hour))
}

// endsInTime reports whether the run ends at its timeout, or within an hour after it.
func endsInTime(run *fixture.Run) bool { return run.EndsWithin(3 * time.Hour) }

// After an empty response, the outcome of a call is unknown. The run searches the account before it calls again.
func TestEmptyResponse_runCompletes(t *testing.T) {
	t.Parallel()
	actions := map[string][]string{
		"snapshot": {
			"ec2:CopySnapshot", "ec2:RegisterImage", "ec2:DescribeSnapshots", "ec2:DescribeImages", "ec2:CreateVolume",
			"ec2:CreateSnapshot", "ec2:ModifySnapshotAttribute", "ec2:RunInstances", "kms:CreateGrant", "ec2:CreateTags",
			"ec2:DeleteSnapshot",
		},
		"image": {"ec2:CopyImage", "ec2:ModifyImageAttribute", "ec2:DeregisterImage"},
	}
	for method, actions := range actions {
		for _, action := range actions {
			t.Run(action, func(t *testing.T) {
				setup := fixture.Setup{Volumes: slices.Repeat([]fixture.Volume{{GiB: 8, Key: fixture.AWSManaged}}, 2)}
				testEach(t, setup, emptyResponses, func(w *fixture.World, empty emptyResponse) {
					createLaunchTemplate(w, fixture.Prod)
					before := w.Inventory()
					run := w.Start(fixture.Attempt{
						Template: richTemplate(w, method),
						Through:  w.EmptyResponses(action, empty.times, empty.forwards),
					})
					if !endsInTime(run) {
						w.Fatal("the run has not ended an hour after its timeout")
					}
					w.RequireSuccess(run)
					w.RequireImage(fixture.Prod, fixture.Home)
					time.Sleep(time.Hour)
					w.ExpectNoLeftovers(before)
				})
			})
		}
	}
}

// emptyResponse is how often a proxy returns no body, and whether it forwards these requests.
type emptyResponse struct {
	times    int
	forwards bool
}

var emptyResponses = []emptyResponse{{1, true}, {2, true}, {1, false}, {2, false}}

// Device names that differ only in /dev/ are two devices.
func TestDeviceNames_withAndWithoutPrefix(t *testing.T) {
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			setup := fixture.Setup{Volumes: []fixture.Volume{
				{GiB: 8, Key: fixture.SourceKey},
				{GiB: 8, Key: fixture.SourceKey, Device: "/dev/xvdb"},
				{GiB: 9, Key: fixture.SourceKey, Device: "xvdb"},
			}}
			test(t, setup, func(w *fixture.World) {
				w.RequireSuccess(w.Run(w.Template(fixture.WithMethod(method))))
				if ids := fixture.SnapshotsOf(w.RequireImage(fixture.Prod, fixture.Home)); len(ids) != 3 {
					w.Errorf("the copy has %d snapshots, want 3", len(ids))
				}
			})
		})
	}
}

// panics are the texts with which errors of Go's runtime appear in the output.
var panics = []string{"panic", "nil pointer", "runtime error", "index out of range"}

// All responses to one action lack an element, or repeat the entries of their lists. The run fails or succeeds, without
// a panic or an endless wait. The source image is protected, and no missing image is reported or published. The
// manifest lists what the run leaves behind.
func TestResponses_missingElement(t *testing.T) {
	t.Parallel()
	count := 0
	counts := map[string]int{}
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			var failures []string
			for _, answer := range answersOf(t, method) {
				count++
				for _, what := range answer.try(t, method) {
					kind, _, _ := strings.Cut(what, ":")
					counts[kind]++
					failures = append(failures, fmt.Sprintf("%s: %s", answer, what))
				}
			}
			verdict(t, failures)
		})
	}
	fmt.Printf("unprotected images: %d, successes without an image: %d\n", counts[unprotected], counts[noImage])
	fmt.Printf("answers: %d, panics: %d, hangs: %d, unlisted leftovers: %d, wrong images published: %d\n",
		count, counts[panicked], counts[hung], counts[left], counts[wrongImage])
}

// These are the problems that the test looks for after a run.
const (
	panicked    = "panic"
	hung        = "the run has not ended an hour after its timeout"
	unprotected = "failed, and the source image is not protected"
	noImage     = "succeeded without an image"
	left        = "left behind and not listed"
	wrongImage  = "a wrong image is published"
)

// answer is a change of all responses to an action.
type answer struct {
	action  string
	element string // that is left out; empty if the entries of lists are repeated
}

func (a answer) String() string {
	if a.element == "" {
		return a.action + " with each entry twice"
	}
	return a.action + " without " + a.element
}

// through returns what changes the responses.
func (a answer) through(w *fixture.World) func(aws.HTTPClient) aws.HTTPClient {
	if a.element == "" {
		return w.RepeatedEntries(a.action)
	}
	return w.WithoutElement(a.action, a.element)
}

// answersOf returns all changes of the responses that a run receives, or a sample of them.
func answersOf(t *testing.T, method string) (all []answer) {
	t.Helper()
	for _, failure := range fixture.Failures(t, responseSetup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		through, collected := w.Elements()
		w.RequireSuccess(w.Start(fixture.Attempt{Template: richTemplate(w, method), Through: through}).Wait())
		for action, names := range collected() {
			all = append(all, answer{action: action})
			for _, name := range names {
				all = append(all, answer{action, name})
			}
		}
	}) {
		t.Fatal(failure)
	}
	slices.SortFunc(all, func(a, b answer) int { return strings.Compare(a.String(), b.String()) })
	if *whole {
		return all
	}
	var sample []answer
	for i := 0; i < len(all); i += 8 {
		sample = append(sample, all[i])
	}
	return sample
}

func responseSetup() fixture.Setup {
	return fixture.Setup{PostProcessor: newPostProcessor, Volumes: mixedKeys}
}

// try runs with a changed answer, and returns what is wrong with the run.
func (a answer) try(t *testing.T, method string) (wrong []string) {
	t.Helper()
	failures := fixture.Failures(t, responseSetup(), func(w *fixture.World) {
		createLaunchTemplate(w, fixture.Prod)
		before := w.Inventory()
		run := w.Start(fixture.Attempt{Template: richTemplate(w, method), Through: a.through(w)})
		if !endsInTime(run) {
			wrong = append(wrong, hung)
			return
		}
		text := run.Text()
		if slices.ContainsFunc(panics, func(sign string) bool { return strings.Contains(text, sign) }) {
			wrong = append(wrong, panicked)
		}
		if run.Err != nil && !w.IsProtected() {
			wrong = append(wrong, unprotected)
		}
		if images := w.Images(fixture.Prod, fixture.Home); run.Err == nil && len(images) != 1 {
			wrong = append(wrong, fmt.Sprintf("%s: %d images", noImage, len(images)))
		}
		wrong = append(wrong, wronglyPublished(w)...)
		time.Sleep(time.Hour) // until instances that it terminated are gone
		for _, item := range unlisted(w, run, before) {
			isExpected := item.Kind == fixture.Protection && run.Err != nil // a failed run keeps the image protected
			if !isExpected && !isPartOfListed(w, run, item) {
				wrong = append(wrong, fmt.Sprintf("%s: %s", left, item))
			}
		}
	})
	if len(wrong) == 0 && len(failures) > 0 {
		t.Errorf("%s: %s", a, strings.Join(failures, "\n"))
	}
	return wrong
}

// isPartOfListed reports whether an item is a snapshot of an image that the manifest of a run lists.
func isPartOfListed(w *fixture.World, run *fixture.Run, item fixture.Item) bool {
	w.Helper()
	manifest := run.Manifest()
	return slices.ContainsFunc(w.Images(item.Account, item.Region), func(i ec2types.Image) bool {
		isListed := manifest.Lists(fixture.Item{ID: *i.ImageId})
		return isListed && slices.ContainsFunc(i.BlockDeviceMappings, func(m ec2types.BlockDeviceMapping) bool {
			return m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) == item.ID
		})
	})
}

// wronglyPublished returns the published images that are no complete copies of the source image.
func wronglyPublished(w *fixture.World) (wrong []string) {
	w.Helper()
	source := w.SourceImage()
	published := map[string]string{
		"parameter":       w.Parameter(fixture.Prod, fixture.Home, "/golden"),
		"launch template": w.LaunchTemplateImage(fixture.Prod, fixture.Home, "web"),
	}
	images := w.Images(fixture.Prod, fixture.Home)
	for where, id := range published {
		at := slices.IndexFunc(images, func(i ec2types.Image) bool { return *i.ImageId == id })
		switch {
		case id == "":
		case at < 0:
			wrong = append(wrong, fmt.Sprintf("%s: the %s names %s, which does not exist", wrongImage, where, id))
		case !isCopy(images[at], source):
			wrong = append(wrong, fmt.Sprintf("%s: the %s names %s, which is no copy", wrongImage, where, id))
		}
	}
	return wrong
}

// isCopy reports whether an image has the settings and volumes of another one, all encrypted.
func isCopy(image, source ec2types.Image) bool {
	volumes := func(i ec2types.Image) (all []string) {
		for _, m := range i.BlockDeviceMappings {
			if m.Ebs != nil && m.Ebs.SnapshotId != nil {
				size, isEncrypted := aws.ToInt32(m.Ebs.VolumeSize), aws.ToBool(m.Ebs.Encrypted)
				all = append(all, fmt.Sprint(aws.ToString(m.DeviceName), size, isEncrypted))
			}
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(volumes(image), volumes(source)) && image.Architecture == source.Architecture &&
		aws.ToBool(image.EnaSupport) == aws.ToBool(source.EnaSupport) &&
		aws.ToString(image.RootDeviceName) == aws.ToString(source.RootDeviceName)
}
