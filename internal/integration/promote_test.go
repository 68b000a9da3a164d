// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// releases are the source images of a published release and of one that is on hold, with a template for both.
type releases struct {
	*fixture.World
	first, second string
	held          *fixture.Run // that delivered the second release
	changes       []fixture.Change
}

// twoReleases publishes a first release in two accounts, and delivers a second one with publish = "hold".
func twoReleases(w *fixture.World, more ...fixture.Change) releases {
	w.Helper()
	createLaunchTemplate(w, twoTargets...)
	r := releases{World: w, changes: append(changes(
		fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"),
	), more...)}
	r.first = w.ImageID
	w.RequireSuccess(w.Run(r.template()))
	r.second = r.build()
	r.held = w.Run(r.template(fixture.WithHold()))
	w.RequireSuccess(r.held)
	return r
}

// build builds another release a day later.
func (r releases) build() string {
	time.Sleep(24 * time.Hour)
	r.Build()
	return r.ImageID
}

func (r releases) template(more ...fixture.Change) fixture.Template {
	return r.Template(append(slices.Clone(r.changes), more...)...)
}

// runMode runs the post-processor with a mode, such as promote, for a source image.
func (r releases) runMode(mode, image string, more ...fixture.Change) *fixture.Run {
	r.Helper()
	r.ImageID = image
	return r.Resume(r.template(append([]fixture.Change{fixture.WithMode(mode)}, more...)...))
}

// named returns the source image behind what each reference names.
func (r releases) named() map[string]string {
	r.Helper()
	names := map[string]string{}
	for _, account := range twoTargets {
		parameter, template := published(r.World, account)
		names[account+" /golden"] = r.sourceOf(account, parameter)
		names[account+" web"] = r.sourceOf(account, template)
	}
	return names
}

// sourceOf returns the source image that the tag of a copy names. Empty for another image.
func (r releases) sourceOf(account, image string) string {
	for _, own := range r.Images(account, fixture.Home) {
		if aws.ToString(own.ImageId) == image {
			source := fixture.Tags(own.Tags)["encrypted-ami:source"]
			return source[strings.LastIndex(source, "/")+1:]
		}
	}
	return ""
}

// expectAll fails the test unless every reference names one release.
func (r releases) expectAll(when, image string) {
	r.Helper()
	for pointer, named := range r.named() {
		if named != image {
			r.Errorf("%s: %s names a copy of %q, want %q", when, pointer, named, image)
		}
	}
}

func (r releases) expectUnchanged(when string, run *fixture.Run) {
	r.Helper()
	for _, call := range run.Calls() {
		if call.Mutating() {
			r.Errorf("%s: got the call %s, want none that changes something", when, call.Action)
		}
	}
}

// With publish = "hold", nothing names the release. A promotion makes every parameter and launch template name it, and
// a rollback undoes that.
func TestPromote_heldRelease(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		r.expectAll("held", r.first)

		w.RequireSuccess(r.runMode("promote", r.second))
		r.expectAll("promoted", r.second)
		again := r.runMode("promote", r.second)
		w.RequireSuccess(again)
		r.expectUnchanged("promoted again", again)

		w.RequireSuccess(r.runMode("rollback", r.second))
		r.expectAll("rolled back", r.first)
		again = r.runMode("rollback", r.second)
		w.RequireSuccess(again)
		r.expectUnchanged("rolled back again", again)

		w.RequireSuccess(r.runMode("promote", r.second))
		r.expectAll("promoted after the rollback", r.second)
		w.RequireSuccess(r.runMode("rollback", r.second))
		r.expectAll("rolled back after the second promotion", r.first)
	})
}

