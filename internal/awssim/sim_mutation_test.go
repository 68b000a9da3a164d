// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	without = flag.String("without", "", "the number of a rule to switch off in all worlds")
	whole   = flag.Bool("whole", false, "mutation: every rule, not one of 64")
)

// detectors are the tests that must detect a disabled rule, fastest first. A rule's own test does not count.
var detectors = []struct{ what, tests string }{
	{"observations", "^TestObservations$"},
	{"whole runs", "^TestScenario_"},
}

// TestMutation_everyRuleIsDetected disables each checked rule, one at a time. A recorded observation or a scenario must
// fail without it.
func TestMutation_everyRuleIsDetected(t *testing.T) {
	t.Parallel()
	for _, m := range detectors {
		if testsFail(t, m.tests, "") {
			t.Fatalf("the %s fail with every rule", m.what)
		}
	}

	enforced := checkedRules(t)
	var mutex sync.Mutex
	tried, missed := 0, map[string]int{}
	t.Run("without", func(t *testing.T) {
		for _, rule := range readRules(t) {
			if _, is := enforced[rule.number]; !is {
				continue
			}
			if tried++; !*whole && tried%64 != 0 {
				continue
			}

			t.Run(rule.number, func(t *testing.T) {
				t.Parallel()
				for _, m := range detectors {
					if testsFail(t, m.tests, rule.number) {
						mutex.Lock()
						defer mutex.Unlock()
						missed[m.what]++
						return
					}
				}

				t.Errorf(
					"without rule %s (%s) all observations and whole runs pass: its own tests alone miss it", rule.number,
					rule.description,
				)
			})
		}
	})

	if *whole {
		fmt.Printf("rules: %d, missed by observations: %d, by whole runs: %d, by their own tests alone: %d\n",
			tried, missed["observations"], missed["whole runs"], tried-missed["observations"]-missed["whole runs"])
	}
}

// testsFail reports whether tests fail without a rule. It runs them in a process of their own, and a crash or timeout
// stops the test. An empty rule disables none.
func testsFail(t *testing.T, tests, rule string) bool {
	t.Helper()
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	process := exec.CommandContext(ctx, itself, "-test.failfast", "-test.run", tests, "-without", rule)
	process.Env = append(os.Environ(), "GOMAXPROCS=1") // other processes run at the same time
	written, err := process.CombinedOutput()
	switch text := string(written); {
	case err == nil:
		return false
	case ctx.Err() != nil:
		t.Fatalf("without rule %q %s does not end", rule, tests)
	case strings.Contains(text, "panic: ") || !strings.Contains(text, "--- FAIL: "):
		t.Fatalf("without rule %q %s does not fail but crash: %v\n%s", rule, tests, err, text)
	}

	return true
}
