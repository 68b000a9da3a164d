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

// stepSummary groups the steps of a plan: before the destinations, of each destination, and after them.
type stepSummary struct {
	Labels
	before, after tally
	shared        []string // accounts
	stagedWith    []string // keys
	tested        int      // destinations of test copies
	order         []distribution.Location
	of            map[distribution.Location]*tally
}

// Kinds of steps in a summary.
const (
	copySnapshots = "copy snapshots"
	copyAMI       = "copy AMI"
	share         = "share"
	shareAMI      = "share AMI"
	register      = "register"
	compare       = "compare"
	launch        = "launch"
	configure     = "configure"
	publish       = "publish"
	barrier       = "barrier"
	createGrants  = "create grants"
	replace       = "replace"
	unshare       = "unshare"
	unshareAMI    = "unshare AMI"
	deleteStaged  = "delete staged"
	deregister    = "deregister"
	revoke        = "revoke"
	terminate     = "terminate"
	deleteOld     = "delete releases"
)

// stepPhrases holds the text of each kind, with the singular and plural of what is counted.
var stepPhrases = map[string][3]string{
	copySnapshots: {"copy %s", "snapshot"},
	copyAMI:       {"copy the AMI"},
	share:         {"share %s", "snapshot"},
	shareAMI:      {"share the AMI"},
	register:      {"register"},
	compare:       {"compare"},
	launch:        {"launch an instance to check it"},
	configure:     {"set attributes"},
	publish:       {"update %s", "SSM parameter or launch template", "SSM parameters and launch templates"},
	barrier:       {"publish after all required destinations are verified"},
	createGrants:  {"create %s", "KMS grant"},
	replace:       {"deregister %s of the same name", "AMI"},
	unshare:       {"unshare %s", "snapshot"},
	unshareAMI:    {"unshare %s", "AMI"},
	deleteStaged:  {"delete %s", "staged snapshot"},
	deregister:    {"deregister %s", "staged AMI"},
	revoke:        {"revoke %s", "KMS grant"},
	terminate:     {"terminate %s", "instance"},
	deleteOld:     {"deregister %s", "earlier release"},
}

func newStepSummary(p plan.Plan, labels Labels) *stepSummary {
	s := &stepSummary{Labels: labels, of: map[distribution.Location]*tally{}}
	tests := TestSteps(p.Steps)
	for _, st := range p.Steps {
		if tests[st.Meta().ID] {
			if copied, ok := st.(*step.CopySnapshot); ok && copied.Trial {
				s.tested++
			}
			continue
		}
		s.add(st)
	}
	return s
}

func (s *stepSummary) add(st step.Step) {
	destination := st.Meta().Destination
	if destination == (distribution.Location{}) {
		if len(st.Meta().RunsAfter) > 0 {
			s.after.add(kindOf(st), 1)
			return
		}
		s.before.add(kindOf(st), 1)
		s.note(st)
		return
	}
	if s.of[destination] == nil {
		s.of[destination] = &tally{}
		s.order = append(s.order, destination)
	}
	s.of[destination].add(kindOf(st), 1)
}

// note keeps what the summary names of the steps in the source account.
func (s *stepSummary) note(st step.Step) {
	switch st := st.(type) {
	case *step.CopySnapshot:
		s.stagedWith = distribution.Union(s.stagedWith, []string{s.Key(st.KeyARN)})
	case *step.CopyImage:
		s.stagedWith = distribution.Union(s.stagedWith, []string{s.Key(st.KeyARN)})
	case *step.ShareSnapshot:
		s.shared = distribution.Union(s.shared, st.Accounts)
	case *step.ShareImage:
		s.shared = distribution.Union(s.shared, st.With.Accounts)
	}
}

// lines returns the summary, a line for each group.
func (s *stepSummary) lines() []string {
	var lines []string
	for _, kind := range s.before.order {
		one := tally{order: []string{kind}, counts: s.before.counts}
		for _, phrase := range one.phrases(stepPhrases) {
			lines = append(lines, sentence([]string{phrase + s.more(kind)}))
		}
		if isCopy := kind == copySnapshots || kind == copyAMI; isCopy && s.tested > 0 {
			lines = append(lines, testCopyLine(s.tested))
			s.tested = 0
		}
	}
	for _, group := range s.destinations() {
		if text := sentence(group.phrases); text != "" {
			lines = append(lines, strings.Replace(text, group.at, group.label, 1))
		}
	}
	if text := sentence(s.after.phrases(stepPhrases)); text != "" {
		lines = append(lines, text)
	}
	return lines
}

func testCopyLine(destinations int) string {
	return fmt.Sprintf("Copy an empty 1 GiB snapshot to %s to test roles and keys",
		distribution.Count(destinations, "destination", "destinations"))
}