// A run that holds its release says so, on the screen and in the reports, and prints the command that publishes it. A
// promotion says what each parameter and launch template named before and names now, and nothing about copies.
func TestPromote_says(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		command := fmt.Sprintf(`packer build -var mode=promote -var 'existing_amis={"%s"="%s"}' .`, fixture.Home, r.second)
		contains(w, "the screen", r.held.Text(), command,
			`Not published (publish = "hold"): 4 parameters and launch templates are not changed`)
		contains(w, "report.md", r.held.File("report.md"), "Not published", command, "on hold, not published")
		contains(w, "report.html", r.held.File("report.html"), "Not published", "-var mode=promote", "on hold, not published")

		before, _ := published(w, fixture.Prod)
		run := r.runMode("promote", r.second)
		w.RequireSuccess(run)
		now, _ := published(w, fixture.Prod)
		contains(w, "the screen", run.Text(), "Parameters and launch templates:\n",
			": names "+before+", will name "+now, " names "+now+" now, before: "+before,
			"before changing what parameters and launch templates name")
		for _, part := range []string{`publish = "all"`, "Attributes that will be lost", "Nothing is left behind"} {
			if strings.Contains(run.Text(), part) {
				w.Errorf("the promotion says %q: %s", part, run.Text())
			}
		}
		contains(w, "report-promote.md", run.File("report-promote.md"), "SSM parameter /golden (before: "+before+")")
	})
}

// contains fails the test unless a text has all parts.
func contains(w *fixture.World, what, text string, parts ...string) {
	w.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			w.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

// A rollback returns to the image that was named before, even if that is not the previous release.
func TestRollback_afterRollback(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		w.RequireSuccess(r.runMode("promote", r.second))
		w.RequireSuccess(r.runMode("rollback", r.second))
		third := r.build()
		w.RequireSuccess(w.Run(r.template(fixture.WithHold())))
		w.RequireSuccess(r.runMode("promote", third))
		r.expectAll("third promoted", third)

		w.RequireSuccess(r.runMode("rollback", third))
		r.expectAll("third rolled back", r.first)
	})
}

// A promotion changes no reference if one destination lacks its copy.
func TestPromote_missingCopy(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		for _, image := range w.Images(fixture.Stage, fixture.Home) {
			if r.sourceOf(fixture.Stage, *image.ImageId) == r.second {
				_, err := w.EC2(fixture.Stage, fixture.Home).DeregisterImage(w.Context(),
					&ec2.DeregisterImageInput{ImageId: image.ImageId})
				if err != nil {
					w.Fatal(err)
				}
			}
		}

		run := r.runMode("promote", r.second)
		w.RequireFailure(run)
		r.expectAll("refused", r.first)
		r.expectUnchanged("refused", run)
	})
}

// A promotion changes no reference if one copy lacks its watermark. Another distribution attaches it again.
func TestPromote_missingWatermark(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w, fixture.WithTargetWatermarks("approved"))
		for _, image := range w.Images(fixture.Stage, fixture.Home) {
			if r.sourceOf(fixture.Stage, *image.ImageId) != r.second {
				continue
			}
			if err := detachWatermark(w, fixture.Stage, *image.ImageId, "approved"); err != nil {
				w.Fatal(err)
			}
		}
		time.Sleep(time.Hour)

		run := r.runMode("promote", r.second)
		w.RequireFailure(run)
		contains(w, "the screen", run.Text(), "does not have the watermark "+fixture.Stage+":approved")
		r.expectAll("refused", r.first)
		r.expectUnchanged("refused", run)

		w.RequireSuccess(r.runMode("distribute", r.second, fixture.WithHold()))
		w.RequireSuccess(r.runMode("promote", r.second))
		r.expectAll("promoted", r.second)
	})
}

// A newer release stays unless the template asks for the older one.
func TestPromote_olderRelease(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		w.RequireSuccess(r.runMode("promote", r.second))

		run := r.runMode("promote", r.first)
		w.RequireFailure(run)
		if !strings.Contains(run.Text(), "allow_older_release = true") {
			w.Errorf("the output does not name allow_older_release: %s", run.Text())
		}
		r.expectAll("refused", r.second)

		w.RequireSuccess(r.runMode("promote", r.first, fixture.WithOlderRelease()))
		r.expectAll("older release promoted", r.first)
		w.RequireSuccess(r.runMode("rollback", r.first))
		r.expectAll("older release rolled back", r.second)
	})
}

