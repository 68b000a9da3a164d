// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// A test copy is a copy of an empty snapshot under the key of the staged copies. While the staged copies are
// created, each destination that waits for them copies the empty snapshot under its own key. A missing permission
// shows in a minute.
const (
	testCopyGiB  = 1
	testCopyTime = time.Minute // rough duration of creating or copying an empty snapshot (rule 4.6.4)
	testDevice   = "test-copy" // replaces the device in the ID of a test copy's step
)

// addTestCopies adds the test copies of the destinations that wait for staged copies.
func (b *builder) addTestCopies(o *preparedSource, states []destinationState) {
	trying := slices.DeleteFunc(slices.Clone(states), func(g destinationState) bool { return !o.needsTestCopy(g) })
	if len(trying) == 0 || !b.wantsTestCopies(states) {
		return
	}

	signing := o.signing(b.Assessment, provenance.Snapshot, testDevice)
	source := &step.CreateEmptySnapshot{
		Base: step.Base{
			ID:               step.NewID("test-copy-snapshot", o.location.Region),
			Location:         o.location,
			ExpectedDuration: testCopyTime,
		},
		KeyARN:      o.keyARN,
		GiB:         testCopyGiB,
		Description: "Empty, for test copies to other accounts",
		// no run_tags, because StartSnapshot has no ec2:CreateAction that a policy could allow (rule 4.9.6)
		Tags:    signing.CreationTags(),
		Signing: signing,
	}

	b.add(source)
	ready := b.shareEmptySnapshot(o, source, trying)
	done := []distribution.StepID{source.ID}
	for _, g := range trying {
		done = append(done, b.addTestCopy(o, g, source, ready)...)
	}

	b.add(&step.DeleteSnapshot{
		Base: step.Base{
			ID:               step.NewID("test-copy-delete", o.location.Region),
			Location:         o.location,
			RunsAfter:        done,
			ExpectedDuration: callTime,
		},
		Snapshot: step.Ref{From: source.ID},
		Device:   testDevice,
	})
}

// wantsTestCopies reports whether the plan makes test copies. The default is true for several destinations.
func (b *builder) wantsTestCopies(states []destinationState) bool {
	if b.req.TestCopy != nil {
		return *b.req.TestCopy
	}
	copying := slices.DeleteFunc(slices.Clone(states), func(g destinationState) bool { return g.image != nil })
	return len(copying) > 1
}

// needsTestCopy reports whether a destination copies something that is not staged yet.
func (o *preparedSource) needsTestCopy(g destinationState) bool {
	return o.serves(g.At) && slices.ContainsFunc(o.items, func(v sourceVolume) bool {
		return v.isStaged && g.needsCopy(v.id()) && o.snapshots[v.id()].ref.From != ""
	})
}

// shareEmptySnapshot shares the empty snapshot. It returns the steps to wait for.
func (b *builder) shareEmptySnapshot(
	o *preparedSource, source *step.CreateEmptySnapshot, trying []destinationState,
) []distribution.StepID {
	ready := []distribution.StepID{source.ID}
	accounts := distribution.Without(accountsOf(trying), []string{o.location.Account})
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		newStep := &step.ShareSnapshot{
			Base: step.Base{
				ID:               step.NewID("test-copy-share", o.location.Region),
				Location:         o.location,
				DependsOn:        slices.Clone(ready),
				ExpectedDuration: callTime,
			},
			Snapshot: step.Ref{From: source.ID},
			Device:   testDevice,
			Accounts: chunk,
		}

		if i > 0 {
			newStep.ID += distribution.StepID(fmt.Sprintf("/%d", i+1))
		}

		ready = append(ready, b.add(newStep))
	}

	return ready
}

// addTestCopy adds the test copy of a destination, and the steps that verify and delete it.
func (b *builder) addTestCopy(
	o *preparedSource, g destinationState, source *step.CreateEmptySnapshot, ready []distribution.StepID,
) []distribution.StepID {
	base := func(kind string) step.Base {
		return step.Base{
			ID:               step.NewID(kind, g.At.Account, g.At.Region),
			Location:         g.At,
			Destination:      g.At,
			ExpectedDuration: callTime,
		}
	}

	signing := b.copySigning(g.Destination, testDevice)
	copied := &step.CopySnapshot{
		Base:        base("test-copy"),
		Source:      step.Ref{From: source.ID},
		FromRegion:  o.location.Region,
		FromKeyARN:  o.keyARN,
		Device:      testDevice,
		KeyARN:      g.keyARN,
		GiB:         testCopyGiB,
		Description: "Empty, to test copies to this account",
		Tags:        joined(testCopyTags(g.Destination), signing.CreationTags()),
		Signing:     signing,
		Trial:       true,
	}

	copied.DependsOn, copied.ExpectedDuration = slices.Clone(ready), testCopyTime
	copied.Queue = step.SnapshotCopyQueue(g.At)
	if a := b.grantSourceKey(g, o.shareSource, o.keyARN); a != nil {
		copied.DependsOn, a.copySteps = append(copied.DependsOn, a.wait), append(a.copySteps, copied.ID)
	}

	b.add(copied)

	verify := &step.VerifySnapshot{
		Base: base("test-copy-verify"),
		ExpectedSnapshot: step.ExpectedSnapshot{
			Snapshot: step.Ref{From: copied.ID},
			KeyARN:   g.keyARN,
			GiB:      testCopyGiB,
		},
	}

	verify.DependsOn = []distribution.StepID{copied.ID}
	b.add(verify)

	end := &step.DeleteSnapshot{
		Base:     base("test-copy-delete"),
		Snapshot: step.Ref{From: copied.ID},
		Device:   testDevice,
		Trial:    true,
	}
	end.Destination, end.RunsAfter = distribution.Location{}, []distribution.StepID{copied.ID, verify.ID}
	return []distribution.StepID{copied.ID, b.add(end)}
}
