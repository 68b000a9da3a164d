// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
	encryptedami "github.com/encrypted-ami/packer-plugin-encrypted-ami/post-processor/encrypted-ami"
)

// scenario is drawn from a seed: a world, the faults in it, and templates that run in it concurrently.
type scenario struct {
	setup     fixture.Setup
	releases  int // source images, one built after the other
	faults    []awssim.Fault
	share     float64 // share of the calls that get a fault
	skew      time.Duration
	tagging   float64 // share of the calls after which the first target's tagger acts
	permitted bool    // the first target may use the image's snapshots before any run
	templates [][]attempt
}

// attempt is one call of PostProcess with a template. The attempts of a template run in sequence.
type attempt struct {
	after      time.Duration // delay after the previous attempt or, for the first one, after the start of the scenario
	release    int
	existing   bool          // after source "null" instead of after a build
	killAt     int           // number of the call at which the process dies. Zero for never
	loseAnswer bool          // the response to that call is lost
	cancel     time.Duration // time after which the user interrupts the run. Zero for never
	options    []option
}

// option is a part of a template. The last option of a group replaces earlier ones.
type option struct {
	text   string
	change fixture.Change
}

func drawScenario(seed uint64) *scenario {
	d := drawer{rand.New(rand.NewPCG(seed, 0))}
	s := &scenario{releases: 1, share: 0.1 * d.Float64()}
	if d.oneIn(3) {
		s.releases = 2
	}
	if d.oneIn(2) {
		s.skew = time.Duration(d.Int64N(int64(80*24*time.Hour))) - 40*24*time.Hour
	}
	if d.oneIn(2) {
		s.tagging = 0.1 * d.Float64()
	}
	s.permitted = d.oneIn(3)
	for _, fault := range awssim.Faults() {
		if d.oneIn(2) {
			s.faults = append(s.faults, fault)
		}
	}
	s.setup = d.world(seed)
	s.setup.Simulator = append(s.setup.Simulator, awssim.WithClientSkew(s.skew))
	for range 2 + d.IntN(3) {
		s.templates = append(s.templates, d.attempts(s))
	}
	return s
}

// drawer draws the parts of a scenario.
type drawer struct{ *rand.Rand }

func (d drawer) oneIn(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d drawer, from ...T) T { return from[d.IntN(len(from))] }

// some draws at least one of the values.
func some[T any](d drawer, from []T) []T { return from[:1+d.IntN(len(from))] }

func (d drawer) world(seed uint64) fixture.Setup {
	setup := fixture.Setup{
		PostProcessor: func(client aws.HTTPClient, seed uint64) packersdk.PostProcessor {
			return encryptedami.Through(client, seed)
		},
		Targets:    some(d, []string{fixture.Prod, fixture.Stage}),
		Regions:    some(d, []string{fixture.Home, fixture.Away}),
		OwnKeyOnly: d.oneIn(3),
		Simulator:  []awssim.Option{awssim.WithSeed(seed)},
	}
	for range 1 + d.IntN(2) {
		setup.Volumes = append(setup.Volumes, fixture.Volume{
			GiB: pick[int32](d, 1, 8, 60),
			Key: pick(d, "", fixture.AWSManaged, fixture.SourceKey, fixture.SourceKey),
		})
	}
	if d.oneIn(2) {
		setup.Simulator = append(setup.Simulator, awssim.WithPropagation(time.Minute))
	}
	return setup
}

// attempts draws the attempts of one template, whose options change between them.
func (d drawer) attempts(s *scenario) (attempts []attempt) {
	release := d.IntN(s.releases)
	options := d.template(s)
	for i := range 1 + d.IntN(3) {
		if i > 0 && d.oneIn(2) {
			options = d.template(s)
		}
		a := attempt{
			after:    d.span(2 * time.Hour),
			release:  release,
			existing: i > 0 || d.oneIn(2),
			options:  options,
		}
		if d.oneIn(2) {
			a.killAt, a.loseAnswer = 1+d.IntN(150), d.oneIn(2)
		}
		if d.oneIn(8) {
			a.cancel = d.span(time.Hour)
		}
		attempts = append(attempts, a)
	}
	return attempts
}