// A promotion in stages changes only the targets that the template names.
func TestPromote_onlyTargets(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		name := r.template()["target"].([]any)[0].(map[string]any)["name"].(string)
		w.RequireSuccess(r.runMode("promote", r.second, fixture.WithOnlyTargets(name)))
		count := map[string]int{}
		for _, image := range r.named() {
			count[image]++
		}
		if want := map[string]int{r.first: 2, r.second: 2}; !maps.Equal(count, want) {
			w.Errorf("got %v, want %v", count, want)
		}
	})
}

// A rollback never publishes an image that no run delivered, because anyone with write access to the parameter could
// have named it.
func TestRollback_foreignImage(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		foreign := r.copyImage(fixture.Prod)
		store := ssm.NewFromConfig(w.Config(fixture.Prod, fixture.Home))
		_, err := store.PutParameter(w.Context(), &ssm.PutParameterInput{
			Name:      aws.String("/golden"),
			Value:     aws.String(foreign),
			Type:      ssmtypes.ParameterTypeString,
			DataType:  aws.String("aws:ec2:image"),
			Overwrite: aws.Bool(true),
		})
		if err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.RequireSuccess(r.runMode("promote", r.second))

		run := r.runMode("rollback", r.second)
		w.RequireFailure(run)
		if !strings.Contains(run.Text(), "no run provably delivered") {
			w.Errorf("the output does not say why: %s", run.Text())
		}
		if strings.Contains(run.Text(), "to undo") || !strings.Contains(run.Text(), `mode = "usage"`) {
			w.Errorf("nothing moved, but the output says how to undo it, or not how to find releases: %s", run.Text())
		}
		r.expectAll("refused", r.second)
	})
}

// A rollback finds the copies of a release whose source image is gone.
func TestRollback_retiredSource(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w, fixture.WithSourceRetention(1))
		w.RequireSuccess(r.runMode("promote", r.second))
		r.expectSources("promoted", r.second)

		w.RequireSuccess(r.runMode("rollback", r.second))
		r.expectAll("rolled back", r.first)
	})
}

// A rollback does not publish a disabled release. It says how to enable it, and then succeeds.
func TestRollback_disabledRelease(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		r := releases{World: w, changes: changes(
			fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithDisabledReleases(1, 1),
		)}
		w.RequireSuccess(w.Run(r.template()))
		first := w.Parameter(fixture.Prod, fixture.Home, "/golden")
		second := r.build()
		w.RequireSuccess(w.Run(r.template()))

		run := r.runMode("rollback", second)
		w.RequireFailure(run)
		contains(w, "the screen", run.Text(), first+", whose state is disabled",
			"aws ec2 enable-image --region "+fixture.Home+" --image-id "+first)
		_, err := w.EC2(fixture.Prod, fixture.Home).EnableImage(w.Context(), &ec2.EnableImageInput{ImageId: &first})
		if err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.RequireSuccess(r.runMode("rollback", second))
		if got := w.Parameter(fixture.Prod, fixture.Home, "/golden"); got != first {
			w.Errorf("the parameter names %s, want %s", got, first)
		}
	})
}

// The first release has no earlier one. The advice says how to unpublish it, because there is nothing to promote.
func TestRollback_firstRelease(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		run := r.runMode("rollback", r.first)
		w.RequireFailure(run)
		for _, part := range []string{
			"there is no earlier release to return to",
			"aws ssm delete-parameter --region " + fixture.Home + " --name /golden",
			"aws ec2 modify-launch-template --region " + fixture.Home + " --launch-template-name web --default-version",
		} {
			if !strings.Contains(strings.ToLower(run.Text()), strings.ToLower(part)) {
				w.Errorf("got no %q in %s", part, run.Text())
			}
		}
		if strings.Contains(run.Text(), `mode = "usage"`) {
			w.Errorf("the output advises to look for another release: %s", run.Text())
		}
		r.expectUnchanged("refused", run)
	})
}

