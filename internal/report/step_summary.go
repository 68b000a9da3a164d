// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// stepSummary groups the steps of a plan: those before the destinations, those of each destination, and those after.
type stepSummary struct {
	Labels
	before, after phraseTally
	shared        []string                // accounts
	stagedWith    []string                // keys
	completions   map[step.Phrase]string  // what follows the phrases of steps before the destinations
	tested        int                     // destinations of test copies
	order         []distribution.Location // of the destinations
	of            map[distribution.Location]*phraseTally
}

// phraseTally counts steps by their phrase, in the order of their first use.
type phraseTally struct {
	order  []step.Phrase
	counts map[step.Phrase]int
}

func (t *phraseTally) add(phrase step.Phrase) {
	if phrase == (step.Phrase{}) {
		return
	}
	if t.counts == nil {
		t.counts = map[step.Phrase]int{}
	}
	if t.counts[phrase] == 0 {
		t.order = append(t.order, phrase)
	}
	t.counts[phrase]++
}

// texts returns the phrases with their counts: "copy 2 snapshots".
func (t *phraseTally) texts() []string {
	var all []string
	for _, phrase := range t.order {
		all = append(all, phrase.Count(t.counts[phrase]))
	}
	return all
}

func newStepSummary(p plan.Plan, labels Labels) *stepSummary {
	s := &stepSummary{
		Labels:      labels,
		completions: map[step.Phrase]string{},
		of:          map[distribution.Location]*phraseTally{},
	}
	tests := TestSteps(p.Steps)
	for _, st := range p.Steps {
		switch {
		case !tests[st.Meta().ID]:
			s.add(st)
		case st.Role() == step.CopiesTest:
			s.tested++
		}
	}
	return s
}

func (s *stepSummary) add(st step.Step) {
	destination, summary := st.Meta().Destination, st.Summary()
	switch {
	case destination != (distribution.Location{}):
		if s.of[destination] == nil {
			s.of[destination] = &phraseTally{}
			s.order = append(s.order, destination)
		}
		s.of[destination].add(summary.Phrase)
	case len(st.Meta().RunsAfter) > 0:
		s.after.add(summary.Phrase)
	default:
		s.before.add(summary.Phrase)
		s.addCompletion(summary)
	}
}

// addCompletion stores the location, or the accounts, of a group of steps in the source account.
func (s *stepSummary) addCompletion(of step.Summary) {
	switch {
	case of.KeyARN != "":
		s.stagedWith = distribution.Union(s.stagedWith, []string{s.Key(of.KeyARN)})
		s.completions[of.Phrase] = withKeys
	case of.IsShare:
		s.shared = distribution.Union(s.shared, of.Accounts)
		s.completions[of.Phrase] = withAccounts
	}
}

// These phrases stand between the steps and their destinations.
const (
	withKeys     = " in the source account with "
	withAccounts = " with "
)

// lines returns the summary, a line for each group.
func (s *stepSummary) lines() []string {
	var lines []string
	for _, phrase := range s.before.order {
		completion := s.completions[phrase]
		text := phrase.Count(s.before.counts[phrase]) + completion
		switch completion {
		case withKeys:
			text += list(s.stagedWith)
		case withAccounts:
			text += s.Accounts(s.shared, "")
		}

		lines = append(lines, sentence([]string{text}))
		if completion == withKeys && s.tested > 0 {
			lines = append(lines, testCopyLine(s.tested))
			s.tested = 0
		}
	}
	for _, group := range s.destinations() {
		if text := sentence(group.phrases); text != "" {
			lines = append(lines, strings.Replace(text, group.at, group.label, 1))
		}
	}
	if text := sentence(s.after.texts()); text != "" {
		lines = append(lines, text)
	}
	return lines
}

func testCopyLine(destinations int) string {
	return fmt.Sprintf("Copy an empty 1 GiB snapshot to %s to test roles and keys",
		distribution.Count(destinations, "destination", "destinations"))
}

type destinationGroup struct {
	phrases   []string
	at, label string // the placeholder in the first phrase, and what replaces it
}

// destinations returns the steps of each destination. Many destinations with the same steps become one group.
func (s *stepSummary) destinations() []destinationGroup {
	const placeholder = "\x00"
	var groups []destinationGroup
	var members [][]distribution.Location
	for _, at := range s.order {
		phrases := s.of[at].texts()
		if len(phrases) == 0 {
			continue
		}
		preposition := " in "
		if strings.HasPrefix(phrases[0], "copy") {
			preposition = " to "
		}
		phrases[0] += preposition + placeholder
		same := func(g destinationGroup) bool { return slices.Equal(g.phrases, phrases) }
		if i := slices.IndexFunc(groups, same); i >= 0 && len(s.order) > mostDestinations {
			members[i] = append(members[i], at)
			groups[i].label = "each of " + distribution.Count(len(members[i]), "destination", "destinations")
			continue
		}
		groups = append(groups, destinationGroup{phrases, placeholder, s.Location(at)})
		members = append(members, []distribution.Location{at})
	}
	return groups
}

// TestSteps returns the steps that create, share, copy and delete the empty snapshot of the test copies.
func TestSteps(steps []step.Step) map[distribution.StepID]bool {
	tests := map[distribution.StepID]bool{}
	for _, s := range steps {
		tests[s.Meta().ID] = s.Role().IsTest() || tests[s.Subject().From]
	}
	return tests
}

// TestCopyLine announces the test copies to a number of destinations.
func TestCopyLine(destinations int) string {
	return strings.Replace(testCopyLine(destinations), "Copy ", "Copying ", 1)
}

// CleanupGroup returns the group of a step that removes what a run no longer needs. Zero for other steps.
func CleanupGroup(s step.Step) step.Phrase {
	if len(s.Meta().RunsAfter) == 0 {
		return step.Phrase{}
	}
	return s.Summary().Cleanup
}

// CleanupLines returns a line for each group of cleanup steps: "Unsharing 2 snapshots from 2 accounts".
func CleanupLines(steps []step.Step) map[step.Phrase]string {
	counts, accounts := map[step.Phrase]int{}, map[step.Phrase][]string{}
	tests := TestSteps(steps)
	for _, s := range steps {
		group := CleanupGroup(s)
		if group == (step.Phrase{}) || tests[s.Meta().ID] {
			continue
		}
		counts[group]++
		accounts[group] = distribution.Union(accounts[group], s.Summary().Accounts)
	}

	lines := map[step.Phrase]string{}
	for group, n := range counts {
		lines[group] = group.Count(n)
		if from := len(accounts[group]); from > 0 {
			lines[group] += " from " + distribution.Count(from, "account", "accounts")
		}
	}
	return lines
}