// more returns where or with whom a group of steps in the source account works.
func (s *stepSummary) more(kind string) string {
	switch kind {
	case copySnapshots, copyAMI:
		return " in the source account with " + list(s.stagedWith)
	case share, shareAMI:
		return " with " + s.accounts(s.shared, "")
	}
	return ""
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
		phrases := s.of[at].phrases(stepPhrases)
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

// kindOf returns the kind of a step. Empty for one that the summary leaves out.
func kindOf(st step.Step) string {
	switch st := st.(type) {
	case *step.CopySnapshot:
		return copySnapshots
	case *step.CopyImage:
		return copyAMI
	case *step.ShareSnapshot:
		return share
	case *step.ShareImage:
		return shareAMI
	case *step.RegisterImage:
		return register
	case *step.VerifyImage:
		return compare
	case *step.RunInstance:
		return launch
	case *step.TerminateInstance:
		return terminate
	case *step.PutParameter, *step.CreateLaunchTemplateVersion:
		return publish
	case *step.PublishBarrier:
		return barrier
	case *step.CreateGrant:
		return createGrants
	case *step.RevokeGrant:
		return revoke
	case *step.UnshareSnapshot:
		return unshare
	case *step.UnshareImage:
		return unshareAMI
	case *step.DeleteSnapshot:
		return deleteStaged
	case *step.DeleteRelease:
		return deleteOld
	case *step.DeregisterImage:
		if st.Name != "" {
			return replace
		}
		return deregister
	case *step.DeprecateImage, *step.EnableDeregistrationProtection, *step.EnableFastLaunch,
		*step.AssociateLicenseConfigurations:
		return configure
	}
	return ""
}

// TestSteps returns the steps that create, share, copy and delete the empty snapshot of the test copies.
func TestSteps(steps []step.Step) map[distribution.StepID]bool {
	tests := map[distribution.StepID]bool{}
	for _, s := range steps {
		switch s := s.(type) {
		case *step.CreateEmptySnapshot, *step.VerifySnapshot:
			tests[s.Meta().ID] = true
		case *step.CopySnapshot:
			tests[s.ID] = s.Trial
		case *step.ShareSnapshot:
			tests[s.ID] = tests[s.Snapshot.From]
		case *step.UnshareSnapshot:
			tests[s.ID] = tests[s.Snapshot.From]
		case *step.DeleteSnapshot:
			tests[s.ID] = tests[s.Snapshot.From]
		}
	}
	return tests
}

// TestCopyLine announces the test copies to a number of destinations.
func TestCopyLine(destinations int) string {
	return strings.Replace(testCopyLine(destinations), "Copy ", "Copying ", 1)
}

// CleanupKind returns the group of a step that removes what a run no longer needs. Empty for other steps.
func CleanupKind(s step.Step) string {
	if len(s.Meta().RunsAfter) == 0 {
		return ""
	}
	switch kind := kindOf(s); kind {
	case unshare, unshareAMI, deleteStaged, deregister, revoke:
		return kind
	}
	return ""
}

// CleanupLines returns a line for each group of cleanup steps: "Unsharing 2 snapshots from 2 accounts".
func CleanupLines(steps []step.Step) map[string]string {
	counts, accounts := map[string]int{}, map[string][]string{}
	tests := TestSteps(steps)
	for _, s := range steps {
		kind := CleanupKind(s)
		if kind == "" || tests[s.Meta().ID] {
			continue
		}
		counts[kind]++
		switch s := s.(type) {
		case *step.UnshareSnapshot:
			accounts[kind] = distribution.Union(accounts[kind], s.Accounts)
		case *step.UnshareImage:
			accounts[kind] = distribution.Union(accounts[kind], s.Accounts)
		}
	}
	lines := map[string]string{}
	for kind, n := range counts {
		switch kind {
		case unshare:
			lines[kind] = "Unsharing " + distribution.Count(n, "snapshot", "snapshots") + from(accounts[kind])
		case unshareAMI:
			lines[kind] = "Unsharing " + distribution.Count(n, "AMI", "AMIs") + from(accounts[kind])
		case deleteStaged:
			lines[kind] = "Deleting " + distribution.Count(n, "staged snapshot", "staged snapshots")
		case deregister:
			lines[kind] = "Deregistering " + distribution.Count(n, "staged AMI", "staged AMIs")
		case revoke:
			lines[kind] = "Revoking " + distribution.Count(n, "grant", "grants")
		}
	}
	return lines
}

func from(accounts []string) string {
	return " from " + distribution.Count(len(accounts), "account", "accounts")
}
