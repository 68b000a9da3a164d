// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package chaos_test tries to break the invariants of docs/adr/0001-runs-and-ownership.md. Each seed draws a scenario:
// concurrent runs of several templates for one image, with kills, pauses, faulty responses and foreign tags. An auditor
// judges every mutating call by the state of AWS. It does not trust tags, because the simulator shows it which run
// created what.
package chaos_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

var (
	whole = flag.Bool("whole", false, "try as many seeds as -seeds says, not only a sample")
	seeds = flag.Int("seeds", 1000, "how many seeds -whole tries")
	seed  = flag.Uint64("seed", 0, "the one seed to try; it also prints the scenario and its mutating calls")
)

// sample is the number of seeds that a test run tries by default.
const sample = 5

func TestMain(m *testing.M) {
	flag.Parse()
	awsenv.Clear()
	awsenv.GrowHeap()
	code := m.Run()
	if tried.seeds > 0 {
		fmt.Println(tried.drawn)
		fmt.Printf("seeds: %d, violations: %d\n", tried.seeds, tried.violations)
	}
	os.Exit(code)
}

// tried counts the events in the scenarios that TestChaos has run.
var tried struct {
	seeds, violations int
	drawn             counts
}

func TestChaos(t *testing.T) {
	first, last := uint64(1), uint64(sample)
	switch {
	case *seed != 0:
		first, last = *seed, *seed
	case *whole:
		last = uint64(*seeds)
	}

	for n := first; n <= last; n++ {
		violations := tryScenario(t, n, &tried.drawn)
		tried.seeds++
		tried.violations += len(violations)
		if len(violations) == 0 {
			continue
		}
		text := fmt.Sprintf(
			"seed %d, again with: go test ./internal/chaos -run TestChaos -seed %d\n%s",
			n,
			n,
			strings.Join(violations, "\n"),
		)
		t.Error(text)
	}
}

// tryScenario draws a scenario, runs it and judges it.
func tryScenario(t *testing.T, number uint64, drawn *counts) (violations []string) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, number) // for the ids of runs, so that a seed repeats a scenario call by call
	s := drawScenario(number)
	if *seed != 0 {
		fmt.Println(s)
	}
	return fixture.Failures(t, s.setup, func(w *fixture.World) {
		a := prepare(w, s)
		s.runAll(w, a)
		awssim.WithChaos(0)(w.World)
		awssim.WithTagger(fixture.Prod, 0)(w.World)
		time.Sleep(12 * time.Hour) // until the records of killed runs have lapsed, and late requests have arrived

		cleanUps := s.cleanUp(w, a)
		a.judgeQuiet(w, cleanUps)
		a.judgeRepeat(w, s)
		drawn.add(w, a)
		if *seed != 0 {
			for _, log := range a.attempts {
				fmt.Printf("run %d printed:\n%s\n", log.number, log.run.Text())
			}
		}
		time.Sleep(48 * time.Hour) // until calls of killed runs have returned
	})
}

// counts show that the scenarios contain the intended events.
type counts struct{ runs, succeeded, kills, pauses, foreignTags, adoptions, deletions, listed, repeats int }

func (c *counts) add(w *fixture.World, a *auditor) {
	simulated := w.Counts()
	c.pauses += simulated.Pauses
	c.foreignTags += simulated.ForeignTags
	c.adoptions += a.adoptions
	c.deletions += a.deletions
	c.listed += a.listed
	c.repeats += a.repeats
	for _, log := range a.attempts {
		c.runs++
		switch {
		case log.run.Killed():
			c.kills++
		case log.run.Succeeded():
			c.succeeded++
		}
	}
}

func (c counts) String() string {
	return fmt.Sprintf("runs: %d, succeeded: %d, kills: %d, pauses: %d, foreign tags: %d, ",
		c.runs, c.succeeded, c.kills, c.pauses, c.foreignTags) +
		fmt.Sprintf("adoptions: %d, deletions: %d, listed: %d, repeats: %d", c.adoptions, c.deletions, c.listed, c.repeats)
}