// span draws a duration up to a limit. Half of them are short, so that runs start at nearly the same time.
func (d drawer) span(limit time.Duration) time.Duration {
	if d.oneIn(2) {
		limit /= 60
	}
	return time.Duration(d.Int64N(int64(limit)))
}

// template draws options. Without grants, a target that the source key's policy does not name cannot copy.
func (d drawer) template(s *scenario) (options []option) {
	add := func(text string, change fixture.Change) { options = append(options, option{text, change}) }
	accounts, regions := some(d, s.setup.Targets), some(d, s.setup.Regions)
	add(fmt.Sprint(accounts, regions), fixture.WithTargets(accounts, regions...))
	if s.setup.OwnKeyOnly || d.oneIn(4) {
		add("grants", fixture.WithGrants())
	}
	method := pick(d, "snapshot", "image")
	add(method, fixture.WithMethod(method))
	test := d.oneIn(3)
	add(fmt.Sprint("test copy ", test), fixture.WithTestCopy(test))

	for _, o := range []struct {
		oneIn  int
		text   string
		change []fixture.Change
	}{
		{6, "other source key", []fixture.Change{fixture.WithSourceKey(fixture.SecondSourceKey)}},
		{8, "other target key", []fixture.Change{fixture.WithTargetKey(fixture.SecondTargetKey)}},
		{3, "name", []fixture.Change{fixture.WithImageName(imageName)}},
		{8, "replace", []fixture.Change{fixture.WithImageName(imageName), fixture.WithForceDeregister()}},
		{4, "tags", []fixture.Change{fixture.WithTags(map[string]any{"team": "web"})}},
		{3, "parameter", []fixture.Change{fixture.WithParameter(parameterName)}},
		{4, "launch template", []fixture.Change{fixture.WithLaunchTemplate(launchTemplateName)}},
		{4, "publish all", []fixture.Change{fixture.WithPublishAll()}},
		{4, "share", []fixture.Change{fixture.WithShare(fixture.Friend)}},
		{4, "launch permission", []fixture.Change{fixture.WithLaunchPermission(fixture.Friend)}},
		{4, "family", []fixture.Change{fixture.WithFamily("web"), fixture.WithRetention(1)}},
		{4, "launch check", []fixture.Change{fixture.WithLaunchCheck()}},
		{10, "clean up only", []fixture.Change{fixture.WithCleanUp()}},
		{4, "clean up on failure", []fixture.Change{fixture.WithCleanUpOnFailure()}},
	} {
		if d.oneIn(o.oneIn) {
			add(o.text, func(t fixture.Template) {
				for _, change := range o.change {
					change(t)
				}
			})
		}
	}
	return options
}

// Names that templates use.
const (
	imageName          = "golden copy"
	parameterName      = "/golden"
	launchTemplateName = "web"
)

func (a attempt) has(text string) bool {
	return slices.ContainsFunc(a.options, func(o option) bool { return o.text == text })
}

func (a attempt) template(w *fixture.World) fixture.Template {
	template := w.Template()
	for _, o := range a.options {
		o.change(template)
	}
	return template
}

func (a attempt) String() string {
	var texts []string
	for _, o := range a.options {
		texts = append(texts, o.text)
	}
	text := fmt.Sprintf("after %v, release %d", a.after, a.release)
	if a.existing {
		text += ", existing"
	}
	if a.killAt > 0 {
		text += fmt.Sprintf(", killed at call %d (answer lost: %v)", a.killAt, a.loseAnswer)
	}
	if a.cancel > 0 {
		text += fmt.Sprintf(", canceled after %v", a.cancel)
	}
	return text + ": " + strings.Join(texts, ", ")
}

func (s *scenario) String() string {
	lines := []string{
		fmt.Sprintf(
			"targets %v, Regions %v, volumes %v, own key only %v, releases %d, clock ahead %v, tagging %.2f, permitted %v",
			s.setup.Targets,
			s.setup.Regions,
			s.setup.Volumes,
			s.setup.OwnKeyOnly,
			s.releases,
			s.skew,
			s.tagging,
			s.permitted,
		),
	}
	lines = append(lines, fmt.Sprintf("faults: %.3f of %v", s.share, s.faults))
	for i, attempts := range s.templates {
		for _, a := range attempts {
			lines = append(lines, fmt.Sprintf("template %d: %s", i+1, a))
		}
	}
	return strings.Join(lines, "\n")
}