// copyImage copies the image of the first release under another name, with all its tags.
func (r releases) copyImage(account string) string {
	r.Helper()
	client := r.EC2(account, fixture.Home)
	for _, image := range r.Images(account, fixture.Home) {
		if r.sourceOf(account, *image.ImageId) != r.first {
			continue
		}
		out, err := client.CopyImage(r.Context(), &ec2.CopyImageInput{
			Name:          aws.String("foreign"),
			SourceImageId: image.ImageId,
			SourceRegion:  aws.String(fixture.Home),
			TagSpecifications: []ec2types.TagSpecification{
				{ResourceType: ec2types.ResourceTypeImage, Tags: image.Tags},
			},
		})
		if err != nil {
			r.Fatal(err)
		}
		time.Sleep(time.Hour)
		return *out.ImageId
	}
	r.Fatal("there is no copy of the first release")
	return ""
}

// A rollback keeps later changes of a user in the launch template.
func TestRollback_changedTemplate(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		w.RequireSuccess(r.runMode("promote", r.second))
		client := w.EC2(fixture.Prod, fixture.Home)
		changed, err := client.CreateLaunchTemplateVersion(w.Context(), &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateName: aws.String("web"),
			SourceVersion:      aws.String("$Default"),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT4gLarge},
		})
		if err != nil {
			w.Fatal(err)
		}
		_, err = client.ModifyLaunchTemplate(w.Context(), &ec2.ModifyLaunchTemplateInput{
			LaunchTemplateName: aws.String("web"),
			DefaultVersion:     aws.String(fmt.Sprint(*changed.LaunchTemplateVersion.VersionNumber)),
		})
		if err != nil {
			w.Fatal(err)
		}

		w.RequireSuccess(r.runMode("rollback", r.second))
		r.expectAll("rolled back", r.first)
		out, err := client.DescribeLaunchTemplateVersions(w.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
			LaunchTemplateName: aws.String("web"), Versions: []string{"$Default"},
		})
		if err != nil {
			w.Fatal(err)
		}
		if got := out.LaunchTemplateVersions[0].LaunchTemplateData.InstanceType; got != ec2types.InstanceTypeT4gLarge {
			w.Errorf("got instance type %s, want %s", got, ec2types.InstanceTypeT4gLarge)
		}
	})
}

// A promotion that cannot finish reports which references it did not change.
func TestPromote_deniedParameter(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		w.Deny(fixture.Stage, "ssm:PutParameter")
		run := r.runMode("promote", r.second)
		w.RequireFailure(run)
		if silent := r.silentlyMixed(run); len(silent) > 0 {
			w.Errorf("the report does not say that these did not move: %v", silent)
		}
		if len(r.mixed()) == 0 {
			w.Error("all references moved, so that the test shows nothing")
		}

		w.AllowAll(fixture.Stage)
		w.RequireSuccess(r.runMode("rollback", r.second))
		r.expectAll("undone", r.first)
	})
}

// mixed returns the references if they name different releases. Otherwise it returns nil.
func (r releases) mixed() map[string]string {
	named := r.named()
	if len(slices.Compact(slices.Sorted(maps.Values(named)))) < 2 {
		return nil
	}
	return named
}

// silentlyMixed returns the references that name another release than most, and that neither the output nor the
// manifest of a run names.
func (r releases) silentlyMixed(run *fixture.Run) (silent []string) {
	said := run.Text()
	for _, f := range run.Manifest().Findings {
		said += "\n" + f.Text
	}
	for pointer := range r.mixed() {
		account, name, _ := strings.Cut(pointer, " ")
		if !strings.Contains(said, "did not move") || !strings.Contains(said, name+" in "+account) {
			silent = append(silent, pointer)
		}
	}
	return silent
}

// pointerRun holds the modes of a run that crashes and of the run after it.
type pointerRun struct{ dies, next string }

