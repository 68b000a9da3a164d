// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package chaos_test

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// judgeQuiet checks what exists after all runs and the clean-up have ended.
func (a *auditor) judgeQuiet(w *fixture.World, cleanUps []*fixture.Run) {
	w.Helper()
	a.judgeLeft(w, cleanUps)
	a.judgeKept(w)
	a.judgeRecordsLeft(w)
	a.judgeNames(w)
	a.judgeReleases(w)
}

// judgeLeft checks that the only temporary resources left are those that no run can prove to be its own, and that they
// are listed.
func (a *auditor) judgeLeft(w *fixture.World, cleanUps []*fixture.Run) {
	w.Helper()
	for _, item := range w.Leftovers(a.before) {
		isListed := slices.ContainsFunc(cleanUps, func(run *fixture.Run) bool {
			return run.Manifest().Lists(item)
		})
		isListed = isListed || slices.ContainsFunc(a.attempts, func(log *attemptLog) bool {
			return isOnOtherKey(log.run.Manifest(), item)
		})
		if item.Kind == fixture.Protection {
			isListed = a.isProtectionKnown(w, item.ID, cleanUps)
		}
		switch {
		case !isListed:
			a.violation(10, "left and not listed: %s", item)
		case a.isProvable(w, item):
			a.violation(10, "left although its signature is intact: %s", item)
		default:
			a.listed++
		}
	}
}

// isOnOtherKey reports whether the manifest of a clean-up says that the run of a grant used other keys in that Region.
// The clean-up does not know those keys, so it cannot find the grant.
func isOnOtherKey(manifest fixture.Manifest, item fixture.Item) bool {
	return item.Kind == fixture.Grant && slices.ContainsFunc(manifest.Findings, func(f fixture.Finding) bool {
		return f.Resource != "" && strings.Contains(item.Name, ":"+f.Resource+":") && strings.Contains(f.Text, item.Region)
	})
}

// isProtectionKnown reports whether a record keeps the protection of an image, or a run reports it. A failed run keeps
// the protection until it is resumed, because Packer would deregister the image.
func (a *auditor) isProtectionKnown(w *fixture.World, image string, cleanUps []*fixture.Run) bool {
	w.Helper()
	for key, value := range w.TagsOf(fixture.Source, fixture.Home, image) {
		if strings.HasPrefix(key, tagRecord) && strings.Contains(value, "protection=held") {
			return true
		}
	}
	return slices.ContainsFunc(cleanUps, func(run *fixture.Run) bool {
		return slices.ContainsFunc(strings.Split(run.Text(), "\n"), func(line string) bool {
			return strings.Contains(line, image) && strings.Contains(line, "protect")
		})
	})
}

// isProvable reports whether a resource has the signature of its last owner.
func (a *auditor) isProvable(w *fixture.World, item fixture.Item) bool {
	w.Helper()
	found := a.resources[item.ID]
	if found == nil || item.Kind == fixture.Image || item.Kind == fixture.Grant {
		return false
	}
	tags := w.TagsOf(item.Account, item.Region, item.ID)
	return found.tags[tagSignature] != "" && found.isIntact(tags)
}

// judgeKept checks that everything that existed before the runs still exists.
func (a *auditor) judgeKept(w *fixture.World) {
	w.Helper()
	now := w.Inventory()
	for _, item := range a.before {
		if !slices.Contains(now, item) {
			a.violation(10, "gone: %s", item)
		}
	}
	for _, item := range now {
		isPermission := item.Kind == fixture.SnapshotPermission || item.Kind == fixture.LaunchPermission
		image := a.shared[item.ID]
		if !isPermission || image == "" || slices.Contains(a.before, item) {
			continue
		}
		if !slices.Contains(permanent(w.TagsOf(fixture.Source, fixture.Home, image)), item.With) {
			a.violation(10, "no permanent permission: %s", item)
		}
	}
}

// judgeRecordsLeft checks that only the records that keep the protection of a build's image are left.
func (a *auditor) judgeRecordsLeft(w *fixture.World) {
	w.Helper()
	for _, image := range a.images {
		for key, value := range w.TagsOf(fixture.Source, fixture.Home, image) {
			if strings.HasPrefix(key, tagRecord) && !strings.Contains(value, "protection=held") {
				a.violation(10, "record %s of run %d is left", key, a.numberOf(strings.TrimPrefix(key, tagRecord)))
			}
		}
	}
}

// judgeNames checks that all runs of one source image give its copies the name of the template or of the image.
func (a *auditor) judgeNames(w *fixture.World) {
	w.Helper()
	var names []string
	for _, image := range w.Images(fixture.Source, fixture.Home) {
		if slices.Contains(a.images, *image.ImageId) {
			names = append(names, *image.Name)
		}
	}
	for _, account := range w.Targets {
		for _, region := range w.AllRegions() {
			for _, image := range w.Images(account, region) {
				found := a.resources[*image.ImageId]
				if found != nil && !slices.Contains(append(names, imageName), aws.ToString(image.Name)) {
					a.violation(8, "%s of run %d has the name %q", *image.ImageId, found.creator.number, aws.ToString(image.Name))
				}
			}
		}
	}
}

// judgeReleases checks that parameters and launch templates name the newest release that a successful run published
// there.
func (a *auditor) judgeReleases(w *fixture.World) {
	w.Helper()
	for _, log := range a.attempts {
		if !log.has("parameter") || !log.run.Succeeded() {
			continue
		}
		for _, d := range log.run.Manifest().Destinations {
			value := w.Parameter(d.Account, d.Region, parameterName)
			published := a.resources[value]
			if d.Succeeded && (published == nil || published.creator.release < log.release) {
				a.violation(
					9,
					"%s in %s %s names %q, not release %d of run %d",
					parameterName,
					d.Account,
					d.Region,
					value,
					log.release,
					log.number,
				)
			}
		}
	}
}

// judgeRepeat checks that a repeated run changes nothing. Foreign tags may prevent a run from finishing.
func (a *auditor) judgeRepeat(w *fixture.World, s *scenario) {
	w.Helper()
	first := s.templates[0][len(s.templates[0])-1]
	if s.tagging > 0 || first.has("clean up only") {
		return
	}
	repeated := attempt{release: first.release, existing: true, options: first.options}
	run := func() *fixture.Run {
		return a.start(w, repeated, fixture.Attempt{Template: repeated.template(w), Existing: true}).run.Wait()
	}
	if !run().Succeeded() {
		return
	}
	a.repeats++
	var actions []string
	for _, call := range run().Calls() {
		if call.Mutating() {
			actions = append(actions, call.Action)
		}
	}
	if len(actions) > 0 {
		a.violation(5, "a run that repeats a finished one calls %v: %v", actions, repeated)
	}
}