func (p pointerRun) String() string { return p.dies + ", then " + p.next }

// A promotion or rollback crashes at any call. The next run completes or undoes it. Afterwards all references name one
// release, or the report lists those that do not.
func TestPromote_afterCrashAtAnyCall(t *testing.T) {
	var points, silent atomic.Int64
	t.Cleanup(func() { // after the parallel subtests
		fmt.Printf("promote and rollback: %d crash points, mixed pointers without a word: %d\n",
			points.Load(), silent.Load())
	})
	for _, runs := range []pointerRun{
		{"hold", "hold"},
		{"hold", "promote"},
		{"promote", "promote"},
		{"promote", "rollback"},
		{"rollback", "rollback"},
		{"rollback", "promote"},
	} {
		t.Run(runs.String(), func(t *testing.T) {
			t.Parallel()
			runs.tryAll(t, &points, &silent)
		})
	}
}

// tryAll lets a run die at each of its calls, before or after the response, each time in a new world.
func (p pointerRun) tryAll(t *testing.T, points, silent *atomic.Int64) {
	var calls []fixture.Call
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		calls = p.start(w, death{}).Calls()
	})
	changes := 0
	for i, call := range calls {
		at := i + 1
		if call.Mutating() {
			changes++
		}
		for _, lost := range []bool{false, true} {
			isSampled := call.Mutating() && changes%8 == 1 && lost == (changes%16 == 1)
			// a read has no effect that depends on whether its response arrives
			if !*whole && !isSampled || lost && !call.Mutating() {
				continue
			}
			points.Add(1)
			test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
				r := p.prepare(w)
				p.run(r, death{at: at, lost: lost})
				after := r.finish(p)
				for _, pointer := range r.silentlyMixed(after) {
					silent.Add(1)
					w.Errorf("dies at call %d of %d, its response lost %v: %s names another release without a word",
						at, len(calls), lost, pointer)
				}
				if !after.Succeeded() {
					w.Errorf("dies at call %d of %d, its response lost %v: the next run fails: %s",
						at, len(calls), lost, after.Outcome())
				}
				want := map[string]string{"hold": r.first, "promote": r.second, "rollback": r.first}[p.next]
				r.expectAll(fmt.Sprintf("dies at call %d of %d, its response lost %v", at, len(calls), lost), want)
			})
		}
	}
}

// prepare creates the world in which the run crashes.
func (p pointerRun) prepare(w *fixture.World) releases {
	if p.dies != "hold" {
		r := twoReleases(w)
		if p.dies == "rollback" {
			w.RequireSuccess(r.runMode("promote", r.second))
		}
		return r
	}
	createLaunchTemplate(w, twoTargets...)
	r := releases{World: w, changes: changes(
		fixture.WithFamily("web"), fixture.WithParameter("/golden"), fixture.WithLaunchTemplate("web"),
	)}
	r.first = w.ImageID
	w.RequireSuccess(w.Run(r.template()))
	r.second = r.build()
	return r
}

// start executes the run that crashes, in a new world.
func (p pointerRun) start(w *fixture.World, d death) *fixture.Run { return p.run(p.prepare(w), d) }

func (p pointerRun) run(r releases, d death) *fixture.Run {
	if p.dies == "hold" {
		return r.Start(d.attempt(r.template(fixture.WithHold()))).Wait()
	}
	r.ImageID = r.second
	attempt := d.attempt(r.template(fixture.WithMode(p.dies)))
	attempt.Existing = true
	return r.Start(attempt).Wait()
}

// finish starts the run after the crash. A release whose delivery crashed is completed before it is promoted.
func (r releases) finish(p pointerRun) *fixture.Run {
	r.ImageID = r.second
	if p.dies == "hold" {
		run := r.Resume(r.template(fixture.WithHold()))
		if p.next == "hold" || !run.Succeeded() {
			return run
		}
	}
	return r.runMode(p.next, r.second)
}
